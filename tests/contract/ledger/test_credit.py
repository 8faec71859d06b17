"""Leases: reserved at most once, drained in order, returned in reverse; budgets of private ones."""

import asyncpg
import pytest

USD = 10**9
MINUTE_MS = 60_000


async def test_a_reserve_asked_twice_is_answered_twice_and_done_once(ledger):
    await ledger.open()
    first = await ledger.reserve(need=100, op_id="same")
    again = await ledger.reserve(need=100, op_id="same")
    assert (first["lease"], first["step"]) == (again["lease"], again["step"])
    assert await ledger.book("held:ann") == 100


async def test_an_op_id_of_another_account_is_a_conflict(ledger):
    await ledger.open("ann")
    await ledger.open("bob")
    await ledger.reserve("ann", op_id="same")
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ledger.reserve("bob", op_id="same")
    assert refused.value.sqlstate == "PT409"


@pytest.mark.parametrize(
    ("credit", "need", "want", "step"),
    [
        (1_000, 100, 100, 100),
        (1_000, 100, 200, 200),
        (1_000, 100, 900, 250),  # a quarter of what is available
        (1_000, 600, 900, 600),  # need goes before the quarter
        (1_000, 1_000, 1_000, 1_000),
        (1_000 * USD, 1, 900 * USD, 50 * USD),  # $50
        (1_000 * USD, 60 * USD, 900 * USD, 60 * USD),
    ],
)
async def test_a_step_is_what_is_wanted_within_a_quarter_and_fifty_dollars(
    ledger, credit, need, want, step
):
    await ledger.open(credit_nanos=credit)
    assert (await ledger.reserve(need=need, want=want))["step"] == step


async def test_more_than_there_is_gets_402_with_what_is_available(ledger):
    await ledger.open(credit_nanos=1_000)
    with pytest.raises(asyncpg.PostgresError, match="insufficient_credits") as refused:
        await ledger.reserve(need=1_001)
    assert (refused.value.sqlstate, refused.value.detail) == ("PT402", "1000")


@pytest.mark.parametrize(
    "params", [{"need": 0}, {"need": -5}, {"need": 5, "want": 4}, {"need": 5, "live_ms": -1}]
)
async def test_nonsense_is_refused_and_reserves_nothing(ledger, params):
    await ledger.open()
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ledger.reserve(**params)
    assert refused.value.sqlstate == "PT400"
    assert await ledger.book("held:ann") == 0


async def test_a_lease_is_topped_up_while_it_lives_long_enough_for_the_request(ledger):
    await ledger.open()
    first = await ledger.reserve(live_ms=10 * MINUTE_MS, ttl_ms=20 * MINUTE_MS)
    same = await ledger.reserve(live_ms=15 * MINUTE_MS)
    longer = await ledger.reserve(live_ms=30 * MINUTE_MS, ttl_ms=20 * MINUTE_MS)
    assert same["lease"] == first["lease"] != longer["lease"]
    assert longer["left_ms"] > 29 * MINUTE_MS


async def test_what_is_given_back_returns_once_and_never_what_was_drawn(ledger):
    await ledger.open(credit_nanos=1_000)
    lease = (await ledger.reserve(need=1_000))["lease"]
    await ledger.settle(ledger.message(300, lease=lease))
    for _ in range(2):
        answer = await ledger.rpc("give_back_credit", op_id="g", lease=lease, amount=200)
        assert answer == {"returned": 200}
    assert await ledger.book("wallet:ann:purchased") == 200
    answer = await ledger.rpc("give_back_credit", op_id="g2", lease=lease, amount=10_000)
    assert answer == {"returned": 500}


async def test_closing_returns_the_rest_once(ledger):
    await ledger.open(credit_nanos=1_000)
    lease = (await ledger.reserve(need=1_000))["lease"]
    assert await ledger.rpc("close_lease", lease=lease) == {"returned": 1_000}
    assert await ledger.rpc("close_lease", lease=lease) == {"returned": 0}
    answer = await ledger.rpc("give_back_credit", op_id="late", lease=lease, amount=10)
    assert answer == {"returned": 0}
    assert await ledger.book("wallet:ann:purchased") == 1_000


