"""Adds up what was used, writes exports, tells of spending, keeps promises. Every minute."""

from typing import Any

from gatewayz.runtime.entries import Schedule
from gatewayz.stores.open import Stores
from gatewayz.usage.review import review_usage

EVERY_S = 60.0


async def run_review(stores: Stores) -> Any:
    return await review_usage(stores)


schedule = Schedule(run_review, every_s=EVERY_S)
lambda_handler = schedule.lambda_handler
app = schedule.app
