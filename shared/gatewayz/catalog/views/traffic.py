"""The answers that our own traffic gives: trends, rankings, measured speed.

Guarantees counted figures: without traffic every list is empty.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from gatewayz.catalog.items import Item, iso
from gatewayz.catalog.views import comparing, popularity
from gatewayz.catalog.views.asking import gateways_of
from gatewayz.catalog.views.filters import Filters
from gatewayz.catalog.views.popularity import RECENT_RANGE, TIME_RANGES, TrendSort
from gatewayz.catalog.views.reader import Reader
from gatewayz.core import clock


async def trending_models(reader: Reader, asked: Mapping[str, Any]) -> Item:
    shelf = await reader.shelf()
    gateway = asked.get("gateway") or "all"
    slugs = gateways_of(gateway, shelf)
    window_s = TIME_RANGES[asked["time_range"]]
    counts = await reader.popularity.models(window_s, provider=slugs[0] if slugs else None)
    sort_by = cast(TrendSort, asked["sort_by"])
    ranked = popularity.trending(counts, shelf.listed, sort_by)
    shown = cut(ranked, asked)
    return {
        "success": True,
        "data": shown,
        "count": len(shown),
        "total": len(ranked),
        "offset": asked["offset"],
        "gateway": gateway,
        "time_range": asked["time_range"],
        "sort_by": sort_by,
        "timestamp": iso(clock.now_ms()),
    }


async def low_latency(reader: Reader, asked: Mapping[str, Any]) -> Item:
    shelf = await reader.shelf()
    slugs = gateways_of(asked.get("gateway"), shelf)
    rows = shelf.chosen(Filters(gateways=slugs))
    usage, _ = await reader.popularity.usage()
    ultra = asked["include_ultra_only"] == "true"
    models = comparing.fast_models(rows, usage, ultra_only=ultra)
    hosts = await reader.popularity.providers(TIME_RANGES[RECENT_RANGE])
    speeds = {h["provider"]: h["latency_ms"] for h in hosts if h["latency_ms"] is not None}
    ordered, tiers = comparing.speed_tiers(speeds)
    answer: Item = {
        "models": models,
        "count": len(models),
        "providers_by_speed": ordered,
        "provider_tiers": tiers,
        "thresholds_ms": {"ultra": comparing.ULTRA_MS, "low": comparing.FAST_MS},
        "timestamp": iso(clock.now_ms()),
    }
    if asked["include_alternatives"] == "true":
        answer["alternatives"] = comparing.alternatives(rows, models)
    return answer


async def ranked_models(reader: Reader, asked: Mapping[str, Any], now_ms: int) -> Item:
    shelf, window_s = await reader.shelf(), TIME_RANGES[asked["time_range"]]
    now = await reader.popularity.models(window_s)
    before = await reader.popularity.models(window_s, ago_s=window_s)
    ranked = popularity.model_ranking(
        now, before, shelf.listed, time_range=asked["time_range"], at=iso(now_ms)
    )
    return _ranking(ranked, asked)


async def ranked_apps(reader: Reader, asked: Mapping[str, Any], now_ms: int) -> Item:
    window_s = TIME_RANGES[asked["time_range"]]
    now = await reader.popularity.apps(window_s)
    before = await reader.popularity.apps(window_s, ago_s=window_s)
    ranked = popularity.app_ranking(now, before, time_range=asked["time_range"], at=iso(now_ms))
    return _ranking(ranked, asked)


def _ranking(ranked: list[Item], asked: Mapping[str, Any]) -> Item:
    shown = cut(ranked, asked)
    return {
        "success": True,
        "data": shown,
        "count": len(shown),
        "total": len(ranked),
        "limit": asked.get("limit"),
        "offset": asked["offset"],
        "has_logo_urls": any(item.get("logo_url") for item in shown),
    }


def cut(items: Sequence[Any], asked: Mapping[str, Any]) -> list[Any]:
    """The page that is asked for."""
    offset, limit = asked["offset"], asked.get("limit")
    return list(items[offset : None if limit is None else offset + limit])
