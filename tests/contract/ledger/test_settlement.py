"""Charge messages: posted once, in any order, alone or in a batch; a bad one harms only itself."""

import itertools

import asyncpg
import pytest

USD = 10**9


async def charge_row(ledger, request_id):
    return await ledger.connection.fetchrow(
        "select * from ledger.charges where request_id = $1", request_id
    )


async def test_a_charge_is_taken_from_its_lease(ledger):
    await ledger.open(credit_nanos=1_000)
    lease = (await ledger.reserve(need=400))["lease"]
    message = ledger.message(150, lease=lease)
    assert await ledger.settle(message) == ["posted"]
    row = await charge_row(ledger, message["request_id"])
    assert (row["from_held"], row["from_wallet"], row["cause"]) == (150, 0, None)
    assert await ledger.book("held:ann") == 250


async def test_the_same_message_again_is_a_duplicate_also_within_one_batch(ledger):
    await ledger.open()
    message = ledger.message(150)
    assert await ledger.settle(message, message) == ["posted", "duplicate"]
    assert await ledger.settle(message) == ["duplicate"]
    assert (await ledger.balance())["charged_nanos"] == 150


async def test_F82_a_settled_request_with_another_amount_is_a_conflict_and_changes_nothing(ledger):
    await ledger.open()
    message = ledger.message(150)
    other = ledger.message(9_000, request_id=message["request_id"])
    assert await ledger.settle(message) == ["posted"]
    [result] = await ledger.rpc("settle_charges", messages=[other])
    assert (result["status"], result["charge_nanos"]) == ("conflict", 150)
    assert (await ledger.balance())["charged_nanos"] == 150
    seen = await ledger.connection.fetch("select request_id, digest from ledger.conflicts")
    assert [tuple(row) for row in seen] == [(other["request_id"], other["digest"])]


async def test_two_versions_of_one_request_in_one_batch_are_posted_and_conflict(ledger):
    await ledger.open()
    message = ledger.message(150)
    other = ledger.message(9_000, request_id=message["request_id"])
    assert await ledger.settle(message, other) == ["posted", "conflict"]
    assert (await ledger.balance())["charged_nanos"] == 150


async def test_a_conflict_does_not_close_the_lease(ledger):
    await ledger.open()
    lease = (await ledger.reserve(need=400, private=True))["lease"]
    message = ledger.message(100, lease=lease)
    await ledger.settle(message)
    other = ledger.message(1, request_id=message["request_id"], lease=lease, close=True)
    assert await ledger.settle(other) == ["conflict"]
    assert await ledger.book("held:ann") == 300


async def test_a_request_id_of_another_account_is_a_conflict_not_a_second_charge(ledger):
    await ledger.open("ann")
    await ledger.open("bob")
    message = ledger.message(150)
    await ledger.settle(message)
    foreign = ledger.message(150, request_id=message["request_id"], account="bob")
    assert await ledger.settle(foreign) == ["conflict"]
    assert (await ledger.balance("bob"))["charged_nanos"] == 0


async def test_overage_falls_on_the_purchased_wallet_under_its_name(ledger):
    await ledger.open(credit_nanos=500)
    lease = (await ledger.reserve(need=100))["lease"]
    message = ledger.message(700, lease=lease)
    await ledger.settle(message)
    row = await charge_row(ledger, message["request_id"])
    assert (row["from_held"], row["from_wallet"], row["cause"]) == (100, 600, "overage")
    assert await ledger.book("wallet:ann:purchased") == -200


async def test_a_batch_fills_one_lease_in_order_and_the_rest_is_overage(ledger):
    await ledger.open(credit_nanos=1_000)
    lease = (await ledger.reserve(need=250))["lease"]
    messages = [ledger.message(100, lease=lease) for _ in range(4)]
    assert await ledger.settle(*messages) == ["posted"] * 4
    rows = [await charge_row(ledger, message["request_id"]) for message in messages]
    assert [row["from_held"] for row in rows] == [100, 100, 50, 0]
    assert [row["cause"] for row in rows] == [None, None, "overage", "overage"]


async def test_F17_a_charge_after_its_lease_was_closed_is_late(ledger):
    await ledger.open(credit_nanos=500)
    lease = (await ledger.reserve(need=100))["lease"]
    await ledger.rpc("close_lease", lease=lease)
    message = ledger.message(60, lease=lease)
    await ledger.settle(message)
    assert (await charge_row(ledger, message["request_id"]))["cause"] == "late"
    assert await ledger.book("wallet:ann:purchased") == 440


async def test_a_lease_of_another_account_pays_nothing(ledger):
    await ledger.open("ann")
    await ledger.open("bob")
    lease = (await ledger.reserve("bob", need=1_000))["lease"]
    assert await ledger.settle(ledger.message(60, lease=lease)) == ["posted"]
    assert await ledger.book("held:bob") == 1_000


