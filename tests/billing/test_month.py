"""A month in the life of an account, on a virtual clock: every balance, to the nano."""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from gatewayz.billing.due import send_due
from gatewayz.core import clock
from gatewayz.core.billing_settings import BillingSettings
from gatewayz.core.ids import new_id
from gatewayz.local.mount import load_modules
from gatewayz.stores import direct_postgres
from tests.billing import test_subscriptions
from tests.billing.conftest import CENT, Till, charge
from tests.fakes.stripe import deliveries, reversals
from tests.fakes.stripe.deliveries import Manners
from tests.simulation.ports import TimedPostgres

DAY_S = 86_400
USD = 100 * CENT
prices = test_subscriptions.prices


class Calendar:
    """The real clock, and as many days as the story has gone on."""

    def __init__(self) -> None:
        self.days = 0.0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + round(self.days * DAY_S * 1000)

    def monotonic_s(self) -> float:
        return time.monotonic() + self.days * DAY_S

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps in this story")


@pytest.fixture
def calendar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Calendar]:
    """Python, Postgres and Stripe live in one time."""
    calendar = Calendar()
    before = clock.use(calendar)
    monkeypatch.setattr(direct_postgres, "DirectPostgres", TimedPostgres)
    at_s = SimpleNamespace(time=lambda: calendar.now_ms() / 1000)
    monkeypatch.setattr(deliveries, "time", at_s)
    yield calendar
    clock.use(before)


@pytest.fixture
def bill(calendar: Calendar, prices: dict[str, str]) -> Any:
    text = " ".join(f"{price}={plan}" for plan, price in prices.items())

    def terms(billing: BillingSettings) -> BillingSettings:
        return replace(billing, prices=text, first_bonus_cents=500)

    return terms


