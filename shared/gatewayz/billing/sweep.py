"""The sweeper: the one recovery for whatever a killed process left behind (D5, D6, D22).

Settles holds past their end from their own record, drains outboxes, closes leases that nobody
uses. May run twice or at the same time: every step is idempotent.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson

from gatewayz.billing.budgets import raise_budgets
from gatewayz.billing.settlement import CHARGES, readable, seal, settle, tokens_of
from gatewayz.billing.slot import OUTBOXES, OUTBOXES_KEY, RedisAway, call_admit
from gatewayz.core.errors import DependencyError, GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import Queue
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)

BATCH = 100
IDLE_MS = 5 * 60 * 1000
# A charge may still be on its way when its lease expires; later it falls on the wallet, as late.
LATE_CHARGES_MS = 10 * 60 * 1000
MAX_ACCOUNTS = 1000
# A charge waits in its queue at most this long (L3 of reliability §2), or an alarm is open.
QUEUED_MS = 5 * 60 * 1000


@dataclass(slots=True)
class Swept:
    """What one run did."""

    accounts: int = 0
    holds: int = 0
    messages: int = 0
    leases: int = 0


class Sweeper:
    """`queue` is the one that charges wait in; None when the database sees what waits there."""

    def __init__(self, postgres: Postgres, redis: RedisScripts, queue: Queue | None = None) -> None:
        self._postgres = postgres
        self._redis = redis
        self._queue = queue
        self._late_ms = 0

    async def sweep(self, *, idle_ms: int = IDLE_MS) -> Swept:
        """One pass over every account that has an open lease or something in its outbox."""
        swept, last = Swept(), ""
        self._late_ms = await self._patience_ms()
        await self._drain_outboxes(swept)
        while True:
            accounts = await self._postgres.rpc(
                "list_sweepable", {"idle_ms": idle_ms, "limit": MAX_ACCOUNTS, "after": last}
            )
            for row in accounts:
                swept.accounts += 1
                last = row["account"]
                try:
                    await self._sweep_account(row, swept, idle_ms)
                except GatewayError as error:
                    # One account that cannot be swept now must not keep all after it waiting.
                    log.warning("account_not_swept", account=last, error=error.metric)
                except Exception:
                    log.exception("sweep_crashed", account=last)
            if len(accounts) < MAX_ACCOUNTS:
                for kind in ("holds", "messages", "leases"):
                    metric("swept", getattr(swept, kind), kind=kind)
                return swept

    async def _sweep_account(self, row: dict[str, Any], swept: Swept, idle_ms: int) -> None:
        account, leases = row["account"], row["leases"]
        redis_up = True
        try:
            # Whatever push was lost: older principals are stale from here on (D13).
            await call_admit(self._redis, account, "epoch", row["epoch"])
            await self._drain_outbox(account, swept)
            await self._settle_due(account, swept)
            if any(lease["private"] for lease in leases):
                # Redis was away, and no other process may have told it what was spent.
                await raise_budgets(self._postgres, self._redis, account)
        except RedisAway:
            redis_up = False
        for lease in leases:
            if lease["private"]:
                await self._close_private(account, lease, swept)
            elif lease["expired_ms"] > LATE_CHARGES_MS or (
                redis_up and await self._retired(account, lease["lease"], idle_ms)
            ):
                await self._postgres.rpc("close_lease", {"lease": lease["lease"]})
                swept.leases += 1

    async def _patience_ms(self) -> int:
        """How long a hold past its end may still have its own message on the way, unseen by us."""
        if self._queue is None or self._queue.in_ledger:
            return 0
        try:
            depth = await self._queue.depth(CHARGES)
        except GatewayError as error:
            log.warning("queue_depth_unknown", error=error.metric)
            return QUEUED_MS
        return QUEUED_MS if depth.waiting + depth.inflight else 0

    async def _drain_outboxes(self, swept: Swept) -> None:
        """Those of accounts whose last lease may be closed since."""
        with suppress(RedisAway):
            for account in await self._outboxes("list", str(MAX_ACCOUNTS)):
                try:
                    await self._drain_outbox(account, swept)
                except GatewayError as error:
                    log.warning("account_not_swept", account=account, error=error.metric)

    async def _outboxes(self, operation: str, value: str) -> Any:
        try:
            return await self._redis.script(OUTBOXES, [OUTBOXES_KEY], [operation, value])
        except DependencyError as error:
            raise RedisAway(error.message) from error

    async def _drain_outbox(self, account: str, swept: Swept) -> None:
        while texts := await call_admit(self._redis, account, "outbox", BATCH):
            messages = [m for m in map(orjson.loads, texts) if readable(m)]
            if not messages:
                return
            results = await settle(self._postgres, messages)
            for message, result in zip(messages, results, strict=True):
                if result["status"] == "invalid":
                    log.evidence("outbox_message_invalid", orjson.dumps(message).decode())
            ids = [result["request_id"] for result in results]
            await call_admit(self._redis, account, "drained", *ids)
            swept.messages += len(ids)
            log.info("outbox_drained", account=account, request_ids=ids)
        await self._forget_outbox(account)

    async def _forget_outbox(self, account: str) -> None:
        """Take an empty one off the list; a message that came meanwhile puts it back."""
        await self._outboxes("remove", account)
        if await call_admit(self._redis, account, "outbox", 1):
            await self._outboxes("add", account)

    async def _settle_due(self, account: str, swept: Swept) -> None:
        while due := await call_admit(self._redis, account, "due", BATCH, self._late_ms):
            messages = {
                request: expired(orjson.loads(record) | _named(fields), lease)
                for request, lease, record, fields in zip(*[iter(due)] * 4, strict=True)
            }
            # What a newer version wrote waits for its sweeper (D54).
            messages = {request: m for request, m in messages.items() if readable(m)}
            charges = await self._known_charges(account, list(messages))
            lost = [m for request, m in messages.items() if request not in charges]
            for result in await settle(self._postgres, lost):
                charges[result["request_id"]] = result["charge_nanos"]
            for request, charge_nanos in charges.items():
                tokens = tokens_of(messages[request])
                await call_admit(
                    self._redis, account, "finish", request, charge_nanos, "", "", tokens
                )
                log.info(
                    "hold_swept", request_id=request, account=account, charge_nanos=charge_nanos
                )
            swept.holds += len(charges)
            if not charges:
                return

    async def _known_charges(self, account: str, requests: list[str]) -> dict[str, int]:
        """Charges of requests whose own message the queue or the ledger has: that one counts,
        whatever the hold's record says.
        """
        rows = await asyncio.gather(*[self._find(account, request) for request in requests])
        found = zip(requests, rows, strict=True)
        return {request: row["charge_nanos"] for request, row in found if row is not None}

    async def _find(self, account: str, request: str) -> dict[str, Any] | None:
        row: dict[str, Any] | None = await self._postgres.rpc(
            "find_generation", {"account": account, "request_id": request}
        )
        return None if row is None or row["state"] == "running" else row

    async def _close_private(self, account: str, lease: dict[str, Any], swept: Swept) -> None:
        """A private lease past its end whose request never settled: charge 0, then close."""
        record = lease["record"]
        if lease["expired_ms"] <= 0 or (record and not readable(record)):
            return
        if record:
            known = await self._find(account, record["request_id"])
            if known is not None and known["state"] == "settling":
                return  # its message closes the lease
            if known is None:
                message = expired(record, lease["lease"]) | {"close": True}
                await settle(self._postgres, [seal(message)])
                log.info(
                    "hold_swept",
                    request_id=message["request_id"],
                    account=account,
                    charge_nanos=message["charge_nanos"],
                )
        await self._postgres.rpc("close_lease", {"lease": lease["lease"]})
        swept.leases += 1

    async def _retired(self, account: str, lease: str, idle_ms: int) -> bool:
        reply = await call_admit(self._redis, account, "retire", lease, idle_ms)
        return bool(reply[0] == "OK")


def _named(fields: str) -> dict[str, Any]:
    """The budgets that a hold was made in: its record was written before they were known."""
    if not fields:
        return {}
    return {"scopes": [field.rpartition("|")[::2] for field in fields.split("\n")]}


def expired(record: dict[str, Any], lease: str) -> dict[str, Any]:
    """The message for a hold whose process died: its last checkpoint, else 0.

    Without a checkpoint nothing proves what was delivered: the caller pays nothing, and what the
    provider may bill for the prompt is written off.
    """
    message = record | {"lease": lease, "outcome": "expired"}
    if message["lines"]:
        message |= {"estimated": True, "writeoff_nanos": 0, "reason": "checkpoint"}
    else:
        message |= {"charge_nanos": 0, "cost_nanos": 0, "reason": "no_evidence"}
    return seal(message)
