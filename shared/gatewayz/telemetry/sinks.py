"""Opens what the settings want to hear of this process besides its output, once for its loop:
shared totals, metrics to a collector, error reports."""

import asyncio
from contextlib import suppress

from gatewayz.core.log import also_handle
from gatewayz.core.metrics import PERIOD_S, flush_metrics, use_sink
from gatewayz.core.settings import Settings
from gatewayz.net.http import HttpClient
from gatewayz.stores.redis import RedisScripts
from gatewayz.telemetry.meter import Meter
from gatewayz.telemetry.sentry import Reporter
from gatewayz.telemetry.totals import Totals

FINISH_S = 1.0
TICK_S = PERIOD_S / 2


class Sinks:
    """Those of one event loop."""

    def __init__(self, settings: Settings, redis: RedisScripts) -> None:
        own = settings.telemetry
        self.loop = asyncio.get_running_loop()
        self._http = HttpClient()
        self._timer: asyncio.TimerHandle | None = None
        self._totals = Totals(redis) if own.metrics_token else None
        self._meter = Meter.of(settings, self._http)
        self._reporter = Reporter(settings, self._http) if own.sentry_dsn else None

    def use(self) -> None:
        self._tick()
        use_sink("totals", self._totals)
        use_sink("otlp", self._meter)
        also_handle("reports", self._reporter)

    def _tick(self) -> None:
        """What the last requests left is told though none comes after them."""
        flush_metrics()
        self._timer = self.loop.call_later(TICK_S, self._tick)

    async def finish(self) -> None:
        """Wait until what was flushed is written: the process may be frozen after it."""
        if self._totals is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(FINISH_S):
                    await self._totals.finish()
        for each in (self._meter, self._reporter):
            if each is not None:
                await each.exporter.close(within_s=FINISH_S)

    async def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        use_sink("totals", None)
        use_sink("otlp", None)
        also_handle("reports", None)
        if self._totals is not None:
            await self._totals.close()
        await self.finish()
        await self._http.aclose()


_sinks: Sinks | None = None


def open_sinks(settings: Settings, redis: RedisScripts) -> None:
    """Several functions may share a process: the first of a loop opens them for all."""
    global _sinks
    if _sinks is None or _sinks.loop is not asyncio.get_running_loop():
        _sinks = Sinks(settings, redis)
        _sinks.use()


async def finish_sinks() -> None:
    if _sinks is not None and _sinks.loop is asyncio.get_running_loop():
        await _sinks.finish()


async def close_sinks() -> None:
    """Write what is left. Only the loop that opened them closes them."""
    global _sinks
    if _sinks is not None and _sinks.loop is asyncio.get_running_loop():
        closing, _sinks = _sinks, None
        await closing.close()
