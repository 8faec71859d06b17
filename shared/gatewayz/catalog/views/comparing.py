"""One model at its hosts side by side, and the lists that are about hosts: unique, fastest.

Guarantees that hosts are compared by the exact prices that would be charged. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Literal

from gatewayz.catalog.facts import site_of
from gatewayz.catalog.items import Item, architecture, data_policy, pricing_item, usd_per_token
from gatewayz.catalog.model import Model, Offer
from gatewayz.catalog.views.filters import Measured, Usage
from gatewayz.catalog.views.rows import Row
from gatewayz.core.money import usd_text
from gatewayz.pricing.price import Price

Criteria = Literal["price", "context", "availability"]
# Milliseconds to the first token below which a model is ultra fast, and fast.
ULTRA_MS, FAST_MS = 100, 500
SPEED_TIERS: tuple[tuple[float, int], ...] = ((ULTRA_MS, 1), (FAST_MS, 2), (2000, 3))
SLOWEST_TIER = 4


def compare(
    model: Model, offers: Sequence[Offer], ready: frozenset[str], gateways: frozenset[str] | None
) -> Item:
    """Every host of a model with its price; which is cheapest, and what that saves."""
    shown = [offer for offer in offers if gateways is None or offer.provider in gateways]
    priced = sorted(
        (total, offer.provider) for offer in shown if (total := both_nanos(offer.price)) is not None
    )
    author, _, name = model.id.partition("/")
    return {
        "success": True,
        "model_id": model.id,
        "provider": author,
        "model": name,
        "comparisons": [_compared(model, offer, offer.provider in ready) for offer in shown],
        "recommendation": _recommended(shown, priced),
        "savings": _savings(priced),
        "available_count": sum(o.servable and o.provider in ready for o in shown),
        "total_gateways_checked": len(shown),
    }


def compare_by(offers: Sequence[Offer], criteria: Criteria, ready: frozenset[str]) -> Item:
    """Host → what is compared."""
    if criteria == "context":
        return {offer.provider: offer.context_tokens for offer in offers}
    if criteria == "availability":
        return {offer.provider: offer.servable and offer.provider in ready for offer in offers}
    return {
        offer.provider: {
            "prompt": _usd(offer.price, "input"),
            "completion": _usd(offer.price, "output"),
        }
        for offer in offers
    }


def savings_of(offers: Sequence[Offer]) -> Item:
    priced = [(total, o.provider) for o in offers if (total := both_nanos(o.price)) is not None]
    return _savings(sorted(priced))


def both_nanos(price: Price | None) -> int | None:
    """A million tokens in and a million out, None when one of the prices is unknown."""
    if price is None:
        return None
    prompt, output = price.of("input"), price.of("output")
    return None if prompt is None or output is None else prompt + output


def _compared(model: Model, offer: Offer, ready: bool) -> Item:
    return {
        "gateway": offer.provider,
        "available": ready and offer.servable,
        "model_id": model.id,
        "name": model.name,
        "pricing": {
            **pricing_item(offer.price),
            "prompt_cost_per_1m": _usd_per_million(offer.price, "input"),
            "completion_cost_per_1m": _usd_per_million(offer.price, "output"),
        },
        "context_length": offer.context_tokens,
        "max_completion_tokens": offer.max_output_tokens,
        "architecture": architecture(model),
        "provider_site_url": site_of(offer.provider),
        "source_gateway": offer.provider,
        "data_policy": data_policy(offer),
    }


def _recommended(offers: Sequence[Offer], priced: Sequence[tuple[int, str]]) -> Item:
    if not offers:
        return {"gateway": None, "reason": "No host has this model."}
    if not priced:
        return {"gateway": offers[0].provider, "reason": "No price is known; the first host."}
    total, gateway = priced[0]
    cheapest = next(offer for offer in offers if offer.provider == gateway)
    return {
        "gateway": gateway,
        "reason": f"Lowest price: ${usd_text(total)} for a million tokens in and out.",
        "pricing": {
            "prompt": _usd(cheapest.price, "input"),
            "completion": _usd(cheapest.price, "output"),
        },
    }


def _savings(priced: Sequence[tuple[int, str]]) -> Item:
    """Dollars as exact text; the percentage rounded to two digits."""
    if len(priced) < 2:
        return {"potential_savings": "0", "most_expensive_gateway": None, "cheapest_gateway": None}
    (least, cheapest), (most, dearest) = priced[0], priced[-1]
    share = Decimal(most - least) / most if most else Decimal(0)
    return {
        "potential_savings": usd_text(most - least),
        "potential_savings_per_1m_tokens": usd_text(most - least),
        "savings_percentage": float(round(100 * share, 2)),
        "cheapest_gateway": cheapest,
        "cheapest_cost": usd_text(least),
        "most_expensive_gateway": dearest,
        "most_expensive_cost": usd_text(most),
    }


def _usd(price: Price | None, name: str) -> str | None:
    nanos = price.of(name) if price else None
    return None if nanos is None else usd_per_token(nanos)


def _usd_per_million(price: Price | None, name: str) -> str | None:
    nanos = price.of(name) if price else None
    return None if nanos is None else usd_text(nanos)


# ---------------------------------------------------------------- models at several hosts

UniqueSort = Literal["provider_count", "name", "cheapest_price"]


def unique_item(row: Row) -> Item:
    """A model with all of its hosts, the cheapest named."""
    priced = [(total, o) for o in row.offers if (total := both_nanos(o.price)) is not None]
    cheapest = min(priced, key=lambda pair: pair[0], default=(None, None))[1]
    return {
        "id": row.model.id,
        "name": row.model.name,
        "model_name": row.model.name,
        "description": row.model.description,
        "context_length": row.model.context_tokens,
        "architecture": architecture(row.model),
        "provider_count": len(row.gateways),
        "cheapest_provider": cheapest.provider if cheapest else None,
        "cheapest_prompt_price": _usd(cheapest.price, "input") if cheapest else None,
        "cheapest_completion_price": _usd(cheapest.price, "output") if cheapest else None,
        "providers": [
            {
                "slug": offer.provider,
                "pricing": pricing_item(offer.price),
                "context_length": offer.context_tokens,
                "native_id": offer.native_id,
                "health_status": "unknown",
                "average_response_time_ms": None,
            }
            for offer in row.offers
        ],
        "available": row.available,
    }


def unique_key(by: UniqueSort) -> Any:
    """What unique models are ordered by; a model without a price comes last in either order."""
    if by == "name":
        return lambda row: row.model.name.lower()
    if by == "cheapest_price":
        return lambda row: min(
            (total for o in row.offers if (total := both_nanos(o.price)) is not None), default=None
        )
    return lambda row: len(row.gateways)


# ---------------------------------------------------------------- measured speed


def fast_models(rows: Iterable[Row], usage: Usage, *, ultra_only: bool) -> list[Item]:
    """Models whose own traffic began to answer fast, the fastest first; none without traffic."""
    limit = ULTRA_MS if ultra_only else FAST_MS
    timed = [
        (latency, row)
        for row in rows
        if (latency := usage.get(row.model.id, Measured()).latency_ms) is not None
        and latency < limit
    ]
    timed.sort(key=lambda pair: (pair[0], pair[1].model.id))
    return [
        {
            "id": row.model.id,
            "name": row.model.name,
            "source_gateways": sorted(row.gateways),
            "average_response_time_ms": latency,
            "tier": "ultra" if latency < ULTRA_MS else "low",
            "requests": usage[row.model.id].requests,
        }
        for latency, row in timed
    ]


def speed_tiers(latencies: Mapping[str, float]) -> tuple[list[str], dict[str, Item]]:
    """Hosts from fast to slow, and each one's tier, by what was measured of it."""
    ordered = sorted(latencies, key=lambda slug: (latencies[slug], slug))
    tiers: dict[str, Item] = {}
    for slug in ordered:
        tier = next((n for limit, n in SPEED_TIERS if latencies[slug] < limit), SLOWEST_TIER)
        tiers[slug] = {"tier": tier, "median_first_token_ms": latencies[slug]}
    return ordered, tiers


def alternatives(rows: Iterable[Row], fast: Sequence[Item]) -> dict[str, str | None]:
    """Family → its fastest measured model, None where none of it is fast."""
    speed = {item["id"]: number for number, item in enumerate(fast)}
    found: dict[str, str | None] = {}
    for row in rows:
        best, number = found.setdefault(row.tokenizer, None), speed.get(row.model.id)
        if number is not None and (best is None or number < speed[best]):
            found[row.tokenizer] = row.model.id
    return found
