"""Subscriptions, allowances and plans, at the level of the functions themselves."""

from typing import Any

from tests.contract.ledger.test_inflows import CENT, apply, holds, later, order, part, refused

DAY_MS = 86_400_000


async def sync(ledger, **fields: Any) -> Any:
    row = {
        "subscription": "sub_1", "customer": "cus_1", "plan": "dev", "price": "price_1",
        "status": "active", "period_start_ms": 1_000_000, "period_end_ms": 2_000_000,
        "cancel_at_period_end": False, "ended_at_ms": None, "read_ms": 10,
    } | fields  # fmt: skip
    return await ledger.rpc("sync_subscription", **row)


async def allow(ledger, nanos: int, plan: str = "dev", start_ms: int = 1_000_000) -> Any:
    return await ledger.rpc(
        "grant_allowance", subscription="sub_1", plan=plan, period_start_ms=start_ms,
        period_end_ms=253_402_300_000_000, nanos=nanos,
    )  # fmt: skip


async def test_a_subscription_is_its_customers_and_the_newest_reading_counts(ledger):
    await ledger.open("ann", 0)
    assert await sync(ledger) == {"problem": "unknown_customer"}
    await ledger.rpc("set_customer", account="ann", customer="cus_1")
    assert (await sync(ledger))["account"] == "ann"
    assert (await sync(ledger, plan="team", read_ms=9))["plan"] == "dev"
    assert (await sync(ledger, plan="team", read_ms=10))["plan"] == "team"
    # Known by its own name, also when the customer is not any more.
    await ledger.rpc("forget_customer", customer="cus_1")
    assert (await sync(ledger, status="past_due", read_ms=11))["status"] == "past_due"
    assert (await sync(ledger, status="canceled", read_ms=12))["status"] == "canceled"
    assert (await sync(ledger, status="active", read_ms=13))["status"] == "canceled"


async def test_a_period_is_allowed_the_best_that_was_paid_for_it(ledger):
    await ledger.open("ann", 0)
    assert (await refused(allow(ledger, 5))).startswith("PT404 subscription_not_found")
    await ledger.rpc("set_customer", account="ann", customer="cus_1")
    await sync(ledger)
    for nanos, plan, granted, held in (
        (10, "dev", 10, 10), (10, "dev", 0, 10), (25, "team", 15, 25), (7, "free", 0, 25),
    ):  # fmt: skip
        assert (await allow(ledger, nanos, plan))["granted_nanos"] == granted
        await holds(ledger, held)
    other = await allow(ledger, 4, "dev", 2_000_000)
    assert other["granted_nanos"] == 4
    await holds(ledger, 29)
    found = await ledger.rpc("find_subscription", account="ann")
    assert found["allowance_left_nanos"] == 29
    # Its end takes it from now on, and leaves what others gave.
    await ledger.rpc("grant_credit", op_id="g", account="ann", amount_nanos=3, reason="x")
    await sync(ledger, status="canceled", read_ms=11)
    assert (await ledger.rpc("find_subscription", account="ann"))["allowance_left_nanos"] == 0
    assert (await ledger.rpc("expire_wallets"))["expired_nanos"] == 29
    await holds(ledger, 3)


async def test_the_subscription_that_runs_counts_before_the_newest(ledger):
    await ledger.open("ann", 0)
    await ledger.open("bob", 0)
    await ledger.rpc("set_customer", account="ann", customer="cus_1")
    await sync(ledger)
    await later(ledger, "1 day")
    await sync(ledger, subscription="sub_2", status="incomplete_expired")
    assert (await ledger.rpc("find_subscription", account="ann"))["subscription"] == "sub_1"
    await sync(ledger, status="canceled", read_ms=11)
    assert (await ledger.rpc("find_subscription", account="ann"))["subscription"] == "sub_2"
    assert await ledger.rpc("find_subscription", account="bob") is None
    running = await ledger.rpc("list_subscriptions")
    assert running == []
    await sync(ledger, subscription="sub_3")
    await sync(ledger, subscription="sub_4", status="past_due")
    names = [row["subscription"] for row in await ledger.rpc("list_subscriptions")]
    assert names == ["sub_3", "sub_4"]
    assert len(await ledger.rpc("list_subscriptions", limit=1)) == 1
    assert [r["subscription"] for r in await ledger.rpc("list_subscriptions", after="sub_3")] == [
        "sub_4"
    ]


