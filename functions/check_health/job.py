"""Looks after what nobody uses just now: probes, incidents, balances. Schedule, once a minute."""

from typing import Any

from gatewayz.health.watch import watch_health
from gatewayz.runtime.entries import Schedule
from gatewayz.stores.open import Stores

EVERY_S = 60.0


async def check_health(stores: Stores) -> Any:
    return await watch_health(stores)


schedule = Schedule(check_health, every_s=EVERY_S)
lambda_handler = schedule.lambda_handler
app = schedule.app
