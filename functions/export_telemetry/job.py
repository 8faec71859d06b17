"""Sends accounts' traces to their own services, and product events. Schedule, every minute."""

from gatewayz.accounts.sealing import NotSealed, find_ring
from gatewayz.core.settings import load_settings
from gatewayz.net.http import HttpClient
from gatewayz.runtime.entries import Schedule
from gatewayz.stores.open import Stores
from gatewayz.telemetry.outward import NotSent
from gatewayz.telemetry.sending import Analytics, Traces

EVERY_S = 60.0


async def export_telemetry(stores: Stores) -> dict[str, int]:
    """How many messages of each queue are done with."""
    settings = load_settings()

    def unseal(sealed: str, place: str) -> str:
        try:
            return find_ring(stores.secrets.find).open(sealed, place)
        except NotSealed:
            raise NotSent("its key cannot be opened any more", again=False) from None

    http = HttpClient()
    try:
        traces = await Traces(stores.postgres, settings, unseal).run()
        events = await Analytics(stores.postgres, settings, http).run()
    finally:
        await http.aclose()
    return {"traces": traces, "events": events}


schedule = Schedule(export_telemetry, every_s=EVERY_S)
lambda_handler = schedule.lambda_handler
app = schedule.app
