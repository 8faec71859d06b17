"""Checks that the ledger adds up, in itself and beside Stripe. Schedule, every 5 minutes."""

from gatewayz.billing.reconcile import Findings, reconcile
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.settings import load_settings
from gatewayz.runtime.entries import Schedule
from gatewayz.stores.eviction import report_eviction
from gatewayz.stores.open import Stores

log = get_log("gatewayz.functions.reconcile_ledger")

EVERY_S = 300.0


async def reconcile_ledger(stores: Stores) -> Findings:
    await report_eviction(stores.redis)
    if key := stores.secrets.find("STRIPE_SECRET_KEY"):
        await _check_stripe(stores, key)
    return await reconcile(stores.postgres, stores.queue)


async def _check_stripe(stores: Stores, key: str) -> None:
    # Stripe's library takes 0.2 s to import.
    from gatewayz.billing.stripe.check import check_stripe
    from gatewayz.billing.stripe.client import open_client
    from gatewayz.billing.stripe.desk import Desk

    billing = load_settings().billing
    try:
        async with open_client(key, billing.stripe_url) as client:
            await check_stripe(Desk(client, stores.postgres, billing, stores.redis))
    except GatewayError as error:
        # Stripe away must not keep the ledger from being checked.
        log.warning("stripe_not_checked", error=error.metric)


schedule = Schedule(reconcile_ledger, every_s=EVERY_S)
lambda_handler = schedule.lambda_handler
app = schedule.app
