"""What staff look at: price changes, differences between hosts, drift from feeds, their severity.

Pure but for reading the rows; money is integers of nano-USD until it is shown.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

from gatewayz.catalog.feeds import Feed, opinions
from gatewayz.catalog.grouping import minimum_of
from gatewayz.catalog.items import iso
from gatewayz.catalog.model import Entry
from gatewayz.catalog.store import CatalogStore
from gatewayz.catalog.views.rows import Row
from gatewayz.core.money import NANOS_PER_USD, usd_text

# From so many percent on a change or a difference is worth a line.
CHANGE_PERCENT, VARIANCE_PERCENT = 5, 10
# More than so many percent → how bad.
SEVERITIES = ((500, "critical"), (100, "major"), (50, "moderate"))
COMPARED = ("input", "output", "cache_read")
MILLION = 1_000_000


def severity_of(percent: Decimal) -> str:
    return next((name for least, name in SEVERITIES if abs(percent) > least), "minor")


def percent_of(before: int, after: int) -> Decimal:
    """How much `after` is above (or below) `before`, in percent with one digit."""
    return round(Decimal(after - before) * 100 / before, 1)


async def pricing_audit(store: CatalogStore, entries: Iterable[Entry], days: int) -> dict[str, Any]:
    """Changes, differences between hosts, what is held back, and what the changes come to."""
    moved = await store.call("catalog_price_changes", {"days": days})
    usage = {row["offer"]: row for row in await store.call("catalog_usage", {"days": days})}
    changes = [line for row in moved for line in _changes(row)]
    variance = [line for entry in entries for line in _variance(entry)]
    held = await store.call("catalog_list_quarantine", {"limit": 1000})
    impact = [line for row in moved if (line := _impact(row, usage.get(row["offer"]))) is not None]
    worst = [line["severity"] for line in (*changes, *variance)]
    names = ("minor", "moderate", "major", "critical")
    return {
        "days": days,
        "changes": changes,
        "variance": variance,
        "anomalies": held,
        "cost_impact": impact,
        "summary": {name: worst.count(name) for name in names},
    }


def _changes(row: Mapping[str, Any]) -> Iterable[dict[str, Any]]:
    for name, after in row["after"].items():
        before = row["before"].get(name)
        if not before:
            continue
        percent = percent_of(before, after)
        if abs(percent) >= CHANGE_PERCENT:
            yield {
                "offer": row["offer"],
                "model": row["model"],
                "provider": row["provider"],
                "class": name,
                "before_usd": usd_text(before),
                "after_usd": usd_text(after),
                "percent": float(percent),
                "severity": severity_of(percent),
                "source": row["source"],
                "at_ms": row["at_ms"],
            }


def _variance(entry: Entry) -> Iterable[dict[str, Any]]:
    for name in COMPARED:
        known = {
            offer.id: nanos
            for offer in entry.offers
            if offer.price and (nanos := offer.price.nanos_per_million.get(name))
        }
        if len(known) < 2:
            continue
        lowest, highest = min(known, key=known.__getitem__), max(known, key=known.__getitem__)
        percent = percent_of(known[lowest], known[highest])
        if percent >= VARIANCE_PERCENT:
            yield {
                "model": entry.model.id,
                "class": name,
                "lowest": {"offer": lowest, "usd": usd_text(known[lowest])},
                "highest": {"offer": highest, "usd": usd_text(known[highest])},
                "hosts": len(known),
                "percent": float(percent),
                "severity": severity_of(percent),
            }


def _impact(row: Mapping[str, Any], usage: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What the usage of those days costs at the new price and cost at the old one."""
    if usage is None:
        return None
    before = after = 0
    for name, units in usage["units"].items():
        if name in row["before"] and name in row["after"]:
            before += units * row["before"][name]
            after += units * row["after"][name]
    if before == after:
        return None
    return {
        "offer": row["offer"],
        "requests": usage["requests"],
        "before_usd": usd_text(before // MILLION),
        "after_usd": usd_text(after // MILLION),
        "difference_usd": usd_text((after - before) // MILLION),
    }


def price_drift(entries: Iterable[Entry], feeds: Iterable[Feed]) -> list[dict[str, Any]]:
    """Offers whose cost is another than a feed says; `below_cost`: sold for less than that."""
    known = list(feeds)
    lines = []
    for entry in entries:
        for offer in entry.offers:
            cost = offer.cost or offer.price
            if cost is None or offer.price is None:
                continue
            for opinion in opinions(known, offer.provider, offer.native_id):
                for name in COMPARED:
                    ours, theirs = cost.nanos_per_million.get(name), opinion.row.rates.get(name)
                    if not ours or not theirs:
                        continue
                    reference = int(theirs * NANOS_PER_USD)
                    percent = percent_of(reference, ours) if reference else Decimal(0)
                    if abs(percent) >= CHANGE_PERCENT:
                        lines.append(
                            {
                                "offer": offer.id,
                                "class": name,
                                "feed": opinion.feed,
                                "ours_usd": usd_text(ours),
                                "feed_usd": usd_text(reference),
                                "percent": float(percent),
                                "severity": severity_of(percent),
                                "below_cost": offer.price.nanos_per_million[name] < reference,
                            }
                        )
    return lines


async def provider_states(store: CatalogStore) -> list[dict[str, Any]]:
    """Every provider with its counts; `alarm` where it lists fewer than are known to be there."""
    rows: list[dict[str, Any]] = await store.call("list_providers_state", {})
    for row in rows:
        row["minimum"] = minimum_of(row["provider"])
        row["alarm"] = row["last_good_at_ms"] is not None and row["listed"] < row["minimum"]
    return rows


async def import_states(store: CatalogStore) -> list[dict[str, Any]]:
    """The same as anybody may read it: counts and times, no words of a listing."""
    return [
        {
            "provider": row["provider"],
            "listed": row["listed"],
            "minimum": row["minimum"],
            "alarm": row["alarm"],
            "last_import_at": _moment(row["last_good_at_ms"]),
        }
        for row in await provider_states(store)
    ]


async def listing_summary(store: CatalogStore, rows: Iterable[Row]) -> dict[str, Any]:
    """How much is listed, and of which publication."""
    known = list(rows)
    offers = [offer for row in known for offer in row.offers]
    published = await store.call("catalog_publications", {"limit": 1})
    return {
        "total_models": len(known),
        "available_models": sum(row.available for row in known),
        "total_offers": len(offers),
        "priced_offers": sum(offer.servable for offer in offers),
        "unpriced_offers": sum(not offer.servable for offer in offers),
        "version": published[0]["version"] if published else None,
        "published_at": _moment(published[0]["at_ms"]) if published else None,
    }


def _moment(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso(at_ms)
