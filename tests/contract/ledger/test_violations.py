"""The view of violations: every arm reports the breakage it is there for, also after a checkpoint.

A view that cannot fail proves nothing, so each invariant is broken here by hand.
"""

import asyncpg
import pytest

# rule → statements that break it; LEASE, REQUEST and TRANSFER stand for rows of the busy ledger
BREAKAGES = {
    "I1 a transfer from a book that does not exist": (
        "I1",
        """insert into ledger.transfers (id, debit, credit, amount, kind, ref, posted_at)
           values ('X', 'nowhere', 'promo', 5, 'grant', 'x', ledger.now())""",
    ),
    "I1 a transfer of a negative amount": (
        "I1",
        """alter table ledger.transfers drop constraint transfers_amount_check;
           insert into ledger.transfers (id, debit, credit, amount, kind, ref, posted_at)
           values ('X', 'fees', 'promo', -5, 'grant', 'x', ledger.now())""",
    ),
    "I1 a transfer within one book": (
        "I1",
        """alter table ledger.transfers drop constraint transfers_check;
           insert into ledger.transfers (id, debit, credit, amount, kind, ref, posted_at)
           values ('X', 'fees', 'fees', 5, 'grant', 'x', ledger.now())""",
    ),
    "I2 a balance that drifted": (
        "I2",
        "update ledger.books set balance = balance + 1 where id = 'wallet:ann:purchased'",
    ),
    "I2 a transfer that vanished": (
        "I2",
        "delete from ledger.transfers where kind = 'reserve'",
    ),
    "I3 a wallet below zero without a cause": (
        "I3",
        """update ledger.books set balance = -9000 where id = 'wallet:ann:purchased';
           insert into ledger.transfers (id, debit, credit, amount, kind, ref, posted_at)
           select 'X', id, 'fees', 9000 + (select sum(case when credit = b.id then amount
                    else -amount end) from ledger.transfers where b.id in (debit, credit)),
                  'grant', 'x', ledger.now()
             from ledger.books b where id = 'wallet:ann:purchased'""",
    ),
    "I4 held money without a lease": (
        "I4",
        "update ledger.books set balance = balance + 1 where id = 'held:ann'",
    ),
    "I4 a lease drawn beyond what was granted": (
        "I4",
        """alter table ledger.leases drop constraint leases_check;
           update ledger.leases set drawn = granted + 1 where id = 'LEASE'""",
    ),
    "I4 a lease whose sources do not add up": (
        "I4",
        "update ledger.lease_sources set amount = amount + 1 where lease = 'LEASE'",
    ),
    "I5 a lease drawn without a charge": (
        "I5",
        "update ledger.leases set drawn = drawn + 1 where id = 'LEASE'",
    ),
    "I5 a charge whose parts do not add up": (
        "I5",
        """alter table ledger.charges drop constraint charges_check;
           update ledger.charges set from_held = from_held + 1 where request_id = 'REQUEST'""",
    ),
    "I5 a charge on the wallet without a cause": (
        "I5",
        """alter table ledger.charges drop constraint charges_check1;
           update ledger.charges set cause = 'late' where request_id = 'REQUEST'""",
    ),
    "I6 a top-up posted twice": (
        "I6",
        """insert into ledger.transfers (id, debit, credit, amount, kind, ref, posted_at)
           select 'X', debit, credit, amount, kind, ref, posted_at
             from ledger.transfers where kind = 'topup' order by id limit 1""",
    ),
    "I6 a top-up without its operation": (
        "I6",
        "delete from ledger.operations",
    ),
    "I7 a charge that never reached revenue": (
        "I7",
        "delete from ledger.transfers where ref = 'REQUEST'",
    ),
    "I7 two charges wrong by the same amount": (
        "I7",
        """update ledger.transfers set amount = amount + case ref when 'REQUEST' then 1 else -1 end
            where kind = 'charge'""",
    ),
    "I8 credit that came from nowhere": (
        "I8",
        """insert into ledger.transfers (id, debit, credit, amount, kind, ref, posted_at)
           values ('X', 'fees', 'wallet:ann:purchased', 5, 'reserve', 'x', ledger.now());
           update ledger.books set balance = balance + 5 where id = 'wallet:ann:purchased'""",
    ),
    "I9 a charge that is not the sum of its lines": (
        "I9",
        """update ledger.charges set lines = '[["output", 1, 1000000]]'
            where request_id = 'REQUEST'""",
    ),
    "I9 a negative price": (
        "I9",
        """update ledger.charges set lines = lines || '[["input", 5, -1], ["input", 5, 1]]'
            where request_id = 'REQUEST'""",
    ),
    "I9 a cap that is not respected": (
        "I9",
        "update ledger.charges set cap = amount - 1 where request_id = 'REQUEST'",
    ),
    "I10 a failure that was charged": (
        "I10",
        "update ledger.charges set outcome = 'failed' where request_id = 'REQUEST'",
    ),
    "I14 a budget spent beyond its limit": (
        "I14",
        "update ledger.budgets set limit_nanos = 1",
    ),
    "I14 spending that no charge explains": (
        "I14",
        "update ledger.budgets set spent_nanos = spent_nanos + 1",
    ),
    "I14 a reservation that no lease explains": (
        "I14",
        "update ledger.budgets set reserved_nanos = reserved_nanos + 1",
    ),
    "I15 a charge without its request": (
        "I15",
        "delete from ledger.requests where request_id = 'REQUEST'",
    ),
}


