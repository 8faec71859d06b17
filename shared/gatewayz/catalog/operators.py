"""What an operator may change of the catalog, in his words, each change with its name in the trail.

Guarantees that a price or markup is exact and sound before it is stored, and that a change is
shown to readers at once, unless more waits to be shown than one change (then it says so).
"""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from gatewayz.catalog.publish import PublishRefused, Render, publish
from gatewayz.catalog.record import price_record
from gatewayz.catalog.soundness import Unsound, price_from
from gatewayz.catalog.store import CatalogStore
from gatewayz.core.errors import InvalidRequest
from gatewayz.pricing.markup import MAX_PPM, PPM
from gatewayz.pricing.usage import CLASSES
from gatewayz.stores.open import Stores

KINDS = ("offer", "model", "provider")
FLAGS = ("enabled", "hidden")


class Operator:
    """`actor` is who acts, as the trail will say."""

    def __init__(self, stores: Stores, actor: str, *, render: Render | None = None) -> None:
        self._stores = stores
        self._store = CatalogStore(stores.postgres)
        self._actor = actor
        self._render = render

    async def set(self, kind: str, name: str, wanted: Mapping[str, Any]) -> dict[str, Any]:
        """Change an offer, a model or a provider; fields that are absent stay.

        enabled, hidden: true or false. markup: a factor as text, null for none of its own. price:
        {class: USD per 10^6 units as text} or {"free": true}, null for the sources' own. model:
        the canonical id that an offer is to stand under. InvalidRequest, NotFound.
        """
        params: dict[str, Any] = {kind: name, "actor": self._actor}
        params |= {flag: wanted[flag] for flag in FLAGS if flag in wanted}
        if "markup" in wanted:
            params["markup_ppm"] = markup_ppm(wanted["markup"])
        if kind == "offer" and "price" in wanted:
            params["price"] = price_override(wanted["price"])
        if kind == "offer" and "model" in wanted:
            params["model"] = wanted["model"]
        if len(params) == 2:
            raise InvalidRequest("Nothing to change.", code="nothing_to_change")
        return await self._shown(await self._store.call(_SETTERS[kind], params))

    async def set_alias(self, alias: str, model: str | None, kind: str = "alias") -> dict[str, Any]:
        """Another name for a model, or where a retired name leads; without `model` it goes."""
        params = {"alias": alias, "model": model, "kind": kind, "actor": self._actor}
        return await self._shown(await self._store.call("catalog_set_alias", params))

    async def decide(self, number: int, decision: str) -> dict[str, Any]:
        """Accept a price that was held back, or reject it for good."""
        params = {"id": number, "decision": decision, "actor": self._actor}
        return await self._shown(await self._store.call("catalog_decide", params))

    async def close_alert(self, number: int) -> dict[str, Any]:
        closed: dict[str, Any] = await self._store.call(
            "catalog_close_alert", {"id": number, "actor": self._actor}
        )
        return closed

    async def publish(self, *, force: bool = False) -> dict[str, Any]:
        """Show what is stored now. `force` also when more than a tenth changed."""
        try:
            done = await publish(self._stores, force=force, render=self._render)
        except PublishRefused as refusal:
            return {"published": False, "detail": str(refusal)}
        return {
            "published": True, "version": done.version, "models": done.models,
            "offers": done.offers, "changed": done.changed,
        }  # fmt: skip

    async def _shown(self, changed: dict[str, Any]) -> dict[str, Any]:
        return {**changed, **await self.publish()}


_SETTERS = {
    "offer": "catalog_set_offer",
    "model": "catalog_set_model",
    "provider": "catalog_set_provider",
}


def markup_ppm(text: Any) -> int | None:
    """A factor as text ("1.25") in millionths; InvalidRequest unless it is exact and sane."""
    if text is None:
        return None
    try:
        ppm = Decimal(str(text)) * PPM
    except InvalidOperation:
        ppm = Decimal(-1)
    if not ppm.is_finite() or ppm != ppm.to_integral_value() or not 0 <= ppm <= MAX_PPM:
        raise InvalidRequest("markup must be a factor like 1.25, from 0 to 100.", param="markup")
    return int(ppm)


def price_override(wanted: Any) -> dict[str, Any] | None:
    """A price in USD per 10^6 units as the catalog stores it; InvalidRequest when unsound."""
    if wanted is None:
        return None
    if not isinstance(wanted, Mapping):
        raise InvalidRequest("price must name classes and their USD per million.", param="price")
    free = wanted.get("free") is True
    rates = {}
    for name, text in wanted.items():
        if name == "free":
            continue
        try:
            rates[name] = Decimal(str(text))
        except InvalidOperation:
            raise InvalidRequest(f"price.{name} is no number.", param="price") from None
        if name not in CLASSES:
            raise InvalidRequest(f"price.{name} is no class of usage.", param="price")
    outputs = () if "output" in rates or free else ("embeddings",)
    try:
        price = price_from(rates, free=free, outputs=outputs)
    except Unsound as problem:
        raise InvalidRequest(f"price: {problem}.", param="price") from None
    if price is None:
        raise InvalidRequest("price states nothing.", param="price")
    return {**price_record(price), "free": free}
