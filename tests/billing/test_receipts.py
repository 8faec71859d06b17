"""Invoices, receipts, taxes and the portal: pages of Stripe, found for who paid and nobody else."""

from dataclasses import replace
from typing import Any

import pytest

from gatewayz.core.billing_settings import BillingSettings
from tests.billing import test_subscriptions
from tests.billing.conftest import CENT, Till

prices = test_subscriptions.prices


@pytest.fixture
def bill(prices: dict[str, str]) -> Any:
    text = " ".join(f"{price}={plan}" for plan, price in prices.items())

    def terms(billing: BillingSettings) -> BillingSettings:
        return replace(billing, prices=text, tax=True)

    return terms


async def paid(till: Till, cents: int = 1000) -> dict[str, Any]:
    order = await till.checkout(cents)
    till.fake.checkout.pay(order["session_id"])
    await till.deliver()
    return dict(order)


async def test_a_top_up_and_a_period_have_their_invoices(till: Till) -> None:
    none = await till.call("GET", "/api/stripe/invoices")
    assert none.json() == {"invoices": []}
    await paid(till)
    opened = await till.call("POST", "/api/stripe/subscription-checkout", {"plan": "dev"})
    till.fake.checkout.pay(opened.json()["session_id"])
    await till.deliver()
    invoices = (await till.call("GET", "/api/stripe/invoices")).json()["invoices"]
    assert sorted(one["total"] for one in invoices)[0] == 1100
    assert {one["status"] for one in invoices} == {"paid"}
    assert all(one["url"].startswith("https://") and one["pdf"] for one in invoices)
    assert all(one["total"] == one["amount_paid"] for one in invoices)
    assert len((await till.call("GET", "/api/stripe/invoices?limit=1")).json()["invoices"]) == 1
    other = await till.world.account(usd=0)
    shown = await till.call("GET", "/api/stripe/invoices", headers=other.headers)
    assert shown.json() == {"invoices": []}
    # An invoice that pays for no subscription brings no allowance.
    assert await till.balance() == (950 + 1500) * CENT
    assert await till.violations() == []


async def test_a_payment_has_its_receipt_and_an_order_has_none(till: Till) -> None:
    open_order = await till.checkout(1000)
    path = f"/api/stripe/payments/{open_order['payment_id']}/receipt"
    none = await till.call("GET", path)
    assert (none.status_code, none.json()["error"]["code"]) == (404, "receipt_not_found")
    order = await paid(till)
    path = f"/api/stripe/payments/{order['payment_id']}/receipt"
    (charge,) = till.fake.stripe.all("charge")
    assert (await till.call("GET", path)).json() == {"url": charge["receipt_url"]}
    other = await till.world.account(usd=0)
    foreign = await till.call("GET", path, headers=other.headers)
    assert (foreign.status_code, foreign.json()["error"]["code"]) == (404, "payment_not_found")


async def test_the_portal_is_the_callers_own_and_leads_back_to_us(till: Till) -> None:
    opened = await till.call("POST", "/api/stripe/portal", {"return_url": "//evil.example"})
    assert opened.status_code == 200
    (session,) = till.fake.stripe.all("billing_portal.session")
    assert opened.json() == {"url": session["url"]}
    home = till.world.settings.billing.app_url.rstrip("/")
    assert session["return_url"] == home + "/settings/credits"
    (customer,) = till.fake.stripe.all("customer")
    assert session["customer"] == customer["id"]
    assert customer["metadata"] == {"account": till.account.id}


async def test_the_tax_of_an_address_that_stripe_does_not_know_yet_is_asked_on_its_page(
    till: Till,
) -> None:
    """Stripe refuses an automatic tax for a customer without an address unless it may ask."""
    await till.checkout(1000)
    opened = await till.call("POST", "/api/stripe/subscription-checkout", {"plan": "dev"})
    assert opened.status_code == 200, opened.text
    assert all(s["automatic_tax"]["enabled"] for s in till.fake.stripe.all("checkout.session"))
