"""What flows in, at the level of the functions themselves: orders, events, payments, operations."""

import asyncio
from typing import Any

import asyncpg
import pytest

CENT = 10**7


async def refused(call: Any) -> str:
    """The SQLSTATE and message of a refusal."""
    with pytest.raises(asyncpg.PostgresError) as caught:
        await call
    return f"{caught.value.sqlstate} {caught.value}"


async def later(ledger, span: str) -> None:
    """From now on the ledger's clock goes so much ahead."""
    now = await ledger.connection.fetchval("select ledger.now()")
    await ledger.connection.execute(
        f"select set_config('gatewayz.now', ('{now}'::timestamptz + interval '{span}')::text,"
        " false)"
    )


async def house(ledger, book: str) -> int:
    """What a book of the house has, by its transfers: no balance of it is stored."""
    value: int = await ledger.connection.fetchval(
        "select coalesce(sum(case when t.credit = $1 then t.amount else -t.amount end), 0)::bigint"
        " from ledger.transfers t where $1 in (t.debit, t.credit)", book,
    )  # fmt: skip
    return value


async def event(ledger, name: str = "evt_1", kind: str = "payment_intent.succeeded") -> Any:
    return await ledger.rpc(
        "record_stripe_event", event_id=name, type=kind, livemode=False, payload={"id": name}
    )


