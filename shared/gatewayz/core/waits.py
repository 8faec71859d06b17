"""Time limits that cost a request next to nothing: many waits share one slow timer.

Guarantees that a wait ends at most a tick after its limit, or after the process was told to stop,
with TimeoutError or Stopped. For long limits; where milliseconds count, use asyncio.timeout.
"""

import asyncio
import math
from collections.abc import Callable
from types import TracebackType

from gatewayz.core import clock

TICK_S = 0.5


class Stopped(Exception):
    """The process stops: what was waited for will not be waited for any longer."""


class Waits:
    """`stop_at_s` gives the moment at which every wait ends, None while none is set."""

    def __init__(self, stop_at_s: Callable[[], float | None]) -> None:
        self._stop_at_s = stop_at_s
        self.running: set[_Wait] = set()
        self.timer: asyncio.TimerHandle | None = None

    def within(self, seconds: float = math.inf) -> "_Wait":
        """`with waits.within(120): await …`; from one task, around its own awaits only."""
        return _Wait(self, clock.monotonic_s() + seconds)

    def begin(self) -> None:
        self.timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self.timer = None
        if not self.running:
            return
        now_s, stop_at_s = clock.monotonic_s(), self._stop_at_s()
        stopping = stop_at_s is not None and now_s >= stop_at_s
        for wait in [w for w in self.running if stopping or now_s >= w.at_s]:
            wait.interrupt(Stopped() if stopping else TimeoutError())
        self.timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)


class _Wait:
    """As asyncio.timeout does, it cancels its task and takes that cancellation back."""

    __slots__ = ("_before", "_cause", "_task", "_waits", "at_s")

    def __init__(self, waits: Waits, at_s: float) -> None:
        self._waits = waits
        self.at_s = at_s
        self._cause: Exception | None = None

    def __enter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._before = task, task.cancelling()
        waits = self._waits
        waits.running.add(self)
        if waits.timer is None:
            waits.begin()

    def interrupt(self, cause: Exception) -> None:
        if self._cause is None:
            self._cause = cause
            self._task.cancel()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._waits.running.discard(self)
        if self._cause is None:
            return
        if self._task.uncancel() <= self._before and kind is asyncio.CancelledError:
            raise self._cause from error
