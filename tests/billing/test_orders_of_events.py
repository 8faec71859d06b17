"""A random history of payments, refunds, disputes and periods, told in any order and twice, ends in
one state: the one that an oracle reads off the last facts alone. The worker's last step is played,
`apply_payment` and its kin, with facts as old as the event: a worker may have read them long ago.
"""

import random
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson
import pytest

CENT = 10_000_000
TERMS = {"bonus_nanos": 500 * CENT, "bonus_least_cents": 500, "referral_nanos": 1000 * CENT,
         "referral_least_cents": 1000}  # fmt: skip
REFUND = (["succeeded"], ["pending", "succeeded"], ["pending", "failed"], ["succeeded", "failed"])
DISPUTE = (["needs_response", "lost"], ["needs_response", "under_review", "won"],
           ["warning_needs_response"], ["needs_response"])  # fmt: skip
# One history in very many orders, and others in fewer.
ORDERS = (200, 20, 20, 20, 20, 20)


@dataclass
class Payment:
    """What Stripe knows of one payment, and everything that it ever said of it."""

    name: str
    account: str
    cents: int
    tax_cents: int
    fingerprint: str
    received: int = 0
    reversals: dict[str, tuple[str, int, str]] = field(default_factory=dict)
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def credit(self) -> int:
        return self.cents * 95 * CENT // 100

    def tell(self, status: str) -> None:
        def of(kind: str) -> list[dict[str, Any]]:
            return [
                {"id": name, "amount_cents": cents, "status": state}
                for name, (its, cents, state) in self.reversals.items()
                if its == kind
            ]

        self.told.append(
            {
                "intent": f"pi_{self.name}", "status": status, "received_cents": self.received,
                "tax_cents": self.tax_cents, "currency": "usd", "customer": None,
                "payment_id": f"pay_{self.name}", "fingerprint": self.fingerprint,
                "failure": "card_declined" if status == "requires_payment_method" else None,
                "refunds": of("refund"), "disputes": of("dispute"),
            }
        )  # fmt: skip


class History:
    """Two accounts, one of which referred the other; `events` are (function, arguments)."""

    def __init__(self, chance: random.Random) -> None:
        self.payments = [self._payment(chance, number) for number in range(chance.randint(2, 4))]
        self.allowances = [
            (period, plan, nanos * CENT)
            for period in range(chance.randint(0, 3))
            for plan, nanos in chance.sample([("dev", 1500), ("team", 15000)], chance.randint(1, 2))
        ]

    def _payment(self, chance: random.Random, number: int) -> Payment:
        account = "referee" if number == 0 else chance.choice(["referee", "giver"])
        cents = chance.choice([500, 999, 1000, 3333])
        card = chance.choice(["card-a", f"card-{account}"])
        paid = Payment(f"p{number}", account, cents, chance.choice([0, 0, 77]), card)
        for status in chance.choice([[], ["processing"], ["requires_payment_method"]]):
            paid.tell(status)
        if chance.random() < 0.15:
            paid.tell("canceled")
            return paid
        paid.received = cents + paid.tax_cents
        paid.tell("succeeded")
        left = paid.received
        for each in range(chance.randint(0, 3)):
            kind = chance.choice(["refund", "refund", "dispute"])
            amount = chance.randint(1, left)
            name = f"{'re' if kind == 'refund' else 'dp'}_{number}_{each}"
            for state in chance.choice(REFUND if kind == "refund" else DISPUTE):
                paid.reversals[name] = (kind, amount, state)
                paid.tell("succeeded")
            if state not in ("failed", "won"):
                left -= amount
            if not left:
                break
        return paid

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        told = [("apply_payment", facts) for paid in self.payments for facts in paid.told]
        start = 1_790_000_000_000
        told += [
            ("grant_allowance", {"subscription": "sub_1", "plan": plan, "nanos": nanos,
                                 "period_start_ms": start + period * 10**9,
                                 "period_end_ms": start + (period + 9) * 10**9})
            for period, plan, nanos in self.allowances
        ]  # fmt: skip
        return told

    # ------------------------------------------------------------------ the oracle

    def expected(self) -> dict[str, int]:
        """What each account holds, from the last facts alone."""
        held = {"referee": 0, "giver": 0}
        net = dict.fromkeys(held, 0)
        best = dict.fromkeys(held, 0)
        cards: dict[str, set[str]] = {"referee": set(), "giver": set()}
        for paid in self.payments:
            cards[paid.account].add(paid.fingerprint)
            if not paid.received:
                continue
            gone = [cents for kind, cents, state in paid.reversals.values() if _gone(kind, state)]
            held[paid.account] += paid.credit - sum(
                paid.credit * cents // paid.received for cents in gone
            )
            net[paid.account] += max(0, paid.received - paid.tax_cents - sum(gone))
            if not gone:
                best[paid.account] = max(best[paid.account], paid.cents)
        for account in held:
            held[account] += 500 * CENT if net[account] >= 500 else 0
        if best["referee"] >= 1000 and not cards["referee"] & cards["giver"]:
            held["referee"] += 1000 * CENT
            held["giver"] += 1000 * CENT
        best_of: dict[int, int] = {}
        for period, _, nanos in self.allowances:
            best_of[period] = max(best_of.get(period, 0), nanos)
        held["referee"] += sum(best_of.values())
        return held