class Story:
    """One account, its days, and what is checked after each of them."""

    def __init__(self, till: Till, calendar: Calendar) -> None:
        self.till, self.calendar = till, calendar
        self.number = 0
        self.chance = random.Random(1)

    async def day(self, day: float) -> None:
        self.calendar.days = day
        self.till.fake.subscriptions.advance(self.calendar.now_ms() // 1000)
        await self.mail()
        for name in ("run_daily", "reconcile_ledger"):
            ((_, module),) = load_modules("job", only=name)
            await getattr(module, name)(self.till.stores)
        await self.till.work()

    async def mail(self) -> None:
        """Twice and in any order."""
        await self.till.deliver(Manners(copies=2, shuffle_seed=self.chance.randrange(1000)))

    async def use(self, nanos: int) -> None:
        """Requests that cost so much, by a lease of their own."""
        rpc, account = self.till.stores.postgres.rpc, self.till.account.id
        self.number += 1
        lease = await rpc(
            "reserve_credit",
            {"op_id": new_id("op_"), "account": account, "need": nanos, "private": True,
             "record": "{}"},
        )  # fmt: skip
        message = charge(self.till, self.number, nanos, lease=lease["lease"])
        await rpc("settle_charges", {"messages": [message]})
        await send_due(self.till.stores.postgres, self.till.stores.queue)
        await self.till.work()

    async def holds(self, nanos: int) -> None:
        assert await self.till.balance() == nanos
        found = await self.till.violations()
        assert found == []
        shown = (await self.till.call("GET", "/v1/credits")).json()["data"]["balance_nanos"]
        assert shown == nanos


async def test_a_month_in_the_life_of_an_account(till: Till, calendar: Calendar) -> None:
    story, fake = Story(till, calendar), till.fake
    friend = await till.world.account(usd=0)
    code = (await till.call("GET", "/referral/code", headers=friend.headers)).json()["code"]

    # Day 0: signed up, referred; a card is saved and the trial begins.
    await till.call("POST", "/referral/use", {"referral_code": code})
    opened = (await till.call("POST", "/api/stripe/setup-session", {})).json()
    fake.checkout.pay(opened["session_id"])
    await story.mail()
    assert (await till.call("POST", "/trial/start", {})).status_code == 200
    await story.holds(5 * USD)

    await story.day(2)
    await story.use(1 * USD)
    await story.holds(4 * USD)

    # Day 3: the first top-up, as the existing frontend orders and reads it; bonus and referral.
    await story.day(3)
    home = till.world.settings.billing.app_url
    order = await till.checkout(
        2000, credit_value=60, currency="usd", customer_email="a@b.example",
        success_url=home + "/ok?session_id={CHECKOUT_SESSION_ID}", cancel_url=home + "/no",
    )  # fmt: skip
    fake.checkout.pay(order["session_id"])
    looked = (await till.call("GET", f"/api/stripe/checkout-session/{order['session_id']}")).json()
    assert (looked["payment_status"], looked["credits_reconciled"]) == ("paid", True)
    await story.mail()
    await story.holds((4 + 19 + 5 + 10) * USD)
    assert await till.balance(friend.id) == 10 * USD
    listed = (await till.call("GET", "/user/credit-transactions?limit=50")).json()
    assert sorted(t["type"] for t in listed["transactions"]) == [
        "bonus", "purchase", "referral", "trial",
    ]  # fmt: skip
    assert (listed["total"], listed["summary"]["net_change"]) == (4, 39)

    # Day 5: a subscription; its allowance is spent after the trial and before what was bought.
    await story.day(5)
    begun = (await till.call("POST", "/api/stripe/subscription-checkout", {"plan": "dev"})).json()
    fake.checkout.pay(begun["session_id"])
    await story.mail()
    await story.holds((4 + 15 + 34) * USD)
    await story.use(6 * USD)
    await story.holds((13 + 34) * USD)

    # Day 10: a dearer plan from now on; the difference of the allowances comes at once.
    await story.day(10)
    answer = await till.call("POST", "/api/stripe/subscription/upgrade", {"plan": "team"})
    assert answer.json()["plan"] == "team"
    await story.mail()
    await story.holds((148 + 34) * USD)

    # Day 12: over the allowance, and below the threshold of the automatic top-up.
    await story.day(12)
    wanted = {"enabled": True, "threshold_cents": 2000, "amount_cents": 2000}
    assert (await till.call("PUT", "/user/auto-topup", wanted)).status_code == 200
    await story.use(150 * USD)
    await story.holds(32 * USD)
    await story.use(15 * USD)
    await story.holds((17 + 19) * USD)
    await story.mail()
    await story.holds((17 + 19) * USD)
    await till.call("PUT", "/user/auto-topup", wanted | {"enabled": False})

    # Day 20: the first top-up goes back. The other payment still stands for bonus and referral.
    await story.day(20)
    await story.holds(36 * USD)
    intents = [i for i in fake.stripe.all("payment_intent") if i["amount"] == 2000]
    first, auto = intents[0], next(i for i in intents if "pay_auto" in str(i["metadata"]))
    reversals.refund(fake.stripe, {"payment_intent": first["id"]})
    await story.mail()
    await story.holds(17 * USD)
    assert await till.balance(friend.id) == 10 * USD

    # Day 22: the other payment is disputed, and lost: nothing that stays paid is left.
    await story.day(22)
    dispute = reversals.open_dispute(fake.stripe, auto["latest_charge"])
    await story.mail()
    await story.holds((17 - 19 - 5 - 10) * USD)
    reversals.close_dispute(fake.stripe, dispute["id"], won=False)
    await story.mail()
    await story.holds(-17 * USD)
    assert await till.balance(friend.id) == 0
    assert (await till.world.post(till.account)).status_code == 402

    # Day 40: the next period was paid for; what was left of the first allowance had lapsed.
    await story.day(40)
    await story.holds((150 - 17) * USD)
    ended = (await till.call("POST", "/api/stripe/subscription/cancel")).json()
    assert ended["cancel_at_period_end"] is True

    await story.day(64)
    # Day 70: it has ended. The debt is still there, and a payment would lift it.
    await story.day(70)
    await story.holds(-17 * USD)
    own = (await till.call("GET", "/user/plan")).json()
    assert (own["plan_id"], own["subscription_status"]) == ("free", "canceled")
    again = await till.checkout(5000)
    fake.checkout.pay(again["session_id"])
    await story.mail()
    # Bonus and referral come back with a payment that stays.
    await story.holds(int((-17 + 47.5 + 5 + 10) * USD))
    told = {n["kind"] for n in await till.stores.postgres.rpc("list_billing_notices", {})}
    assert {"trial_ends", "trial_ended", "plan_ends"} <= told
    drift = await till.stores.postgres.rpc("list_drift", {})
    assert {report["drifts"] for report in drift} == {0}
