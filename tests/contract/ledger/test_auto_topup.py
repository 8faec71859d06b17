"""Automatic top-ups and daily caps, at the level of the functions themselves."""

from typing import Any

import pytest

from tests.contract.ledger.test_inflows import CENT, apply, later, order, part, refused

DAY_MOST = 5000


async def wish(ledger, account: str = "ann", **fields: Any) -> Any:
    return await ledger.rpc(
        "set_auto_topup",
        **{"account": account, "enabled": True, "threshold_nanos": 100, "amount_cents": 2000,
           "month_cap_cents": 4000, **fields},
    )  # fmt: skip


async def due(ledger) -> list[tuple[str, int]]:
    return [(row["account"], row["epoch"]) for row in await ledger.rpc("take_due_topups")]


async def begin(ledger, epoch: int, account: str = "ann") -> Any:
    return await ledger.rpc(
        "begin_auto_topup", account=account, epoch=epoch, payment_id=f"pay_auto_{epoch}",
        day_most=DAY_MOST,
    )  # fmt: skip


async def end(ledger, epoch: int, *, paid: bool, problem: str | None = None) -> Any:
    return await ledger.rpc(
        "end_auto_topup", account="ann", epoch=epoch, paid=paid, problem=problem
    )


async def spend(ledger, nanos: int, account: str = "ann") -> None:
    lease = await ledger.reserve(account, nanos)
    message = ledger.message(nanos, account=account, lease=lease["lease"], close=True)
    assert await ledger.settle(message) == ["posted"]


async def kinds(ledger) -> list[str]:
    return [row["kind"] for row in await ledger.rpc("list_billing_notices")]


async def test_it_is_due_below_the_threshold_and_not_at_it(ledger):
    await ledger.open("ann", 103)
    await ledger.open("bob", 1000)
    assert (await wish(ledger))["state"] == "armed"
    await wish(ledger, "bob")
    await spend(ledger, 3)
    assert await due(ledger) == []
    await spend(ledger, 1)
    assert await due(ledger) == [("ann", 1)]
    assert (await ledger.rpc("find_auto_topup", account="ann"))["state"] == "due"
    assert (await ledger.rpc("find_auto_topup", account="bob"))["state"] == "armed"
    assert await ledger.rpc("find_auto_topup", account="carl") is None
    # One crossing is one: neither more requests nor a wish makes it two.
    await spend(ledger, 1)
    assert await due(ledger) == []
    assert await ledger.violations() == []


async def test_what_was_handed_over_is_handed_over_again_after_a_while(ledger):
    await later(ledger, "0 seconds")
    await ledger.open("ann", 1)
    await wish(ledger)
    assert await due(ledger) == [("ann", 1)]
    await later(ledger, "15 minutes")
    assert await due(ledger) == []
    await later(ledger, "1 second")
    assert await due(ledger) == [("ann", 1)]


async def test_credit_that_lapsed_does_not_count_and_credit_that_is_held_does(ledger):
    await ledger.open("ann", 1000)
    await ledger.reserve("ann", 990)
    await ledger.connection.execute(
        "select ledger.enter('ann'), ledger.open_wallet('ann', 'gift', 5,"
        " ledger.now() + interval '1 hour'), ledger.operate('gift', 'coupon', 'ann', 'gift',"
        " 'promo', 50, null, null)"
    )
    assert (await wish(ledger, threshold_nanos=1050))["state"] == "armed"
    assert await ledger.rpc("mark_low_balances") == {"marked": 0}
    await later(ledger, "1 hour")
    assert await ledger.rpc("mark_low_balances") == {"marked": 1}
    assert await due(ledger) == [("ann", 1)]
    assert await ledger.rpc("mark_low_balances") == {"marked": 0}


