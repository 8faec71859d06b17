"""The charge message and its way into the ledger (D7, D10, D11, D19).

Every admitted request ends in exactly one message, keyed by its request id, self-contained and
priced: it may arrive twice, late or out of order. Queued before the last byte is sent.
"""

import asyncio
import hashlib
from dataclasses import dataclass, field, fields
from typing import Any, Literal

import orjson

from gatewayz.billing.credits import Credits, Hold
from gatewayz.core import clock
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.pricing.charge import Line, amount_nanos
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import WORKER_TIMEOUT_S, Queue

log = get_log(__name__)

CHARGES = "charges"
MESSAGE_VERSION = 1
READABLE_VERSIONS = (1,)
Outcome = Literal["completed", "empty", "failed", "cut", "left", "expired"]


@dataclass(slots=True)
class ChargeMessage:
    """All that settling needs. Amounts in nano-USD; `lines` is the receipt (D17)."""

    request_id: str
    account: str
    key_id: str
    model: str
    stream: bool
    admitted_at_ms: int
    lease: str | None = None
    close: bool = False
    team: str | None = None
    end_user: str | None = None
    session: str | None = None
    scopes: list[tuple[str, str]] = field(default_factory=list)
    offer: str | None = None
    provider: str | None = None
    price_version: str | None = None
    lines: list[list[str | int]] = field(default_factory=list)
    charge_nanos: int = 0
    cap_nanos: int | None = None
    cost_nanos: int = 0
    cost_stated_nanos: int | None = None
    writeoff_nanos: int = 0
    outcome: Outcome = "expired"
    estimated: bool = False
    finish: str | None = None
    reason: str | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)
    first_token_ms: int | None = None
    total_ms: int | None = None
    client_request_id: str | None = None
    app: str | None = None
    digest: str = ""
    v: int = MESSAGE_VERSION

    def bill(self, lines: tuple[Line, ...], *, cap_nanos: int | None = None) -> None:
        """Set what is billed: the amount of the lines, at most the cap."""
        self.lines = [[line.cls, line.units, line.price_nanos] for line in lines]
        self.cost_nanos = self.charge_nanos = amount_nanos(lines)
        self.cap_nanos = None
        if cap_nanos is not None and self.charge_nanos > cap_nanos:
            self.charge_nanos = self.cap_nanos = cap_nanos

    def sealed(self) -> dict[str, Any]:
        """The message as it is queued, with the digest that tells a replay from a conflict."""
        return seal({name: getattr(self, name) for name in _FIELDS})

    def record(self) -> str:
        """The message as far as it is known, for the hold: the sweeper settles from it alone."""
        return orjson.dumps(self).decode()


_FIELDS = tuple(each.name for each in fields(ChargeMessage))


def seal(message: dict[str, Any]) -> dict[str, Any]:
    """`message` with its digest over everything that moves money."""
    money = [message[name] for name in ("request_id", "account", "lease", "lines", "charge_nanos")]
    message["digest"] = hashlib.sha256(orjson.dumps(money)).hexdigest()
    return message


class Settlement:
    """Hands charge messages over: queue, else outbox, else one ERROR line with all of it."""

    def __init__(self, queue: Queue, credits: Credits) -> None:
        self._queue = queue
        self._credits = credits

    async def commit(self, hold: Hold, charge: ChargeMessage) -> "asyncio.Task[None]":
        """Returns when the message is stored; the task it returns ends when the hold is freed.

        The hold goes after the message is stored, never before: a process killed between the two
        must leave one of them behind (F24).
        """
        message = charge.sealed()
        try:
            await self._queue.send(CHARGES, charge.request_id, message)
        except GatewayError as error:
            log.warning("queue_failed", request_id=charge.request_id, error=error.metric)
            await self._keep(hold, charge, message)
        metric("requests", outcome=charge.outcome)
        if charge.first_token_ms is not None and charge.provider is not None:
            metric("first_token", charge.first_token_ms, provider=charge.provider)
        log.debug("charge_sent", request_id=charge.request_id, charge_nanos=charge.charge_nanos)
        return asyncio.create_task(self._free(hold, charge.charge_nanos))

    async def _free(self, hold: Hold, charge_nanos: int) -> None:
        try:
            await self._credits.finish(hold, charge_nanos)
        except GatewayError as error:
            # The sweeper frees it: the ledger then knows the charge.
            log.warning("hold_not_freed", request_id=hold.request_id, error=error.metric)

    async def _keep(self, hold: Hold, charge: ChargeMessage, message: dict[str, Any]) -> None:
        text = orjson.dumps(message).decode()
        try:
            await self._credits.finish(hold, charge.charge_nanos, text)
        except GatewayError:
            log.evidence("charge_unsent", text)


async def settle(postgres: Postgres, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Post messages to the ledger in one transaction; a result per message, in order.

    Each {request_id, status: posted | duplicate | conflict | invalid, charge_nanos}.
    """
    results: list[dict[str, Any]] = await postgres.rpc(
        "settle_charges", {"messages": messages}, timeout_s=WORKER_TIMEOUT_S
    )
    metric("settlement_lag", max(map(_lag_ms, messages), default=0))
    for result in results:
        metric("charges", status=result["status"])
        if result["status"] in ("conflict", "invalid"):
            log.error("charge_refused", **result)
        else:
            log.debug("charge_settled", **result)
    return results


def _lag_ms(message: dict[str, Any]) -> int:
    """How long a message was under way, by two machines' clocks; 0 when it does not tell."""
    admitted_ms, total_ms = message.get("admitted_at_ms"), message.get("total_ms") or 0
    if type(admitted_ms) is not int or type(total_ms) is not int:
        return 0
    return max(0, clock.now_ms() - admitted_ms - total_ms)


def readable(message: dict[str, Any]) -> bool:
    """Versions v and v−1 are understood (D54); others wait for a newer worker."""
    return message.get("v") in READABLE_VERSIONS
