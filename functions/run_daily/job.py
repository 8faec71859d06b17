"""What is due once a day: the ledger's partitions of the coming months. Schedule."""

from gatewayz.runtime.entries import Schedule
from gatewayz.stores.open import Stores
from gatewayz.stores.queue import WORKER_TIMEOUT_S

EVERY_S = 86_400.0


async def run_daily(stores: Stores) -> object:
    return await stores.postgres.rpc("prepare_partitions", {}, timeout_s=WORKER_TIMEOUT_S)


schedule = Schedule(run_daily, every_s=EVERY_S)
lambda_handler = schedule.lambda_handler
app = schedule.app
