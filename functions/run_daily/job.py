"""What is due once a day: the ledger's months, lapsing credit, orders nobody paid. Schedule."""

from gatewayz.accounts.provider_keys import reseal
from gatewayz.accounts.sealing import RING, find_ring
from gatewayz.billing.daily import close_stale, run_day
from gatewayz.billing.due import send_due
from gatewayz.billing.epochs import Epochs
from gatewayz.core.settings import load_settings
from gatewayz.runtime.entries import Schedule
from gatewayz.stores.open import Stores

EVERY_S = 86_400.0


async def run_daily(stores: Stores) -> object:
    done = await run_day(stores.postgres, stores.redis)
    await send_due(stores.postgres, stores.queue)
    if stores.secrets.find(RING):
        # What customers keep is wrapped anew once the ring has a newer key.
        push = Epochs(stores, load_settings()).push
        done["provider_keys"] = await reseal(stores.postgres, find_ring(stores.secrets.find), push)
    if key := stores.secrets.find("STRIPE_SECRET_KEY"):
        # Stripe's library takes 0.2 s to import.
        from gatewayz.billing.stripe.client import open_client
        from gatewayz.billing.stripe.desk import Desk

        billing = load_settings().billing
        async with open_client(key, billing.stripe_url) as client:
            done["orders"] = await close_stale(Desk(client, stores.postgres, billing, stores.redis))
    return done


schedule = Schedule(run_daily, every_s=EVERY_S)
lambda_handler = schedule.lambda_handler
app = schedule.app
