"""Looks for money that does not add up: the ledger's invariants, stale queues, dead letters.

Reports by log lines and metrics, which alarms read; moves no money.
"""

from dataclasses import dataclass, field
from typing import Any

from gatewayz.billing.settlement import CHARGES
from gatewayz.core import clock
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import WORKER_TIMEOUT_S, Queue

log = get_log(__name__)

# L3 of reliability §2: a charge waits at most this long.
MAX_QUEUE_AGE_MS = 5 * 60 * 1000
MAX_LOGGED = 20


@dataclass(slots=True)
class Findings:
    """Empty lists and False mean that everything adds up."""

    violations: list[dict[str, Any]] = field(default_factory=list)
    stale_queue: bool = False
    dead_letters: int = 0


async def reconcile(postgres: Postgres, queue: Queue) -> Findings:
    """Check every invariant that must hold at every instant (D15), and L3 and L4."""
    findings = Findings()
    findings.violations = await postgres.rpc("check_violations", {}, timeout_s=WORKER_TIMEOUT_S)
    # Before the checkpoint, which is where the next count starts.
    for row in await postgres.rpc("list_overages", {}, timeout_s=WORKER_TIMEOUT_S):
        log.warning("charges_beyond_lease", **row)
        metric("overages", row["charges"], cause=row["cause"])
    if not findings.violations:
        # What was found in order need not be added up again (D15); `audit` starts from zero.
        await postgres.rpc("make_checkpoint", {}, timeout_s=WORKER_TIMEOUT_S)
    for violation in findings.violations[:MAX_LOGGED]:
        log.error("ledger_violation", **violation)
    depth = await queue.depth(CHARGES)
    # SQS tells the age to CloudWatch alone; there QueueAgeAlarm watches it.
    findings.stale_queue = (depth.oldest_ms or 0) > MAX_QUEUE_AGE_MS
    findings.dead_letters = depth.dead
    metric("ledger_violations", len(findings.violations))
    metric("reconciled_at", clock.now_ms() // 1000)
    metric("queue_waiting", depth.waiting + depth.inflight, queue=CHARGES)
    metric("queue_dead", depth.dead, queue=CHARGES)
    if depth.oldest_ms is not None:
        metric("queue_oldest", depth.oldest_ms, queue=CHARGES)
    if findings.stale_queue or findings.dead_letters:
        log.error("charges_stuck", oldest_ms=depth.oldest_ms, dead=depth.dead)
    return findings