async def test_a_plan_from_staff_lasts_to_its_day(ledger):
    await ledger.open("ann", 0)
    await ledger.open("bob", 0)
    given = {"account": "ann", "plan": "team", "months": 1, "actor": "alice"}
    await ledger.rpc("assign_plan", **given)
    assert (await ledger.rpc("find_plan", account="ann"))["source"] == "assigned"
    assert (await ledger.rpc("find_assigned_plan", account="ann"))["plan"] == "team"
    assert (await ledger.rpc("find_plan", account="bob"))["plan"] == "free"
    assert await ledger.rpc("find_assigned_plan", account="bob") is None
    await ledger.rpc("assign_plan", **(given | {"plan": "dev"}))
    assert (await ledger.rpc("find_plan", account="ann"))["plan"] == "dev"
    assert (await ledger.rpc("notify_plan_ends"))["told"] == 0
    assert await ledger.rpc("end_plans") == []
    await later(ledger, "28 days")
    assert (await ledger.rpc("notify_plan_ends"))["told"] == 1
    assert (await ledger.rpc("notify_plan_ends"))["told"] == 0
    await later(ledger, "46 hours")
    (ending,) = await ledger.rpc("end_plans")
    assert ending["account"] == "ann"
    await later(ledger, "2 days")
    assert (await ledger.rpc("find_plan", account="ann"))["plan"] == "free"
    assert await ledger.rpc("find_assigned_plan", account="ann") is None
    assert await ledger.rpc("end_plans") == []


async def test_grace_is_a_week_from_the_first_reading_that_was_unpaid(ledger):
    await ledger.open("ann", 0)
    await ledger.rpc("set_customer", account="ann", customer="cus_1")
    now_ms = (await ledger.rpc("clock"))["now_ms"]
    week_ms = 7 * DAY_MS
    await sync(ledger, read_ms=now_ms)
    row = await sync(ledger, status="past_due", read_ms=now_ms + 1)
    assert row["grace_ends_at_ms"] == now_ms + 1 + week_ms
    row = await sync(ledger, status="past_due", read_ms=now_ms + DAY_MS)
    assert row["grace_ends_at_ms"] == now_ms + 1 + week_ms
    found = await ledger.rpc("find_plan", account="ann")
    assert (found["plan"], found["ends_at_ms"], found["blocked"]) == (
        "dev", now_ms + 1 + week_ms, None,
    )  # fmt: skip
    await later(ledger, "7 days 1 minute")
    found = await ledger.rpc("find_plan", account="ann")
    assert (found["plan"], found["blocked"]) == ("free", "past_due")
    row = await sync(ledger, status="active", read_ms=now_ms + week_ms)
    assert row["grace_ends_at_ms"] is None
    assert (await ledger.rpc("find_plan", account="ann"))["plan"] == "dev"
    notices = await ledger.rpc("list_billing_notices")
    assert [notice["kind"] for notice in notices] == ["payment_failed"]


async def test_a_debt_is_told_before_an_unpaid_plan(ledger):
    await ledger.open("ann", 0)
    await ledger.rpc("set_customer", account="ann", customer="cus_1")
    await sync(ledger, status="canceled")
    assert (await ledger.rpc("find_plan", account="ann"))["blocked"] == "canceled"
    await ledger.open("bob", 0)
    await ledger.rpc("set_customer", account="bob", customer="cus_2")
    await sync(ledger, subscription="sub_2", customer="cus_2", status="canceled")
    await ledger.rpc("note_signal", account="bob", kind="card", hash="ab" * 32)
    await ledger.rpc("start_trial", account="bob", code="REDBEARD")
    found = await ledger.rpc("find_plan", account="bob")
    assert (found["plan"], found["source"], found["blocked"]) == ("team", "trial", None)
    await order(ledger)
    await apply(ledger)
    lease = await ledger.reserve("ann", 900 * CENT)
    await ledger.settle(ledger.message(900 * CENT, lease=lease["lease"], close=True))
    await apply(ledger, refunds=[part("re_1", 1000, "succeeded")])
    assert (await ledger.rpc("find_plan", account="ann"))["blocked"] is None
    await holds(ledger, -900 * CENT)


async def test_use_is_counted_for_an_account_its_day_and_its_month(ledger):
    await ledger.connection.execute("select set_config('gatewayz.now', '2026-11-25T12:00Z', false)")
    for account, amounts in (("ann", (5, 7)), ("bob", (11,))):
        await ledger.open(account, 100)
        for nanos in amounts:
            lease = await ledger.reserve(account, nanos)
            message = ledger.message(nanos, account=account, lease=lease["lease"], close=True)
            message["lines"].append(["request", 3, 0])
            assert await ledger.settle(message) == ["posted"]

    async def used(account: str = "ann") -> Any:
        return await ledger.rpc("count_use", account=account)

    assert await used() == {
        "requests_today": 2, "requests_month": 2, "tokens_today": 12, "tokens_month": 12,
        "nanos_month": 12,
    }  # fmt: skip
    assert (await used("bob"))["tokens_month"] == 11
    await later(ledger, "11 hours 59 minutes")
    assert (await used())["requests_today"] == 2
    await later(ledger, "1 minute")
    assert ((await used())["requests_today"], (await used())["requests_month"]) == (0, 2)
    await later(ledger, "6 days")
    assert (await used())["requests_month"] == 0
