"""What callers asked for lately, from our own settled requests: rankings, trends, measured speed.

Guarantees figures that were counted or none: without traffic every list is empty. Counts are kept
for a minute, so that a busy page costs the ledger one query.
"""

from collections.abc import Mapping
from typing import Any, Literal

from gatewayz.catalog.facts import logo_of
from gatewayz.catalog.items import Item
from gatewayz.catalog.views.filters import Measured, Usage
from gatewayz.catalog.views.rows import Row
from gatewayz.core import clock
from gatewayz.core.errors import DependencyError
from gatewayz.core.log import get_log
from gatewayz.stores.postgres import Postgres

log = get_log(__name__)

HOUR_S, DAY_S = 3_600, 86_400
TIME_RANGES: Mapping[str, int] = {
    "1h": HOUR_S, "24h": DAY_S, "7d": 7 * DAY_S, "30d": 30 * DAY_S,
}  # fmt: skip
TimeRange = Literal["1h", "24h", "7d", "30d"]
TrendSort = Literal["requests", "tokens", "users"]
# The same and everything that is kept, with the width of the windows that they are read in.
SPANS_S: Mapping[str, tuple[int, int]] = {
    "1h": (300, HOUR_S), "24h": (HOUR_S, DAY_S), "7d": (HOUR_S, 7 * DAY_S),
    "30d": (DAY_S, 30 * DAY_S), "all": (DAY_S, 400 * DAY_S),
}  # fmt: skip
KEEP_S = 60.0
# What the sorts of a list look at.
POPULAR_RANGE, RECENT_RANGE = "30d", "7d"
Counts = list[dict[str, Any]]


class Popularity:
    """The counts of one process, each kept for a minute."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._kept: dict[tuple[Any, ...], tuple[float, Counts]] = {}

    async def models(self, window_s: int, *, ago_s: int = 0, provider: str | None = None) -> Counts:
        """Per model: requests, prompt_tokens, completion_tokens, users, latency_ms, throughput."""
        return await self._count(
            "usage_by_model", window_s=window_s, ago_s=ago_s, provider=provider
        )

    async def providers(self, window_s: int) -> Counts:
        return await self._count("usage_by_provider", window_s=window_s)

    async def apps(self, window_s: int, *, ago_s: int = 0) -> Counts:
        """Per app that names itself: requests, tokens, models."""
        return await self._count("usage_by_app", window_s=window_s, ago_s=ago_s)

    async def traffic(self, time_range: str, provider: str | None = None) -> Counts:
        """Per model at each provider and window: requests, successes, errors, tokens, times."""
        span_s, since_s = SPANS_S[time_range]
        return await self._count(
            "health_series", span_s=span_s, since_s=since_s, provider=provider, by_model=True
        )

    async def usage(self) -> tuple[Usage, str]:
        """What the sorts of a list need, and a stamp that changes with it. Empty when the ledger
        cannot be asked: a list is better in its usual order than not at all."""
        try:
            month = await self.models(TIME_RANGES[POPULAR_RANGE])
            week = await self.models(TIME_RANGES[RECENT_RANGE])
        except DependencyError:
            log.warning("popularity_unknown")
            return {}, "none"
        recent = {row["model"]: row for row in week}
        known = {row["model"]: _measured(row, recent.get(row["model"])) for row in month}
        return known, repr(sorted(known.items()))

    async def _count(self, name: str, **asked: Any) -> Counts:
        key = (name, *asked.items())
        now_s = clock.monotonic_s()
        kept = self._kept.get(key)
        if kept is not None and kept[0] > now_s:
            return kept[1]
        if len(self._kept) > 256:
            self._kept.clear()
        rows: Counts = await self._postgres.rpc(name, asked)
        self._kept[key] = (now_s + KEEP_S, rows)
        return rows


def _measured(month: Mapping[str, Any], week: Mapping[str, Any] | None) -> Measured:
    return Measured(
        requests=month["requests"],
        tokens=tokens_of(month),
        tokens_week=tokens_of(week) if week else 0,
        latency_ms=week["latency_ms"] if week else None,
        throughput=week["throughput"] if week else None,
        tool_success=month["tool_success"],
    )


def tokens_of(row: Mapping[str, Any]) -> int:
    return int(row["prompt_tokens"]) + int(row["completion_tokens"])


# ---------------------------------------------------------------- rankings


def trending(counts: Counts, rows: Mapping[str, Row], sort_by: TrendSort) -> list[Item]:
    """Models by what was asked of them, the most first; models no longer listed are left out."""
    ranked = [
        {
            "id": count["model"],
            "model": count["model"],
            "name": row.model.name,
            "provider": row.model.id.partition("/")[0],
            "gateway": row.offers[0].provider if row.offers else None,
            "requests": count["requests"],
            "total_tokens": tokens_of(count),
            "unique_users": count["users"],
            "average_response_time_ms": count["latency_ms"],
            "throughput": count["throughput"],
        }
        for count in counts
        if (row := rows.get(count["model"])) is not None
    ]
    key = {"requests": "requests", "tokens": "total_tokens", "users": "unique_users"}[sort_by]
    ranked.sort(key=lambda item: (-item[key], item["id"]))
    return [{"rank": number, **item} for number, item in enumerate(ranked, 1)]


def model_ranking(
    now: Counts, before: Counts, rows: Mapping[str, Row], *, time_range: str, at: str
) -> list[Item]:
    """The older web client's ranking: by tokens, with the change against the time before."""
    earlier = {count["model"]: tokens_of(count) for count in before}
    known = [count for count in now if count["model"] in rows]
    known.sort(key=lambda count: (-tokens_of(count), count["model"]))
    items = []
    for number, count in enumerate(known, 1):
        model = rows[count["model"]].model
        items.append(
            {
                "id": number,
                "rank": number,
                "model_id": model.id,
                "model_name": model.name,
                "author": model.id.partition("/")[0],
                "tokens": str(tokens_of(count)),
                "requests": count["requests"],
                **_trend(tokens_of(count), earlier.get(model.id)),
                "model_url": f"/models/{model.id}",
                "author_url": f"/models/{model.id.partition('/')[0]}",
                "logo_url": logo_of(model.id.partition("/")[0]),
                "time_period": time_range,
                "scraped_at": at,
            }
        )
    return items


def app_ranking(now: Counts, before: Counts, *, time_range: str, at: str) -> list[Item]:
    """Apps that name themselves, by tokens."""
    earlier = {count["app"]: count["tokens"] for count in before}
    return [
        {
            "id": number,
            "rank": number,
            "app_name": count["app"],
            "app_url": count["app"] if count["app"].startswith(("http://", "https://")) else None,
            "tokens": str(count["tokens"]),
            "requests": count["requests"],
            "models": count["models"],
            **_trend(count["tokens"], earlier.get(count["app"])),
            "time_period": time_range,
            "scraped_at": at,
        }
        for number, count in enumerate(now, 1)
    ]


def _trend(now: int, before: int | None) -> Item:
    """How a count changed; what had nothing before has no percentage."""
    if not before:
        return {"trend_percentage": "--", "trend_direction": "up", "trend_icon": "",
                "trend_color": "gray"}  # fmt: skip
    change = 100 * (now - before) / before
    up = change >= 0
    return {
        "trend_percentage": f"{abs(change):.2f}%",
        "trend_direction": "up" if up else "down",
        "trend_icon": "↑" if up else "↓",
        "trend_color": "green" if up else "red",
    }
