"""Credit that staff gives or takes, at the level of the functions: caps to the nano, who agrees."""

from typing import Any

from tests.contract.ledger.test_inflows import apply, holds, later, order, refused

EACH, DAY, SECOND = 1000, 2500, 500


async def ask(ledger, name: str, nanos: int, **fields: Any) -> Any:
    return await ledger.rpc(
        "order_credit",
        **{"order_id": name, "account": "ann", "kind": "grant" if nanos > 0 else "adjustment",
           "amount_nanos": nanos, "reason": "because", "actor": "alice", "each_most": EACH,
           "day_most": DAY, "second_from": SECOND, **fields},
    )  # fmt: skip


async def decide(ledger, name: str, actor: str, approve: bool = True) -> Any:
    return await ledger.rpc("decide_credit_order", order_id=name, actor=actor, approve=approve)


async def test_one_order_is_at_most_its_cap(ledger):
    await ledger.open("ann", 0)
    assert (await refused(ask(ledger, "a", EACH + 1))).startswith("PT403 grant_cap_exceeded")
    assert (await refused(ask(ledger, "a", -EACH - 1))).startswith("PT403 grant_cap_exceeded")
    assert "invalid_amount" in await refused(ask(ledger, "a", 0, kind="adjustment"))
    assert (await ask(ledger, "a", EACH))["status"] == "pending"
    await holds(ledger, 0)


async def test_from_the_threshold_on_a_second_person_agrees(ledger):
    await ledger.open("ann", 0)
    assert (await ask(ledger, "a", SECOND))["status"] == "posted"
    assert (await ask(ledger, "b", SECOND + 1))["status"] == "pending"
    await holds(ledger, SECOND)
    assert (await refused(decide(ledger, "b", "alice"))).startswith("PT403 second_person_needed")
    assert (await refused(decide(ledger, "c", "bob"))).startswith("PT404 credit_order_not_found")
    row = await decide(ledger, "b", "bob")
    assert (row["status"], row["decided_by"], row["actor"]) == ("posted", "bob", "alice")
    assert row["balance_nanos"] == 2 * SECOND + 1
    await holds(ledger, 2 * SECOND + 1)
    assert (await refused(decide(ledger, "b", "bob"))).startswith("PT409 credit_order_decided")
    # Who asked may take it back alone.
    await ask(ledger, "d", SECOND + 1)
    assert (await decide(ledger, "d", "alice", approve=False))["status"] == "rejected"
    assert (await refused(decide(ledger, "d", "bob"))).startswith("PT409 credit_order_decided")
    await holds(ledger, 2 * SECOND + 1)


async def test_a_persons_day_has_its_cap_whatever_the_order_became(ledger):
    await later(ledger, "0 seconds")
    await ledger.open("ann", 0)
    for number in range(3):
        await ask(ledger, f"a{number}", SECOND)
    assert (await ask(ledger, "w", 2 * SECOND))["status"] == "pending"
    assert (await refused(ask(ledger, "x", 1))).startswith("PT403 daily_grant_cap_exceeded")
    # Another person has a day of their own, and agreeing counts for who asked.
    assert (await ask(ledger, "bob", SECOND, actor="bob"))["status"] == "posted"
    await decide(ledger, "w", "bob")
    assert (await ask(ledger, "bob2", SECOND, actor="bob"))["status"] == "posted"
    assert (await refused(ask(ledger, "x", 1))).startswith("PT403 daily_grant_cap_exceeded")
    await later(ledger, "1 day")
    assert (await ask(ledger, "x", 1))["status"] == "posted"


async def test_the_second_persons_own_cap_is_not_touched_by_agreeing(ledger):
    """And what somebody gave is no one else's: each has the whole of it."""
    await later(ledger, "0 seconds")
    await ledger.open("ann", 0)
    await ask(ledger, "big", EACH)
    await decide(ledger, "big", "bob")
    for number in range(5):
        assert (await ask(ledger, f"b{number}", SECOND, actor="bob"))["status"] == "posted"
    assert (await refused(ask(ledger, "more", 1, actor="bob"))).startswith(
        "PT403 daily_grant_cap_exceeded"
    )
    assert (await ask(ledger, "rest", SECOND))["status"] == "posted"


async def test_what_was_rejected_or_is_exactly_the_rest_still_fits(ledger):
    await later(ledger, "0 seconds")
    await ledger.open("ann", 0)
    await ask(ledger, "no", EACH)
    await decide(ledger, "no", "bob", approve=False)
    for number in range(5):
        await ask(ledger, f"a{number}", SECOND)
    assert (await refused(ask(ledger, "x", -1))).startswith("PT403 daily_grant_cap_exceeded")
    await holds(ledger, 5 * SECOND)


async def test_an_order_again_is_the_same_or_a_conflict(ledger):
    await ledger.open("ann", 0)
    await ledger.open("bob", 0)
    await ask(ledger, "a", 5)
    assert (await ask(ledger, "a", 5))["known"] is True
    for other in ({"account": "bob"}, {"actor": "bob"}, {"kind": "adjustment"}):
        assert (await refused(ask(ledger, "a", 5, **other))).startswith("PT409"), other
    assert (await refused(ask(ledger, "a", 6))).startswith("PT409 operation_conflict")
    await holds(ledger, 5)


