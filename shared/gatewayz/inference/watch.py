"""The companion of one streamed request: keepalives, time limits, and whether the caller left.

Reads the clock lazily, so that a chunk costs the relay one assignment and no timer.
"""

import asyncio
import math

from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import GatewayError, Overloaded, TimeoutStage, UpstreamTimeout
from gatewayz.inference.gateway import Gateway
from gatewayz.net.asgi import Call, RawHeaders

STOP_CHECK_S = 1.0
# How long a keepalive may wait for a caller that does not read.
LAST_WRITE_S = 5.0


class CallerLeft(Exception):
    """The caller closed the connection, or does not read any more."""


class Watch:
    """Interrupts the relay by its own `asyncio.timeout`, and says why in `cause`."""

    def __init__(
        self,
        gateway: Gateway,
        call: Call,
        *,
        deadline: Deadline,
        headers: RawHeaders,
        keepalive: bytes,
    ) -> None:
        self._gateway = gateway
        self._call = call
        self._deadline = deadline
        self._headers = headers
        self._keepalive = keepalive
        now_s = clock.monotonic_s()
        self.last_write_s = now_s
        self.last_content_s = now_s
        self.first_content_s: float | None = None
        self.left_at_s: float | None = None
        self.writing = False
        self.stops_billing = False
        self.cause: GatewayError | CallerLeft | None = None
        self._limit: asyncio.Timeout | None = None
        self._limit_s = math.inf
        self._stage: TimeoutStage = "first_token"
        self._task = asyncio.create_task(self._run())

    def arm(self, limit: asyncio.Timeout, stage: TimeoutStage, seconds: float) -> None:
        """Interrupt `limit` when no content came for `seconds`; counted from now."""
        self._limit, self._stage, self._limit_s = limit, stage, seconds
        self.last_content_s = clock.monotonic_s()
        self.cause = None

    def disarm(self) -> None:
        self._limit, self._limit_s = None, math.inf

    def caller_left(self) -> None:
        if self.left_at_s is None:
            self.left_at_s = clock.monotonic_s()

    def stop(self) -> None:
        self._task.cancel()

    async def write(self, data: bytes) -> None:
        """Relay bytes, unless nobody is there to read them."""
        if self.left_at_s is not None:
            return
        self.writing = True
        try:
            await self._call.write(data)
        except OSError:
            self.caller_left()
        finally:
            self.writing = False
        self.last_write_s = clock.monotonic_s()

    def content(self) -> None:
        """Content arrived from upstream."""
        self.last_content_s = clock.monotonic_s()
        if self.first_content_s is None:
            self.first_content_s = self.last_content_s

    async def _run(self) -> None:
        while True:
            wait_s = max(0.0, self._next_due_s() - clock.monotonic_s())
            if self.left_at_s is None:
                try:
                    async with asyncio.timeout(wait_s):
                        message = await self._call.receive()
                    if message["type"] == "http.disconnect":
                        self.caller_left()
                except TimeoutError:
                    pass
            else:
                await asyncio.sleep(wait_s)
            self._check_limits()
            if self.left_at_s is None and self.cause is None:
                await self._keep_alive()

    def _next_due_s(self) -> float:
        http = self._gateway.settings.http
        now_s = clock.monotonic_s()
        due_s = min(now_s + STOP_CHECK_S, self._deadline.at_s) if self._limit else now_s + 1
        due_s = min(due_s, self.last_content_s + self._limit_s)
        if self.left_at_s is not None:
            return min(due_s, max(now_s + 0.05, self.left_at_s + http.left_grace_s))
        if self.cause is not None or self.writing or self._call.ended:
            return due_s  # no keepalive may be sent now, so none is waited for
        hold_s = http.keepalive_s if self._call.started else http.status_hold_s
        return min(due_s, self.last_write_s + hold_s)

    def _check_limits(self) -> None:
        if self._limit is None or self.cause is not None:
            return
        now_s = clock.monotonic_s()
        http = self._gateway.settings.http
        if now_s - self.last_content_s >= self._limit_s:
            slow_caller = self.writing and self._stage == "idle"
            self._interrupt(
                CallerLeft()
                if slow_caller
                else UpstreamTimeout("The provider stopped sending.", stage=self._stage)
            )
        elif self._deadline.passed:
            self._interrupt(UpstreamTimeout("The request took too long.", stage="total"))
        elif self._gateway.stop_at_s is not None and now_s >= self._gateway.stop_at_s:
            self._interrupt(Overloaded())
        elif (
            self.left_at_s is not None
            and self.stops_billing
            and now_s - self.left_at_s >= http.left_grace_s
        ):
            self._interrupt(CallerLeft())

    def _interrupt(self, cause: GatewayError | CallerLeft) -> None:
        self.cause = cause
        if self._limit is not None:
            self._limit.reschedule(0)

    async def _keep_alive(self) -> None:
        """Send the status after its hold time, then a comment after each silence (D24)."""
        http = self._gateway.settings.http
        hold_s = http.keepalive_s if self._call.started else http.status_hold_s
        if clock.monotonic_s() - self.last_write_s < hold_s or self.writing or self._call.ended:
            return
        self.last_write_s = clock.monotonic_s()
        try:
            async with asyncio.timeout(LAST_WRITE_S):
                if not self._call.started:
                    await self._call.start(200, self._headers)
                await self._call.write(self._keepalive)
        except (TimeoutError, OSError):
            self.caller_left()
