"""Subscriptions: an allowance for each paid period, once, and the plan that the price says."""

from dataclasses import replace
from typing import Any

import pytest

from gatewayz.core.billing_settings import BillingSettings
from tests.billing.conftest import CENT, STAFF_SECRET, Till
from tests.fakes.stripe.app import FakeStripe
from tests.fakes.stripe.deliveries import Manners

DEV, TEAM = 1500 * CENT, 15000 * CENT


@pytest.fixture
def prices(fake: FakeStripe, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    product = fake.subscriptions.create_product({"name": "Gatewayz"})["id"]
    made = {
        plan: fake.subscriptions.create_price(
            {"product": product, "unit_amount": str(cents), "currency": "usd",
             "recurring": {"interval": "month"}}
        )["id"]
        for plan, cents in (("dev", 2000), ("team", 15000))
    }  # fmt: skip
    text = " ".join(f"{price}={plan}" for plan, price in made.items())
    monkeypatch.setenv("GATEWAYZ_STRIPE_PRICES", text)
    return made


@pytest.fixture
def bill(prices: dict[str, str]) -> Any:
    text = " ".join(f"{price}={plan}" for plan, price in prices.items())

    def terms(billing: BillingSettings) -> BillingSettings:
        return replace(billing, prices=text)

    return terms


async def _subscribe(till: Till, **asked: str) -> str:
    answer = await till.call("POST", "/api/stripe/subscription-checkout", asked)
    assert answer.status_code == 200, answer.text
    till.fake.checkout.pay(answer.json()["session_id"])
    await till.deliver()
    row = (await till.call("GET", "/api/stripe/subscription")).json()
    return str(row["subscription_id"])


async def _expire(till: Till) -> None:
    await till.stores.postgres.rpc("expire_wallets", {})


async def test_a_paid_period_brings_its_allowance_once(till: Till, prices: dict[str, str]) -> None:
    name = await _subscribe(till, plan="dev")
    assert await till.balance() == DEV
    await till.deliver(Manners(copies=3, shuffle_seed=2))
    for event in till.fake.stripe.events:
        await till.fake.deliveries.send_again(till.http, event["id"])
    await till.work()
    assert await till.balance() == DEV
    own = (await till.call("GET", "/user/plan")).json()
    assert (own["plan_id"], own["subscription_allowance"]) == ("dev", 15)
    again = await till.call("POST", "/api/stripe/subscription-checkout", {"plan": "team"})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "already_subscribed")
    assert name.startswith("sub_")
    assert await till.violations() == []


async def test_the_plan_follows_from_the_price_whatever_the_product_says(
    till: Till, prices: dict[str, str]
) -> None:
    await _subscribe(till, price_id=prices["dev"], product_id="prod_team", tier="team")
    row = (await till.call("GET", "/api/stripe/subscription")).json()
    assert (row["plan"], row["price_id"]) == ("dev", prices["dev"])
    bad = await till.call("POST", "/api/stripe/subscription/upgrade", {"price_id": "price_x"})
    assert (bad.status_code, bad.json()["error"]["code"]) == (400, "unknown_price")


async def test_an_upgrade_adds_the_difference_and_a_downgrade_takes_nothing(
    till: Till, prices: dict[str, str]
) -> None:
    await _subscribe(till, plan="dev")
    wrong = await till.call("POST", "/api/stripe/subscription/downgrade", {"plan": "team"})
    assert wrong.json()["error"]["code"] == "wrong_direction"
    up = await till.call("POST", "/api/stripe/subscription/upgrade", {"plan": "team"})
    assert up.json()["plan"] == "team"
    await till.deliver(Manners(copies=2, shuffle_seed=3))
    assert await till.balance() == TEAM
    down = await till.call("POST", "/api/stripe/subscription/downgrade", {"plan": "dev"})
    assert down.json()["plan"] == "dev"
    await till.deliver()
    assert await till.balance() == TEAM
    assert await till.violations() == []


async def test_a_new_period_brings_a_new_allowance_and_the_old_one_lapses(
    till: Till, prices: dict[str, str]
) -> None:
    name = await _subscribe(till, plan="dev")
    held = till.fake.stripe.find("subscription", name)
    end_s = held["items"]["data"][0]["current_period_end"]
    till.fake.subscriptions.advance(end_s + 60)
    await till.deliver(Manners(copies=2, shuffle_seed=1))
    assert await till.balance() == 2 * DEV
    operations = await till.stores.postgres.rpc(
        "list_operations", {"account": till.account.id, "kinds": ["allowance"]}
    )
    assert len(operations) == 2
    assert len({row["wallet"] for row in operations}) == 2
    assert await till.violations() == []