async def test_a_closing_message_returns_the_rest_of_a_private_lease(ledger):
    await ledger.open(credit_nanos=1_000)
    lease = (await ledger.reserve(need=400, private=True))["lease"]
    await ledger.settle(ledger.message(150, lease=lease, close=True))
    assert await ledger.book("held:ann") == 0
    assert await ledger.book("wallet:ann:purchased") == 850


async def test_a_closing_message_never_closes_a_shared_lease(ledger):
    await ledger.open(credit_nanos=1_000)
    lease = (await ledger.reserve(need=400))["lease"]
    await ledger.settle(ledger.message(150, lease=lease, close=True))
    assert await ledger.book("held:ann") == 250


async def test_evidence_lost_is_free_and_the_cost_is_written_off(ledger):
    await ledger.open()
    message = ledger.message(0, outcome="expired", writeoff_nanos=70, reason="no_evidence")
    assert await ledger.settle(message, message) == ["posted", "duplicate"]
    moves = await ledger.connection.fetch(
        "select debit, credit, amount from ledger.transfers where kind = 'writeoff'"
    )
    assert [tuple(row) for row in moves] == [("writeoff", "payable:provider", 70)]
    assert (await ledger.balance())["charged_nanos"] == 0


async def test_every_request_leaves_a_row_also_when_it_was_free(ledger):
    await ledger.open()
    message = ledger.message(
        0, outcome="failed", finish=None, client_request_id="mine", app="shop", end_user="u1"
    )
    await ledger.settle(message)
    found = await ledger.rpc("find_generation", account="ann", request_id=message["request_id"])
    same = ("request_id", "key_id", "model", "offer", "provider", "outcome", "attempts", "app")
    same += ("client_request_id", "end_user", "admitted_at_ms", "first_token_ms", "total_ms")
    assert {name: found[name] for name in same} == {name: message[name] for name in same}
    assert found["charge_nanos"] == 0


async def test_a_generation_shows_its_receipt_and_only_to_its_account(ledger):
    await ledger.open("ann")
    await ledger.open("bob")
    lines = [["input", 1_000, 150_000], ["output", 3, 600_001]]
    message = ledger.message(lines=lines, charge_nanos=152, cost_stated_nanos=150)
    assert await ledger.settle(message) == ["posted"]
    wanted = message["request_id"]
    found = await ledger.rpc("find_generation", account="ann", request_id=wanted)
    assert (found["lines"], found["charge_nanos"]) == (lines, 152)
    assert await ledger.rpc("find_generation", account="bob", request_id=wanted) is None


async def test_requests_are_listed_newest_first_page_by_page(ledger):
    await ledger.open()
    messages = [ledger.message(1) for _ in range(5)]
    await ledger.settle(*messages)
    ids = [message["request_id"] for message in messages][::-1]
    page = await ledger.rpc("list_requests", account="ann", limit=3)
    rest = await ledger.rpc("list_requests", account="ann", limit=3, before=ids[2])
    assert [row["request_id"] for row in page + rest] == ids


async def test_a_charge_is_the_rounded_up_sum_of_its_lines(ledger):
    await ledger.open()
    lines = [["input", 1, 1], ["output", 1, 1]]
    exact = ledger.message(lines=lines, charge_nanos=1)
    assert await ledger.settle(exact) == ["posted"]


async def test_a_capped_estimate_is_charged_at_the_cap(ledger):
    await ledger.open()
    lines = [["output", 500, 1_000_000]]
    capped = ledger.message(lines=lines, charge_nanos=200, cap_nanos=200, estimated=True)
    assert await ledger.settle(capped) == ["posted"]
    assert (await charge_row(ledger, capped["request_id"]))["cap"] == 200


BAD = {
    "a wrong sum": {"charge_nanos": 151},
    "a negative charge": {"charge_nanos": -1, "lines": []},
    "a fraction": {"charge_nanos": 150.5},
    "a charge above the maximum": {
        "charge_nanos": 10_001 * USD,
        "lines": [["output", 10_001 * USD, 1_000_000]],
    },
    "a number beyond 64 bits": {"charge_nanos": 10**30},
    "a paid failure": {"outcome": "failed"},
    "a paid empty answer": {"outcome": "empty"},
    "an unknown outcome": {"outcome": "great"},
    "no outcome": {"outcome": None},
    "an unknown account": {"account": "nobody"},
    "no account": {"account": None},
    "a malformed request id": {"request_id": "x'; drop table"},
    "no request id": {"request_id": None},
    "no digest": {"digest": None},
    "a newer version": {"v": 2},
    "a malformed lease": {"lease": "not-a-uuid"},
    "negative units": {"lines": [["output", -150, -1_000_000]]},
    "lines of another shape": {"lines": {"output": 150}},
    "a line without a price": {"lines": [["output", 150]]},
    "a cap above the charge that is used": {"charge_nanos": 149, "cap_nanos": 200},
    "a negative writeoff": {"writeoff_nanos": -1},
}


