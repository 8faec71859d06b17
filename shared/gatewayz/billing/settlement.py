"""The charge message and its way into the ledger (D7, D10, D11, D19).

Every admitted request ends in exactly one message, keyed by its request id, self-contained and
priced: it may arrive twice, late or out of order. Queued before the last byte is sent.
"""

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Any, Literal

import orjson

from gatewayz.billing.credits import Credits, Hold
from gatewayz.core import clock
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.pricing.byok import fee_of
from gatewayz.pricing.charge import Line, amount_nanos
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.queue import WORKER_TIMEOUT_S, Queue, Received

log = get_log(__name__)

CHARGES = "charges"
MESSAGE_VERSION = 1
READABLE_VERSIONS = (1,)
# The caller waits for its last bytes meanwhile.
DIRECT_TIMEOUT_S = 1.0
# How long a message that waits in a queue of others is shown from Redis.
SHOWN_MS = 15 * 60 * 1000
OnPosted = Callable[[list[dict[str, Any]]], Awaitable[None]]
# Classes of a receipt that are not counted in tokens.
NO_TOKENS = frozenset({"second", "request", "search"})
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
    tags: list[str] = field(default_factory=list)
    trace: str | None = None
    digest: str = ""
    v: int = MESSAGE_VERSION

    @property
    def byok(self) -> bool:
        """Is it served by the caller's own provider key, so that its price is our fee alone?"""
        return fee_of(self.price_version) is not None

    def bill(
        self,
        lines: tuple[Line, ...],
        *,
        cap_nanos: int | None = None,
        cost_nanos: int | None = None,
    ) -> None:
        """Set what is billed: the amount of the lines, at most the cap. Our cost is that amount
        unless the provider asks another; a key's owner pays it: then it is nothing."""
        self.lines = [[line.cls, line.units, line.price_nanos] for line in lines]
        self.charge_nanos = amount_nanos(lines)
        cost_nanos = self.charge_nanos if cost_nanos is None else cost_nanos
        self.cost_nanos = 0 if self.byok else cost_nanos
        self.cap_nanos = None
        if cap_nanos is not None and self.charge_nanos > cap_nanos:
            self.charge_nanos = self.cap_nanos = cap_nanos

    def sealed(self) -> dict[str, Any]:
        """The message as it is queued, with the digest that tells a replay from a conflict."""
        return seal(dict(zip(_FIELDS, _VALUES(self), strict=True)))

    def record(self) -> str:
        """The message as far as it is known, for the hold: the sweeper settles from it alone."""
        return orjson.dumps(self).decode()


_FIELDS = tuple(each.name for each in fields(ChargeMessage))
_VALUES = attrgetter(*_FIELDS)


def seal(message: dict[str, Any]) -> dict[str, Any]:
    """`message` with its digest over everything that moves money."""
    money = [
        message[name]
        for name in ("request_id", "account", "lease", "lines", "charge_nanos", "writeoff_nanos")
    ]
    message["digest"] = hashlib.sha256(orjson.dumps(money)).hexdigest()
    return message