async def test_a_canceled_subscription_ends_with_its_period_and_can_be_kept(
    till: Till, prices: dict[str, str]
) -> None:
    name = await _subscribe(till, plan="dev")
    row = (await till.call("POST", "/api/stripe/subscription/cancel")).json()
    assert row["cancel_at_period_end"]
    row = (await till.call("POST", "/api/stripe/subscription/resume")).json()
    assert not row["cancel_at_period_end"]
    till.fake.subscriptions.cancel(name)
    await till.deliver(Manners(copies=2, shuffle_seed=8))
    own = (await till.call("GET", "/user/plan")).json()
    assert (own["plan_id"], own["subscription_status"]) == ("free", "canceled")
    gone = await till.call("POST", "/api/stripe/subscription/cancel")
    assert gone.status_code == 404


async def test_a_failed_renewal_is_past_due_and_brings_nothing(
    till: Till, prices: dict[str, str]
) -> None:
    name = await _subscribe(till, plan="dev")
    held = till.fake.stripe.find("subscription", name)
    till.fake.payments.set_behaviour(held["default_payment_method"], "card_declined")
    end_s = held["items"]["data"][0]["current_period_end"]
    till.fake.subscriptions.advance(end_s + 60)
    await till.deliver(Manners(shuffle_seed=4))
    own = (await till.call("GET", "/user/plan")).json()
    # The plan stays for its grace; the unpaid period brings no allowance.
    assert (own["plan_id"], own["subscription_status"]) == ("dev", "past_due")
    assert await till.balance() == DEV
    assert await till.violations() == []


async def test_a_refunded_period_is_booked_against_its_payment(
    till: Till, prices: dict[str, str]
) -> None:
    from tests.fakes.stripe import reversals

    await _subscribe(till, plan="dev")
    payments = (await till.call("GET", "/api/stripe/payments")).json()["payments"]
    assert [(one["kind"], one["amount"], one["credits"]) for one in payments] == [
        ("subscription", 2000, 0)
    ]
    intent = payments[0]["stripe_payment_intent_id"]
    reversals.refund(till.fake.stripe, {"payment_intent": intent})
    await till.deliver()
    assert (await till.call("GET", "/api/stripe/payments")).json()["payments"][0]["status"] == (
        "refunded"
    )
    assert await till.violations() == []


async def test_plans_are_the_same_for_everybody(till: Till, prices: dict[str, str]) -> None:
    plans = (await till.http.get("/plans")).json()
    assert [plan["id"] for plan in plans] == ["free", "dev", "team", "enterprise"]
    assert plans[1]["price_ids"] == [prices["dev"]]
    assert (await till.http.get("/plans/nothing")).status_code == 404


async def test_use_is_shown_beside_what_the_plan_allows(till: Till, prices: dict[str, str]) -> None:
    await till.stores.postgres.rpc(
        "grant_credit",
        {"op_id": "g", "account": till.account.id, "amount_nanos": 10**9, "reason": "x"},
    )
    assert (await till.world.post(till.account, max_tokens=50)).status_code == 200
    await till.world.settle()
    use = (await till.call("GET", "/user/plan/usage")).json()
    assert (use["usage"]["requests_today"], use["at_limit"]["requests_today"]) == (1, False)
    assert use["usage"]["tokens_month"] == use["usage"]["tokens_today"] > 0
    left = use["limits"]["tokens_today"] - use["usage"]["tokens_today"]
    assert use["remaining"]["tokens_today"] == left
    may = (await till.call("GET", "/user/plan/entitlements?feature=teams and budgets")).json()
    assert (may["has_plan"], may["can_access_feature"]) == (False, False)


async def test_staff_assigns_a_plan_and_a_subscription_goes_before_it(
    till: Till, prices: dict[str, str]
) -> None:
    body = {"user_id": till.account.id, "plan_id": "team", "duration_months": 2}
    assert (await till.call("POST", "/admin/assign-plan", body)).status_code == 401
    staff = {"authorization": f"Bearer {STAFF_SECRET}"}
    given = await till.call("POST", "/admin/assign-plan", body, headers=staff)
    assert given.json()["plan_id"] == "team"
    own = (await till.call("GET", "/user/plan")).json()
    assert (own["plan_id"], own["end_date"]) == ("team", given.json()["end_date"])
    may = (await till.call("GET", "/user/plan/entitlements?feature=teams and budgets")).json()
    assert (may["has_plan"], may["can_access_feature"]) == (True, True)
    await _subscribe(till, plan="dev")
    assert (await till.call("GET", "/user/plan")).json()["plan_id"] == "dev"
    none = await till.call("POST", "/admin/assign-plan", body | {"plan_id": "x"}, headers=staff)
    assert none.status_code == 404


async def test_a_customer_deleted_at_stripe_is_made_anew(till: Till) -> None:
    await till.checkout(1000)
    (customer,) = till.fake.stripe.all("customer")
    till.fake.checkout.delete_customer(customer["id"])
    await till.deliver()
    opened = await till.checkout(1000)
    session = till.fake.stripe.find("checkout.session", opened["session_id"])
    assert session["customer"] != customer["id"]
    till.fake.checkout.pay(opened["session_id"])
    await till.deliver()
    assert await till.balance() == 950 * CENT