async def test_F16_a_bad_message_is_invalid_and_its_nine_neighbours_are_posted(ledger, subtests):
    await ledger.open()
    for fault, fields in BAD.items():
        with subtests.test(fault):
            async with ledger.undone():
                good = [ledger.message(150) for _ in range(9)]
                bad = ledger.message(150) | fields
                statuses = await ledger.settle(*good[:4], bad, *good[4:])
                assert statuses == ["posted"] * 4 + ["invalid"] + ["posted"] * 5
                assert (await ledger.balance())["charged_nanos"] == 9 * 150


async def test_an_invalid_message_says_why(ledger):
    await ledger.open()
    [result] = await ledger.rpc("settle_charges", messages=[ledger.message(5) | {"lines": []}])
    assert result["error"] == "charge is not the sum of its lines"


async def test_junk_in_place_of_a_message_is_invalid(ledger, subtests):
    await ledger.open()
    for junk in (None, 7, "text", [], {}):
        with subtests.test(repr(junk)):
            assert await ledger.settle(ledger.message(1), junk) == ["posted", "invalid"]


async def test_an_empty_batch_settles_nothing(ledger):
    assert await ledger.settle() == []


async def test_a_batch_of_many_accounts_is_posted_whole(ledger):
    leases = {}
    for account in ("ann", "bob", "cat"):
        await ledger.open(account, 1_000)
        leases[account] = (await ledger.reserve(account, need=500))["lease"]
    messages = [
        ledger.message(10, account=account, lease=leases[account])
        for account in ("cat", "ann", "bob") * 30
    ]
    assert await ledger.settle(*messages) == ["posted"] * 90
    for account in leases:
        assert await ledger.book(f"held:{account}") == 200


async def test_F15_settle_sweep_and_close_end_alike_in_every_order(ledger):
    """One request: its charge, its redelivery, what the sweeper would settle, closing, a gift
    back. Whatever comes first, one charge stands and the money comes out even."""
    ends = set()
    for number, order in enumerate(itertools.permutations(range(4))):
        account = await ledger.open(f"acct{number}", 1_000)
        lease = (await ledger.reserve(account, need=400))["lease"]
        message = ledger.message(150, account=account, lease=lease)
        steps = [
            ("settle_charges", {"messages": [message]}),
            ("settle_charges", {"messages": [message, message]}),
            ("close_lease", {"lease": lease}),
            ("give_back_credit", {"op_id": f"g{number}", "lease": lease, "amount": 50}),
        ]
        for index in order:
            await ledger.rpc(steps[index][0], **steps[index][1])
        balance = await ledger.balance(account)
        ends.add((balance["balance_nanos"], balance["held_nanos"], balance["charged_nanos"]))
    assert ends == {(850, 0, 150)}


async def test_F15_sweeper_and_charge_of_one_private_lease_in_either_order(ledger):
    for first in (0, 1):
        account = await ledger.open(f"acct{first}", 1_000)
        lease = (await ledger.reserve(account, need=400, private=True))["lease"]
        charge = ledger.message(150, account=account, lease=lease, close=True)
        swept = ledger.message(
            0, account=account, lease=lease, close=True, request_id=charge["request_id"],
            outcome="expired",
        )  # fmt: skip
        pair = [charge, swept]
        assert await ledger.settle(pair[first]) == ["posted"]
        assert await ledger.settle(pair[1 - first]) == ["conflict"]
        assert await ledger.book(f"held:{account}") == 0


async def test_a_replay_of_everything_leaves_the_same_state(ledger):
    await ledger.open(credit_nanos=10_000)
    lease = (await ledger.reserve(need=500, op_id="r"))["lease"]
    messages = [ledger.message(40, lease=lease) for _ in range(20)]
    await ledger.settle(*messages)
    before = await ledger.balance()
    await ledger.reserve(need=500, op_id="r")
    await ledger.settle(*reversed(messages))
    assert await ledger.balance() == before


async def test_more_than_a_thousand_messages_at_once_are_refused(ledger):
    with pytest.raises(asyncpg.PostgresError) as refused:
        await ledger.settle(*[{}] * 1_001)
    assert refused.value.sqlstate == "PT400"


async def test_F12_what_is_not_the_fault_of_a_message_is_raised_and_posts_nothing(ledger):
    await ledger.open()
    message = ledger.message(5)
    await ledger.connection.execute("set default_transaction_read_only = on")
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await ledger.settle(message)
    await ledger.connection.execute("reset default_transaction_read_only")
    pool = await ledger.pool(1)
    async with pool.acquire() as other, other.transaction():
        await other.execute("lock table ledger.budgets in access exclusive mode")
        await ledger.connection.execute("set lock_timeout = '50ms'")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await ledger.settle(ledger.message(5, scopes=[["a", "m"]]))
    await pool.close()
    assert (await ledger.balance())["charged_nanos"] == 0
    assert await ledger.settle(message) == ["posted"]
