"""What runs by the clock: lapsing credit, stale orders, and the ledger held against Stripe."""

import logging
from typing import Any

import asyncpg
import pytest

from gatewayz.billing.daily import close_stale
from gatewayz.billing.stripe.check import Checked, check_stripe
from gatewayz.billing.stripe.client import open_client
from gatewayz.billing.stripe.desk import Desk
from gatewayz.local.mount import load_modules
from tests.billing.conftest import CENT, STAFF_SECRET, Till
from tests.fakes.stripe import reversals

PAID = 10 * 95 * CENT
DAY_S = 86_400


async def job(till: Till, name: str) -> Any:
    ((_, module),) = load_modules("job", only=name)
    return await getattr(module, name)(till.stores)


async def look(till: Till) -> Checked:
    """As an hour later: the whole day is looked at."""
    await forget(till, "delete from ledger.looks")
    async with open_client(till.fake.key, till.fake.checkout.url) as client:
        return await check_stripe(Desk(client, till.stores.postgres, till.world.settings.billing))


async def forget(till: Till, statement: str) -> None:
    connection = await asyncpg.connect(till.world.settings.stores.database_url)
    await connection.execute(statement)
    await connection.close()


async def buy(till: Till, cents: int = 1000) -> str:
    opened = await till.checkout(cents)
    till.fake.checkout.pay(opened["session_id"])
    return str(opened["payment_id"])


async def test_events_that_never_came_are_fetched_and_applied(till: Till) -> None:
    await buy(till)
    assert await till.balance() == 0
    await job(till, "reconcile_ledger")
    assert await till.balance() == PAID
    events = await till.stores.postgres.rpc("list_stripe_events", {"status": "applied"})
    assert {"checkout.session.completed", "payment_intent.succeeded"} <= {e["type"] for e in events}
    await till.deliver()
    await job(till, "reconcile_ledger")
    assert await till.balance() == PAID
    assert await till.violations() == []


async def test_events_that_came_and_were_never_worked_on_are_applied(till: Till) -> None:
    await buy(till)
    await till.fake.deliveries.deliver(till.http)
    # The queue lost them, and Stripe's list is not asked for what we have.
    await forget(till, "delete from queue.messages")
    await forget(till, "update ledger.stripe_events set received_at = now() - interval '6 minutes'")
    checked = await look(till)
    assert checked.mended > 0
    assert await till.balance() == PAID
    assert await till.stores.postgres.rpc("list_stripe_events", {}) == []


async def test_the_sums_of_a_day_are_compared_per_currency(till: Till) -> None:
    await buy(till, 1000)
    await buy(till, 700)
    await till.deliver()
    checked = await look(till)
    assert checked.drifts == []
    (day,) = checked.days
    assert (day["currency"], day["stripe_cents"], day["ledger_cents"], day["payments"]) == (
        "usd", 1700, 1700, 2,
    )  # fmt: skip
    reports = await till.stores.postgres.rpc("list_drift", {})
    assert [r["drifts"] for r in reports] == [0]


async def test_I12_money_that_fits_nothing_is_drift_and_an_alarm(
    till: Till, caplog: pytest.LogCaptureFixture
) -> None:
    payment = await buy(till)
    await till.deliver()
    # The gateway set its own handlers when it started.
    logging.getLogger("gatewayz").addHandler(caplog.handler)
    intent = till.fake.payments.create_intent(
        {"amount": "5000", "currency": "usd", "metadata": {"payment_id": payment}}
    )
    till.fake.payments.confirm(intent["id"], {"payment_method": "pm_card_visa"})
    checked = await look(till)
    assert len(checked.drifts) == 1
    assert "Stripe captured 6000 cents, the ledger has 1000" in checked.drifts[0]
    assert "stripe_drift" in [record.message for record in caplog.records]
    assert await till.balance() == PAID
    assert (await till.stores.postgres.rpc("list_drift", {}))[0]["drifts"] == 1


async def test_a_payment_that_stripe_does_not_know_is_drift(till: Till) -> None:
    await buy(till)
    await till.deliver()
    await forget(till, "update ledger.payments set intent = 'pi_invented'")
    checked = await look(till)
    assert any("pi_invented" in text for text in checked.drifts)


