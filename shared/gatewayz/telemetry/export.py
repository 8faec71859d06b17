"""Carries what was gathered to a collector, behind the requests and never in their way.

Guarantees: memory is bounded (the oldest goes first, and is counted); one call at a time; a
collector that is away or slow costs a request nothing, and is asked again after a growing pause.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress

from gatewayz.core import clock
from gatewayz.core.log import get_log
from gatewayz.net.http import HttpClient, NetError

log = get_log(__name__)

MAX_BUFFERED_BYTES = 4 * 1024 * 1024
MAX_BATCH_BYTES = 1024 * 1024
MAX_BATCH_PARTS = 2000
# Whichever is first sends a batch.
BATCH_BYTES = 128 * 1024
PERIOD_S = 2.0
TIMEOUT_S = 5.0
PAUSE_S = (1.0, 60.0)
MAX_ANSWER_BYTES = 64 * 1024
# A collector that says so wants the same again later; anything else it refuses for good.
AGAIN = frozenset({408, 429, 500, 502, 503, 504})


class Exporter:
    """One per process and address. `wrap` makes a request body of what `add` was given."""

    def __init__(
        self,
        http: HttpClient,
        url: str,
        headers: Mapping[str, str],
        wrap: Callable[[list[bytes]], bytes],
        *,
        media: str = "application/x-protobuf",
        most_parts: int = MAX_BATCH_PARTS,
    ) -> None:
        self._http = http
        self._url = url
        self._headers = {"content-type": media, **headers}
        self._wrap = wrap
        self._most_parts = most_parts
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._not_before_s = 0.0
        self._pause_s = PAUSE_S[0]
        self._timer: asyncio.TimerHandle | None = None
        self._loop = _running_loop()  # which its connections belong to
        self._task: asyncio.Task[None] | None = None
        self.dropped = 0
        self.sent = 0

    def add(self, part: bytes) -> None:
        """Keep a part for the next batch; when there are too many, the oldest are lost."""
        self._waiting.append(part)
        self._bytes += len(part)
        while self._bytes > MAX_BUFFERED_BYTES and self._waiting:
            self._bytes -= len(self._waiting.popleft())
            self.dropped += 1
        if self._timer is not None and self._bytes < BATCH_BYTES:
            return  # it is on its way
        loop = _running_loop()
        if self._loop is None or self._loop.is_closed():
            self._loop = loop
        if loop is not None and loop is self._loop:
            self._schedule()
        elif self._loop is not None:
            # Another thread's, or none: on a platform that stops the loop it leaves with the next.
            self._loop.call_soon_threadsafe(self._schedule)

    def _schedule(self) -> None:
        if self._task is not None or not self._waiting:
            return
        if self._bytes >= BATCH_BYTES and clock.monotonic_s() >= self._not_before_s:
            self._start()
        elif self._timer is None:
            wait_s = max(PERIOD_S, self._not_before_s - clock.monotonic_s())
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._start)

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is None and self._waiting:
            self._task = asyncio.get_running_loop().create_task(self._send_all())
            self._task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if self._waiting and self._timer is None and not task.cancelled():
            wait_s = max(0.0, self._not_before_s - clock.monotonic_s())
            self._timer = task.get_loop().call_later(wait_s, self._start)

    async def _send_all(self) -> None:
        while self._waiting:
            batch: list[bytes] = []
            size = 0
            while self._waiting and size < MAX_BATCH_BYTES and len(batch) < self._most_parts:
                batch.append(self._waiting.popleft())
                size += len(batch[-1])
            self._bytes -= size
            if not await self._send(batch):
                # Back in front; what came meanwhile may have filled the room.
                self._waiting.extendleft(reversed(batch))
                self._bytes += size
                while self._bytes > MAX_BUFFERED_BYTES:
                    self._bytes -= len(self._waiting.popleft())
                    self.dropped += 1
                return

    async def _send(self, batch: list[bytes]) -> bool:
        """Whether the batch is done with: taken, or refused for good."""
        try:
            answer = await self._http.request(
                "POST",
                self._url,
                headers=self._headers,
                body=self._wrap(batch),
                timeout_s=TIMEOUT_S,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except NetError as error:
            return self._failed(type(error).__name__)
        if answer.status in AGAIN:
            return self._failed(str(answer.status))
        self._pause_s = PAUSE_S[0]
        if answer.status >= 300:
            self.dropped += len(batch)
            log.warning("telemetry_refused", status=answer.status, parts=len(batch))
        else:
            self.sent += len(batch)
        return True

    def _failed(self, why: str) -> bool:
        if self._pause_s == PAUSE_S[0]:
            # Once an outage, not once a batch.
            log.warning("collector_away", error=why, waiting=len(self._waiting))
        self._not_before_s = clock.monotonic_s() + self._pause_s
        self._pause_s = min(self._pause_s * 2, PAUSE_S[1])
        return False

    async def close(self, *, within_s: float = 2.0) -> None:
        """Send what is left, for a short time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self._task is not None:
                    await asyncio.wait({self._task})
                if self._waiting and clock.monotonic_s() >= self._not_before_s:
                    await self._send_all()
        if self._timer is not None:
            self._timer.cancel()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
