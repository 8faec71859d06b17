"""What hosts did for us: the figures of our own traffic at each, and who is configured at all.

Guarantees counted figures: a host that nobody asked has zeros and nulls, never a number made up.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gatewayz.catalog.items import Item, iso
from gatewayz.catalog.shelf import Shelf
from gatewayz.catalog.views.hosts import count_models
from gatewayz.catalog.views.reader import Reader
from gatewayz.catalog.views.traffic import cut
from gatewayz.core import clock
from gatewayz.core.errors import NotFound, echo
from gatewayz.providers.config import Provider

Row = Mapping[str, Any]
COUNTS = ("requests", "successes", "errors", "throttled", "total_ms", "prompt_tokens",
          "output_tokens")  # fmt: skip


async def host_stats(reader: Reader, name: str, time_range: str) -> Item:
    """One host's figures over a range; NotFound for a name that is no provider's."""
    shelf = await reader.shelf()
    provider = _named(shelf, name)
    rows = await reader.popularity.traffic(time_range, provider.slug)
    return {
        "success": True,
        "data": _stats(provider, rows, time_range, shelf),
        "timestamp": iso(clock.now_ms()),
    }


async def host_models(reader: Reader, name: str, asked: Mapping[str, Any]) -> Item:
    """The models that were asked of one host, the most first."""
    shelf = await reader.shelf()
    provider = _named(shelf, name)
    rows = await reader.popularity.traffic(asked["time_range"], provider.slug)
    ranked = [
        {"rank": place, "model": model, "name": _name(shelf, model), **_figures(figures)}
        for place, (model, figures) in enumerate(_by(rows, "model"), 1)
    ]
    shown = cut(ranked, {"offset": 0, **asked})
    return {
        "success": True,
        "provider": provider.slug,
        "gateway": provider.slug,
        "time_range": asked["time_range"],
        "data": shown,
        "count": len(shown),
        "total": len(ranked),
        "timestamp": iso(clock.now_ms()),
    }


async def hosts_summary(reader: Reader, time_range: str) -> Item:
    """Every host that was asked, and all of them together."""
    shelf = await reader.shelf()
    rows = await reader.popularity.traffic(time_range)
    known = [row for row in rows if row["provider"] in shelf.providers]
    hosts = [
        _stats(
            shelf.providers[slug], [r for r in known if r["provider"] == slug], time_range, shelf
        )
        for slug, _ in _by(known, "provider")
    ]
    return {
        "success": True,
        "time_range": time_range,
        "data": hosts,
        "total": len(hosts),
        "totals": _figures(_sum(known)),
        "timestamp": iso(clock.now_ms()),
    }


def hosts_status(shelf: Shelf) -> Item:
    """Which back ends can be called from here."""
    counts = count_models(row for row in shelf.rows if row.available)
    ready = shelf.catalog.ready
    items = [
        {
            "id": slug,
            "name": provider.name,
            "configured": slug in ready,
            "enabled": provider.enabled,
            "model_count": counts.get(slug, 0),
        }
        for slug, provider in shelf.providers.items()
    ]
    return {
        "data": items,
        "total": len(items),
        "configured": sum(item["configured"] for item in items),
        "timestamp": iso(clock.now_ms()),
    }


def _named(shelf: Shelf, name: str) -> Provider:
    provider = shelf.providers.get(name.lower())
    if provider is None:
        raise NotFound(
            f"'{echo(name)}' is no provider here.", code="provider_not_found", param="provider"
        )
    return provider


def _name(shelf: Shelf, model: str) -> str:
    row = shelf.listed.get(model)
    return model if row is None else row.model.name


def _stats(provider: Provider, rows: Iterable[Row], time_range: str, shelf: Shelf) -> Item:
    known = list(rows)
    models = _by(known, "model")
    return {
        "provider": provider.slug,
        "gateway": provider.slug,
        "name": provider.name,
        "time_range": time_range,
        "available": provider.slug in shelf.catalog.ready,
        **_figures(_sum(known)),
        "models_used": len(models),
        "top_model": models[0][0] if models else None,
    }


def _by(rows: Iterable[Row], name: str) -> list[tuple[str, dict[str, int]]]:
    """(value of `name`, sums), the most asked first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row[name], []).append(row)
    sums = [(key, _sum(group)) for key, group in groups.items()]
    return sorted(sums, key=lambda pair: (-pair[1]["requests"], pair[0]))


def _sum(rows: Iterable[Row]) -> dict[str, int]:
    totals = dict.fromkeys(COUNTS, 0)
    for row in rows:
        for name in COUNTS:
            totals[name] += int(row[name])
    return totals


def _figures(sums: Mapping[str, int]) -> Item:
    judged = sums["successes"] + sums["errors"]
    return {
        "total_requests": sums["requests"],
        "successful_requests": sums["successes"],
        "failed_requests": sums["errors"],
        "throttled_requests": sums["throttled"],
        "success_rate": round(100 * sums["successes"] / judged, 3) if judged else None,
        "total_tokens": sums["prompt_tokens"] + sums["output_tokens"],
        "prompt_tokens": sums["prompt_tokens"],
        "completion_tokens": sums["output_tokens"],
        "average_response_time_ms": round(sums["total_ms"] / sums["successes"], 1)
        if sums["successes"]
        else None,
    }