async def test_taking_goes_down_to_nothing_and_no_further(ledger):
    await ledger.open("ann", 0)
    await ask(ledger, "a", 100)
    assert (await refused(ask(ledger, "b", -101))).startswith("PT409 balance_too_low")
    assert (await ask(ledger, "b", -100))["status"] == "posted"
    assert (await refused(ask(ledger, "c", -1))).startswith("PT409 balance_too_low")
    await holds(ledger, 0)


async def test_a_credit_note_is_at_most_what_was_charged_to_that_account(ledger):
    await ledger.open("ann", 0)
    await ledger.open("bob", 0)
    await ask(ledger, "g", 400)
    lease = await ledger.reserve("ann", 300)
    message = ledger.message(300, lease=lease["lease"], close=True)
    assert await ledger.settle(message) == ["posted"]

    async def note(name: str, nanos: int, **more: Any) -> Any:
        fields = {"kind": "credit_note", "request_id": message["request_id"]} | more
        return await ask(ledger, name, nanos, **fields)

    assert (await refused(note("n", 301))).startswith("PT409 more_than_charged")
    assert (await refused(note("n", 1, account="bob"))).startswith("PT404 charge_not_found")
    unknown = note("n", 1, request_id=ledger.request_id())
    assert (await refused(unknown)).startswith("PT404 charge_not_found")
    await note("n1", 100)
    await note("n2", 200)
    assert (await refused(note("n3", 1))).startswith("PT409 more_than_charged")
    await holds(ledger, 400)


async def test_orders_are_listed_by_state_the_newest_first(ledger):
    await ledger.open("ann", 0)
    for number, nanos in enumerate((1, SECOND + 1, 2)):
        await ask(ledger, f"o{number}", nanos)
        await later(ledger, "1 minute")

    async def listed(**asked: Any) -> list[str]:
        return [row["order_id"] for row in await ledger.rpc("list_credit_orders", **asked)]

    assert await listed() == ["o2", "o1", "o0"]
    assert await listed(status="pending") == ["o1"]
    assert await listed(limit=1) == ["o2"]
    summed = await ledger.rpc("summarize_credit")
    assert (summed["pending_orders"], summed["held_nanos"], summed["accounts"]) == (1, 3, 1)
    assert {row["kind"]: row["nanos"] for row in summed["kinds"]} == {"grant": 3}


async def test_movements_are_found_by_every_filter(ledger):
    await later(ledger, "0 seconds")
    await ledger.open("ann", 0)
    await ledger.open("bob", 0)
    start = (await ledger.rpc("clock"))["now_ms"]
    await ask(ledger, "a", 30)
    await later(ledger, "1 minute")
    await ask(ledger, "b", -10)
    await later(ledger, "1 minute")
    await ask(ledger, "c", 50, account="bob")
    await order(ledger)
    await apply(ledger)
    paid = 950 * 10**7

    async def amounts(**asked: Any) -> list[int]:
        found = await ledger.rpc("search_operations", **asked)
        assert found["in_nanos"] - found["out_nanos"] == sum(
            kind["nanos"] for kind in found["kinds"]
        )
        if "limit" not in asked:
            assert found["total"] == len(found["rows"])
        return [row["amount_nanos"] for row in found["rows"]]

    assert await amounts() == [paid, 50, -10, 30]
    assert await amounts(account="ann") == [paid, -10, 30]
    assert await amounts(kinds=["topup", "adjustment"]) == [paid, -10]
    assert await amounts(way="in") == [paid, 50, 30]
    assert await amounts(way="out") == [-10]
    assert await amounts(least_nanos=30, most_nanos=50) == [50, 30]
    assert await amounts(since_ms=start + 59_000, until_ms=start + 61_000) == [-10]
    assert await amounts(order="oldest") == [30, -10, 50, paid]
    assert await amounts(order="largest") == [paid, 50, 30, -10]
    assert await amounts(order="smallest") == [-10, 30, 50, paid]
    assert await amounts(limit=2, offset=1) == [50, -10]


async def test_charges_are_listed_beside_them(ledger):
    await ledger.open("ann", 1000)
    names = []
    for nanos in (5, 0, 7):
        lease = await ledger.reserve("ann", 10)
        message = ledger.message(nanos, lease=lease["lease"], close=True)
        names.append(message["request_id"])
        await ledger.settle(message)
    found = await ledger.rpc("list_usage", account="ann")
    assert [row["id"] for row in found["rows"]] == [names[2], names[0]]
    assert (found["total"], found["out_nanos"]) == (2, 12)
    page = await ledger.rpc("list_usage", account="ann", limit=1, offset=1)
    assert [row["charge_nanos"] for row in page["rows"]] == [5]
    assert (await ledger.rpc("list_usage", account="ann", since_ms=253402300799000))["total"] == 0
    assert (await ledger.rpc("list_usage", account="ann", until_ms=1))["total"] == 0
