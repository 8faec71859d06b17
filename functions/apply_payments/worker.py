"""Applies what Stripe's events say to the ledger, pays automatic top-ups. Queue worker."""

from collections.abc import Collection

from gatewayz.billing.stripe.inbox import STRIPE_EVENTS
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.settings import load_settings
from gatewayz.runtime.entries import Worker
from gatewayz.stores.open import Stores
from gatewayz.stores.queue import Received

log = get_log("gatewayz.functions.apply_payments")
BATCH = 10


async def apply_payments(stores: Stores, messages: list[Received]) -> Collection[str]:
    """The ids of the messages that are done; the others come again."""
    # Stripe's library takes 0.2 s to import: the first message pays, not every start.
    from gatewayz.billing.stripe.auto_topup import top_up
    from gatewayz.billing.stripe.client import open_client
    from gatewayz.billing.stripe.desk import Desk
    from gatewayz.billing.stripe.events import apply_event

    settings = load_settings()
    done = []
    key = stores.secrets.find("STRIPE_SECRET_KEY")
    async with open_client(key, settings.billing.stripe_url) as client:
        desk = Desk(client, stores.postgres, settings.billing, stores.redis)
        for message in messages:
            body = message.body
            try:
                if "account" in body:
                    await top_up(desk, body["account"], body["epoch"])
                else:
                    await apply_event(desk, str(body.get("event_id")))
            except GatewayError as error:
                log.warning("stripe_event_waits", event_id=body.get("event_id"), error=error.metric)
            else:
                done.append(message.id)
    return done


worker = Worker(STRIPE_EVENTS, apply_payments, batch=BATCH)
lambda_handler = worker.lambda_handler
app = worker.app
