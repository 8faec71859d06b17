"""Sends what people are to be told by e-mail. Schedule, once a minute."""

from typing import Any

from gatewayz.core.settings import load_settings
from gatewayz.notify.send import run_notices
from gatewayz.runtime.entries import Schedule
from gatewayz.stores.open import Stores

EVERY_S = 60.0


async def send_notices(stores: Stores) -> Any:
    return await run_notices(stores, load_settings())


schedule = Schedule(send_notices, every_s=EVERY_S)
lambda_handler = schedule.lambda_handler
app = schedule.app
