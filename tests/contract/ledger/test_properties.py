"""Any sequence of operations leaves the ledger even, and equal to a model that only adds up."""

from dataclasses import dataclass, field
from typing import Any

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ACCOUNTS = ("ann", "bob")
SCOPE = ["key:1", "m"]

# the commoner an operation, the more often it stands here
KINDS = [
    "top_up",
    "grant",
    "reserve",
    "reserve",
    "reserve",
    "private",
    "private",
    "private",
    "settle",
    "settle",
    "settle",
    "batch",
    "batch",
    "again",
    "give_back",
    "give_back",
    "close",
    "close",
    "limit",
    "limit",
    "checkpoint",
]
OPENING_NANOS = 6_000
operations = st.tuples(
    st.sampled_from(KINDS), st.sampled_from(ACCOUNTS), st.integers(1, 2_000), st.integers(0, 5)
)


@dataclass
class Model:
    """What an account must own: what came in, less what was charged."""

    credit: dict[str, int] = field(default_factory=lambda: dict.fromkeys(ACCOUNTS, OPENING_NANOS))
    leases: list[str] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0

    def lease(self, number: int) -> str | None:
        return self.leases[number % len(self.leases)] if self.leases else None


async def act(ledger, model: Model, operation) -> None:
    kind, account, amount, number = operation
    model.step += 1
    name = f"{kind}{model.step}"
    lease = model.lease(number)
    match kind:
        case "top_up":
            await ledger.rpc("post_top_up", payment=name, account=account, amount_nanos=amount)
            model.credit[account] += amount
        case "grant":
            await ledger.rpc(
                "grant_credit", op_id=name, account=account, amount_nanos=amount,
                wallet=f"promo{number % 2}", priority=number,
            )  # fmt: skip
            model.credit[account] += amount
        case "reserve":
            step = await ledger.reserve(account, amount, op_id=name, want=amount * 3)
            model.leases.append(step["lease"])
        case "private":
            step = await ledger.reserve(
                account, amount, op_id=name, private=True, scopes=[[*SCOPE, 3_000]]
            )
            model.leases.append(step["lease"])
        case "settle" | "batch":
            count = 1 if kind == "settle" else 4
            amount = amount * (number > 0)  # also charges of nothing
            made = [
                ledger.message(
                    amount, account=account, lease=model.lease(number + n), scopes=[SCOPE],
                    close=n % 2 == 0, writeoff_nanos=number,
                )
                for n in range(count)
            ]  # fmt: skip
            assert await ledger.settle(*made) == ["posted"] * count
            model.messages += made
            model.credit[account] -= amount * count
        case "again" if model.messages:
            message = model.messages[number % len(model.messages)]
            assert await ledger.settle(message, message) == ["duplicate", "duplicate"]
        case "give_back" if lease:
            await ledger.rpc("give_back_credit", op_id=name, lease=lease, amount=amount)
        case "close" if lease:
            await ledger.rpc("close_lease", lease=lease)
        case "limit":
            scope, period = SCOPE
            await ledger.rpc(
                "set_budget", account=account, scope=scope, period=period, limit_nanos=amount
            )
        case "checkpoint":
            assert (await ledger.rpc("make_checkpoint"))["made"] is True


# one database for all examples: each runs in a transaction that is rolled back
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(sequence=st.lists(operations, min_size=15, max_size=40))
def test_any_sequence_leaves_no_violation_and_no_nano_unaccounted(property_ledger, sequence):
    property_ledger.run(play(property_ledger.ledger, sequence))


async def play(ledger, sequence) -> None:
    transaction = ledger.connection.transaction()
    await transaction.start()
    try:
        model = Model()
        for account in ACCOUNTS:
            await ledger.open(account, OPENING_NANOS)
        for operation in sequence:
            savepoint = ledger.connection.transaction()
            await savepoint.start()
            try:
                await act(ledger, model, operation)
            except asyncpg.PostgresError as refused:
                await savepoint.rollback()
                if refused.sqlstate != "PT402":
                    raise
            else:
                await savepoint.commit()
            assert await ledger.violations(from_zero=False) == [], operation
        assert await ledger.violations(from_zero=True) == []
        for account in ACCOUNTS:
            assert (await ledger.balance(account))["balance_nanos"] == model.credit[account]
        for lease in model.leases:
            await ledger.rpc("close_lease", lease=lease)
        for account in ACCOUNTS:
            assert await ledger.book(f"held:{account}") == 0
    finally:
        await transaction.rollback()
