"""Offers and models as plans need them."""

from typing import Any

from gatewayz.catalog.model import Model, Offer
from gatewayz.pricing.price import Price
from gatewayz.routing.filters import Candidates

USD = 1_000_000_000  # per million units, in nano-USD
MODEL = Model("v/m", "M", supported_parameters=("tools", "temperature", "max_tokens"))


def offer(
    provider: str, usd: float = 1.0, *, model: str = "v/m", cached: float | None = None, **more: Any
) -> Offer:
    """An offer at `usd` per million input tokens, output three times that."""
    price = {"input": round(usd * USD), "output": round(3 * usd * USD)}
    if cached is not None:
        price["cache_read"] = round(cached * USD)
    return Offer(f"{provider}/m", model, provider, "m", Price("v", price), **more)


def group(*offers: Offer, model: Model = MODEL, variants: tuple[str, ...] = ()) -> Candidates:
    return Candidates(model, offers, variants)


def providers(offers: tuple[Offer, ...]) -> list[str]:
    return [o.provider for o in offers]
