"""How many retries a process may make: in a storm they must not become the load themselves.

A fifth of the requests of the last ten seconds and three a second besides (as Finagle reckons),
and three under way at any time (as Envoy does).
"""

from collections import deque

from gatewayz.core import clock

SHARE = 0.2
ALWAYS = 3
PER_S = 3
WINDOW_S = 10.0
SLICE_S = 0.5


class RetryBudget:
    """`deposit` at each request, `withdraw` before each retry, `release` when it is over."""

    def __init__(self) -> None:
        self._slices: deque[list[float]] = deque()  # [began, requests, retries]
        self._requests = self._retries = 0
        self._running = 0

    def deposit(self) -> None:
        now = self._slice()
        now[1] += 1
        self._requests += 1

    def withdraw(self) -> bool:
        """May one more retry be made? Then it must be released."""
        now = self._slice()
        allowed = self._requests * SHARE + PER_S * WINDOW_S
        if self._running >= ALWAYS and self._retries >= allowed:
            return False
        now[2] += 1
        self._retries += 1
        self._running += 1
        return True

    def release(self) -> None:
        self._running -= 1

    def _slice(self) -> list[float]:
        now_s = clock.monotonic_s()
        slices = self._slices
        while slices and slices[0][0] <= now_s - WINDOW_S:
            _, requests, retries = slices.popleft()
            self._requests -= int(requests)
            self._retries -= int(retries)
        if not slices or now_s - slices[-1][0] >= SLICE_S:
            slices.append([now_s, 0, 0])
        return slices[-1]
