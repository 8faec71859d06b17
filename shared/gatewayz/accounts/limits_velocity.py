"""Velocity mode as one process sees it: what it reports of its answers, and which stage holds.

Only failures of our own count (core/errors.py: stores, crashes, overload), never a caller's or a
provider's; health and metrics are neither counted nor limited. Reports are batched, off the request
path. A process that cannot report keeps what it knew until that ends.
"""

import asyncio
from typing import Any, NamedTuple

from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, GatewayError, InternalError, Overloaded
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)
VELOCITY, KEY = "velocity_v1", "velocity"
REPORT_EVERY_S = 1.0
# Callers without a key keep so much of their limits, in percent; those with one by their tier.
UNAUTHENTICATED_PERCENT = 50
NORMAL, UNAUTHENTICATED, EVERYBODY = 0, 1, 2


class State(NamedTuple):
    """`stage`: NORMAL, UNAUTHENTICATED or EVERYBODY; counts are those of the last minute."""

    stage: int
    left_ms: int
    requests: int
    failures: int


def own_failure(error: GatewayError) -> bool:
    return isinstance(error, DependencyError | InternalError | Overloaded)


class Velocity:
    """One per process of the data plane."""

    def __init__(self, redis: RedisScripts, postgres: Postgres) -> None:
        self._redis = redis
        self._postgres = postgres
        self._requests = self._failures = 0
        self._stage = NORMAL
        self._until_s = self._report_at_s = 0.0
        self._report: asyncio.Task[None] | None = None

    @property
    def strained(self) -> bool:
        """Limits of callers with a key are smaller now."""
        return self._stage == EVERYBODY and clock.monotonic_s() < self._until_s

    @property
    def percent(self) -> int:
        """What callers without a key keep of their limits."""
        active = self._stage != NORMAL and clock.monotonic_s() < self._until_s
        return UNAUTHENTICATED_PERCENT if active else 100

    def headers(self) -> dict[str, str]:
        """Told with a refusal while the mode is on."""
        left_s = self._until_s - clock.monotonic_s()
        if self._stage == NORMAL or left_s <= 0:
            return {}
        until = clock.now_ms() // 1000 + round(left_s)
        return {"X-Velocity-Mode-Active": "true", "X-Velocity-Mode-Until": str(until)}

    def saw(self, *, failed: bool) -> None:
        """One request was answered; `failed`: by a failure of ours."""
        self._requests += 1
        self._failures += failed
        now_s = clock.monotonic_s()
        if now_s >= self._report_at_s and self._report is None:
            self._report_at_s = now_s + REPORT_EVERY_S
            self._report = asyncio.create_task(self._tell())

    @property
    def busy(self) -> bool:
        return self._report is not None

    async def finish_background(self) -> None:
        if self._report is not None:
            await asyncio.wait([self._report])

    async def _tell(self) -> None:
        requests, failures = self._requests, self._failures
        try:
            reply = await self._redis.script(VELOCITY, [KEY], ["report", 0, requests, failures])
            self._requests -= requests
            self._failures -= failures
            self._take(reply)
            if int(reply[2]):
                await self._note(reply)
        except DependencyError:
            # Told with the next report, unless nobody could be told for long.
            if requests > 100_000:
                self._requests = self._failures = 0
        finally:
            self._report = None

    def _take(self, reply: list[Any]) -> None:
        self._stage = int(reply[0])
        self._until_s = clock.monotonic_s() + int(reply[1]) / 1000

    async def _note(self, reply: list[Any]) -> None:
        """The one process that tripped it says so."""
        state = _state(reply)
        metric("velocity", stage=str(state.stage))
        log.warning("velocity_mode", **state._asdict())
        await self._postgres.rpc("note_velocity", state._asdict())


async def velocity_state(redis: RedisScripts) -> State:
    """What holds now, for operators; StoreUnavailable without Redis."""
    return _state(await redis.script(VELOCITY, [KEY], ["read", 0, 0, 0]))


async def reset_velocity(redis: RedisScripts) -> State:
    """Back to normal, at once; processes learn it with their next report."""
    return _state(await redis.script(VELOCITY, [KEY], ["reset", 0, 0, 0]))


def _state(reply: list[Any]) -> State:
    return State(int(reply[0]), int(reply[1]), int(reply[3]), int(reply[4]))
