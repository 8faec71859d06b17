"""Every type of event that Stripe sends us, alone: each one is enough for what it says."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from gatewayz.billing.stripe.events import HANDLERS
from gatewayz.core.billing_settings import BillingSettings
from tests.billing import test_subscriptions
from tests.billing.conftest import CENT, Till
from tests.fakes.stripe import reversals

prices = test_subscriptions.prices
PAID, PART = 950 * CENT, 475 * CENT
# As the issue lists them; `charge.dispute.funds_*` are two.
LISTED = (
    "checkout.session.completed", "checkout.session.expired",
    "checkout.session.async_payment_succeeded", "checkout.session.async_payment_failed",
    "payment_intent.succeeded", "payment_intent.payment_failed", "payment_intent.canceled",
    "charge.refunded", "charge.dispute.created", "charge.dispute.closed",
    "charge.dispute.funds_withdrawn", "charge.dispute.funds_reinstated", "refund.updated",
    "refund.failed", "customer.subscription.created", "customer.subscription.updated",
    "customer.subscription.deleted", "customer.subscription.paused",
    "customer.subscription.resumed", "invoice.paid", "invoice.payment_failed", "invoice.upcoming",
    "customer.deleted", "radar.early_fraud_warning.created",
)  # fmt: skip


@pytest.fixture
def bill(prices: dict[str, str]) -> Any:
    text = " ".join(f"{price}={plan}" for plan, price in prices.items())

    def terms(billing: BillingSettings) -> BillingSettings:
        return replace(billing, prices=text)

    return terms


class Post:
    """Stripe's mail, of which one kind is let through."""

    def __init__(self, till: Till) -> None:
        self.till, self.fake = till, till.fake

    async def only(self, kind: str) -> None:
        """Send the newest event of this kind, and none of the others."""
        events = [event for event in self.fake.stripe.events if event["type"] == kind]
        assert events, sorted({event["type"] for event in self.fake.stripe.events})
        await self.fake.deliveries.send_again(self.till.http, events[-1]["id"])
        await self.till.work()
        assert await self.till.violations() == []

    async def status(self) -> str:
        payments = (await self.till.call("GET", "/api/stripe/payments")).json()["payments"]
        return str(payments[0]["status"])

    async def paid(self, card: str = "pm_card_visa") -> dict[str, Any]:
        order = await self.till.checkout(1000)
        self.fake.checkout.pay(order["session_id"], card)
        return dict(order)

    async def captured(self) -> dict[str, Any]:
        """A payment that is credited already; its intent."""
        await self.paid()
        await self.only("payment_intent.succeeded")
        assert await self.till.balance() == PAID
        return dict(self.fake.stripe.all("payment_intent")[-1])

    async def subscribed(self) -> str:
        """A subscription at Stripe that nobody told us of."""
        answer = await self.till.call("POST", "/api/stripe/subscription-checkout", {"plan": "dev"})
        self.fake.checkout.pay(answer.json()["session_id"])
        return str(self.fake.stripe.all("subscription")[-1]["id"])

    async def subscription(self) -> tuple[str, str]:
        row = (await self.till.call("GET", "/user/plan")).json()
        return row["plan_id"], row["subscription_status"]

    async def notices(self) -> list[str]:
        rows = await self.till.stores.postgres.rpc("list_billing_notices", {})
        return [row["kind"] for row in rows]


@pytest.fixture
def post(till: Till) -> Post:
    return Post(till)


async def test_checkout_session_completed(post: Post) -> None:
    await post.paid()
    await post.only("checkout.session.completed")
    assert await post.till.balance() == PAID


async def test_checkout_session_expired(post: Post) -> None:
    order = await post.till.checkout(1000)
    post.fake.checkout.expire(order["session_id"])
    await post.only("checkout.session.expired")
    assert (await post.status(), await post.till.balance()) == ("expired", 0)


@pytest.mark.parametrize(("paid", "kind"), [(True, "succeeded"), (False, "failed")])
async def test_checkout_session_async_payment(post: Post, paid: bool, kind: str) -> None:
    order = await post.paid("pm_usBankAccount_success")
    await post.only("checkout.session.completed")
    assert (await post.status(), await post.till.balance()) == ("processing", 0)
    post.fake.checkout.settle(order["session_id"], paid=paid)
    await post.only(f"checkout.session.async_payment_{kind}")
    expected = ("paid", PAID) if paid else ("failed", 0)
    assert (await post.status(), await post.till.balance()) == expected


async def test_payment_intent_succeeded(post: Post) -> None:
    await post.captured()
    assert await post.status() == "paid"


async def test_payment_intent_payment_failed(post: Post) -> None:
    opened = (await post.till.call("POST", "/api/stripe/payment-intent", {"amount": 1000})).json()
    card = post.fake.payments.card("pm_card_chargeDeclined")["id"]
    with pytest.raises(Exception, match="declined"):
        post.fake.payments.confirm(opened["payment_intent_id"], {"payment_method": card})
    await post.only("payment_intent.payment_failed")
    assert (await post.status(), await post.till.balance()) == ("failed", 0)