async def test_money_of_another_business_in_the_account_is_not_ours(till: Till) -> None:
    intent = till.fake.payments.create_intent({"amount": "5000", "currency": "usd"})
    till.fake.payments.confirm(intent["id"], {"payment_method": "pm_card_visa"})
    checked = await look(till)
    assert (checked.drifts, checked.days) == ([], [])


async def test_stripe_away_does_not_keep_the_ledger_from_being_checked(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STRIPE_API_URL", "http://127.0.0.1:9")
    monkeypatch.setattr("gatewayz.billing.stripe.client.RETRIES", 0)
    findings = await job(till, "reconcile_ledger")
    assert findings.violations == []


async def test_without_a_key_stripe_is_not_asked(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STRIPE_SECRET_KEY")
    asked = len(till.fake.requests)
    await job(till, "reconcile_ledger")
    await job(till, "run_daily")
    assert len(till.fake.requests) == asked


async def test_orders_that_nobody_paid_are_closed_and_paid_ones_credited(till: Till) -> None:
    await till.checkout(1000)
    paid = await buy(till, 700)
    await till.call("POST", "/api/stripe/payment-intent", {"amount": 900})
    till.fake.stripe.now_s += 2 * DAY_S
    await forget(till, "update ledger.payments set created_at = now() - interval '2 days'")
    async with open_client(till.fake.key, till.fake.checkout.url) as client:
        desk = Desk(client, till.stores.postgres, till.world.settings.billing)
        assert await close_stale(desk) == {"closed": 2, "credited": 1}
    rows = (await till.call("GET", "/api/stripe/payments")).json()["payments"]
    by_amount = {row["amount"]: row["status"] for row in rows}
    assert by_amount == {1000: "expired", 700: "paid", 900: "pending"}
    assert (await till.call("GET", f"/api/stripe/payments/{paid}")).json()["status"] == "paid"


async def test_lapsed_credit_goes_once_a_day(till: Till) -> None:
    params = {"account": till.account.id, "reason": "x"}
    lapsing = {"op_id": "a", "amount_nanos": 500 * CENT, "wallet": "gift", "ttl_ms": 1}
    rpc = till.stores.postgres.rpc
    await rpc("grant_credit", params | lapsing)
    await rpc("grant_credit", params | {"op_id": "b", "amount_nanos": 100 * CENT})
    done = await job(till, "run_daily")
    assert done["wallets"] == {"wallets": 1, "expired_nanos": 500 * CENT}
    assert (await job(till, "run_daily"))["wallets"]["wallets"] == 0
    assert await till.balance() == 100 * CENT
    listed = (await till.call("GET", "/user/credit-transactions?type=expiry")).json()
    assert [one["amount"] for one in listed["transactions"]] == [-5]
    assert await till.violations() == []


async def test_provider_costs_stand_ready_for_invoices(till: Till) -> None:
    await till.stores.postgres.rpc(
        "grant_credit",
        {"op_id": "g", "account": till.account.id, "amount_nanos": 10**9, "reason": "x"},
    )
    await till.world.post(till.account, max_tokens=50)
    await till.world.settle()
    staff = {"authorization": f"Bearer {STAFF_SECRET}"}
    costs = (await till.call("GET", "/admin/billing/costs?days=2", headers=staff)).json()["costs"]
    (request,) = await till.world.requests(till.account)
    assert [(c["provider"], c["requests"]) for c in costs] == [("sandbox", 1)]
    assert round(costs[0]["cost"] * 10**9) == request["cost_nanos"] > 0
    assert (await till.call("GET", "/admin/billing/costs")).status_code == 401


async def test_a_refund_that_nobody_told_us_of_is_found(till: Till) -> None:
    await buy(till)
    await till.deliver()
    intent = till.fake.stripe.all("payment_intent")[0]["id"]
    reversals.refund(till.fake.stripe, {"payment_intent": intent})
    await job(till, "reconcile_ledger")
    assert await till.balance() == 0
    assert await till.violations() == []
