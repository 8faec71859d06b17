"""Coupons, bonus and referrals: once, in their order, and only for what is paid and stays paid."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from gatewayz.core import clock
from gatewayz.core.billing_settings import BillingSettings
from tests.billing.conftest import CENT, STAFF_SECRET, Till
from tests.fakes.stripe import reversals
from tests.fakes.stripe.deliveries import Manners
from tests.world import Account

STAFF = {"authorization": f"Bearer {STAFF_SECRET}"}
PAID = 10 * 95 * CENT
REWARD = 1000 * CENT


async def _coupon(till: Till, code: str = "WELCOME", **more: Any) -> Any:
    body = {"code": code, "value_cents": 500, **more}
    answer = await till.call("POST", "/admin/coupons", body, headers=STAFF)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def _redeem(till: Till, code: str, account: Account | None = None) -> Any:
    headers = (account or till.account).headers
    answer = await till.call("POST", "/coupons/redeem", {"code": code}, headers=headers)
    body = answer.json()
    assert answer.status_code == (200 if body["success"] else 400)
    return body


async def test_a_coupon_is_redeemed_once_whatever_its_case(till: Till) -> None:
    await _coupon(till, max_uses=5)
    first = await _redeem(till, "Welcome")
    assert (first["coupon_value"], first["previous_balance"], first["new_balance"]) == (5, 0, 5)
    again = await _redeem(till, "WELCOME")
    assert again["error_code"] == "ALREADY_REDEEMED"
    assert await till.balance() == 500 * CENT
    history = (await till.call("GET", "/coupons/history")).json()
    assert (history["total_redemptions"], history["total_value_redeemed"]) == (1, 5)
    assert await till.violations() == []


async def test_refusals_come_in_their_order(till: Till) -> None:
    other = await till.world.account(usd=0)
    await _coupon(till, "OTHERS", assigned_to=other.id)
    await _coupon(till, "LATER", valid_from_ms=clock.now_ms() + 86_400_000)
    await _coupon(till, "STOPPED", valid_from_ms=clock.now_ms() + 86_400_000)
    await till.call("DELETE", "/admin/coupons/STOPPED", headers=STAFF)
    await _coupon(till, "ONCE")
    await _redeem(till, "ONCE", other)
    await _coupon(till, "OVER")
    await till.call("PATCH", "/admin/coupons/OVER", {"valid_days": 0}, headers=STAFF)
    await asyncio.sleep(0.01)
    refused = {
        code: (await _redeem(till, code))["error_code"]
        for code in ("NOTHING", "STOPPED", "LATER", "OVER", "OTHERS", "ONCE")
    }
    assert refused == {
        "NOTHING": "COUPON_NOT_FOUND",
        "STOPPED": "COUPON_INACTIVE",
        "LATER": "COUPON_NOT_YET_ACTIVE",
        "OVER": "COUPON_EXPIRED",
        "OTHERS": "COUPON_NOT_ASSIGNED",
        "ONCE": "MAX_USES_EXCEEDED",
    }
    assert await till.balance() == 0


async def test_F71_a_hundred_redeemers_of_one_use_have_one_winner(till: Till) -> None:
    await _coupon(till, "RACE")
    postgres = till.stores.postgres
    names = [f"racer_{number}" for number in range(100)]
    for name in names:
        await postgres.rpc("open_account", {"account": name, "name": name, "stage": "test"})
    rows = await asyncio.gather(
        *(postgres.rpc("redeem_coupon", {"account": name, "code": "race"}) for name in names)
    )
    assert sum("error_code" not in row for row in rows) == 1
    assert {row.get("error_code") for row in rows} == {None, "MAX_USES_EXCEEDED"}
    one = await postgres.rpc("open_account", {"account": "eager", "name": "e", "stage": "test"})
    await _coupon(till, "TEN", max_uses=10)
    again = await asyncio.gather(
        *(postgres.rpc("redeem_coupon", {"account": one["account"], "code": "TEN"})
          for _ in range(10))
    )  # fmt: skip
    assert sum("error_code" not in row for row in again) == 1
    assert await till.violations() == []


async def test_F71_who_guesses_codes_is_stopped_for_an_hour(till: Till) -> None:
    await _coupon(till, "SECRET")
    for number in range(20):
        assert (await _redeem(till, f"GUESS{number}"))["error_code"] == "COUPON_NOT_FOUND"
    answer = await till.call("POST", "/coupons/redeem", {"code": "SECRET"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "3600")
    other = await till.world.account(usd=0)
    assert (await _redeem(till, "SECRET", other))["success"]


async def test_credit_of_a_coupon_may_lapse_and_is_spent_first(till: Till) -> None:
    await _coupon(till, "SHORT", credit_days=1)
    await _redeem(till, "SHORT")
    await till.stores.postgres.rpc(
        "grant_credit",
        {"op_id": "g", "account": till.account.id, "amount_nanos": 500 * CENT, "reason": "x"},
    )
    answer = await till.world.post(till.account, max_tokens=50)
    assert answer.status_code == 200
    await till.world.settle()
    await till.world.sweep()
    moved = (await till.call("GET", "/user/credit-transactions")).json()["transactions"]
    assert {one["wallet"].split("-")[0] for one in moved} == {"purchased", "coupon"}
    assert await till.violations() == []


async def test_only_staff_makes_coupons_and_sees_their_figures(till: Till) -> None:
    body = {"code": "MINE", "value_cents": 100}
    assert (await till.call("POST", "/admin/coupons", body)).status_code == 401
    await _coupon(till, "MINE", max_uses=4)
    await _redeem(till, "MINE")
    figures = (await till.call("GET", "/admin/coupons/mine/analytics", headers=STAFF)).json()
    assert (figures["total_redemptions"], figures["redemption_rate"]) == (1, 0.25)
    overview = (await till.call("GET", "/admin/coupons/stats/overview", headers=STAFF)).json()
    assert (overview["total_coupons"], overview["total_value_distributed"]) == (1, 5)
    double = await till.call("POST", "/admin/coupons", body, headers=STAFF)
    assert (double.status_code, double.json()["error"]["code"]) == (409, "coupon_exists")
    lost = await till.call("GET", "/admin/coupons/none", headers=STAFF)
    assert lost.status_code == 404


async def _refer(till: Till, giver: Account, taker: Account) -> Any:
    code = (await till.call("GET", "/referral/code", headers=giver.headers)).json()["code"]
    body = {"referral_code": code}
    return await till.call("POST", "/referral/use", body, headers=taker.headers)


async def _top_up(till: Till, account: Account, fingerprint: str, cents: int = 1000) -> str:
    answer = await till.call(
        "POST", "/api/stripe/checkout-session", {"amount": cents}, headers=account.headers
    )
    opened = answer.json()
    card = till.fake.payments.card("pm_card_visa")
    till.fake.payments.set_fingerprint(card["id"], fingerprint)
    till.fake.checkout.pay(opened["session_id"], card["id"])
    await till.deliver()
    intent = till.fake.stripe.find("checkout.session", opened["session_id"])["payment_intent"]
    return str(intent)


async def test_a_referral_pays_both_after_the_first_payment_and_not_before(till: Till) -> None:
    friend = await till.world.account(usd=0)
    assert (await _refer(till, till.account, friend)).status_code == 200
    await _top_up(till, friend, "card-a", 999)
    assert await till.balance() == 0
    await _top_up(till, friend, "card-a", 1000)
    assert await till.balance() == REWARD
    assert await till.balance(friend.id) == (999 + 1000) * 95 * CENT // 100 + REWARD
    stats = (await till.call("GET", "/referral/stats")).json()
    assert (stats["uses"], stats["earnings"], stats["referrals"][0]["status"]) == (
        1, 10, "completed",
    )  # fmt: skip
    assert await till.violations() == []


async def test_F72_self_cycle_same_card_and_refund_bring_nothing(till: Till) -> None:
    friend, third = await till.world.account(usd=0), await till.world.account(usd=0)
    codes = {
        (await _refer(till, till.account, till.account)).json()["error"]["code"],
    }
    assert codes == {"self_referral"}
    assert (await _refer(till, till.account, friend)).status_code == 200
    assert (await _refer(till, friend, third)).status_code == 200
    loop = await _refer(till, third, till.account)
    assert loop.json()["error"]["code"] == "referral_cycle"
    twice = await _refer(till, third, friend)
    assert twice.json()["error"]["code"] == "already_referred"

    await _top_up(till, till.account, "one-card")
    await _top_up(till, friend, "one-card")
    assert await till.balance() == PAID
    assert await till.balance(friend.id) == PAID

    intent = await _top_up(till, third, "card-c")
    assert await till.balance(third.id) == PAID + REWARD
    assert await till.balance(friend.id) == PAID + REWARD
    reversals.refund(till.fake.stripe, {"payment_intent": intent})
    await till.deliver(Manners(copies=2, shuffle_seed=4))
    assert await till.balance(third.id) == 0
    assert await till.balance(friend.id) == PAID
    late = await _refer(till, till.account, third)
    assert late.json()["error"]["code"] in ("already_referred", "not_a_new_customer")
    assert await till.violations() == []


class TestBonus:
    @pytest.fixture
    def bill(self) -> Any:
        def terms(billing: BillingSettings) -> BillingSettings:
            return replace(billing, first_bonus_cents=500)

        return terms

    async def test_the_first_top_up_earns_the_bonus_once_and_a_refund_takes_it(
        self, till: Till
    ) -> None:
        intent = await _top_up(till, till.account, "card-a")
        assert await till.balance() == PAID + 500 * CENT
        await _top_up(till, till.account, "card-a")
        assert await till.balance() == 2 * PAID + 500 * CENT
        reversals.refund(till.fake.stripe, {"payment_intent": intent})
        await till.deliver()
        assert await till.balance() == PAID + 500 * CENT
        last = till.fake.stripe.all("payment_intent")[-1]["id"]
        reversals.refund(till.fake.stripe, {"payment_intent": last})
        await till.deliver()
        assert await till.balance() == 0
        assert await till.violations() == []
