"""Reads every provider's listing, judges its prices, publishes the catalog. Schedule, hourly."""

import asyncio
from typing import Any

from gatewayz.catalog.syncing import scheduled, sync_catalog
from gatewayz.core.errors import Conflict
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.core.settings import Settings, load_settings
from gatewayz.runtime.entries import Schedule
from gatewayz.stores.open import Stores, open_stores

log = get_log("gatewayz.functions.sync_models")

EVERY_S = 3600.0


async def sync_models(stores: Stores) -> Any:
    settings = load_settings()
    if not scheduled(settings):
        return {"state": "off"}
    # Large listings keep a loop busy: whatever else runs in this process has its own.
    return await asyncio.to_thread(lambda: asyncio.run(_run(settings)))


async def _run(settings: Settings) -> Any:
    stores = open_stores(settings)
    try:
        result = (await sync_catalog(stores, settings)).as_json()
        for each in result["providers"]:
            metric("syncs", result=each["state"])
    except Conflict as other:
        result = {"state": "busy", "detail": other.code}
    finally:
        await stores.close()
    log.info("sync_done", **{name: result[name] for name in ("state", "detail") if name in result})
    return result


schedule = Schedule(sync_models, every_s=EVERY_S)
lambda_handler = schedule.lambda_handler
app = schedule.app