def _gone(kind: str, state: str) -> bool:
    if kind == "refund":
        return state != "failed"
    return state in ("needs_response", "under_review", "lost")


class Ledger:
    def __init__(self, connection: "asyncpg.Connection[Any]") -> None:
        self._connection = connection

    async def call(self, name: str, params: dict[str, Any]) -> Any:
        text = await self._connection.fetchval(
            f"select api.{name}($1::text::jsonb)::text", orjson.dumps(params).decode()
        )
        return orjson.loads(text) if text else None

    async def open(self, history: History) -> None:
        for account in ("referee", "giver"):
            await self.call("open_account", {"account": account, "name": "x", "stage": "test"})
        await self._connection.execute(
            "insert into ledger.referral_codes values ('giver', 'GIVERABC');"
            "insert into ledger.referrals values ('referee', 'giver', 'GIVERABC', now());"
            "insert into ledger.subscriptions values ('sub_1', 'referee', 'dev', 'price_1',"
            " 'active', now(), now(), false, null, now(), now());"
        )
        for paid in history.payments:
            await self.call(
                "open_payment",
                {"payment_id": f"pay_{paid.name}", "account": paid.account, "kind": "topup",
                 "currency": "usd", "amount_cents": paid.cents, "credit_nanos": paid.credit},
            )  # fmt: skip

    async def play(self, events: list[tuple[str, dict[str, Any]]], owners: dict[str, str]) -> None:
        """One statement after another, sent together: what they answer is not looked at."""
        calls = []
        for name, params in events:
            calls.append((name, params))
            if name == "apply_payment":
                owner = owners[params["payment_id"]]
                calls.append(("sync_rewards", TERMS | {"account": owner}))
        await self._connection.execute(
            ";".join(f"select api.{name}($j${orjson.dumps(p).decode()}$j$)" for name, p in calls)
        )

    async def state(self) -> tuple[dict[str, int], list[tuple[Any, ...]]]:
        held = {}
        for account in ("referee", "giver"):
            row = await self._connection.fetchval(
                "select sum(balance)::bigint from ledger.books where account = $1", account
            )
            held[account] = row
        payments = await self._connection.fetch(
            "select payment_id, case when captured_cents > 0 then status end, captured_cents,"
            " refunded_cents, disputed_cents from ledger.payments order by 1"
        )
        return held, [tuple(row) for row in payments]


@pytest.mark.parametrize("seed", range(len(ORDERS)))
async def test_F74_any_order_of_events_ends_in_the_oracles_state(
    seed: int, database_url: str
) -> None:
    chance = random.Random(seed)
    history = History(chance)
    events = history.events()
    owners = {f"pay_{paid.name}": paid.account for paid in history.payments}
    connection = await asyncpg.connect(database_url)
    ledger = Ledger(connection)
    states = []
    try:
        await ledger.open(history)
        for _ in range(ORDERS[seed]):
            order = events + chance.choices(events, k=len(events) // 2)
            chance.shuffle(order)
            await connection.execute("begin")
            await ledger.play(order, owners)
            states.append(await ledger.state())
            assert states[-1][0] == history.expected(), order
            found = await connection.fetch("select * from ledger.violations")
            assert [tuple(row) for row in found] == []
            await connection.execute("rollback")
    finally:
        await connection.close()
    assert all(state == states[0] for state in states)
