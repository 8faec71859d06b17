"""Looks after what nobody uses just now: probes, incidents, balances, answers kept for a day.
Schedule, once a minute."""

from typing import Any

from gatewayz.health.watch import watch_health
from gatewayz.inference.witness import forget_answers
from gatewayz.runtime.entries import Schedule
from gatewayz.stores.open import Stores

EVERY_S = 60.0


async def check_health(stores: Stores) -> Any:
    done = await watch_health(stores)
    return {**done, "forgotten": await forget_answers(stores)}


schedule = Schedule(check_health, every_s=EVERY_S)
lambda_handler = schedule.lambda_handler
app = schedule.app
