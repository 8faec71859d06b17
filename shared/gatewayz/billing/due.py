"""Automatic top-ups that settling marked: handed to the worker that pays them."""

from gatewayz.billing.stripe.inbox import STRIPE_EVENTS
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import Queue

log = get_log(__name__)


async def send_due(postgres: Postgres, queue: Queue) -> int:
    """Queue what is due; how many. Never raises: what was not sent is due again in a while."""
    try:
        due = await postgres.rpc("take_due_topups", {})
        for row in due:
            name = f"autotopup:{row['account']}:{row['epoch']}"
            body = {"v": 1, "account": row["account"], "epoch": row["epoch"]}
            await queue.send(STRIPE_EVENTS, name, body)
    except GatewayError as error:
        log.warning("auto_topup_waits", error=error.metric)
        return 0
    return len(due)
