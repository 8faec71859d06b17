"""Credit holds for requests: Redis splits holds off a lease that Postgres granted (D1–D9).

Guarantees that no request runs without a hold: a shared lease, or a private one while Redis is
away, or no request at all. Never decides a price; amounts are nano-USD given by the caller.
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from gatewayz.billing.budgets import Apart, load_budgets
from gatewayz.billing.refusals import LimitReached, Shown, over_budget, periods_of, too_poor
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
# More than what free models are lent for: a refill ahead is for those who have credit.
REFILL_LEAST_NANOS = 2
LOW_WATER_HOLDS = 16
MAX_STEP_NANOS = 50 * NANOS_PER_USD
# While Redis is away Postgres must answer fast, so that both being down is known in < 1 s (F10).
PRIVATE_TIMEOUT_S = 0.7
MAX_ROUNDS = 4
CANNOT_TELL = -1
NOTHING_SHOWN: Shown = ("", "", "", "")
Budget = tuple[str, str, int]
Reply = Coroutine[Any, Any, list[Any]]


class StalePrincipal(Exception):
    """The account changed since this principal was read: read it again."""


class Ask(NamedTuple):
    """A hold wanted: `live_s` is how long it must last, `record` the message that the sweeper
    settles from when the process dies. `lines`: the limits it is held to, as the admission script
    reads them; `budgets` those of money, (scope, kind, limit); `tokens` it will likely take, and at
    most; `key` and `per_minute` what a container without Redis limits."""

    request_id: str
    account: str
    epoch: int
    amount_nanos: int
    live_s: float
    record: str
    lines: str = ""
    budgets: tuple[Budget, ...] = ()
    tokens: int = 0
    most_tokens: int = 0
    key: str = ""
    per_minute: int = 0


@dataclass(slots=True)
class Hold:
    """Credit set aside for one request. `private`: a lease of its own that closes with it.
    `scopes`: the budgets that its charge names; `counted`: its tokens are corrected at its end;
    `shown`: what its limits leave, as the script says it (requests, tokens, trial, money)."""

    request_id: str
    account: str
    lease: str
    amount_nanos: int
    private: bool
    scopes: tuple[tuple[str, str], ...] = ()
    counted: bool = False
    shown: Shown = NOTHING_SHOWN


class Credits:
    """One per process: owns the single flight per account and the background refills."""

    def __init__(self, postgres: Postgres, redis: RedisScripts, *, lease_ttl_s: int) -> None:
        self._postgres = postgres
        self._redis = redis
        self._lease_ttl_ms = lease_ttl_s * 1000
        self._flights: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._spending = Spending()
        self._apart = Apart()
        # Limits a key within this process while Redis is away: RateLimited.
        self.stand_in: Callable[[str, int], None] | None = None
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
                if self.stand_in is not None:
                    self.stand_in(ask.key, ask.per_minute)
                return await self._admit_private(ask)
            if hold is not None:
                return hold
        raise StoreUnavailable("The account is too busy; retry.")

    async def checkpoint(self, hold: Hold, record: str, more_nanos: int) -> int:
        """Record progress and ask for `more_nanos`.

        What the hold grew by: all of it, 0 when neither credit nor budgets have room for it, or
        CANNOT_TELL when the hold is private or Redis forgot it (what exceeds it is overage, D8).
        """
        if hold.private:
            return CANNOT_TELL
        grown, lease = await self._checkpoint(hold, record, more_nanos)
        if grown or not more_nanos or lease is None:
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
        grown, lease = await self._checkpoint(hold, record, more_nanos)
        return grown if grown or lease is None else CANNOT_TELL

    async def _checkpoint(self, hold: Hold, record: str, more_nanos: int) -> tuple[int, str | None]:
        """(grown or CANNOT_TELL, the lease that is current; None when a budget is full)."""
        reply = await self._call(hold.account, "checkpoint", hold.request_id, record, more_nanos)
        if reply[0] == "NONE":
            return CANNOT_TELL, ""
        if reply[0] == "FULL":
            return 0, None
        grown = int(reply[1])
        if grown:
            hold.amount_nanos += grown
            hold.lease = reply[2]
        return grown, reply[2]

    async def finish(
        self,
        hold: Hold,
        charge_nanos: int,
        shown: str = "",
        *,
        keep_ms: int | None = None,
        tokens: int | None = None,
    ) -> None:
        """Give back what the hold has over the charge; a message `shown` is found for `keep_ms`.
        `tokens` that were used take the place of their estimate."""
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
            "" if tokens is None else tokens,
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

    @property
    def busy(self) -> bool:
        """Is a refill under way?"""
        return bool(self._background)

    async def finish_background(self) -> None:
        """Wait for the refills under way; called before an invocation or the process ends."""
        if self._background:
            await asyncio.wait(set(self._background))

    # ------------------------------------------------------------ the shared lease

    async def _admit_shared(self, ask: Ask) -> Hold | None:
        if ask.lines and ask.account in self._apart:
            await self._apart.catch_up(self._postgres, self._redis, ask.account)
        reply = await self._hold(ask)
        if reply[0] == "LEASE":
            return await self._admit_by_flight(ask)
        if reply[0] == "LOAD":
            await load_budgets(self._postgres, self._redis, ask.account)
        return self._granted(ask, reply)

    async def _hold(self, ask: Ask, refill: tuple[str, ...] = ("", "", "", "")) -> list[str]:
        limits = (ask.tokens, ask.most_tokens, ask.lines)
        arguments: tuple[str | int, ...] = (
            ask.request_id,
            ask.amount_nanos,
            round(ask.live_s * 1000),
            ask.epoch,
            ask.record,
            ask.amount_nanos * LOW_WATER_HOLDS,
        )
        try:
            return await self._call(ask.account, "admit", *arguments, *refill, *limits)
        except RedisAway as error:
            if not isinstance(error.__cause__, StoreTimeout):
                raise
            # The reply may be lost, not the hold: asking again answers DUP then (F05). The step
            # is not sent twice; if it was lost, closing the lease returns it.
            return await self._call(ask.account, "admit", *arguments, "", "", "", "", *limits)

    def _granted(self, ask: Ask, reply: list[str]) -> Hold | None:
        """The hold of a final reply; None for LEASE and LOAD, which ask for more work."""
        match reply[0]:
            case "OK" | "DUP":
                if reply[2][:6] == "REFILL":
                    self._spawn(self._refill_ahead(ask))
                hold = Hold(ask.request_id, ask.account, reply[1], ask.amount_nanos, private=False)
                if ask.lines:
                    hold.counted = reply[2][-7:] == "COUNTED"
                    hold.scopes = periods_of(reply[5])
                    hold.shown = (reply[6], reply[7], reply[8], reply[9])
                return hold
            case "STALE_PRINCIPAL":
                raise StalePrincipal
            case "POOR":
                raise too_poor(int(reply[1]))
            case "BUDGET" | "TRIAL":
                raise over_budget(reply)
            case "LIMIT":
                raise LimitReached(reply)
        return None

    def _flight(self, account: str) -> asyncio.Lock:
        """Who asks Postgres for an account; the others wait for it and look again (D3). A refill on
        its way is credit that neither store shows, so it is a flight too."""
        lock = self._flights.get(account)
        if lock is None:
            lock = self._flights[account] = asyncio.Lock()
        return lock

    async def _admit_by_flight(self, ask: Ask) -> Hold | None:
        async with self._flight(ask.account):
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

    async def _refused(self, ask: Ask, refusal: InsufficientCredits) -> Hold | None:
        """Postgres has too little: a hold may have been released meanwhile, so look once more."""
        reply = await self._hold(ask)
        if reply[0] != "LEASE":
            return self._granted(ask, reply)
        has = int(refusal.metadata["available_nanos"])
        await self._call(ask.account, "poor", has)
        raise too_poor(int(reply[2]) + has, refusal.code) from refusal

    async def _refill_ahead(self, ask: Ask) -> None:
        """Top the lease up before it runs dry, off the request path (D4)."""
        try:
            async with self._flight(ask.account):
                step = await self._reserve(
                    ask.account, REFILL_LEAST_NANOS, self._want(ask),
                    live_ms=round(ask.live_s * 1000),
                )  # fmt: skip
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

    def _call(self, account: str, operation: str, *rest: str | int) -> Reply:
        return call_admit(self._redis, account, operation, *rest)

    # ------------------------------------------------------------ Redis is away

    async def _admit_private(self, ask: Ask) -> Hold:
        """A lease of its own in Postgres: slower, and just as exact (F01)."""
        try:
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
                    "budgets": [list(budget) for budget in ask.budgets],
                },
                timeout_s=PRIVATE_TIMEOUT_S,
            )
        finally:
            self._apart.note(ask.account, limited=bool(ask.lines or ask.budgets))
        hold = Hold(ask.request_id, ask.account, row["lease"], ask.amount_nanos, private=True)
        hold.scopes = tuple((scope, period) for scope, period in row["scopes"])
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
