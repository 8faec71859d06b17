"""Settles and frees what killed processes left behind. Schedule, once a minute."""

from gatewayz.billing.sweep import Sweeper, Swept
from gatewayz.runtime.entries import Schedule
from gatewayz.stores.open import Stores


async def sweep_holds(stores: Stores) -> Swept:
    return await Sweeper(stores.postgres, stores.redis, stores.queue).sweep()


schedule = Schedule(sweep_holds, every_s=lambda settings: settings.credit.sweep_s)
lambda_handler = schedule.lambda_handler
app = schedule.app