async def test_an_unknown_lease_is_not_found(ledger):
    await ledger.open()
    missing = "00000000-0000-4000-8000-000000000000"
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ledger.rpc("close_lease", lease=missing)
    assert refused.value.sqlstate == "PT404"


async def grant(ledger, wallet, amount, priority, **more):
    await ledger.rpc(
        "grant_credit",
        op_id=f"g-{wallet}",
        account="ann",
        amount_nanos=amount,
        reason="test",
        wallet=wallet,
        priority=priority,
        **more,
    )


async def wallets(ledger):
    rows = await ledger.connection.fetch(
        "select wallet, balance from ledger.books where kind = 'wallet'"
    )
    return {row["wallet"]: row["balance"] for row in rows}


async def test_wallets_drain_by_priority_and_fill_again_in_reverse(ledger):
    await ledger.open(credit_nanos=1_000)
    await grant(ledger, "promo", 300, 10, ttl_ms=MINUTE_MS)
    await grant(ledger, "allowance", 200, 20)
    lease = (await ledger.reserve(need=700))["lease"]
    assert await wallets(ledger) == {"promo": 0, "allowance": 0, "purchased": 800}
    await ledger.settle(ledger.message(350, lease=lease))
    await ledger.rpc("give_back_credit", op_id="b", lease=lease, amount=250)
    assert await wallets(ledger) == {"promo": 0, "allowance": 50, "purchased": 1_000}
    await ledger.rpc("close_lease", lease=lease)
    assert await wallets(ledger) == {"promo": 0, "allowance": 150, "purchased": 1_000}


async def test_lapsed_credit_is_neither_available_nor_drained(ledger):
    await ledger.open(credit_nanos=100)
    await grant(ledger, "promo", 900, 10, ttl_ms=1)
    await ledger.connection.execute("set gatewayz.now = '2090-01-01T00:00:00Z'")
    assert (await ledger.balance())["available_nanos"] == 100
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ledger.reserve(need=101)
    assert refused.value.detail == "100"


async def test_a_debt_of_the_purchased_wallet_lowers_what_all_wallets_offer(ledger):
    await ledger.open(credit_nanos=0)
    await grant(ledger, "promo", 500, 10)
    await ledger.settle(ledger.message(200))
    assert (await ledger.balance())["available_nanos"] == 300
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ledger.reserve(need=301)
    assert refused.value.detail == "300"
    assert (await ledger.reserve(need=300))["step"] == 300


def private(scopes=(), **more):
    return {"private": True, "scopes": list(scopes), **more}


async def test_a_private_lease_is_never_shared_and_keeps_its_record(ledger):
    await ledger.open()
    record = {"v": 1, "request_id": "req_x"}
    first = await ledger.reserve(**private(record=record))
    text = await ledger.reserve(**private(record='{"v": 1, "request_id": "req_x"}'))
    shared = await ledger.reserve()
    assert len({first["lease"], text["lease"], shared["lease"]}) == 3
    [account] = await ledger.rpc("list_sweepable", idle_ms=300_000, limit=10)
    assert [row["record"] for row in account["leases"]] == [record, record, None]