async def busy(ledger):
    """A ledger in the middle of its work; the lease and the request to break."""
    await ledger.open(credit_nanos=100_000)
    await ledger.rpc("set_budget", account="ann", scope="key:1", period="m", limit_nanos=50_000)
    lease = (await ledger.reserve(need=5_000))["lease"]
    await ledger.reserve(need=700, private=True, scopes=[["key:1", "m", 50_000]])
    closed = (await ledger.reserve(need=300, private=True))["lease"]
    message = ledger.message(1_200, lease=lease, scopes=[["key:1", "m"]])
    await ledger.settle(message, ledger.message(80, lease=lease), ledger.message(0))
    await ledger.settle(ledger.message(350, lease=closed, close=True))
    return lease, message["request_id"]


async def test_a_busy_ledger_has_no_violations(ledger):
    await busy(ledger)
    assert await ledger.violations(from_zero=False) == []


@pytest.mark.parametrize("after_checkpoint", [False, True], ids=["fresh", "checkpoint"])
async def test_every_breakage_is_reported_under_its_rule(ledger, subtests, after_checkpoint):
    if after_checkpoint:
        await busy_before(ledger)
    lease, request_id = await busy(ledger)
    for breakage, (rule, sql) in BREAKAGES.items():
        with subtests.test(breakage):
            assert await ledger.rules() == set()
            async with ledger.undone():
                await ledger.connection.execute(
                    sql.replace("LEASE", lease).replace("REQUEST", request_id)
                )
                assert rule in await ledger.rules()


def test_every_rule_that_applies_has_a_breakage():
    told = {rule for rule, _ in BREAKAGES.values()}
    assert told == {f"I{n}" for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 14, 15)}


async def busy_before(ledger):
    await ledger.open("old", 9_000)
    await ledger.settle(ledger.message(500, account="old"))
    assert (await ledger.rpc("make_checkpoint"))["made"] is True


async def test_a_checkpoint_is_refused_while_there_is_a_violation(ledger):
    await busy(ledger)
    ledger.broken_by_hand = True
    await ledger.connection.execute("update ledger.books set balance = 1 where id = 'held:ann'")
    answer = await ledger.rpc("make_checkpoint")
    assert answer["made"] is False
    assert answer["violations"] >= 1


async def test_work_goes_on_over_several_checkpoints(ledger):
    lease, _ = await busy(ledger)
    for _ in range(4):
        assert (await ledger.rpc("make_checkpoint"))["made"] is True
        await ledger.settle(ledger.message(10, lease=lease, scopes=[["key:1", "m"]]))
        await ledger.reserve(need=100)
        assert await ledger.violations(from_zero=False) == []
        assert await ledger.violations(from_zero=True) == []
    assert await ledger.connection.fetchval("select count(*) from ledger.checkpoints") == 2


async def test_the_audit_from_zero_finds_what_a_checkpoint_has_behind_it(ledger):
    _, request_id = await busy(ledger)
    await ledger.rpc("make_checkpoint")
    ledger.broken_by_hand = True
    await ledger.connection.execute(
        "update ledger.charges set outcome = 'failed' where request_id = $1", request_id
    )
    assert await ledger.violations(from_zero=False) == []
    assert [row["rule"] for row in await ledger.violations(from_zero=True)] == ["I10"]


REFUSED = [
    "update ledger.books set balance = -1 where id = 'held:ann'",
    "update ledger.leases set drawn = granted + 1",
    "update ledger.charges set from_wallet = -1",
    "insert into ledger.transfers values ('X', 2, 'a', 'b', 0, 'grant', 'r', ledger.now())",
    "insert into ledger.transfers values ('X', 2, 'a', 'a', 1, 'grant', 'r', ledger.now())",
    "update ledger.books set balance = 5 where kind = 'system'",
]


async def test_the_tables_themselves_refuse_the_plainest_mistakes(ledger, subtests):
    await busy(ledger)
    for sql in REFUSED:
        with subtests.test(sql), pytest.raises(asyncpg.CheckViolationError):
            await ledger.connection.execute(sql)
