"""The only reader of clocks. A simulation replaces the clock; nothing else does."""

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Clock(Protocol):
    def now_ms(self) -> int: ...
    def monotonic_s(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


_clock: Clock = SystemClock()
# Bound to the clock in use, not looked up in it: a request asks a dozen times.
# now_ms: wall time in milliseconds since 1970, for labels and ids; never for expiry (D14).
now_ms: Callable[[], int] = _clock.now_ms
# monotonic_s: seconds on a clock that never goes back, for durations and deadlines.
monotonic_s: Callable[[], float] = time.monotonic


def use(clock: Clock) -> Clock:
    """Install `clock` and return the one before it."""
    global _clock, now_ms, monotonic_s
    before, _clock = _clock, clock
    now_ms, monotonic_s = clock.now_ms, clock.monotonic_s
    return before


async def sleep(seconds: float) -> None:
    await _clock.sleep(seconds)