async def test_a_crossing_is_begun_once_and_only_the_present_one(ledger):
    await ledger.open("ann", 1)
    assert await begin(ledger, 1) == {"skip": "past"}
    await wish(ledger)
    assert await begin(ledger, 2) == {"skip": "past"}
    assert (await begin(ledger, 1))["amount_cents"] == 2000
    # The same message again finds the same order, whatever the caps say by now.
    await order(ledger, "pay_auto_1", 2000, kind="auto_topup")
    assert (await begin(ledger, 1))["amount_cents"] == 2000
    assert (await end(ledger, 2, paid=True))["changed"] is False
    assert (await end(ledger, 1, paid=True))["changed"] is True
    assert (await end(ledger, 1, paid=True))["changed"] is False
    # It is still too little: that is the next crossing.
    assert await due(ledger) == [("ann", 2)]
    assert await begin(ledger, 1) == {"skip": "past"}


async def test_F78_three_failures_one_after_another_switch_it_off(ledger):
    await later(ledger, "0 seconds")
    await ledger.open("ann", 1)
    await wish(ledger)
    for number, wait in ((1, "1 hour"), (2, "2 hours")):
        assert await due(ledger) == [("ann", number)]
        await begin(ledger, number)
        row = await end(ledger, number, paid=False, problem="card_declined")
        assert (row["enabled"], row["failures"]) == (True, number)
        assert await ledger.rpc("mark_low_balances") == {"marked": 0}
        await later(ledger, wait)
        assert await ledger.rpc("mark_low_balances") == {"marked": 1}
    await begin(ledger, 3)
    row = await end(ledger, 3, paid=False, problem="card_declined")
    assert (row["enabled"], row["failures"]) == (False, 3)
    assert await kinds(ledger) == ["auto_topup_failed", "auto_topup_failed", "auto_topup_off"]
    await later(ledger, "9 hours")
    assert await ledger.rpc("mark_low_balances") == {"marked": 0}
    again = await wish(ledger)
    assert (again["failures"], again["problem"], again["state"]) == (0, None, "due")


async def test_a_success_forgets_the_failures_before_it(ledger):
    await ledger.open("ann", 1)
    await wish(ledger)
    for number in range(1, 5):
        await begin(ledger, number)
        paid = number == 2
        row = await end(ledger, number, paid=paid, problem=None if paid else "x")
        assert row["enabled"] is True, number
        if number < 4:
            await later(ledger, "3 hours")
            await ledger.rpc("mark_low_balances")


@pytest.mark.parametrize(
    ("month_cap", "paid_before", "cap"),
    [(4000, 2000, None), (3999, 2000, "monthly_cap"), (99999, 3000, None),
     (99999, 3001, "daily_cap"), (99999, 4999, "daily_cap")],
)  # fmt: skip
async def test_F78_caps_of_day_and_month_are_exact(ledger, month_cap, paid_before, cap):
    await later(ledger, "0 seconds")
    await ledger.open("ann", 1)
    await order(ledger, "pay_before", paid_before, kind="auto_topup")
    await order(ledger, "pay_by_hand", 9999)
    await order(ledger, "pay_failed", 9999, kind="auto_topup")
    await ledger.rpc("close_payment", payment_id="pay_failed", status="failed")
    await wish(ledger, month_cap_cents=month_cap)
    row = await begin(ledger, 1)
    assert row.get("skip") == cap
    if cap is None:
        return
    assert await kinds(ledger) == ["auto_topup_capped"]
    assert (await ledger.rpc("find_auto_topup", account="ann"))["problem"] == cap
    assert await ledger.rpc("mark_low_balances") == {"marked": 0}
    await later(ledger, "32 days" if cap == "monthly_cap" else "1 day")
    assert await ledger.rpc("mark_low_balances") == {"marked": 1}
    if cap == "daily_cap":
        assert "skip" not in await begin(ledger, 2)


async def test_what_is_switched_off_is_not_paid(ledger):
    await ledger.open("ann", 1)
    await wish(ledger)
    await ledger.connection.execute("update ledger.auto_topups set enabled = false")
    assert await begin(ledger, 1) == {"skip": "off"}
    off = await wish(ledger, enabled=False)
    assert (off["state"], off["enabled"]) == ("armed", False)
    assert await due(ledger) == []
    bad = wish(ledger, month_cap_cents=1999)
    assert "month_cap_cents" in await refused(bad)


