"""The SQL functions at their edges: the largest and the smallest that is taken, and one beyond.

Each case is one that a broken guard got past the other tests with (make mutants).
"""

import asyncpg
import pytest

CAP = 10**15  # the wallet's, in nano-USD
CHARGE_CAP = 10**13


async def refused(ledger, function, /, **params):
    """(SQLSTATE, message, detail) of a refusal; nothing of it stays."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        async with ledger.undone():
            await ledger.rpc(function, **params)
    error = caught.value
    return error.sqlstate, error.args[0], error.detail


async def test_amounts_are_taken_from_one_nano_to_the_cap(ledger):
    await ledger.open(credit_nanos=0)
    grant = {"account": "ann", "reason": "x"}
    async with ledger.undone():
        await ledger.rpc("grant_credit", op_id="1", amount_nanos=1, **grant)
        await ledger.rpc("grant_credit", op_id="2", amount_nanos=CAP - 1, **grant)
    for amount in (0, CAP + 1, 1.5, "1", True, None):
        state, _, detail = await refused(
            ledger, "grant_credit", op_id="3", amount_nanos=amount, **grant
        )
        assert state == "PT400" and "amount_nanos must be an integer" in detail
    await ledger.rpc("grant_credit", op_id="4", amount_nanos=CAP, **grant)
    state, message, room = await refused(ledger, "grant_credit", op_id="5", amount_nanos=1, **grant)
    assert (state, message, room) == ("PT409", "wallet_cap_exceeded", "0")


async def test_names_are_taken_up_to_their_length(ledger):
    for length, taken in ((64, True), (65, False)):
        name = "a" * length
        opening = {"account": name, "name": name, "stage": "test"}
        if taken:
            async with ledger.undone():
                await ledger.rpc("open_account", **opening)
        else:
            assert (await refused(ledger, "open_account", **opening))[0] == "PT400"
    for account in ("", "a:b", "-a", "a b", None, 7, {}):
        opening = {"account": account, "name": "x", "stage": "test"}
        state, _, detail = await refused(ledger, "open_account", **opening)
        assert (state, detail) == ("PT400", "account is missing or malformed")


async def test_lists_are_taken_up_to_their_length(ledger):
    await ledger.open()
    scopes = [[f"key{n}", "2026-11", None] for n in range(17)]
    reserve = {"account": "ann", "op_id": "1", "need": 1, "private": True}
    async with ledger.undone():
        await ledger.rpc("reserve_credit", scopes=scopes[:16], **reserve)
    state, _, detail = await refused(ledger, "reserve_credit", scopes=scopes, **reserve)
    assert (state, detail) == ("PT400", "scopes has more than 16 members")
    for wrong in ({"a": 1}, "scopes", 7):
        state, _, detail = await refused(ledger, "reserve_credit", scopes=wrong, **reserve)
        assert (state, detail) == ("PT400", "scopes must be an array")
    state, _, detail = await refused(ledger, "settle_charges", messages={"a": 1})
    assert (state, detail) == ("PT400", "messages must be an array")


@pytest.mark.parametrize(
    ("scope", "taken"),
    [
        (["k" * 200, "p" * 40, 10**15], True),
        (["k" * 201, "p", None], False),
        (["k", "p" * 41, None], False),
        (["k|", "p", None], False),
        (["k", "p|", None], False),
        (["", "p", None], False),
        (["k", "", None], False),
        (["k", "p", -1], False),
        (["k", "p", 1.5], False),
        ("k|p", False),
    ],
)
async def test_a_scope_is_a_name_a_period_and_a_limit(ledger, scope, taken):
    await ledger.open()
    reserve = {"account": "ann", "op_id": "1", "need": 1, "private": True, "scopes": [scope]}
    if taken:
        async with ledger.undone():
            await ledger.rpc("reserve_credit", **reserve)
    else:
        assert (await refused(ledger, "reserve_credit", **reserve))[0] == "PT400"


async def test_a_reserve_takes_the_last_nano_and_none_beyond(ledger):
    await ledger.open(credit_nanos=1000)
    async with ledger.undone():
        assert (await ledger.reserve(need=1000))["step"] == 1000
    state, message, has = await refused(
        ledger, "reserve_credit", account="ann", op_id="x", need=1001
    )
    assert (state, message, has) == ("PT402", "insufficient_credits", "1000")
    # beyond need at most a quarter of what there is
    assert (await ledger.reserve(need=10, want=900))["step"] == 250


async def test_a_reserve_is_done_once_and_belongs_to_its_account(ledger):
    await ledger.open()
    await ledger.open("bob")
    first = await ledger.reserve(need=100, op_id="same")
    assert await ledger.reserve(need=100, op_id="same") | {"left_ms": 0} == first | {"left_ms": 0}
    state, message, _ = await refused(
        ledger, "reserve_credit", account="bob", op_id="same", need=100
    )
    assert (state, message) == ("PT409", "operation_conflict")
    assert await ledger.book("held:ann") == 100


async def test_what_is_given_back_is_never_more_than_is_undrawn(ledger):
    await ledger.open(credit_nanos=10_000)
    lease = (await ledger.reserve(need=1000))["lease"]
    other = (await ledger.reserve(need=500, private=True))["lease"]
    await ledger.settle(ledger.message(400, lease=lease))
    back = {"op_id": "b1", "lease": lease, "amount": 5000}
    assert await ledger.rpc("give_back_credit", **back) == {"returned": 600}
    assert await ledger.rpc("give_back_credit", **back) == {"returned": 600}
    assert await ledger.book("held:ann") == 500
    state, message, _ = await refused(ledger, "give_back_credit", op_id="b1", lease=other, amount=1)
    assert (state, message) == ("PT409", "operation_conflict")
    assert await ledger.rpc("close_lease", lease=lease) == {"returned": 0}
    late = {"op_id": "b2", "lease": lease, "amount": 1}
    assert await ledger.rpc("give_back_credit", **late) == {"returned": 0}


async def test_a_budget_is_used_to_the_last_nano(ledger):
    await ledger.open()
    scope = ["key", "2026-11", 1000]
    reserve = {"account": "ann", "private": True, "scopes": [scope]}
    await ledger.rpc("reserve_credit", op_id="1", need=400, **reserve)
    state, message, room = await refused(ledger, "reserve_credit", op_id="2", need=601, **reserve)
    assert (state, message, room) == ("PT402", "budget_exceeded", "600")
    await ledger.rpc("reserve_credit", op_id="3", need=600, **reserve)
    state, _, room = await refused(ledger, "reserve_credit", op_id="4", need=1, **reserve)
    assert (state, room) == ("PT402", "0")


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"request_id": "req_" + "A" * 60}, None),
        ({"request_id": "req_" + "A" * 61}, "request_id is malformed"),
        ({"request_id": "req_a-b"}, "request_id is malformed"),
        ({"digest": "d" * 128}, None),
        ({"digest": "d" * 129}, "digest is missing"),
        ({"digest": ""}, "digest is missing"),
        ({"v": 2}, "v is not 1"),
        ({"outcome": "lost"}, "outcome is unknown"),
        ({"writeoff_nanos": CHARGE_CAP}, None),
        ({"writeoff_nanos": CHARGE_CAP + 1}, "writeoff is out of range"),
        ({"writeoff_nanos": -1}, "writeoff is out of range"),
        ({"charge_nanos": 1}, "charge is not the sum of its lines"),
        ({"charge_nanos": -1}, "charge is out of range"),
        ({"lines": [["output", 10**15, 1]], "charge_nanos": 10**9}, None),
        ({"lines": [["output", 10**15 + 1, 0]]}, "lines must be [class, units, price]"),
        ({"lines": [["output", 0, 10**18]]}, None),
        ({"lines": [["output", 0, 10**18 + 1]]}, "lines must be [class, units, price]"),
        ({"lines": [["output", -1, 1]]}, "lines must be [class, units, price]"),
        ({"lines": [[7, 1, 0]]}, "lines must be [class, units, price]"),
        ({"lines": [["output", 1, 1]], "charge_nanos": 1}, None),
        ({"lines": [["output", 10, 10**6]], "charge_nanos": 9, "cap_nanos": 9}, None),
        ({"lines": [["output", 10, 10**6]], "charge_nanos": 9, "cap_nanos": 8},
         "charge is not the sum of its lines"),
    ],
)  # fmt: skip
async def test_a_message_is_taken_or_refused_by_each_of_its_rules(ledger, fields, why):
    await ledger.open(credit_nanos=CAP)
    message = ledger.message() | {"digest": "d"} | fields
    (result,) = await ledger.rpc("settle_charges", messages=[message])
    if why is None:
        assert result["status"] == "posted", result
    else:
        assert (result["status"], result["error"]) == ("invalid", why)


async def test_the_largest_charge_is_taken_and_one_nano_more_is_not(ledger):
    await ledger.open(credit_nanos=CAP)
    assert await ledger.settle(ledger.message(CHARGE_CAP)) == ["posted"]
    (result,) = await ledger.rpc("settle_charges", messages=[ledger.message(CHARGE_CAP + 1)])
    assert (result["status"], result["error"]) == ("invalid", "charge is out of range")


@pytest.mark.parametrize("outcome", ["failed", "empty"])
async def test_a_failed_or_empty_request_costs_nothing(ledger, outcome):
    await ledger.open()
    assert await ledger.settle(ledger.message(0, outcome=outcome)) == ["posted"]
    (result,) = await ledger.rpc("settle_charges", messages=[ledger.message(1, outcome=outcome)])
    assert (result["status"], result["error"]) == (
        "invalid",
        "a failed or empty request is free",
    )


async def test_a_lease_pays_for_its_charges_and_the_wallet_for_what_is_beyond(ledger):
    await ledger.open(credit_nanos=10_000)
    lease = (await ledger.reserve(need=1000))["lease"]
    batch = [ledger.message(n, lease=lease) for n in (600, 400, 5)]
    assert await ledger.settle(*batch) == ["posted"] * 3
    rows = await ledger.connection.fetch(
        "select from_held, from_wallet, cause from ledger.charges order by request_id"
    )
    assert [tuple(row) for row in rows] == [(600, 0, None), (400, 0, None), (0, 5, "overage")]
    assert await ledger.book("wallet:ann:purchased") == 9000 - 5


async def test_an_account_that_nobody_opened_has_no_door(ledger):
    for function, params in (
        ("reserve_credit", {"op_id": "1", "need": 1}),
        ("grant_credit", {"op_id": "1", "amount_nanos": 1}),
        ("post_top_up", {"payment": "p", "amount_nanos": 1}),
        ("set_budget", {"scope": "key", "period": "m", "limit_nanos": 1}),
    ):
        state, message, _ = await refused(ledger, function, account="nobody", **params)
        assert (state, message) == ("PT404", "account_not_found"), function
    nowhere = "00000000-0000-0000-0000-000000000000"
    assert (await refused(ledger, "close_lease", lease=nowhere))[:2] == (
        "PT404",
        "lease_not_found",
    )
