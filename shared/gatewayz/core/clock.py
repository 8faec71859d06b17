"""The only reader of clocks. A simulation replaces the clock; nothing else does."""

import asyncio
import time
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


def use(clock: Clock) -> Clock:
    """Install `clock` and return the one before it."""
    global _clock
    before, _clock = _clock, clock
    return before


def now_ms() -> int:
    """Wall time in milliseconds since 1970, for labels and ids; never for expiry (D14)."""
    return _clock.now_ms()


def monotonic_s() -> float:
    """Seconds on a clock that never goes back, for durations and deadlines."""
    return _clock.monotonic_s()


async def sleep(seconds: float) -> None:
    await _clock.sleep(seconds)
