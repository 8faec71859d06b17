"""Credit holds for requests: Redis splits holds off a lease that Postgres granted (D1–D9).

Guarantees that no request runs without a hold: a shared lease, or a private one while Redis is
away, or no request at all. Never decides a price; amounts are nano-USD given by the caller.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple

from gatewayz.billing.slot import OUTBOXES, OUTBOXES_KEY, RedisAway, call_admit
from gatewayz.billing.spending import Spending
from gatewayz.core.errors import (
    DependencyError,
    GatewayError,
    InsufficientCredits,
    StoreTimeout,
    StoreUnavailable,
)
from gatewayz.core.ids import new_id
from gatewayz.core.log import get_log
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)

WANT_HOLDS = 64
LOW_WATER_HOLDS = 16
MAX_STEP_NANOS = 50 * NANOS_PER_USD
# While Redis is away Postgres must answer fast, so that both being down is known in < 1 s (F10).
PRIVATE_TIMEOUT_S = 0.7
MAX_ROUNDS = 4
CANNOT_TELL = -1
Scope = tuple[str, str, int | None]


class StalePrincipal(Exception):
    """The account changed since this principal was read: read it again."""


class Ask(NamedTuple):
    """A hold wanted: `live_s` is how long it must last, `record` the message that the sweeper
    settles from when the process dies. `scopes`: (scope, period, limit or None)."""

    request_id: str
    account: str
    epoch: int
    amount_nanos: int
    live_s: float
    record: str
    scopes: tuple[Scope, ...] = ()


@dataclass(slots=True)
class Hold:
    """Credit set aside for one request. `private`: a lease of its own that closes with it."""

    request_id: str
    account: str
    lease: str
    amount_nanos: int
    private: bool


class _Flight:
    """Those of one account who wait for Postgres in this process."""

    __slots__ = ("lock", "waiting")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.waiting = 0


class Credits:
    """One per process: owns the single flight per account and the background refills."""

    def __init__(self, postgres: Postgres, redis: RedisScripts, *, lease_ttl_s: int) -> None:
        self._postgres = postgres
        self._redis = redis
        self._lease_ttl_ms = lease_ttl_s * 1000
        self._flights: dict[str, _Flight] = {}
        self._spending = Spending()
        self._background: set[asyncio.Task[Any]] = set()

    async def admit(self, ask: Ask) -> Hold:
        """A hold of the amount asked. Before any upstream call, always.

        InsufficientCredits carries `available_nanos`, what could be held; StalePrincipal when
        the account changed; StoreUnavailable when neither store can vouch for the money.
        """
        for _ in range(MAX_ROUNDS):
            try:
                hold = await self._admit_shared(ask)
            except RedisAway:
                return await self._admit_private(ask)
            if hold is not None:
                return hold
        raise StoreUnavailable("The account is too busy; retry.")

    async def checkpoint(self, hold: Hold, record: str, more_nanos: int) -> int:
        """Record progress and ask for `more_nanos`.

        What the hold grew by: all of it, 0 when there is no more credit, or CANNOT_TELL when the
        hold is private or Redis forgot it (then what exceeds it is named overage, D8).
        """
        if hold.private:
            return CANNOT_TELL
        grown, lease = await self._checkpoint(hold, record, more_nanos)
        if grown or not more_nanos:
            return grown
        need = more_nanos if lease == hold.lease else hold.amount_nanos + more_nanos
        try:
            step = await self._reserve(hold.account, need, need, live_ms=0)
        except InsufficientCredits:
            return 0
        except GatewayError:
            return CANNOT_TELL
        reply = await self._call(hold.account, "refill", *step.refill)
        await self._give_back(["", "", "", reply[1], reply[2]])
        grown, _ = await self._checkpoint(hold, record, more_nanos)
        return grown or CANNOT_TELL

    async def _checkpoint(self, hold: Hold, record: str, more_nanos: int) -> tuple[int, str]:
        """(grown or CANNOT_TELL, the lease that is current)."""
        reply = await self._call(hold.account, "checkpoint", hold.request_id, record, more_nanos)
        if reply[0] == "NONE":
            return CANNOT_TELL, ""
        grown = int(reply[1])
        if grown:
            hold.amount_nanos += grown
            hold.lease = reply[2]
        return grown, reply[2]

    async def finish(
        self, hold: Hold, charge_nanos: int, shown: str = "", *, keep_ms: int | None = None
    ) -> None:
        """Give back what the hold has over the charge; a message `shown` is found for `keep_ms`."""
        self._spending.add(hold.account, charge_nanos)
        if hold.private and not shown:
            return
        await call_admit(
            self._redis,
            hold.account,
            "finish",
            hold.request_id,
            charge_nanos,
            shown,
            keep_ms or "",
            request_id=hold.request_id if shown else None,
        )

    async def keep(self, hold: Hold, charge_nanos: int, message: str) -> None:
        """Finish, and keep a `message` that nothing else took until the sweeper settles it.

        The account is noted first: the sweeper looks for outboxes there, whatever leases are open.
        """
        self._spending.add(hold.account, charge_nanos)
        try:
            await self._redis.script(OUTBOXES, [OUTBOXES_KEY], ["add", hold.account])
        except DependencyError as error:
            raise RedisAway(error.message) from error
        await self._call(hold.account, "finish", hold.request_id, charge_nanos, message, "")

    async def find(self, account: str, request_id: str) -> tuple[str, str]:
        """("HELD" | "OUTBOX" | "SENT" | "NONE", its record or message as JSON text)."""
        reply = await call_admit(self._redis, account, "find", request_id, request_id=request_id)
        return reply[0], reply[1] if len(reply) > 1 else ""

    async def push_epoch(self, account: str, epoch: int) -> None:
        """Make older principals of the account stale in every process, at once."""
        await self._call(account, "epoch", epoch)

    async def finish_background(self) -> None:
        """Wait for the refills under way; called before an invocation or the process ends."""
        if self._background:
            await asyncio.wait(set(self._background))

    # ------------------------------------------------------------ the shared lease

    async def _admit_shared(self, ask: Ask) -> Hold | None:
        reply = await self._hold(ask)
        if reply[0] == "LEASE":
            return await self._admit_by_flight(ask)
        if reply[0] == "LOAD":
            await self._load_budgets(ask)
        return self._granted(ask, reply)

    async def _hold(self, ask: Ask, refill: tuple[str, ...] = ("", "", "", "")) -> list[str]:
        scopes: list[str | int] = []
        for scope, period, limit in ask.scopes:
            scopes += [f"{scope}|{period}", "" if limit is None else limit]
        arguments: tuple[str | int, ...] = (
            ask.request_id,
            ask.amount_nanos,
            round(ask.live_s * 1000),
            ask.epoch,
            ask.record,
            ask.amount_nanos * LOW_WATER_HOLDS,
        )
        try:
            return await self._call(
                ask.account, "admit", *arguments, *refill, len(ask.scopes), *scopes
            )
        except RedisAway as error:
            if not isinstance(error.__cause__, StoreTimeout):
                raise
            # The reply may be lost, not the hold: asking again answers DUP then (F05). The step
            # is not sent twice; if it was lost, closing the lease returns it.
            return await self._call(
                ask.account, "admit", *arguments, "", "", "", "", len(ask.scopes), *scopes
            )

    def _granted(self, ask: Ask, reply: list[str]) -> Hold | None:
        """The hold of a final reply; None for LEASE and LOAD, which ask for more work."""
        match reply[0]:
            case "OK" | "DUP":
                if reply[2] == "REFILL":
                    self._spawn(self._refill_ahead(ask))
                return Hold(ask.request_id, ask.account, reply[1], ask.amount_nanos, private=False)
            case "STALE_PRINCIPAL":
                raise StalePrincipal
            case "POOR":
                raise _too_poor(int(reply[1]))
            case "BUDGET":
                raise InsufficientCredits(
                    "A spending limit is reached.",
                    code="budget_exceeded",
                    metadata={"scope": reply[1].split("|")[0], "available_nanos": int(reply[2])},
                )
        return None

    async def _admit_by_flight(self, ask: Ask) -> Hold | None:
        """One flight per account asks Postgres; the others wait for it and look again (D3)."""
        flight = self._flights.setdefault(ask.account, _Flight())
        flight.waiting += 1
        try:
            async with flight.lock:
                reply = await self._hold(ask)
                if reply[0] != "LEASE":
                    return self._granted(ask, reply)
                need = ask.amount_nanos - int(reply[2])
                try:
                    step = await self._reserve(
                        ask.account, need, self._want(ask), live_ms=round(ask.live_s * 1000)
                    )
                except InsufficientCredits as refusal:
                    return await self._refused(ask, refusal)
                if step.epoch > ask.epoch:
                    reply = await self._call(ask.account, "refill", *step.refill)
                    await self._give_back(["", "", "", reply[1], reply[2]])
                    await self.push_epoch(ask.account, step.epoch)
                    raise StalePrincipal
                reply = await self._hold(ask, step.refill)
                await self._give_back(reply)
                return self._granted(ask, reply)
        finally:
            flight.waiting -= 1
            if not flight.waiting:
                del self._flights[ask.account]

    async def _refused(self, ask: Ask, refusal: InsufficientCredits) -> Hold | None:
        """Postgres has too little: a hold may have been released meanwhile, so look once more."""
        reply = await self._hold(ask)
        if reply[0] != "LEASE":
            return self._granted(ask, reply)
        has = int(refusal.metadata["available_nanos"])
        await self._call(ask.account, "poor", has)
        raise _too_poor(int(reply[2]) + has, refusal.code) from refusal

    async def _refill_ahead(self, ask: Ask) -> None:
        """Top the lease up before it runs dry, off the request path (D4)."""
        try:
            step = await self._reserve(
                ask.account, 1, self._want(ask), live_ms=round(ask.live_s * 1000)
            )
            reply = await self._call(ask.account, "refill", *step.refill)
            if step.epoch > ask.epoch:
                await self.push_epoch(ask.account, step.epoch)
            await self._give_back(["", "", "", reply[1], reply[2]])
        except GatewayError as error:
            log.info("refill_skipped", account=ask.account, error=error.metric)

    async def _give_back(self, reply: list[str]) -> None:
        """What a refill displaced returns to the wallet; if this fails, closing returns it."""
        lease, amount = reply[3], int(reply[4] or 0)
        if not lease or amount <= 0:
            return
        try:
            await self._postgres.rpc(
                "give_back_credit", {"op_id": new_id("gb_"), "lease": lease, "amount": amount}
            )
        except GatewayError as error:
            log.warning("give_back_failed", lease=lease, amount_nanos=amount, error=error.metric)

    async def _reserve(self, account: str, need: int, want: int, *, live_ms: int) -> "_Step":
        op_id = new_id("op_")
        row = await self._postgres.rpc(
            "reserve_credit",
            {
                "op_id": op_id,
                "account": account,
                "need": need,
                "want": max(need, want),
                "live_ms": live_ms,
                "ttl_ms": self._lease_ttl_ms,
                "private": False,
            },
        )
        return _Step(row["lease"], op_id, row["step"], row["left_ms"], row["epoch"])

    async def _load_budgets(self, ask: Ask) -> None:
        pairs = [[scope, period] for scope, period, _ in ask.scopes]
        rows = await self._postgres.rpc("load_budgets", {"account": ask.account, "scopes": pairs})
        flat: list[str | int] = []
        for field, used in rows:
            flat += [field, used]
        await self._call(ask.account, "load", *flat)

    def _call(
        self, account: str, operation: str, *rest: str | int
    ) -> Coroutine[Any, Any, list[Any]]:
        return call_admit(self._redis, account, operation, *rest)

    # ------------------------------------------------------------ Redis is away

    async def _admit_private(self, ask: Ask) -> Hold:
        """A lease of its own in Postgres: slower, and just as exact (F01)."""
        row = await self._postgres.rpc(
            "reserve_credit",
            {
                "op_id": "p:" + ask.request_id,
                "account": ask.account,
                "need": ask.amount_nanos,
                "want": ask.amount_nanos,
                "live_ms": round(ask.live_s * 1000),
                "ttl_ms": round(ask.live_s * 1000),
                "private": True,
                "record": ask.record,
                "scopes": [list(scope) for scope in ask.scopes],
            },
            timeout_s=PRIVATE_TIMEOUT_S,
        )
        hold = Hold(ask.request_id, ask.account, row["lease"], ask.amount_nanos, private=True)
        if row["epoch"] > ask.epoch:
            await self._postgres.rpc("close_lease", {"lease": hold.lease})
            raise StalePrincipal
        return hold

    # ------------------------------------------------------------ how much to ask for

    def _want(self, ask: Ask) -> int:
        recent_nanos = self._spending.lately(ask.account)
        return min(max(WANT_HOLDS * ask.amount_nanos, 2 * recent_nanos), MAX_STEP_NANOS)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


@dataclass(frozen=True, slots=True)
class _Step:
    """A block that Postgres moved into a lease, as the script takes it."""

    lease: str
    op_id: str
    step_nanos: int
    left_ms: int
    epoch: int

    @property
    def refill(self) -> tuple[str, ...]:
        return (self.lease, self.op_id, str(self.step_nanos), str(self.left_ms))


def _too_poor(available_nanos: int, code: str | None = None) -> InsufficientCredits:
    return InsufficientCredits(
        "Not enough credits for this request.",
        code=code,
        metadata={"available_nanos": available_nanos},
    )
