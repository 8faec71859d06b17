"""Limits as people administer them: read, set, reset, in bulk; what is near; exempt addresses.

Guarantees that a change holds from the next request (D13) and stands in the audit.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from gatewayz.accounts.limits_guard import publish_exemptions
from gatewayz.core.errors import DependencyError
from gatewayz.core.log import get_log
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)
Row = dict[str, Any]
Push = Callable[[str, int], Awaitable[None]]


class LimitDesk:
    """`push` makes an epoch known to the data plane; `actor` stands in the audit."""

    def __init__(self, postgres: Postgres, redis: RedisScripts, push: Push, *, actor: str) -> None:
        self._postgres = postgres
        self._redis = redis
        self._push = push
        self._actor = actor

    async def set(
        self, account: str, scope: str, id: str | None, limits: Mapping[str, Any], *, anew: bool
    ) -> Row:
        """Change what `limits` names (stored names; None takes one away) of an account, a key, a
        team or an end user; `anew` forgets all that was there. NotFound for a key of others."""
        row: Row = await self._postgres.rpc(
            "set_limits",
            {
                "account": account,
                "scope": scope,
                "id": id,
                "limits": dict(limits),
                "anew": anew,
                "actor": self._actor,
            },
        )
        await self._push(account, row["epoch"])
        return row

    async def set_all(self, wanted: Sequence[Row]) -> list[Row]:
        """Several, in order; the first that is refused ends it, those before it hold."""
        return [
            await self.set(w["account"], w["scope"], w.get("id"), w["limits"], anew=False)
            for w in wanted
        ]

    async def find(self, **wanted: Any) -> list[Row]:
        """`account`, `limit`, `offset`."""
        rows: list[Row] = await self._postgres.rpc("list_limits", wanted)
        return rows

    async def alerts(self, **wanted: Any) -> list[Row]:
        """Budgets of which `percent` and more is used, the fullest first."""
        rows: list[Row] = await self._postgres.rpc("list_limit_alerts", wanted)
        return rows

    async def exemptions(self) -> list[Row]:
        rows: list[Row] = await self._postgres.rpc("list_ip_exemptions", {})
        return rows

    async def exempt(self, network: str, reason: str, life_s: int | None) -> Row:
        """Let a network through the layer by address, until its time is over."""
        wanted = {"network": network, "reason": reason, "actor": self._actor}
        if life_s is not None:
            wanted["life_ms"] = life_s * 1000  # type: ignore[assignment]
        row: Row = await self._postgres.rpc("set_ip_exemption", wanted)
        await self._tell()
        return row

    async def unexempt(self, network: str) -> bool:
        row: Row = await self._postgres.rpc("drop_ip_exemption", {"network": network})
        await self._tell()
        return bool(row["removed"])

    async def _tell(self) -> None:
        try:
            await publish_exemptions(self._redis, await self.exemptions())
        except DependencyError:
            log.warning("exemptions_not_told")
