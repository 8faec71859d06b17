"""Settles charges from the data plane, where no worker comes often enough (D56).

A platform that runs schedules once a day would leave charges waiting for as long: so a request that
has stored its own charge settles one batch of others, when the oldest waits too long. Off by
default; never delays an answer.
"""

from gatewayz.billing.settlement import CHARGES, settle_received
from gatewayz.core import clock
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import MAX_BATCH, Queue

log = get_log(__name__)

# A batch whose settler died comes again after this.
VISIBLE_S = 60.0
# Between two looks, whatever the age of the oldest message was.
LEAST_PAUSE_S = 1.0


class Drain:
    """One per process; `after_s` is the age that sets it going, 0 for never."""

    def __init__(self, postgres: Postgres, queue: Queue, *, after_s: float) -> None:
        self._postgres = postgres
        self._queue = queue
        self._after_s = after_s
        self._next_s = clock.monotonic_s()

    @property
    def due(self) -> bool:
        return self._after_s > 0 and clock.monotonic_s() >= self._next_s

    async def run(self) -> int:
        """Settle one batch if the oldest message is too old; how many. Never raises an outage."""
        # Claimed before the first wait: the requests of this moment need not all look.
        self._next_s = clock.monotonic_s() + self._after_s
        try:
            oldest_s = ((await self._queue.depth(CHARGES)).oldest_ms or 0) / 1000
            if oldest_s < self._after_s:
                self._look_again_in(self._after_s - oldest_s)
                return 0
            received = await self._queue.receive(CHARGES, MAX_BATCH, visible_s=VISIBLE_S)
            done = await settle_received(self._postgres, received)
            await self._queue.acknowledge(CHARGES, done)
        except GatewayError as error:
            log.warning("drain_failed", error=error.metric)
            return 0
        self._look_again_in(0)
        log.info("drained", charges=len(done), oldest_s=round(oldest_s))
        return len(done)

    def _look_again_in(self, seconds: float) -> None:
        self._next_s = clock.monotonic_s() + max(seconds, LEAST_PAUSE_S)
