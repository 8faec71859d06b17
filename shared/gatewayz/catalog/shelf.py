"""The catalog as this gateway shows it: lists rendered once and kept as bytes.

Guarantees that a list holds what can be served from here and, only when asked, the rest, marked
`available: false` (D35).
"""

from collections.abc import Callable, Iterator, Mapping

import orjson

from gatewayz.catalog.items import (
    Item,
    endpoints_item,
    model_item,
    openai_item,
    provider_items,
)
from gatewayz.catalog.model import Catalog, Model, Offer, model_not_found
from gatewayz.providers.config import Provider


class Shelf:
    """One catalog's public face. A changed catalog gets a new Shelf."""

    def __init__(self, providers: Mapping[str, Provider], catalog: Catalog) -> None:
        self._providers = providers
        self._catalog = catalog
        self._rendered: dict[tuple[str, bool], bytes] = {}

    def openai_list(self, *, everything: bool) -> bytes:
        """GET /v1/models."""
        return self._once("/v1", everything, lambda: self._openai_list(everything))

    def openrouter_list(self, *, everything: bool) -> bytes:
        """GET /api/v1/models."""
        return self._once("/api/v1", everything, lambda: self._openrouter_list(everything))

    def provider_list(self) -> bytes:
        """GET /v1/providers."""
        return self._once(
            "providers", True, lambda: {"data": provider_items(self._providers, self._catalog)}
        )

    def openai_model(self, name: str) -> bytes:
        """GET /v1/models/{id}: an id or alias; NotFound with suggestions."""
        model = self._model(name)
        item = openai_item(model, self._in_order(model))
        return orjson.dumps({**item, "available": bool(self._catalog.servable(model.id))})

    def openrouter_model(self, name: str) -> bytes:
        """GET /api/v1/model/{author}/{slug}."""
        model = self._model(name)
        return orjson.dumps({"data": model_item(model, self._in_order(model))})

    def endpoints(self, name: str, *, everything: bool) -> bytes:
        """GET …/{author}/{slug}/endpoints: the offers in the order to try them."""
        model = self._model(name)
        offers = self._catalog.offers(model.id) if everything else self._catalog.servable(model.id)
        return orjson.dumps({"data": endpoints_item(model, offers, self._providers)})

    def _once(self, what: str, everything: bool, render: Callable[[], Item]) -> bytes:
        known = self._rendered.get((what, everything))
        if known is None:
            known = self._rendered[what, everything] = orjson.dumps(render())
        return known

    def _openai_list(self, everything: bool) -> Item:
        shown = self._shown(everything)
        return {
            "object": "list",
            "data": [_marked(openai_item(m, o), a, everything) for m, o, a in shown],
        }

    def _openrouter_list(self, everything: bool) -> Item:
        shown = self._shown(everything)
        items = [_marked(model_item(m, o), a, everything) for m, o, a in shown]
        return {"data": items, "total_count": len(items), "links": {"next": None}}

    def _shown(self, everything: bool) -> Iterator[tuple[Model, tuple[Offer, ...], bool]]:
        for model in self._catalog.models():
            available = bool(self._catalog.servable(model.id))
            if available or everything:
                yield model, self._in_order(model), available

    def _in_order(self, model: Model) -> tuple[Offer, ...]:
        """Servable offers, else the priced ones, else all: the first one's price is shown."""
        servable = self._catalog.servable(model.id)
        offers = self._catalog.offers(model.id)
        return servable or tuple(o for o in offers if o.servable) or offers

    def _model(self, name: str) -> Model:
        model = self._catalog.find(name)
        if model is None:
            raise model_not_found(self._catalog, name)
        return model


def _marked(item: Item, available: bool, everything: bool) -> Item:
    return {**item, "available": available} if everything else item
