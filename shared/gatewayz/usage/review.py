"""One round of looking after usage: sums, receipts, exports, alerts; once a day retention, credits
and the providers' bills. The parts fail apart, and a part that failed comes again.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.net.http import HttpClient
from gatewayz.stores.open import Stores
from gatewayz.stores.queue import WORKER_TIMEOUT_S
from gatewayz.usage.costs import reconcile_providers
from gatewayz.usage.exports import run_exports

log = get_log(__name__)
Row = dict[str, Any]

# Platforms end a job after minutes; the rest is done in the next round.
ROUND_S = 45.0
FOLDED = 50_000
DELETED = 50_000
ALERTS_MS = 5 * 60_000
DAY_MS = 86_400_000
HOUR_MS = 3_600_000
MAX_LOGGED = 20


async def review_usage(stores: Stores) -> Row:
    """Counts of what was done, by part."""
    deadline = Deadline.after(ROUND_S)
    parts: dict[str, Callable[[], Awaitable[Any]]] = {
        "folded": lambda: _rpc(stores, "fold_usage", most=FOLDED),
        "receipts": lambda: _rpc(stores, "extend_receipts", most=FOLDED),
        "alerts": lambda: _every(stores, "spend_alerts", ALERTS_MS, lambda: _alerts(stores)),
        "credits": lambda: _every(stores, "service_credits", DAY_MS, lambda: give_credits(stores)),
        "costs": lambda: _every(stores, "provider_costs", DAY_MS, lambda: _costs(stores)),
        "checked": lambda: _every(stores, "usage_check", HOUR_MS, lambda: check_sums(stores)),
        "retention": lambda: _every(stores, "usage_retention", DAY_MS, lambda: _retain(stores)),
        "exports": lambda: run_exports(stores, deadline),
    }
    done: Row = {}
    for name, part in parts.items():
        try:
            done[name] = await part()
        except GatewayError as error:
            log.warning("usage_part_failed", part=name, error=error.metric)
            done[name] = None
    return done


async def _rpc(stores: Stores, name: str, **params: Any) -> Any:
    return await stores.postgres.rpc(name, params, timeout_s=WORKER_TIMEOUT_S)


async def _every(
    stores: Stores, name: str, every_ms: int, work: Callable[[], Awaitable[Any]]
) -> Any:
    """The work, if nobody did it lately: one process of many."""
    look = await stores.postgres.rpc("claim_look", {"name": name, "every_ms": every_ms})
    return await work() if look["due"] else None


async def _alerts(stores: Stores) -> Any:
    return await _rpc(stores, "review_spend_alerts")


async def _costs(stores: Stores) -> Row:
    http = HttpClient(connect_timeout_s=5.0)
    try:
        return await reconcile_providers(stores, http)
    finally:
        await http.aclose()


async def _retain(stores: Stores) -> Row:
    """Everything whose time is over, a bounded number of rows at a time."""
    total = {"deleted": 0, "hours": 0, "dropped": 0}
    while True:
        row = await _rpc(stores, "apply_retention", most=DELETED)
        total = {name: total[name] + row[name] for name in total}
        if not row["more"]:
            return total


async def give_credits(stores: Stores) -> Row:
    """What the published terms give for the last month and for the day before yesterday, to each
    account in a transaction of its own: {given, nanos}."""
    now = datetime.fromtimestamp(clock.now_ms() / 1000, tz=UTC)
    month = (now.replace(day=1) - timedelta(days=1)).replace(
        day=1, hour=0, minute=0, second=0, microsecond=0
    )
    span = {"from_ms": int(month.timestamp() * 1000), "to_ms": clock.now_ms()}
    total = {"given": 0, "nanos": 0}
    for account in await _rpc(stores, "list_used_accounts", **span):
        row = await _rpc(stores, "give_service_credits", account=account)
        total = {name: total[name] + row[name] for name in total}
    return total


async def check_sums(stores: Stores) -> int:
    """Whether the sums still say what the ledger says; the number of findings."""
    found = await _rpc(stores, "check_usage")
    for violation in found[:MAX_LOGGED]:
        log.error("ledger_violation", **violation)
    return len(found)