class Settlement:
    """Hands charge messages over: queue, else straight to the ledger, else outbox, else one ERROR
    line with all of it (D6, D7)."""

    def __init__(self, queue: Queue, credits: Credits, postgres: Postgres) -> None:
        self._queue = queue
        self._credits = credits
        self._postgres = postgres

    async def commit(self, hold: Hold, charge: ChargeMessage) -> "Stored":
        """Returns when the message is stored; `free` what it returns.

        The hold goes after the message is stored, never before: a process killed between the two
        must leave one of them behind (F24).
        """
        message = charge.sealed()
        stored = Stored(hold, charge.charge_nanos)
        if hold.counted:
            stored.tokens = tokens_of(message)
        try:
            await self._queue.send(CHARGES, charge.request_id, message)
            if not self._queue.in_ledger:
                stored.text = orjson.dumps(message).decode()
        except GatewayError as error:
            log.warning("queue_failed", request_id=charge.request_id, error=error.metric)
            await self._store_otherwise(stored, message)
        metric("requests", outcome=charge.outcome)
        if charge.first_token_ms is not None and charge.provider is not None:
            metric("first_token", charge.first_token_ms, provider=charge.provider)
        log.debug("charge_sent", request_id=charge.request_id, charge_nanos=charge.charge_nanos)
        return stored

    async def free(self, stored: "Stored") -> None:
        """Give the hold back; once the last bytes are on their way, and never left out."""
        if stored.freed:
            return
        keep_ms = SHOWN_MS if stored.text else None
        try:
            await self._credits.finish(
                stored.hold,
                stored.charge_nanos,
                stored.text,
                keep_ms=keep_ms,
                tokens=stored.tokens,
            )
        except GatewayError as error:
            # The sweeper frees it: the ledger then knows the charge.
            log.warning("hold_not_freed", request_id=stored.hold.request_id, error=error.metric)

    async def _store_otherwise(self, stored: "Stored", message: dict[str, Any]) -> None:
        try:
            results = await settle(self._postgres, [message], timeout_s=DIRECT_TIMEOUT_S)
            if results[0]["status"] != "invalid":
                return
        except GatewayError as error:
            log.warning(
                "direct_settle_failed", request_id=message["request_id"], error=error.metric
            )
        # What may have been settled all the same is a duplicate then.
        text = orjson.dumps(message).decode()
        try:
            await self._credits.keep(stored.hold, stored.charge_nanos, text)
            stored.freed = True
        except GatewayError:
            log.evidence("charge_unsent", text)


@dataclass(slots=True)
class Stored:
    """A message that will be settled, and the hold it leaves to be freed. `text` shows the request
    to look-ups while no store of ours does."""

    hold: Hold
    charge_nanos: int
    text: str = ""
    freed: bool = False
    tokens: int | None = None


def tokens_of(message: dict[str, Any]) -> int:
    """Tokens of a charge's lines, those of every class that is counted in tokens."""
    return sum(units for name, units, _ in message["lines"] if name not in NO_TOKENS)


async def settle(
    postgres: Postgres, messages: list[dict[str, Any]], *, timeout_s: float = WORKER_TIMEOUT_S
) -> list[dict[str, Any]]:
    """Post messages to the ledger in one transaction; a result per message, in order.

    Each {request_id, status: posted | duplicate | conflict | invalid, charge_nanos}.
    """
    results: list[dict[str, Any]] = await postgres.rpc(
        "settle_charges", {"messages": messages}, timeout_s=timeout_s
    )
    metric("settlement_lag", max(map(_lag_ms, messages), default=0))
    for result in results:
        metric("charges", status=result["status"])
        if result["status"] in ("conflict", "invalid"):
            log.error("charge_refused", **result)
        else:
            log.debug("charge_settled", **result)
    return results


async def settle_received(
    postgres: Postgres, messages: list[Received], *, on_posted: OnPosted | None = None
) -> list[str]:
    """Post what a queue delivered; ids that are done.

    A conflict is done: it was recorded, and trying again changes nothing. What is invalid, or of a
    version that this code does not know, stays. `on_posted` gets the bodies that were posted now
    and not before.
    """
    known = [message for message in messages if readable(message.body)]
    if not known:
        return []
    results = await settle(postgres, [message.body for message in known])
    if on_posted is not None:
        pairs = zip(known, results, strict=True)
        await on_posted([m.body for m, result in pairs if result["status"] == "posted"])
    return [
        message.id
        for message, result in zip(known, results, strict=True)
        if result["status"] != "invalid"
    ]


def _lag_ms(message: dict[str, Any]) -> int:
    """How long a message was under way, by two machines' clocks; 0 when it does not tell."""
    admitted_ms, total_ms = message.get("admitted_at_ms"), message.get("total_ms") or 0
    if type(admitted_ms) is not int or type(total_ms) is not int:
        return 0
    return max(0, clock.now_ms() - admitted_ms - total_ms)


def readable(message: dict[str, Any]) -> bool:
    """Versions v and v−1 are understood (D54); others wait for a newer worker."""
    return message.get("v") in READABLE_VERSIONS
