"""The past prices of offers as the public API shows them."""

from collections.abc import Mapping
from typing import Any

from gatewayz.catalog.items import Item, iso, pricing_item
from gatewayz.catalog.model import Offer
from gatewayz.pricing.markup import markup_of, sale_price
from gatewayz.pricing.price import Price
from gatewayz.pricing.tiers import Tier, TieredPrice

Row = Mapping[str, Any]
CURRENT, PAST = "current", "past"


def history_page(rows: list[Row], limit: int) -> tuple[list[Row], int | None]:
    """The rows to show, and `before_ms` of the next page. Prices of one moment stay together:
    those of the page's last moment come with the next one, unless the whole page is of it."""
    if len(rows) < limit:
        return rows, None
    last_ms = rows[-1]["valid_from_ms"]
    whole = [row for row in rows if row["valid_from_ms"] > last_ms]
    return (whole, last_ms + 1) if whole else (rows, last_ms)


def history_item(row: Row) -> Item:
    """One version of one offer's price: what it was, from when to when, and who said so."""
    return {
        "offer": row["offer"],
        "model": row["model"],
        "provider": row["provider"],
        "native_id": row["native_id"],
        "version": row["version"],
        "state": CURRENT if row["valid_to_ms"] is None else PAST,
        "source": row["source"],
        "checked_at": _moment(row["checked_at_ms"]),
        "valid_from": _moment(row["valid_from_ms"]),
        "valid_to": _moment(row["valid_to_ms"]),
        "pricing": pricing_item(_price(row)),
    }


def current_item(offer: Offer) -> Item:
    """The price in force of an offer that no publication has recorded: what ships with the code,
    and the operator's own."""
    return {
        "offer": offer.id,
        "model": offer.model_id,
        "provider": offer.provider,
        "native_id": offer.native_id,
        "version": offer.price.version if offer.price else None,
        "state": CURRENT,
        "source": offer.source,
        "checked_at": f"{offer.checked}T00:00:00+00:00" if offer.checked else None,
        "valid_from": _moment(offer.valid_from_ms or None),
        "valid_to": None,
        "pricing": pricing_item(offer.price),
    }


def _price(row: Row) -> Price | None:
    """What it was sold for, by the markups of today: those of the past are not kept."""
    if not row["cost"]:
        return None
    tiers = tuple(Tier(above, nanos) for above, nanos in row["tiers"] or ())
    cost = Price(row["version"], row["cost"])
    if tiers:
        cost = TieredPrice(row["version"], row["cost"], tiers=tiers)
    return sale_price(cost, markup_of(*row["markups_ppm"]))


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso(at_ms)
