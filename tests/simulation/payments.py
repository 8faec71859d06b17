"""Money in and out again, as actions of the simulated world: top-ups, refunds, disputes, states and
periods of a subscription, coupons. Stripe's side is a few facts; a worker posts what it read of
them, perhaps long ago, twice, and by processes that die.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from gatewayz.stores.open import Stores
from gatewayz.stores.postgres import Postgres
from tests.simulation.world import SimulationFailed, World

CENT = 10_000_000
TERMS = {"bonus_nanos": 5 * CENT, "bonus_least_cents": 50, "referral_nanos": 10 * CENT,
         "referral_least_cents": 100}  # fmt: skip
PERIOD_MS = 40_000
# From one state of a subscription to the next.
NEXT = {
    "active": ("active", "past_due", "paused", "canceled"), "paused": ("active", "canceled"),
    "past_due": ("active", "unpaid", "canceled"), "unpaid": ("active", "canceled"),
}  # fmt: skip


@dataclass
class Paid:
    """What Stripe has of one payment now."""

    name: str
    account: str
    cents: int
    succeeded: bool = False
    reversals: dict[str, dict[str, Any]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    def facts(self) -> dict[str, Any]:
        def of(kind: str) -> list[dict[str, Any]]:
            return [dict(r) for name, r in self.reversals.items() if self.kinds[name] == kind]

        return {
            "intent": f"pi_{self.name}", "payment_id": f"pay_{self.name}", "currency": "usd",
            "status": "succeeded" if self.succeeded else "processing", "tax_cents": 0,
            "received_cents": self.cents if self.succeeded else 0, "customer": None,
            "fingerprint": f"card_{self.account}", "failure": None,
            "refunds": of("refund"), "disputes": of("dispute"),
        }  # fmt: skip

    @property
    def gone_cents(self) -> list[int]:
        return [
            r["amount_cents"]
            for r in self.reversals.values()
            if r["status"] not in ("failed", "won")
        ]

    @property
    def credit(self) -> int:
        return self.cents * CENT * 95 // 100

    @property
    def left_nanos(self) -> int:
        if not self.succeeded:
            return 0
        return self.credit - sum(self.credit * c // self.cents for c in self.gone_cents)


@dataclass
class Subscribed:
    """What Stripe has of a subscription now. `read_ms` counts the looks at it: each is newer."""

    account: str
    status: str = "active"
    plan: str = "dev"
    period: int = 0
    looks: int = 0

    def facts(self) -> dict[str, Any]:
        self.looks += 1
        return {
            "subscription": f"sub_{self.account}", "customer": f"cus_{self.account}",
            "plan": self.plan, "price": f"price_{self.plan}", "status": self.status,
            "period_start_ms": self.period * PERIOD_MS, "period_end_ms": 2**42,
            "cancel_at_period_end": False, "ended_at_ms": None, "read_ms": 2**41 + self.looks,
        }  # fmt: skip

    @property
    def runs(self) -> bool:
        return self.status in ("active", "trialing", "past_due")


class Payments:
    """Decisions are drawn by a chance of its own: the histories of requests stay what they were."""

    def __init__(self, world: World, accounts: list[str], seed: int) -> None:
        self._world, self._accounts = world, accounts
        self._chance = random.Random(seed * 7919 + 1)
        self.paid: list[Paid] = []
        self.allowances: dict[str, dict[int, int]] = {account: {} for account in accounts}
        self.subscriptions = {account: Subscribed(account) for account in accounts}
        self._read: list[dict[str, Any]] = []
        self._stale: list[dict[str, Any]] = []
        self._numbers = 0

    async def open(self, postgres: Postgres, connection: "asyncpg.Connection[Any]") -> None:
        giver, referee = self._accounts[:2]
        await connection.execute(
            f"insert into ledger.referral_codes values ('{giver}', 'GIVERABC');"
            f"insert into ledger.referrals values ('{referee}', '{giver}', 'GIVERABC', now());"
        )
        for account in self._accounts:
            await connection.execute(
                f"insert into ledger.subscriptions values ('sub_{account}', '{account}', 'dev',"
                " 'price_1', 'active', now(), now(), false, null, to_timestamp(0), now())"
            )
        await postgres.rpc(
            "create_coupon",
            {"code": "ONCE", "value_nanos": 7 * CENT, "valid_ms": 10**10, "max_uses": 1,
             "credit_ttl_ms": 60_000, "actor": "x"},
        )  # fmt: skip

    async def act(self, stores: Stores) -> None:
        """One thing happens at Stripe or here, and a worker posts what it knows."""
        match self._chance.randrange(8):
            case 0 | 1:
                await self._order(stores)
            case 2:
                self._reverse()
            case 3:
                self._move_on()
            case 4:
                await self._period(stores)
            case 5:
                account = self._chance.choice(self._accounts)
                await stores.postgres.rpc("redeem_coupon", {"account": account, "code": "once"})
            case 6:
                await stores.postgres.rpc("expire_wallets", {})
            case 7:
                self._change(self.subscriptions[self._chance.choice(self._accounts)])
        await self._work(stores)

    async def _order(self, stores: Stores) -> None:
        self._numbers += 1
        paid = Paid(
            f"s{self._numbers}", self._chance.choice(self._accounts), self._chance.choice([60, 100])
        )
        # Written before Stripe hears of it: what failed here was never ordered there.
        await self._open(stores.postgres, paid)
        self.paid.append(paid)

    async def _open(self, postgres: Postgres, paid: Paid) -> None:
        await postgres.rpc(
            "open_payment",
            {"payment_id": f"pay_{paid.name}", "account": paid.account, "kind": "topup",
             "currency": "usd", "amount_cents": paid.cents, "credit_nanos": paid.credit},
        )  # fmt: skip

    def _reverse(self) -> None:
        candidates = [p for p in self.paid if p.succeeded and sum(p.gone_cents) < p.cents]
        if not candidates:
            return
        paid = self._chance.choice(candidates)
        kind = self._chance.choice(["refund", "dispute"])
        name = f"{'re' if kind == 'refund' else 'dp'}_{paid.name}_{len(paid.reversals)}"
        amount = self._chance.randint(1, paid.cents - sum(paid.gone_cents))
        status = "pending" if kind == "refund" else "needs_response"
        paid.reversals[name] = {"id": name, "amount_cents": amount, "status": status}
        paid.kinds[name] = kind

    def _move_on(self) -> None:
        """What is open at Stripe ends one way or the other."""
        for paid in self.paid:
            if not paid.succeeded and self._chance.random() < 0.7:
                paid.succeeded = True
            for name, reversal in paid.reversals.items():
                ends = {"pending": ("succeeded", "failed"), "needs_response": ("won", "lost")}
                if reversal["status"] in ends and self._chance.random() < 0.5:
                    reversal["status"] = self._chance.choice(ends[reversal["status"]])
                assert name in paid.kinds

    def _change(self, held: Subscribed) -> None:
        """The next state that Stripe's clock or a customer may bring; canceled is the last."""
        if held.status == "canceled":
            return
        held.status = self._chance.choice(NEXT[held.status])
        if held.status == "active":
            held.plan = self._chance.choice(["dev", "team"])
            held.period += 1

    async def _period(self, stores: Stores) -> None:
        account = self._chance.choice(self._accounts)
        period, nanos = self._chance.randrange(3), self._chance.choice([5, 20]) * CENT
        await self._allow(stores.postgres, account, period, nanos)

    async def _allow(self, postgres: Postgres, account: str, period: int, nanos: int) -> None:
        known = self.allowances[account]
        known[period] = max(known.get(period, 0), nanos)
        await postgres.rpc(
            "grant_allowance",
            {"subscription": f"sub_{account}", "plan": f"plan-{nanos}", "nanos": nanos,
             "period_start_ms": period * PERIOD_MS, "period_end_ms": 2**42},
        )  # fmt: skip

    async def _work(self, stores: Stores) -> None:
        """A worker posts facts that it read now, or that another read long ago."""
        for paid in self.paid:
            if self._chance.random() < 0.4:
                self._stale.append(paid.facts())
        self._chance.shuffle(self._stale)
        for held in self.subscriptions.values():
            if self._chance.random() < 0.2:
                self._read.append(held.facts())
        self._chance.shuffle(self._read)
        for facts in [self._read.pop() for _ in range(min(2, len(self._read)))]:
            await stores.postgres.rpc("sync_subscription", facts)
        for _ in range(min(3, len(self._stale))):
            facts = self._stale[-1]
            await self._post(stores.postgres, facts)
            if self._chance.random() < 0.8:
                self._stale.pop()

    async def _post(self, postgres: Postgres, facts: dict[str, Any]) -> None:
        row = await postgres.rpc("apply_payment", facts)
        await postgres.rpc("sync_rewards", TERMS | {"account": row["account"]})

    async def end(self, postgres: Postgres, connection: "asyncpg.Connection[Any]") -> None:
        """Everything is told once more; then what came in is what the oracle says."""
        for paid in self.paid:
            await self._open(postgres, paid)
            await self._post(postgres, paid.facts())
        for account, periods in self.allowances.items():
            for period, nanos in periods.items():
                await self._allow(postgres, account, period, nanos)
        for held in self.subscriptions.values():
            await postgres.rpc("sync_subscription", held.facts())
            found = await postgres.rpc("find_plan", {"account": held.account})
            wanted = held.plan if held.runs else "free"
            if found["plan"] != wanted:
                raise SimulationFailed(f"{held.account}: {found} and {held} at Stripe")
        rows = await connection.fetch(
            "select account, sum(amount)::bigint as nanos from ledger.operations"
            " where kind not in ('grant', 'coupon', 'expiry') group by account"
        )
        posted = {row["account"]: row["nanos"] for row in rows}
        for account in self._accounts:
            expected = self._expected(account)
            if posted.get(account, 0) != expected:
                raise SimulationFailed(
                    f"{account}: {posted.get(account, 0)} came in, the oracle says {expected}"
                )

    def _expected(self, account: str) -> int:
        own = [p for p in self.paid if p.account == account]
        total = sum(p.left_nanos for p in own) + sum(self.allowances[account].values())
        net = sum(max(0, p.cents - sum(p.gone_cents)) for p in own if p.succeeded)
        total += TERMS["bonus_nanos"] if net >= TERMS["bonus_least_cents"] else 0
        giver, referee = self._accounts[:2]
        best = [p.cents for p in self.paid
                if p.account == referee and p.succeeded and not p.gone_cents]  # fmt: skip
        if max(best, default=0) >= TERMS["referral_least_cents"]:
            total += TERMS["referral_nanos"] if account in (giver, referee) else 0
        return total

    @property
    def took_back(self) -> bool:
        """Whether a wallet may be below zero for it."""
        return any(p.reversals for p in self.paid)