async def order(ledger, name: str = "pay_1", cents: int = 1000, **fields: Any) -> Any:
    return await ledger.rpc(
        "open_payment",
        **{"payment_id": name, "account": "ann", "kind": "topup", "currency": "usd",
           "amount_cents": cents, "credit_nanos": cents * CENT * 95 // 100, **fields},
    )  # fmt: skip


def facts(name: str = "1", cents: int = 1000, **fields: Any) -> dict[str, Any]:
    return {
        "intent": f"pi_{name}", "payment_id": f"pay_{name}", "status": "succeeded",
        "received_cents": cents, "currency": "usd", "customer": None, "session": None,
        "tax_cents": 0, "refunds": [], "disputes": [], **fields,
    }  # fmt: skip


async def apply(ledger, **fields: Any) -> Any:
    return await ledger.rpc("apply_payment", **facts(**fields))


async def holds(ledger, nanos: int, account: str = "ann") -> None:
    assert (await ledger.balance(account))["balance_nanos"] == nanos
    assert await ledger.violations() == []


# ------------------------------------------------------------------------- events


async def test_an_event_is_queued_until_somebody_has_queued_or_done_it(ledger):
    assert (await event(ledger))["queue"] is True
    assert (await event(ledger))["queue"] is True
    assert await ledger.rpc("mark_stripe_event", event_id="evt_1", status="queued") == {
        "found": True
    }
    assert (await event(ledger))["queue"] is False
    found = await ledger.rpc("find_stripe_event", event_id="evt_1")
    assert (found["status"], found["detail"]) == ("received", None)
    await event(ledger, "evt_2")
    assert (await ledger.rpc("find_stripe_event", event_id="evt_2"))["event_id"] == "evt_2"
    await ledger.rpc("mark_stripe_event", event_id="evt_2", status="applied", detail="paid")
    found = await ledger.rpc("find_stripe_event", event_id="evt_2")
    assert (found["status"], found["detail"]) == ("applied", "paid")
    assert (await event(ledger, "evt_2"))["queue"] is False
    assert (await ledger.rpc("find_stripe_event", event_id="evt_1"))["status"] == "received"
    assert await ledger.rpc("mark_stripe_event", event_id="evt_3", status="queued") == {
        "found": False
    }
    assert await ledger.rpc("find_stripe_event", event_id="evt_3") is None


async def test_the_first_time_of_queueing_is_kept(ledger):
    await event(ledger)
    await ledger.rpc("mark_stripe_event", event_id="evt_1", status="queued")
    first = await ledger.connection.fetchval("select queued_at from ledger.stripe_events")
    await later(ledger, "1 hour")
    await ledger.rpc("mark_stripe_event", event_id="evt_1", status="queued")
    assert await ledger.connection.fetchval("select queued_at from ledger.stripe_events") == first


async def test_events_that_wait_are_listed_by_age_and_state(ledger):
    await later(ledger, "0 seconds")
    await event(ledger, "evt_1")
    await later(ledger, "10 minutes")
    await event(ledger, "evt_2")
    await event(ledger, "evt_3")
    await ledger.rpc("mark_stripe_event", event_id="evt_3", status="ignored")

    async def listed(**asked: Any) -> list[str]:
        return [row["event_id"] for row in await ledger.rpc("list_stripe_events", **asked)]

    assert await listed() == ["evt_1", "evt_2"]
    assert await listed(older_ms=300_000) == ["evt_1"]
    assert await listed(older_ms=600_000) == ["evt_1"]
    assert await listed(older_ms=600_001) == []
    assert await listed(limit=1) == ["evt_1"]
    assert await listed(status="ignored") == ["evt_3"]
    missing = await ledger.rpc("find_missing_events", ids=["evt_1", "evt_9", "evt_2", "evt_8"])
    assert sorted(missing) == ["evt_8", "evt_9"]


# ---------------------------------------------------------------------- customers


async def test_an_account_has_one_customer_and_a_customer_one_account(ledger):
    await ledger.open("ann", 0)
    await ledger.open("bob", 0)
    assert await ledger.rpc("set_customer", account="ann", customer="cus_1") == {
        "customer": "cus_1"
    }
    assert await ledger.rpc("set_customer", account="ann", customer="cus_2") == {
        "customer": "cus_1"
    }
    refusal = await refused(ledger.rpc("set_customer", account="bob", customer="cus_1"))
    assert refusal.startswith("PT409 customer_in_use")
    await ledger.rpc("set_customer", account="bob", customer="cus_3")
    for asked, account in (
        ({"account": "ann"}, "ann"), ({"customer": "cus_3"}, "bob"),
        ({"account": "bob"}, "bob"), ({"customer": "cus_1"}, "ann"),
    ):  # fmt: skip
        assert (await ledger.rpc("find_customer", **asked))["account"] == account
    assert await ledger.rpc("find_customer", account="carl", customer="cus_9") is None
    assert await ledger.rpc("count_gone_customers", account="ann") == {"number": 0}
    assert await ledger.rpc("forget_customer", customer="cus_9") == {"forgotten": False}
    assert await ledger.rpc("forget_customer", customer="cus_1") == {"forgotten": True}
    assert await ledger.rpc("forget_customer", customer="cus_1") == {"forgotten": False}
    assert await ledger.rpc("count_gone_customers", account="ann") == {"number": 1}
    assert await ledger.rpc("count_gone_customers", account="bob") == {"number": 0}
    assert (await ledger.rpc("find_customer", account="bob"))["customer"] == "cus_3"


# ------------------------------------------------------------------------- orders


async def test_an_order_is_what_it_was_when_it_was_made(ledger):
    await ledger.open("ann", 0)
    await ledger.open("bob", 0)
    first = await order(ledger)
    assert await order(ledger) == first
    assert (first["status"], first["fee_nanos"]) == ("pending", 50 * CENT)
    assert first["captured_cents"] == 0
    for other in ({"account": "bob"}, {"amount_cents": 999}, {"credit_nanos": 1}):
        assert (await refused(order(ledger, **other))).startswith("PT409 payment_conflict"), other


async def test_an_orders_names_are_written_once(ledger):
    await ledger.open("ann", 0)
    await order(ledger)
    link = ledger.rpc
    row = await link("link_payment", payment_id="pay_1", session="cs_1")
    assert (row["session"], row["intent"], row["customer"]) == ("cs_1", None, None)
    row = await link("link_payment", payment_id="pay_1", intent="pi_1", customer="cus_1")
    assert (row["session"], row["intent"], row["customer"]) == ("cs_1", "pi_1", "cus_1")
    assert await link("link_payment", payment_id="pay_1", session="cs_1", intent="pi_1") == row
    for other in ({"session": "cs_2"}, {"intent": "pi_2"}):
        refusal = await refused(link("link_payment", payment_id="pay_1", **other))
        assert refused and refusal.startswith("PT409 payment_conflict")
    assert (await refused(link("link_payment", payment_id="pay_9", intent="pi_9"))).startswith(
        "PT404"
    )
    await order(ledger, "pay_2")
    assert (await ledger.rpc("find_payment", payment_id="pay_2"))["intent"] is None


async def test_an_order_is_found_by_each_of_its_names_and_by_its_owner_alone(ledger):
    for account in ("ann", "bob"):
        await ledger.open(account, 0)
    await order(ledger)
    await order(ledger, "pay_2", account="bob")
    await ledger.rpc("link_payment", payment_id="pay_1", session="cs_1", intent="pi_1")
    await ledger.rpc("link_payment", payment_id="pay_2", session="cs_2", intent="pi_2")
    for name in ({"payment_id": "pay_1"}, {"intent": "pi_1"}, {"session": "cs_1"}):
        assert (await ledger.rpc("find_payment", **name))["payment_id"] == "pay_1"
        assert (await ledger.rpc("find_payment", **name, account="ann"))["account"] == "ann"
        assert await ledger.rpc("find_payment", **name, account="bob") is None
    assert await ledger.rpc("find_payment", intent="pi_9") is None
    assert [p["payment_id"] for p in await ledger.rpc("list_payments", account="bob")] == ["pay_2"]


async def test_orders_are_listed_the_newest_first_and_paged(ledger):
    await later(ledger, "0 seconds")
    await ledger.open("ann", 0)
    for number in range(4):
        await order(ledger, f"pay_{number}")
        await later(ledger, "1 minute")

    async def listed(**asked: Any) -> list[str]:
        rows = await ledger.rpc("list_payments", account="ann", **asked)
        return [row["payment_id"][-1] for row in rows]

    assert await listed() == ["3", "2", "1", "0"]
    assert await listed(limit=2) == ["3", "2"]
    assert await listed(limit=2, offset=3) == ["0"]
    assert await ledger.rpc("count_payments", account="ann") == {"number": 4}
    assert await ledger.rpc("count_payments", account="bob") == {"number": 0}
    stale = await ledger.rpc("list_stale_payments", older_ms=120_000)
    assert [row["payment_id"][-1] for row in stale] == ["0", "1", "2"]
    assert len(await ledger.rpc("list_stale_payments", older_ms=240_000)) == 1
    assert await ledger.rpc("list_stale_payments", older_ms=240_001) == []


async def test_an_order_is_closed_only_while_it_is_open(ledger):
    await ledger.open("ann", 0)
    for name in ("1", "2", "3"):
        await order(ledger, f"pay_{name}")
    await ledger.rpc("link_payment", payment_id="pay_1", session="cs_1")
    closed = await ledger.rpc("close_payment", session="cs_1", status="expired")
    assert (closed["payment_id"], closed["status"]) == ("pay_1", "expired")
    assert await ledger.rpc("close_payment", session="cs_1", status="canceled") is None
    assert await ledger.rpc("close_payment", session="cs_9", status="expired") is None
    await apply(ledger, name="2")
    assert await ledger.rpc("close_payment", payment_id="pay_2", status="expired") is None
    assert (await ledger.rpc("find_payment", payment_id="pay_3"))["status"] == "pending"
    failed = await ledger.rpc("close_payment", payment_id="pay_3", status="failed")
    assert failed["status"] == "failed"
    # An order that was closed and paid all the same is credited: the money came.
    assert (await apply(ledger, name="1"))["status"] == "paid"
    await holds(ledger, 2 * 950 * CENT)


# ----------------------------------------------------------------------- payments


async def test_a_payment_is_credited_once_less_fee_and_tax(ledger):
    await ledger.open("ann", 0)
    await order(ledger)
    row = await apply(ledger, cents=1100, tax_cents=100, fingerprint="card")
    assert (row["status"], row["captured_cents"], row["tax_cents"]) == ("paid", 1100, 100)
    assert await apply(ledger, cents=1100, tax_cents=100) == row
    await holds(ledger, 950 * CENT)
    assert await house(ledger, "fees") == 50 * CENT
    assert await house(ledger, "tax:collected") == 100 * CENT
    assert await house(ledger, "cash:stripe") == -1100 * CENT
    sums = await ledger.rpc("sum_payments", since_ms=0)
    assert [(s["currency"], s["captured_cents"], s["payments"]) for s in sums] == [("usd", 1100, 1)]
    assert await ledger.rpc("sum_payments", since_ms=9007199254740991 // 2 // 1000) == []


async def test_a_subscriptions_payment_buys_no_credit_and_is_booked(ledger):
    await ledger.open("ann", 0)
    await order(ledger, kind="subscription", credit_nanos=0)
    await apply(ledger)
    await apply(ledger)
    await holds(ledger, 0)
    assert await house(ledger, "revenue:subscriptions") == 1000 * CENT
    refund = {"id": "re_1", "status": "succeeded", "amount_cents": 400}
    for _ in range(2):
        row = await apply(ledger, refunds=[refund])
    assert (row["status"], row["refunded_cents"]) == ("partially_refunded", 400)
    assert await house(ledger, "revenue:subscriptions") == 600 * CENT
    await holds(ledger, 0)


@pytest.mark.parametrize(
    ("other", "problem"),
    [
        ({"received_cents": 999}, "another_amount"),
        ({"received_cents": 1001}, "another_amount"),
        ({"tax_cents": 1}, "another_amount"),
        ({"currency": "eur"}, "another_currency"),
        ({"currency": None}, "another_currency"),
        ({"customer": "cus_2"}, "another_customer"),
        ({"customer": None}, "another_customer"),
        ({"session": "cs_2"}, "another_session"),
        ({"intent": "pi_2"}, "another_intent"),
    ],
)
async def test_F76_facts_of_another_order_credit_nobody(ledger, other, problem):
    await ledger.open("ann", 0)
    await order(ledger, customer="cus_1")
    await ledger.rpc("link_payment", payment_id="pay_1", session="cs_1", intent="pi_1")
    good = {"customer": "cus_1", "session": "cs_1"}
    row = await ledger.rpc("apply_payment", **(facts() | good | other))
    assert row["problem"] == problem
    assert (await ledger.rpc("find_payment", payment_id="pay_1"))["status"] == "mismatch"
    await holds(ledger, 0)
    # What is right is credited all the same, and is not spoilt afterwards.
    row = await ledger.rpc("apply_payment", **(facts() | good))
    assert row["captured_cents"] == 1000
    again = await ledger.rpc("apply_payment", **(facts() | good | other))
    assert again["problem"] == problem
    assert (await ledger.rpc("find_payment", payment_id="pay_1"))["captured_cents"] == 1000
    await holds(ledger, 950 * CENT)


async def test_a_payment_nobody_ordered_is_said_to_be_unknown(ledger):
    await ledger.open("ann", 0)
    row = await apply(ledger, name="9")
    assert row == {"problem": "unknown_payment", "intent": "pi_9"}


@pytest.mark.parametrize(
    ("status", "failure", "expected"),
    [("processing", None, "processing"), ("canceled", None, "canceled"),
     ("requires_payment_method", "card_declined", "failed"),
     ("requires_payment_method", None, "pending"), ("requires_action", None, "pending")],
)  # fmt: skip
async def test_an_unpaid_payment_has_its_state_and_no_credit(ledger, status, failure, expected):
    await ledger.open("ann", 0)
    await order(ledger)
    row = await apply(ledger, status=status, received_cents=0, failure=failure)
    assert (row["status"], row["captured_cents"]) == (expected, 0)
    await holds(ledger, 0)
    # A state never goes back: neither from canceled nor from paid.
    row = await apply(ledger, status="processing", received_cents=0)
    assert row["status"] == ("canceled" if expected == "canceled" else "processing")
    await apply(ledger)
    row = await apply(ledger, status="canceled", received_cents=0)
    assert (row["status"], row["captured_cents"]) == ("paid", 1000)
    await holds(ledger, 950 * CENT)


# ------------------------------------------------------------- refunds and disputes


def part(name: str, cents: int, status: str) -> dict[str, Any]:
    return {"id": name, "amount_cents": cents, "status": status}


async def test_parts_that_go_back_are_rounded_alone_and_never_more_than_came(ledger):
    await ledger.open("ann", 0)
    await order(ledger, cents=999)
    parts = [part(f"re_{n}", 333, "succeeded") for n in range(3)]
    row = await apply(ledger, cents=999, refunds=parts[:1])
    assert (row["status"], row["refunded_cents"]) == ("partially_refunded", 333)
    share = 999 * CENT * 95 // 100 * 333 // 999
    await holds(ledger, 999 * CENT * 95 // 100 - share)
    row = await apply(ledger, cents=999, refunds=parts)
    assert (row["status"], row["refunded_cents"]) == ("refunded", 999)
    await holds(ledger, 999 * CENT * 95 // 100 - 3 * share)
    assert await house(ledger, "cash:stripe") == 0


@pytest.mark.parametrize("states", [["pending", "succeeded"], ["succeeded", "pending"]])
async def test_a_pending_refund_counts_as_gone(ledger, states):
    await ledger.open("ann", 0)
    await order(ledger)
    for state in states:
        row = await apply(ledger, refunds=[part("re_1", 1000, state)])
        assert row["status"] == "refunded"
        await holds(ledger, 0)


@pytest.mark.parametrize("state", ["failed", "canceled"])
async def test_a_failed_refund_comes_back_and_never_goes_again(ledger, state):
    await ledger.open("ann", 0)
    await order(ledger)
    await apply(ledger, refunds=[part("re_1", 400, "pending")])
    await holds(ledger, 570 * CENT)
    for told in (state, "succeeded", state, "pending"):
        row = await apply(ledger, refunds=[part("re_1", 400, told)])
        assert (row["status"], row["refunded_cents"]) == ("paid", 0)
        await holds(ledger, 950 * CENT)
    kinds = await ledger.connection.fetch("select kind from ledger.operations order by seq")
    assert [row["kind"] for row in kinds] == ["topup", "refund", "refund_failed"]


async def test_a_dispute_takes_from_its_begin_and_gives_back_when_won(ledger):
    await ledger.open("ann", 0)
    await order(ledger)
    row = await apply(ledger, disputes=[part("dp_1", 1000, "warning_needs_response")])
    assert (row["status"], row["disputed_cents"]) == ("paid", 0)
    await holds(ledger, 950 * CENT)
    for state in ("needs_response", "under_review", "warning_needs_response"):
        row = await apply(ledger, disputes=[part("dp_1", 1000, state)])
        assert (row["status"], row["disputed_cents"]) == ("disputed", 1000)
        await holds(ledger, 0)
    row = await apply(ledger, disputes=[part("dp_1", 1000, "won")])
    assert (row["status"], row["disputed_cents"]) == ("paid", 0)
    await apply(ledger, disputes=[part("dp_1", 1000, "lost")])
    await holds(ledger, 950 * CENT)
    await apply(ledger, disputes=[part("dp_2", 1000, "lost")])
    await apply(ledger, disputes=[part("dp_2", 1000, "won")])
    await holds(ledger, 0)


async def test_what_goes_back_before_the_payment_is_known_waits_for_it(ledger):
    await ledger.open("ann", 0)
    await order(ledger)
    early = [part("re_1", 250, "succeeded")]
    await apply(ledger, status="processing", received_cents=0, refunds=early)
    await holds(ledger, 0)
    await apply(ledger)
    await holds(ledger, 950 * CENT * 3 // 4)


# --------------------------------------------------------------------- operations


async def test_the_most_an_account_holds_is_kept_by_whatever_comes_in(ledger):
    await ledger.open("ann", 0)
    cap = await ledger.connection.fetchval("select ledger.wallet_cap()")
    await ledger.rpc("grant_credit", op_id="a", account="ann", amount_nanos=cap - 5, reason="x")
    over = ledger.rpc("grant_credit", op_id="b", account="ann", amount_nanos=6, reason="x")
    assert (await refused(over)).startswith("PT409 wallet_cap_exceeded")
    await ledger.rpc("grant_credit", op_id="c", account="ann", amount_nanos=5, reason="x")
    await holds(ledger, cap)


async def test_one_name_of_an_operation_is_one_operation(ledger):
    for account in ("ann", "bob"):
        await ledger.open(account, 0)
    grant = {"op_id": "a", "account": "ann", "amount_nanos": 7, "reason": "x"}
    assert (await ledger.rpc("grant_credit", **grant))["posted"] is True
    assert (await ledger.rpc("grant_credit", **grant))["posted"] is False
    for other in ({"account": "bob"}, {"amount_nanos": 8}):
        assert (await refused(ledger.rpc("grant_credit", **(grant | other)))).startswith("PT409")
    await holds(ledger, 7)


async def test_operations_are_listed_by_account_kind_time_and_page(ledger):
    for account in ("ann", "bob"):
        await ledger.open(account, 0)
    start = await ledger.rpc("clock")
    for number, account in enumerate(("ann", "bob", "ann")):
        await ledger.rpc("grant_credit", op_id=f"g{number}", account=account, amount_nanos=1,
                         reason="x")  # fmt: skip
        await later(ledger, "1 minute")
    await order(ledger)
    await apply(ledger)

    async def listed(**asked: Any) -> list[str]:
        rows = await ledger.rpc("list_operations", **asked)
        return [row["id"].rpartition(":")[2] for row in rows]

    assert await listed() == ["pi_1", "g2", "g1", "g0"]
    assert await listed(account="ann") == ["pi_1", "g2", "g0"]
    assert await listed(kinds=["topup"]) == ["pi_1"]
    assert await listed(kinds=["grant"], account="bob") == ["g1"]
    assert await listed(limit=1) == ["pi_1"]
    first = (await ledger.rpc("list_operations"))[1]
    assert await listed(before=first["position"]) == ["g1", "g0"]
    assert await listed(since_ms=start["now_ms"] + 90_000) == ["pi_1", "g2"]
    assert await listed(until_ms=start["now_ms"] + 30_000) == ["g0"]
    at = (await ledger.rpc("list_operations", account="bob"))[0]["posted_at_ms"]
    assert await listed(since_ms=at, until_ms=at + 1) == ["g1"]


async def test_a_wallet_lapses_at_its_end_and_keeps_what_a_lease_holds(ledger):
    await ledger.open("ann", 0)
    await ledger.connection.execute(
        "select ledger.enter('ann'), ledger.open_wallet('ann', 'gift', 5,"
        " ledger.now() + interval '1 hour'), ledger.operate('gift', 'coupon', 'ann', 'gift',"
        " 'promo', 100, null, null)"
    )
    await ledger.connection.execute(
        "select ledger.open_wallet('ann', 'gift', 5, ledger.now() + interval '9 hours')"
    )
    assert await ledger.rpc("expire_wallets") == {"wallets": 0, "expired_nanos": 0}
    lease = await ledger.reserve("ann", 30)
    await later(ledger, "1 hour")
    assert await ledger.rpc("expire_wallets") == {"wallets": 1, "expired_nanos": 70}
    assert await ledger.rpc("expire_wallets") == {"wallets": 0, "expired_nanos": 0}
    await ledger.rpc("close_lease", lease=lease["lease"])
    assert await ledger.rpc("expire_wallets", limit=1) == {"wallets": 1, "expired_nanos": 30}
    await holds(ledger, 0)


async def test_ten_reports_at_once_of_a_payment_and_its_refund_are_one_of_each(ledger):
    await ledger.open("ann", 0)
    await order(ledger)
    told = [facts(), facts(refunds=[part("re_1", 500, "succeeded")])] * 5
    async with asyncpg.create_pool(ledger.url, min_size=5, max_size=5) as pool:

        async def tell(params: dict[str, Any]) -> None:
            async with pool.acquire() as connection:
                await ledger.rpc("apply_payment", connection, **params)

        await asyncio.gather(*(tell(params) for params in told))
    await holds(ledger, 475 * CENT)
