"""One model as lists see it: what can be asked of it, worked out once, and its rendered items.

Guarantees that a filter, a sort and the shown item read the same offer's price.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import orjson

from gatewayz.catalog.items import author_of, is_private, model_item, openai_item
from gatewayz.catalog.model import Catalog, Known, Model, Offer
from gatewayz.providers.config import Provider

# Whose manners a list has: /v1 (OpenAI and the older web client) or /api/v1 (OpenRouter).
Form = Literal["openai", "openrouter"]


@dataclass(frozen=True, slots=True)
class Row:
    """`offers`: those shown, the first one's price is the model's. Words are in lower case."""

    model: Model
    offers: tuple[Offer, ...]
    available: bool
    author: str
    names: str  # id and name
    text: str  # the same with description and hosts
    tokenizer: str
    inputs: frozenset[str]
    outputs: frozenset[str]
    parameters: frozenset[str]
    categories: frozenset[str]
    gateways: frozenset[str]  # hosts by slug
    hosts: frozenset[str]  # hosts by slug and by name
    regions: frozenset[str]
    zdr: bool
    private: bool
    prompt_nanos: int | None  # per 10^6 tokens; None: unknown
    output_nanos: int | None

    def at(self, gateway: str) -> "Row":
        """The same with one host's offers first, so that its price is the one shown."""
        mine = tuple(offer for offer in self.offers if offer.provider == gateway)
        if not mine or mine[0] is self.offers[0]:
            return self
        others = tuple(offer for offer in self.offers if offer.provider != gateway)
        first = mine[0].price
        return replace(
            self,
            offers=mine + others,
            prompt_nanos=first.of("input") if first else None,
            output_nanos=first.of("output") if first else None,
        )

    def item(self, form: Form, *, marked: bool) -> bytes:
        """The JSON object of a list; `marked` adds whether it can be served from here (D35)."""
        make = openai_item if form == "openai" else model_item
        item = make(self.model, self.offers)
        if marked:
            item["available"] = self.available
        return orjson.dumps(item)


def rows_of(catalog: Catalog, providers: Mapping[str, Provider]) -> Iterator[Row]:
    """A row for every listed model, in the catalog's order."""
    names = {slug: provider.name.lower() for slug, provider in providers.items()}
    for model in catalog.models():
        servable = catalog.servable(model.id)
        yield row_of(model, shown_offers(servable, catalog.offers(model.id)), names, bool(servable))


def row_named(known: Known, providers: Mapping[str, Provider]) -> Row:
    """One model that a name was resolved to, its offers in the order to try them."""
    names = {slug: provider.name.lower() for slug, provider in providers.items()}
    offers = shown_offers(known.servable, known.offers)
    return row_of(known.model, offers, names, bool(known.servable))


def shown_offers(servable: tuple[Offer, ...], offers: tuple[Offer, ...]) -> tuple[Offer, ...]:
    """Servable offers, else the priced ones, else all: the first one's price is shown."""
    return servable or tuple(offer for offer in offers if offer.servable) or offers


def row_of(
    model: Model, offers: tuple[Offer, ...], names: Mapping[str, str], available: bool
) -> Row:
    """`names`: a host's slug → its name in lower case."""
    price = offers[0].price if offers else None
    slugs = frozenset(offer.provider for offer in offers)
    own = f"{model.id} {model.name}".lower()
    hosts = slugs | {names[slug] for slug in slugs if slug in names}
    return Row(
        model=model,
        offers=offers,
        available=available,
        author=author_of(model).lower(),
        names=own,
        text=" ".join((own, model.description.lower(), *sorted(hosts))),
        tokenizer=model.tokenizer.lower(),
        inputs=frozenset(model.input_modalities),
        outputs=frozenset(model.output_modalities),
        parameters=frozenset(model.supported_parameters),
        categories=frozenset(model.categories),
        gateways=slugs,
        hosts=hosts,
        regions=frozenset(offer.region.lower() for offer in offers if offer.region),
        zdr=any(offer.zdr for offer in offers),
        private=is_private(offers),
        prompt_nanos=price.of("input") if price else None,
        output_nanos=price.of("output") if price else None,
    )


def find_author(rows: Iterable[Row], name: str) -> list[Row]:
    """All models of one organisation."""
    wanted = name.lower().removeprefix("@")
    return [row for row in rows if row.author == wanted]
