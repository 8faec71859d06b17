"""How many retries a process may have under way: in a storm they must not become the load.

A fifth of the requests under way, and three besides, at any moment. A retry beyond that waits for
another one's end, so that a burst is served late before it is refused.
"""

import asyncio
from collections import deque

# One retry for so many requests under way, and so many always.
PER_RETRY = 5
ALWAYS = 3
# No retry waits longer for its turn.
WAIT_S = 2.0


class RetryBudget:
    """`begin` and `end` around each request, `withdraw` before each retry, `release` after it."""

    def __init__(self) -> None:
        self._requests = self._retries = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def allowed(self) -> int:
        """Retries that may be under way now."""
        return self._requests // PER_RETRY + ALWAYS

    def begin(self) -> None:
        self._requests += 1

    def end(self) -> None:
        self._requests -= 1

    async def withdraw(self, wait_s: float = 0.0) -> bool:
        """May one more retry be made, now or within `wait_s`? Then it must be released."""
        if self._retries < self.allowed and not self._waiting:
            self._retries += 1
            return True
        if wait_s <= 0:
            return False
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            async with asyncio.timeout(wait_s):
                await turn
        except TimeoutError:
            return turn.done() and not turn.cancelled()
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()
            raise
        finally:
            if turn in self._waiting:
                self._waiting.remove(turn)
        return True

    def release(self) -> None:
        self._retries -= 1
        while self._waiting and self._retries < self.allowed:
            turn = self._waiting.popleft()
            if not turn.done():
                self._retries += 1
                turn.set_result(None)
