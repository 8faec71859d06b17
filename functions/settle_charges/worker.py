"""Posts charge messages to the ledger. Queue worker; a message may come twice, late, unordered."""

from typing import Any

from gatewayz.billing.due import send_due
from gatewayz.billing.settlement import CHARGES, settle_received
from gatewayz.health.record import record_settled
from gatewayz.runtime.entries import Worker
from gatewayz.stores.open import Stores
from gatewayz.stores.queue import Received
from gatewayz.telemetry.hops import hops_of
from gatewayz.telemetry.passing import Passing
from gatewayz.telemetry.settled import measure_settled

passing = Passing()


async def settle_charges(stores: Stores, messages: list[Received]) -> list[str]:
    """Ids that are done. What their attempts showed goes to the health of the offers; accounts
    whose credit fell below their threshold to the worker of payments."""
    hops = hops_of(messages)

    async def on_posted(posted: list[dict[str, Any]]) -> None:
        hops.settled()
        measure_settled(posted)
        await record_settled(stores, posted)
        await passing.pass_on(stores.postgres, posted)

    done: list[str] = []
    try:
        done = await settle_received(stores.postgres, messages, on_posted=on_posted)
    finally:
        hops.end(done)
    await send_due(stores.postgres, stores.queue)
    return done


worker = Worker(CHARGES, settle_charges)
lambda_handler = worker.lambda_handler
app = worker.app
