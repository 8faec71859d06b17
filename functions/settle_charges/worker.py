"""Posts charge messages to the ledger. Queue worker; a message may come twice, late, unordered."""

from gatewayz.billing.settlement import CHARGES, readable, settle
from gatewayz.runtime.entries import Worker
from gatewayz.stores.open import Stores
from gatewayz.stores.queue import Received


async def settle_charges(stores: Stores, messages: list[Received]) -> list[str]:
    """Ids that are done. A conflict is done: it was recorded, and trying again changes nothing."""
    known = [message for message in messages if readable(message.body)]
    if not known:
        return []
    results = await settle(stores.postgres, [message.body for message in known])
    return [
        message.id
        for message, result in zip(known, results, strict=True)
        if result["status"] != "invalid"
    ]


worker = Worker(CHARGES, settle_charges)
lambda_handler = worker.lambda_handler
app = worker.app
