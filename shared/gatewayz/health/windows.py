"""Reads the windows of Postgres: the state of offers, curves, incidents; and the shared breakers.

Keeps what it read for some seconds: a status page is asked by many at once.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from gatewayz.core import clock
from gatewayz.core.errors import DependencyError
from gatewayz.health.report import (
    STATUS,
    EndpointStats,
    Stand,
    by_provider,
    endpoint_stats_of,
    word_of_model,
)
from gatewayz.routing.board import Board
from gatewayz.routing.view import Health
from gatewayz.stores.open import Stores
from gatewayz.stores.postgres import Postgres

KEEP_S = 5.0
MAX_ROWS = 5000
# Breakers read in one call of Redis.
MAX_SCOPES = 300
Row = Mapping[str, Any]
# A state in the words of the older web client.
HEALTH_WORDS: Mapping[str, str] = {
    "operational": "healthy", "degraded": "degraded", "partial_outage": "degraded",
    "major_outage": "down", "offline": "down", "unknown": "unknown",
}  # fmt: skip


async def endpoint_stats(postgres: Postgres, model: str) -> dict[str, EndpointStats]:
    """What is known of each provider's offer of a model, by provider."""
    found = await postgres.rpc("list_health", {"model": model})
    return {slug: endpoint_stats_of(stand) for slug, stand in by_provider(found["offers"]).items()}


async def endpoint_fields(postgres: Postgres, model: str) -> dict[str, dict[str, Any]]:
    """The same as fields of an endpoint; nothing while Postgres is away."""
    try:
        stats = await endpoint_stats(postgres, model)
    except DependencyError:
        return {}
    return {slug: asdict(each) for slug, each in stats.items() if each.status != STATUS["unknown"]}


async def all_endpoint_fields(postgres: Postgres) -> dict[tuple[str, str], dict[str, Any]]:
    """The same of every offer that was ever tried, by (model, provider)."""
    try:
        found = await postgres.rpc("list_health", {"limit": MAX_ROWS})
    except DependencyError:
        return {}
    fields = {}
    for row in found["offers"]:
        stats = endpoint_stats_of(Stand([row]))
        if stats.status != STATUS["unknown"]:
            fields[row["model"], row["provider"]] = asdict(stats)
    return fields


async def model_fields(postgres: Postgres, model: str) -> dict[str, Any]:
    """What a model's own page says of its health; nothing while nothing is known."""
    try:
        found = await postgres.rpc("list_health", {"model": model})
    except DependencyError:
        return {}
    stand = Stand(found["offers"])
    word = word_of_model(stand)
    if word == "unknown":
        return {}
    return {
        "health_status": HEALTH_WORDS[word],
        "average_response_time_ms": stand.spans["d1"].average_ms,
    }


class Windows:
    """One per plane: its stores belong to the plane's event loop."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._kept: dict[str, tuple[float, Any]] = {}

    async def rows(self, **narrowed: Any) -> Sequence[Row]:
        """Every offer that was ever tried, or those of a model or provider."""
        wanted = {name: value for name, value in narrowed.items() if value is not None}
        found = await self._read("list_health", {"limit": MAX_ROWS, **wanted})
        rows: Sequence[Row] = found["offers"]
        return rows

    async def stand(self, **narrowed: Any) -> Stand:
        return Stand(await self.rows(**narrowed))

    async def series(self, **asked: Any) -> Sequence[Row]:
        """Windows of one span, oldest first."""
        wanted = {name: value for name, value in asked.items() if value is not None}
        rows: Sequence[Row] = await self._read("health_series", wanted)
        return rows

    async def incidents(self, **asked: Any) -> Sequence[Row]:
        wanted = {name: value for name, value in asked.items() if value is not None}
        rows: Sequence[Row] = await self._read("list_incidents", wanted)
        return rows

    @property
    def stores(self) -> Stores:
        return self._stores

    async def credit(self) -> Sequence[Row]:
        rows: Sequence[Row] = await self._read("list_provider_credit", {})
        return rows

    async def breakers(self, scopes: Iterable[str]) -> tuple[Mapping[str, Health], float]:
        """(shared state by scope, now). Empty while Redis is away."""
        names = list(dict.fromkeys(scopes))
        board = Board(self._stores.redis)
        for start in range(0, len(names), MAX_SCOPES):
            reply = await board.sync(names[start : start + MAX_SCOPES])
            if not reply.shared:
                return {}, clock.monotonic_s()
        view = board.view()
        return view.entries, view.now_s

    async def _read(self, name: str, asked: dict[str, Any]) -> Any:
        key = f"{name} {sorted(asked.items())}"
        kept = self._kept.get(key)
        now_s = clock.monotonic_s()
        if kept is not None and kept[0] > now_s:
            return kept[1]
        found = await self._stores.postgres.rpc(name, asked)
        if len(self._kept) > 1000:
            self._kept.clear()
        self._kept[key] = (now_s + KEEP_S, found)
        return found


def breaker_state(health: Health | None, now_s: float) -> str:
    """closed, open or half_open."""
    if health is None or not health.open_until_s:
        return "closed"
    return "half_open" if health.half_open_at(now_s) else "open"
