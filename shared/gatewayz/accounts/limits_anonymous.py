"""Callers without a key, where they are let in at all: free models only, a few a day and address.

They share an account of the house, which holds next to nothing and is charged nothing.
"""

from gatewayz.accounts.limits_address import Rule, count, headers_of, refusal, subject_of
from gatewayz.accounts.limits_guard import AddressGuard
from gatewayz.accounts.limits_local import LocalLimits
from gatewayz.accounts.limits_velocity import Velocity
from gatewayz.accounts.principals import Principal
from gatewayz.accounts.rules import Rules
from gatewayz.core.errors import Conflict, StoreUnavailable
from gatewayz.core.settings import Settings
from gatewayz.net.asgi import RawHeaders, raw_headers
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts

ANONYMOUS = "anonymous"
ACCOUNT = "acct_anonymous"
DAY_S = 86_400
STAGES = {"production": "live", "staging": "staging", "test": "test", "local": "dev"}


class Anonymous:
    """One per process; counts by Redis's day. Without Redis a part of it holds in each container,
    and without both stores nobody is let in: there is nothing to hold then."""

    def __init__(
        self,
        settings: Settings,
        redis: RedisScripts,
        postgres: Postgres,
        guard: AddressGuard,
        velocity: Velocity,
    ) -> None:
        self._guard, self._velocity = guard, velocity
        self.allowed = settings.limits.anonymous
        self._rule = Rule("anonymous", settings.limits.anonymous_per_day, DAY_S, "day")
        self._stage = STAGES[settings.stage]
        self._redis = redis
        self._postgres = postgres
        self._local = LocalLimits()
        self._principal: Principal | None = None

    async def admit(self, ip: str | None, *, again: bool) -> tuple[Principal, RawHeaders]:
        """The caller and the headers of what is left; RateLimited (`anonymous_daily_limit`).
        `again`: the same request, which was counted."""
        if again:
            self._principal = await self._open()
            return self._principal, []
        await self._guard.admit(ip)
        verdict = await count(
            self._redis, self._rule, subject_of(ip), local=self._local,
            percent=self._velocity.percent,
        )  # fmt: skip
        if not verdict.allowed:
            raise refusal(
                self._rule, verdict,
                f"Without a key {verdict.limit} requests a day are served. Make a key to go on.",
                "anonymous_daily_limit",
            )  # fmt: skip
        if self._principal is None:
            self._principal = await self._open()
        return self._principal, raw_headers(headers_of(verdict, reason=self._rule.kind))

    async def _open(self) -> Principal:
        try:
            row = await self._postgres.rpc(
                "open_account", {"account": ACCOUNT, "name": ANONYMOUS, "stage": self._stage}
            )
        except Conflict as error:
            raise StoreUnavailable("Callers without a key cannot be served now.") from error
        return Principal(
            ACCOUNT, ANONYMOUS, ANONYMOUS, row["epoch"], "active", Rules(scopes=("inference",))
        )
