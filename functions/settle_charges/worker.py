"""Posts charge messages to the ledger. Queue worker; a message may come twice, late, unordered."""

from functools import partial

from gatewayz.billing.due import send_due
from gatewayz.billing.settlement import CHARGES, settle_received
from gatewayz.health.record import record_settled
from gatewayz.runtime.entries import Worker
from gatewayz.stores.open import Stores
from gatewayz.stores.queue import Received


async def settle_charges(stores: Stores, messages: list[Received]) -> list[str]:
    """Ids that are done. What their attempts showed goes to the health of the offers; accounts
    whose credit fell below their threshold to the worker of payments."""
    done = await settle_received(
        stores.postgres, messages, on_posted=partial(record_settled, stores)
    )
    await send_due(stores.postgres, stores.queue)
    return done


worker = Worker(CHARGES, settle_charges)
lambda_handler = worker.lambda_handler
app = worker.app
