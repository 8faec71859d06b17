"""The layer in front of everything: callers whose key nobody knows yet, by address.

Guarantees that such traffic is counted before any look-up, and that a known key is never counted
(D37). What needs no look-up, a missing or malformed key, is told to the others only when it becomes
much, and nothing is once it is too much for this process alone: floods cost no store a call.
"""

import orjson

from gatewayz.accounts.limits_address import (
    Rule,
    Verdict,
    count,
    headers_of,
    refusal,
    subject_of,
)
from gatewayz.accounts.limits_local import MAX_KEYS, LocalLimits
from gatewayz.accounts.limits_velocity import Velocity
from gatewayz.accounts.rules import ip_in
from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, RateLimited
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts

EXEMPT_SCRIPT, EXEMPT_KEY = "principal_v1", "limit:exempt"
# An exemption that was taken away holds at most so long in a process that knew it.
EXEMPT_KEEP_S = 15.0
MINUTE_S = 60
# That part of the limit stays within the process before anybody is told.
QUIET_SHARE = 6


class AddressGuard:
    """One per process. `per_minute` 0 lets everybody through."""

    def __init__(
        self,
        redis: RedisScripts,
        postgres: Postgres,
        per_minute: int,
        velocity: Velocity | None = None,
    ) -> None:
        self._redis = redis
        self._postgres = postgres
        self._rule = Rule("address", per_minute, MINUTE_S, "rate")
        self._velocity = velocity
        self._seen, self._away = LocalLimits(), LocalLimits()
        # calls that were not told, since when, whether all are told now
        self._pending: dict[str, tuple[int, float, bool]] = {}
        self._exempt: list[dict[str, object]] = []
        self._exempt_until_s = 0.0

    async def judge(self, ip: str | None, *, looks_up: bool) -> Verdict | None:
        """Count one call of an address; None where nothing is limited. `looks_up`: its key will be
        looked for in the stores."""
        if not self._rule.limit:
            return None
        percent = self._velocity.percent if self._velocity is not None else 100
        subject = subject_of(ip)
        limit = max(1, self._rule.limit * percent // 100)
        wait_s = self._seen.take(subject, limit, MINUTE_S)
        if wait_s > 0:
            return Verdict(False, limit, 0, MINUTE_S, -int(-wait_s // 1))
        calls = self._untold(subject, loud=looks_up, quiet=max(1, limit // QUIET_SHARE))
        if not calls:
            left = self._seen.left(subject, limit, MINUTE_S)
            return Verdict(True, limit, left, MINUTE_S, 0)
        return await count(
            self._redis, self._rule, subject, local=self._away, percent=percent, calls=calls
        )

    def _untold(self, subject: str, *, loud: bool, quiet: int) -> int:
        """Calls of this minute to tell the others of, this one included; 0: none yet."""
        now_s = clock.monotonic_s()
        calls, since_s, was_loud = self._pending.pop(subject, (0, now_s, False))
        if now_s - since_s > MINUTE_S:
            calls, since_s, was_loud = 0, now_s, False
        calls += 1
        loud = loud or was_loud or calls >= quiet
        self._pending[subject] = (0 if loud else calls, since_s, loud)
        if len(self._pending) > MAX_KEYS:
            del self._pending[next(iter(self._pending))]
        return calls if loud else 0

    async def refusal(self, ip: str | None, verdict: Verdict | None) -> RateLimited | None:
        """What a verdict that is one too many comes to; exempt addresses are let through."""
        if verdict is None or verdict.allowed or await self._is_exempt(ip):
            return None
        told = self._velocity.headers() if self._velocity is not None else {}
        error = refusal(
            self._rule, verdict,
            "Too many requests without a valid key from this address.", "rate_limit_exceeded",
        )  # fmt: skip
        error.headers |= told
        if told:
            error.headers["X-RateLimit-Mode"] = "velocity"
        return error

    async def admit(self, ip: str | None) -> dict[str, str]:
        """Count one call that looks nothing up, and the headers of what is left; RateLimited when
        it is one too many."""
        verdict = await self.judge(ip, looks_up=False)
        error = await self.refusal(ip, verdict)
        if error is not None:
            raise error
        return {} if verdict is None else headers_of(verdict, reason=self._rule.kind)

    async def _is_exempt(self, ip: str | None) -> bool:
        now_s = clock.monotonic_s()
        if self._exempt_until_s < now_s:
            self._exempt_until_s = now_s + EXEMPT_KEEP_S
            try:
                text = await self._redis.script(EXEMPT_SCRIPT, [EXEMPT_KEY], ["get"])
                rows = orjson.loads(text) if text else await self._load()
                self._exempt = rows
            except DependencyError:
                pass  # what was known goes on
        now_ms = clock.now_ms()
        networks = [
            str(row["network"])
            for row in self._exempt
            if row["expires_at_ms"] is None or int(str(row["expires_at_ms"])) > now_ms
        ]
        return ip_in(ip, networks)

    async def _load(self) -> list[dict[str, object]]:
        rows: list[dict[str, object]] = await self._postgres.rpc("list_ip_exemptions", {})
        await publish_exemptions(self._redis, rows)
        return rows


async def publish_exemptions(redis: RedisScripts, rows: list[dict[str, object]]) -> None:
    """Make them known to every process, within EXEMPT_KEEP_S."""
    kept = [{name: row[name] for name in ("network", "expires_at_ms")} for row in rows]
    await redis.script(EXEMPT_SCRIPT, [EXEMPT_KEY], ["put", orjson.dumps(kept).decode()])