async def test_payment_intent_canceled(post: Post) -> None:
    opened = (await post.till.call("POST", "/api/stripe/payment-intent", {"amount": 1000})).json()
    post.fake.payments.cancel(opened["payment_intent_id"], None)
    await post.only("payment_intent.canceled")
    assert (await post.status(), await post.till.balance()) == ("canceled", 0)


@pytest.mark.parametrize("kind", ["charge.refunded", "refund.created"])
async def test_a_refund(post: Post, kind: str) -> None:
    intent = await post.captured()
    reversals.refund(post.fake.stripe, {"payment_intent": intent["id"], "amount": "500"})
    await post.only(kind)
    assert await post.till.balance() == PART


@pytest.mark.parametrize("kind", ["refund.updated", "refund.failed"])
async def test_a_refund_that_fails(post: Post, kind: str) -> None:
    intent = await post.captured()
    made = reversals.refund(post.fake.stripe, {"payment_intent": intent["id"], "amount": "500"})
    await post.only("charge.refunded")
    reversals.fail_refund(post.fake.stripe, made["id"])
    await post.only(kind)
    assert await post.till.balance() == PAID


@pytest.mark.parametrize("kind", ["created", "funds_withdrawn"])
async def test_a_dispute_that_begins(post: Post, kind: str) -> None:
    intent = await post.captured()
    reversals.open_dispute(post.fake.stripe, intent["latest_charge"])
    await post.only(f"charge.dispute.{kind}")
    assert await post.till.balance() == 0


@pytest.mark.parametrize(
    ("won", "kind"), [(True, "closed"), (True, "funds_reinstated"), (False, "closed")]
)
async def test_a_dispute_that_ends(post: Post, won: bool, kind: str) -> None:
    intent = await post.captured()
    dispute = reversals.open_dispute(post.fake.stripe, intent["latest_charge"])
    await post.only("charge.dispute.created")
    reversals.close_dispute(post.fake.stripe, dispute["id"], won=won)
    await post.only(f"charge.dispute.{kind}")
    assert await post.till.balance() == (PAID if won else 0)


async def test_customer_subscription_created(post: Post) -> None:
    await post.subscribed()
    await post.only("customer.subscription.created")
    assert await post.subscription() == ("dev", "active")


async def test_customer_subscription_updated(post: Post, prices: dict[str, str]) -> None:
    name = await post.subscribed()
    await post.only("customer.subscription.created")
    item = post.fake.stripe.find("subscription", name)["items"]["data"][0]["id"]
    post.fake.subscriptions.update(
        name, {"items": [{"id": item, "price": prices["team"]}], "proration_behavior": "none"}
    )
    await post.only("customer.subscription.updated")
    assert await post.subscription() == ("team", "active")


async def test_customer_subscription_deleted(post: Post) -> None:
    name = await post.subscribed()
    await post.only("invoice.paid")
    assert await post.till.balance() == 1500 * CENT
    post.fake.subscriptions.cancel(name)
    await post.only("customer.subscription.deleted")
    assert await post.subscription() == ("free", "canceled")
    # Its allowance ends with it; nothing of it can be spent any more.
    await post.till.stores.postgres.rpc("expire_wallets", {})
    assert await post.till.balance() == 0


async def test_customer_subscription_paused_and_resumed(post: Post) -> None:
    name = await post.subscribed()
    await post.only("customer.subscription.created")
    post.fake.subscriptions.pause(name)
    await post.only("customer.subscription.paused")
    assert await post.subscription() == ("free", "paused")
    post.fake.subscriptions.resume(name)
    await post.only("customer.subscription.resumed")
    assert await post.subscription() == ("dev", "active")


async def test_invoice_paid(post: Post) -> None:
    await post.subscribed()
    await post.only("invoice.paid")
    assert await post.subscription() == ("dev", "active")
    assert await post.till.balance() == 1500 * CENT


async def test_invoice_payment_failed(post: Post) -> None:
    name = await post.subscribed()
    await post.only("invoice.paid")
    held = post.fake.stripe.find("subscription", name)
    post.fake.payments.set_behaviour(held["default_payment_method"], "card_declined")
    post.fake.subscriptions.advance(held["items"]["data"][0]["current_period_end"] + 60)
    await post.only("invoice.payment_failed")
    assert await post.subscription() == ("dev", "past_due")
    assert await post.till.balance() == 1500 * CENT
    assert await post.notices() == ["payment_failed"]


async def test_invoice_upcoming(post: Post) -> None:
    name = await post.subscribed()
    held = post.fake.stripe.find("subscription", name)
    end_s = held["items"]["data"][0]["current_period_end"]
    post.fake.subscriptions.advance(end_s - 3600)
    await post.only("invoice.upcoming")
    assert await post.subscription() == ("dev", "active")
    await post.only("invoice.upcoming")
    assert await post.notices() == ["renewal_soon"]
    (notice,) = await post.till.stores.postgres.rpc("list_billing_notices", {})
    assert notice["detail"] == {"plan": "dev", "amount_nanos": 2000 * CENT, "at_ms": end_s * 1000}