async def test_F80_private_reserves_together_never_pass_a_budget(ledger):
    await ledger.open()
    scope = ["key:key_1", "2026-11", USD]
    calls = [
        (
            "reserve_credit",
            {"op_id": f"p{n}", "account": "ann", "need": USD // 10, "want": USD // 10}
            | private([scope]),
        )
        for n in range(50)
    ]
    answers = await ledger.together(calls, connections=20)
    refused = [answer for answer in answers if isinstance(answer, asyncpg.PostgresError)]
    assert len(answers) - len(refused) == 10
    assert {(e.sqlstate, e.message, e.detail) for e in refused} == {
        ("PT402", "budget_exceeded", "0")
    }


async def test_a_refused_scope_reserves_nothing_in_the_scopes_that_had_room(ledger):
    await ledger.open()
    with pytest.raises(asyncpg.PostgresError, match="budget_exceeded") as refused:
        await ledger.reserve(need=100, **private([["a", "m", 500], ["b", "m", 99]]))
    assert refused.value.hint == "b|m"
    assert await ledger.connection.fetchval("select count(*) from ledger.budgets") == 0


async def test_settling_moves_a_budget_from_reserved_to_spent(ledger):
    await ledger.open()
    step = await ledger.reserve(need=100, **private([["a", "m", 500], ["b", "m", None]]))
    assert await ledger.rpc("load_budgets", account="ann", scopes=[["a", "m"], ["b", "m"]]) == [
        ["a|m", 100]
    ]
    await ledger.settle(
        ledger.message(60, lease=step["lease"], close=True, scopes=[["a", "m"], ["b", "m"]])
    )
    row = await ledger.connection.fetchrow("select * from ledger.budgets")
    assert (row["scope"], row["spent_nanos"], row["reserved_nanos"]) == ("a", 60, 0)


async def test_closing_a_private_lease_twice_frees_its_budget_once(ledger):
    await ledger.open()
    leases = [(await ledger.reserve(need=100, **private([["a", "m", 500]])))["lease"] for _ in "12"]
    for _ in range(2):
        await ledger.rpc("close_lease", lease=leases[0])
    assert await ledger.rpc("load_budgets", account="ann", scopes=[["a", "m"]]) == [["a|m", 100]]


async def test_charges_past_a_limit_after_a_flush_are_posted_and_known_as_overage(ledger):
    await ledger.open()
    await ledger.rpc("set_budget", account="ann", scope="a", period="m", limit_nanos=500)
    messages = [ledger.message(400, scopes=[["a", "m"]]) for _ in range(3)]
    assert await ledger.settle(*messages) == ["posted"] * 3
    row = await ledger.connection.fetchrow("select * from ledger.budgets")
    assert (row["spent_nanos"], row["overage_nanos"]) == (1_200, 700)


async def test_a_limited_scope_is_limited_in_the_next_period_too(ledger):
    await ledger.open()
    await ledger.rpc("set_budget", account="ann", scope="a", period="2026-11", limit_nanos=500)
    await ledger.settle(ledger.message(60, scopes=[["a", "2026-12"], ["b", "2026-12"]]))
    rows = await ledger.rpc("load_budgets", account="ann", scopes=[["a", "2026-12"], ["b", "x"]])
    assert rows == [["a|2026-12", 60]]


async def test_a_lowered_limit_is_known_overage_and_refuses_the_next(ledger):
    await ledger.open()
    await ledger.rpc("set_budget", account="ann", scope="a", period="m", limit_nanos=500)
    await ledger.settle(ledger.message(400, scopes=[["a", "m"]]))
    await ledger.rpc("set_budget", account="ann", scope="a", period="m", limit_nanos=100)
    assert await ledger.violations() == []
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ledger.reserve(need=1, **private([["a", "m", 100]]))
    assert refused.value.detail == "0"


async def test_sweepable_accounts_come_in_pages_with_idleness_and_expiry(ledger):
    for account in ("ann", "bob", "cat"):
        await ledger.open(account)
        await ledger.reserve(account, ttl_ms=MINUTE_MS, live_ms=0)
    first = await ledger.rpc("list_sweepable", idle_ms=10 * MINUTE_MS, limit=2)
    assert [row["account"] for row in first] == ["ann", "bob"]
    rest = await ledger.rpc("list_sweepable", idle_ms=10 * MINUTE_MS, limit=2, after="bob")
    assert [row["account"] for row in rest] == ["cat"]
    lease = rest[0]["leases"][0]
    assert lease["idle"] is False
    assert lease["expired_ms"] < 0
    await ledger.connection.execute("set gatewayz.now = '2090-01-01T00:00:00Z'")
    [*_, last] = await ledger.rpc("list_sweepable", idle_ms=10 * MINUTE_MS, limit=10)
    assert last["leases"][0]["idle"] is True
    assert last["leases"][0]["expired_ms"] > 0


async def test_F79_ten_thousand_abandoned_nanos_come_back_when_the_leases_close(ledger):
    await ledger.open(credit_nanos=10_000)
    leases = [(await ledger.reserve(need=100, **private()))["lease"] for _ in range(100)]
    assert await ledger.book("held:ann") == 10_000
    await ledger.together([("close_lease", {"lease": lease}) for lease in leases], connections=8)
    assert await ledger.book("held:ann") == 0
    assert await ledger.book("wallet:ann:purchased") == 10_000