async def test_a_wish_does_not_forget_what_is_being_paid(ledger):
    await ledger.open("ann", 1)
    await wish(ledger)
    await begin(ledger, 1)
    assert (await wish(ledger, amount_cents=3000))["state"] == "paying"
    await later(ledger, "16 minutes")
    assert await due(ledger) == [("ann", 1)]
    await order(ledger, "pay_auto_1", 2000, kind="auto_topup")
    assert (await ledger.rpc("find_auto_topup", account="ann"))["month_cents"] == 2000


async def test_a_halt_holds_until_the_customer_wants_it_again(ledger):
    await ledger.open("ann", 1)
    await ledger.open("bob", 1)
    await wish(ledger)
    await wish(ledger, "bob")
    halt = {"account": "ann", "problem": "fraud_warning"}
    assert (await ledger.rpc("halt_auto_topup", **halt))["halted"] is True
    assert (await ledger.rpc("halt_auto_topup", **halt))["halted"] is False
    assert await kinds(ledger) == ["auto_topup_off"]
    assert await due(ledger) == [("bob", 1)]
    assert await begin(ledger, 1) == {"skip": "past"}
    assert (await wish(ledger))["state"] == "due"


async def test_notices_are_told_once_and_marked(ledger):
    await ledger.open("ann", 0)
    note = {"account": "ann", "subscription": "sub_1", "plan": "dev", "amount_nanos": 7, "at_ms": 9}
    assert (await ledger.rpc("note_renewal", **note))["told"] is True
    assert (await ledger.rpc("note_renewal", **note))["told"] is False
    assert (await ledger.rpc("note_renewal", **(note | {"at_ms": 10})))["told"] is True
    rows = await ledger.rpc("list_billing_notices", account="ann")
    assert [row["kind"] for row in rows] == ["renewal_soon", "renewal_soon"]
    assert await ledger.rpc("list_billing_notices", account="bob") == []
    assert len(await ledger.rpc("list_billing_notices", limit=1)) == 1
    marked = await ledger.rpc("mark_notices_sent", ids=[rows[0]["id"], 999_999])
    assert marked == {"marked": 1}
    assert await ledger.rpc("mark_notices_sent", ids=[rows[0]["id"]]) == {"marked": 0}
    left = await ledger.rpc("list_billing_notices")
    assert [row["id"] for row in left] == [rows[1]["id"]]


# ---------------------------------------------------------------------- daily caps


async def test_a_day_has_room_for_its_cap_and_no_more(ledger):
    await ledger.open("ann", 10_000)
    assert (await ledger.rpc("find_daily_cap", account="ann"))["room_nanos"] is None
    await ledger.rpc("set_daily_cap", account="ann", day_nanos=1000)
    await spend(ledger, 400)
    lease = await ledger.reserve("ann", 500)
    shown = await ledger.rpc("find_daily_cap", account="ann")
    assert (shown["day_nanos"], shown["own_nanos"]) == (1000, 1000)
    assert (shown["spent_nanos"], shown["room_nanos"]) == (400, 100)
    assert (await refused(ledger.reserve("ann", 101))).startswith("PT402 budget_exceeded")
    await ledger.reserve("ann", 100)
    await ledger.rpc("close_lease", lease=lease["lease"])
    # The lower of two caps counts; a cap below what was used leaves no room.
    await ledger.connection.execute("insert into ledger.account_caps values ('ann', 'trial', 300)")
    shown = await ledger.rpc("find_daily_cap", account="ann")
    assert (shown["day_nanos"], shown["own_nanos"], shown["room_nanos"]) == (300, 1000, 0)
    gone = await ledger.rpc("set_daily_cap", account="ann", day_nanos=None)
    assert (gone["day_nanos"], gone["own_nanos"]) == (300, None)
    await ledger.open("bob", 10)
    assert (await ledger.rpc("find_daily_cap", account="bob"))["day_nanos"] is None
    assert await ledger.violations() == []


async def test_a_refund_that_empties_an_account_is_seen_by_the_daily_look(ledger):
    await ledger.open("ann", 0)
    await order(ledger)
    await apply(ledger)
    await wish(ledger, threshold_nanos=CENT)
    assert await due(ledger) == []
    await apply(ledger, refunds=[part("re_1", 1000, "succeeded")])
    assert await ledger.rpc("mark_low_balances") == {"marked": 1}