async def test_customer_deleted(post: Post) -> None:
    await post.paid()
    (customer,) = post.fake.stripe.all("customer")
    post.fake.checkout.delete_customer(customer["id"])
    await post.only("customer.deleted")
    find = post.till.stores.postgres.rpc
    assert await find("find_customer", {"account": post.till.account.id}) is None


async def test_radar_early_fraud_warning(post: Post, capsys: pytest.CaptureFixture[str]) -> None:
    """The account is told of nothing and loses nothing; somebody of ours looks, and no card is
    charged by itself until then."""
    intent = await post.captured()
    wanted = {"enabled": True, "threshold_cents": 100, "amount_cents": 1000}
    assert (await post.till.call("PUT", "/user/auto-topup", wanted)).status_code == 200
    reversals.warn_of_fraud(post.fake.stripe, intent["latest_charge"])
    await post.only("radar.early_fraud_warning.created")
    assert "fraud_warning" in capsys.readouterr().err
    assert await post.till.balance() == PAID
    shown = (await post.till.call("GET", "/user/auto-topup")).json()
    assert (shown["enabled"], shown["problem"]) == (False, "fraud_warning")


def test_each_type_of_the_list_is_handled() -> None:
    assert set(LISTED) <= set(HANDLERS)


async def test_another_type_is_stored_and_left(post: Post) -> None:
    post.fake.checkout.create_customer({"email": "a@b.example"})
    kind = "customer.created"
    assert kind not in HANDLERS
    await post.only(kind)
    connection = await asyncpg.connect(post.till.world.settings.stores.database_url)
    rows = await connection.fetch("select type, status from ledger.stripe_events")
    await connection.close()
    assert [tuple(row) for row in rows] == [(kind, "ignored")]


async def test_an_event_that_came_before_is_answered_and_not_queued_again(post: Post) -> None:
    await post.paid()
    events = [e for e in post.fake.stripe.events if e["type"] == "payment_intent.succeeded"]
    send: Callable[..., Any] = post.fake.deliveries.send_again
    await send(post.till.http, events[-1]["id"])
    depth = await post.till.stores.queue.depth("stripe_events")
    attempts = [a for _ in range(3) for a in await send(post.till.http, events[-1]["id"])]
    assert {attempt.status for attempt in attempts} == {200}
    again = await post.till.stores.queue.depth("stripe_events")
    assert (again.waiting, depth.waiting) == (1, 1)
    await post.till.work()
    row = await post.till.stores.postgres.rpc("find_stripe_event", {"event_id": events[-1]["id"]})
    assert (row["status"], row["detail"]) == ("applied", "paid")
    await send(post.till.http, events[-1]["id"])
    assert (await post.till.stores.queue.depth("stripe_events")).waiting == 0


@pytest.mark.parametrize(
    ("metadata", "status", "detail"),
    [({}, "ignored", "no order of ours"), ({"payment_id": "pay_x"}, "applied", "unknown_payment")],
)
async def test_F76_money_for_an_order_that_nobody_knows(
    post: Post, metadata: Any, status: str, detail: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another business in the same Stripe account is none of ours; an order's name that we do not
    know is an alarm. Neither credits anybody."""
    fake = post.fake
    customer = fake.checkout.create_customer({"email": "a@b.example"})["id"]
    card = fake.payments.attach(fake.payments.card("pm_card_visa")["id"], customer)["id"]
    made = fake.payments.create_intent(
        {"amount": "700", "currency": "usd", "customer": customer, "metadata": metadata}
    )
    fake.payments.confirm(made["id"], {"payment_method": card})
    await post.only("payment_intent.succeeded")
    event = next(e for e in fake.stripe.events if e["type"] == "payment_intent.succeeded")
    row = await post.till.stores.postgres.rpc("find_stripe_event", {"event_id": event["id"]})
    assert (row["status"], row["detail"]) == (status, detail)
    assert ("payment_mismatch" in capsys.readouterr().err) is (status == "applied")
    assert await post.till.balance() == 0


async def test_F76_a_customer_of_somebody_else_brings_no_credit_and_an_alarm(
    post: Post, capsys: pytest.CaptureFixture[str]
) -> None:
    order = await post.till.checkout(1000)
    other = post.fake.checkout.create_customer({"email": "a@b.example"})["id"]
    session = post.fake.stripe.find("checkout.session", order["session_id"])
    session["customer"] = other
    post.fake.checkout.pay(order["session_id"])
    await post.only("payment_intent.succeeded")
    assert "another_customer" in capsys.readouterr().err
    assert (await post.status(), await post.till.balance()) == ("mismatch", 0)
