"""What is due once a day in billing: credit that lapses, trials that end, orders nobody paid."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from gatewayz.billing.slot import call_admit
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import WORKER_TIMEOUT_S
from gatewayz.stores.redis import RedisScripts

if TYPE_CHECKING:
    from gatewayz.billing.stripe.desk import Desk

log = get_log(__name__)

# Stripe ends a checkout after a day by itself.
STALE_MS = 25 * 3_600_000
MAX_STALE = 500
# Wallets that are emptied in one transaction.
BATCH = 500


async def run_day(postgres: Postgres, redis: RedisScripts) -> dict[str, Any]:
    """Everything that needs no Stripe; one failure leaves the rest to be done."""
    done: dict[str, Any] = {}
    steps: dict[str, Callable[[], Awaitable[Any]]] = {
        "partitions": lambda: postgres.rpc("prepare_partitions", {}, timeout_s=WORKER_TIMEOUT_S),
        "wallets": lambda: expire_wallets(postgres),
        "trials": lambda: postgres.rpc("end_trials", {}, timeout_s=WORKER_TIMEOUT_S),
        "plans": lambda: postgres.rpc("notify_plan_ends", {}, timeout_s=WORKER_TIMEOUT_S),
        "plan_ends": lambda: end_plans(postgres, redis),
        "limits": lambda: tidy_limits(postgres, redis),
        "auto_topups": lambda: postgres.rpc("mark_low_balances", {}, timeout_s=WORKER_TIMEOUT_S),
    }
    failed: GatewayError | None = None
    for name, step in steps.items():
        try:
            done[name] = await step()
        except GatewayError as error:
            log.warning("daily_step_failed", step=name, error=error.metric)
            failed = error
    if failed is not None:
        raise failed
    return done


async def end_plans(postgres: Postgres, redis: RedisScripts) -> dict[str, int]:
    """Have every process read the accounts anew whose plan ends before the next look."""
    ending = await postgres.rpc("end_plans", {}, timeout_s=WORKER_TIMEOUT_S)
    for row in ending:
        await call_admit(redis, row["account"], "epoch", row["epoch"])
    return {"ending": len(ending)}


async def tidy_limits(postgres: Postgres, redis: RedisScripts) -> dict[str, int]:
    """Session budgets that nobody counted in for 30 days lapse; Redis forgets them as well."""
    row = await postgres.rpc("tidy_limits", {}, timeout_s=WORKER_TIMEOUT_S)
    for account, field in row["lapsed"]:
        await call_admit(redis, account, "forget", field)
    return {"lapsed": len(row["lapsed"])}


async def expire_wallets(postgres: Postgres) -> dict[str, int]:
    """Take what is left in wallets whose time is over: allowances, trials, promotions."""
    total = {"wallets": 0, "expired_nanos": 0}
    while True:
        row = await postgres.rpc("expire_wallets", {"limit": BATCH}, timeout_s=WORKER_TIMEOUT_S)
        total = {name: total[name] + row[name] for name in total}
        if row["wallets"] < BATCH:
            return total


async def close_stale(desk: "Desk") -> dict[str, int]:
    """Ask Stripe what became of orders that are open for more than a day."""
    from gatewayz.billing.stripe.orders import refresh_payment

    asked = {"older_ms": STALE_MS, "limit": MAX_STALE}
    rows = await desk.postgres.rpc("list_stale_payments", asked)
    closed = credited = 0
    for row in rows:
        try:
            fresh, paid = await refresh_payment(desk, row)
            if row["intent"] is None and row["session"] is None:
                # The order was written and Stripe never heard of it.
                gone = {"payment_id": row["payment_id"], "status": "canceled"}
                fresh = await desk.postgres.rpc("close_payment", gone) or row
        except GatewayError as error:
            log.warning("stale_payment_waits", payment_id=row["payment_id"], error=error.metric)
            continue
        credited += paid
        closed += fresh["status"] != row["status"]
    return {"closed": closed, "credited": credited}
