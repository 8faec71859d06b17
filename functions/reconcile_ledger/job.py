"""Checks that the ledger adds up. Schedule, every five minutes."""

from gatewayz.billing.reconcile import Findings, reconcile
from gatewayz.runtime.entries import Schedule
from gatewayz.stores.open import Stores

EVERY_S = 300.0


async def reconcile_ledger(stores: Stores) -> Findings:
    return await reconcile(stores.postgres, stores.queue)


schedule = Schedule(reconcile_ledger, every_s=EVERY_S)
lambda_handler = schedule.lambda_handler
app = schedule.app
