"""Plans: one price for whoever has one, which plan counts when, and what an unpaid one bars."""

import asyncio
from dataclasses import replace
from typing import Any

import asyncpg
import pytest

from gatewayz.billing.daily import end_plans
from gatewayz.billing.slot import call_admit
from gatewayz.core.billing_settings import BillingSettings
from tests.billing import test_subscriptions
from tests.billing.conftest import STAFF_SECRET, Till
from tests.fakes.stripe import reversals
from tests.fakes.stripe.deliveries import Manners

prices = test_subscriptions.prices
MODEL = "sandbox/echo"
DAY_MS = 86_400_000


@pytest.fixture
def bill(prices: dict[str, str]) -> Any:
    text = " ".join(f"{price}={plan}" for plan, price in prices.items())

    def terms(billing: BillingSettings) -> BillingSettings:
        return replace(billing, prices=text, plan_markups="team=1.5 enterprise=0.5")

    return terms


async def sql(till: Till, text: str) -> list[Any]:
    connection = await asyncpg.connect(till.world.settings.stores.database_url)
    try:
        return list(await connection.fetch(text))
    finally:
        await connection.close()


async def assign(till: Till, plan: str, account: str | None = None) -> None:
    body = {"user_id": account or till.account.id, "plan_id": plan}
    staff = {"authorization": f"Bearer {STAFF_SECRET}"}
    answer = await till.call("POST", "/admin/assign-plan", body, headers=staff)
    assert answer.status_code == 200, answer.text


async def grant(till: Till, nanos: int) -> None:
    await till.stores.postgres.rpc(
        "grant_credit",
        {"op_id": f"g{nanos}", "account": till.account.id, "amount_nanos": nanos, "reason": "x"},
    )


# ------------------------------------------------------------------------- markups


async def listed(till: Till, path: str, headers: dict[str, str]) -> float:
    answer = await till.http.get(path, headers=headers)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    rows = body.get("data", [body])
    rows = rows["endpoints"] if isinstance(rows, dict) and "endpoints" in rows else rows
    rows = rows if isinstance(rows, list) else [rows]
    row = next((row for row in rows if row.get("id") == MODEL), rows[0])
    return float(row["pricing"]["completion"]) * 1_000_000


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models?available=all",
        "/api/v1/models?available=all",
        "/v1/models?q=echo&available=all",
        "/v1/models/user",
        f"/v1/models/{MODEL}",
        f"/v1/models/{MODEL}/endpoints",
    ],
)
async def test_a_listing_shows_who_asks_the_price_of_their_plan(till: Till, path: str) -> None:
    await assign(till, "team")
    other = await till.world.account(usd=0)
    assert await listed(till, path, till.account.headers) == pytest.approx(1.5 * 1.5)
    assert await listed(till, path, other.headers) == pytest.approx(1.5)
    # A second look is answered from what is kept, and is no other's.
    assert await listed(till, path, till.account.headers) == pytest.approx(1.5 * 1.5)
    if "/user" not in path:
        assert await listed(till, path, {}) == pytest.approx(1.5)
        assert await listed(till, path, {"authorization": "Bearer gw_x"}) == pytest.approx(1.5)


async def test_a_kept_listing_is_told_apart_by_the_key(till: Till) -> None:
    await assign(till, "team")
    path = "/v1/models?available=all"
    public = await till.http.get(path)
    assert "Authorization" in public.headers["vary"]
    mine = {"if-none-match": public.headers["etag"]} | till.account.headers
    assert (await till.http.get(path, headers=mine)).status_code == 200


@pytest.mark.parametrize(("plan", "factor"), [("team", 1.5), ("enterprise", 0.5), ("dev", 1)])
async def test_quote_hold_and_charge_have_one_price(till: Till, plan: str, factor: float) -> None:
    await grant(till, 10**9)
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1000}
    (public,) = (await till.call("POST", "/v1/quote", body)).json()["candidates"]
    await assign(till, plan)
    (quoted,) = (await till.call("POST", "/v1/quote", body)).json()["candidates"]
    assert quoted["max_nanos"] == pytest.approx(public["max_nanos"] * factor, abs=1)

    # One nano less than the quote's maximum is refused, the maximum is enough.
    poor = await till.world.account(usd=0)
    await assign(till, plan, poor.id)
    wallet = {"op_id": "p", "account": poor.id, "reason": "x"}
    await till.stores.postgres.rpc(
        "grant_credit", wallet | {"amount_nanos": quoted["max_nanos"] - 1}
    )
    refused = await till.world.client.post("/v1/chat/completions", json=body, headers=poor.headers)
    assert refused.status_code == 402, refused.text
    answer = await till.world.post(till.account, max_tokens=1000)
    assert answer.status_code == 200, answer.text
    await till.world.settle()
    (row,) = await till.world.requests(till.account)
    assert [line[2] for line in row["lines"] if line[0] == "output"] == [
        round(1_500_000_000 * factor)
    ]
    if factor != 1:
        assert row["charge_nanos"] == pytest.approx(row["cost_nanos"] * factor, abs=2)
    await till.world.sweep()
    assert await till.violations() == []


# --------------------------------------------------------------------- which plan counts


async def subscribed(till: Till, plan: str = "dev") -> tuple[str, dict[str, Any]]:
    answer = await till.call("POST", "/api/stripe/subscription-checkout", {"plan": plan})
    till.fake.checkout.pay(answer.json()["session_id"])
    await till.deliver()
    row = (await till.call("GET", "/api/stripe/subscription")).json()
    name = str(row["subscription_id"])
    return name, till.fake.stripe.find("subscription", name)


async def fail_renewal(till: Till, name: str, held: dict[str, Any]) -> None:
    till.fake.payments.set_behaviour(held["default_payment_method"], "card_declined")
    till.fake.subscriptions.advance(held["items"]["data"][0]["current_period_end"] + 60)
    await till.deliver(Manners(copies=2, shuffle_seed=4))


async def own(till: Till) -> tuple[str, str, str]:
    row = (await till.call("GET", "/user/plan")).json()
    return row["plan_id"], row["plan_source"], row["subscription_status"]


async def test_an_unpaid_renewal_keeps_the_plan_for_its_grace_and_no_longer(till: Till) -> None:
    name, held = await subscribed(till)
    assert await own(till) == ("dev", "subscription", "active")
    await fail_renewal(till, name, held)
    assert await own(till) == ("dev", "subscription", "past_due")
    row = (await till.call("GET", "/user/plan")).json()
    assert row["grace_ends_at"] == row["end_date"] is not None
    told = await till.stores.postgres.rpc("list_billing_notices", {})
    assert [notice["kind"] for notice in told].count("payment_failed") == 1
    # What tells of the same state again does not begin the grace anew.
    before = await sql(till, "select past_due_at from ledger.subscriptions")
    for event in till.fake.stripe.events:
        await till.fake.deliveries.send_again(till.http, event["id"])
    await till.work()
    assert await sql(till, "select past_due_at from ledger.subscriptions") == before
    # A week later.
    await sql(till, "update ledger.subscriptions set past_due_at = past_due_at - interval '8 days'")
    assert await own(till) == ("free", "free", "past_due")
    # The card is good again.
    till.fake.payments.set_behaviour(held["default_payment_method"], "succeed")
    till.fake.subscriptions.advance(till.fake.stripe.now_s + 7 * 86_400)
    await till.deliver()
    assert await own(till) == ("dev", "subscription", "active")
    (row,) = await sql(till, "select past_due_at from ledger.subscriptions")
    assert row["past_due_at"] is None
    assert await till.violations() == []


async def test_without_credit_an_unpaid_plan_is_named_and_a_debt_stays_a_debt(till: Till) -> None:
    name, held = await subscribed(till)
    await fail_renewal(till, name, held)
    # The allowance that was left lapsed with its period.
    await sql(till, "update ledger.books set expires_at = now() - interval '1 second'"
                    " where wallet like 'allowance-%'")  # fmt: skip
    await till.stores.postgres.rpc("expire_wallets", {})
    in_grace = await till.world.post(till.account)
    assert (in_grace.status_code, in_grace.json()["error"]["code"]) == (402, "insufficient_credits")
    await sql(till, "update ledger.subscriptions set past_due_at = past_due_at - interval '8 days'")
    (row,) = await sql(till, "update tenancy.accounts set epoch = epoch + 1 returning epoch")
    await call_admit(till.stores.redis, till.account.id, "epoch", row["epoch"])
    barred = await till.world.post(till.account)
    assert (barred.status_code, barred.json()["error"]["code"]) == (403, "subscription_past_due")
    # With credit that was bought it passes (behaviour.md 2.1).
    await grant(till, 10**8)
    await asyncio.sleep(1.1)  # a refusal is remembered for a second
    assert (await till.world.post(till.account, max_tokens=10)).status_code == 200


@pytest.mark.parametrize(
    ("status", "bars"),
    [("unpaid", True), ("canceled", True), ("incomplete_expired", True), ("incomplete", False),
     ("paused", False), ("active", False), ("trialing", False), ("past_due", False)],
)  # fmt: skip
async def test_which_states_bar(till: Till, status: str, bars: bool) -> None:
    await sql(
        till,
        f"insert into ledger.subscriptions values ('sub_1', '{till.account.id}', 'dev', 'price_1',"
        f" '{status}', now(), now(), false, null, now(), now())",
    )
    found = await till.stores.postgres.rpc("find_plan", {"account": till.account.id})
    assert found["blocked"] == (status if bars else None)
    runs = status in ("active", "trialing", "past_due")
    assert found["plan"] == ("dev" if runs else "free")
    answer = await till.world.post(till.account)
    expected = (403, f"subscription_{status}") if bars else (402, "insufficient_credits")
    assert (answer.status_code, answer.json()["error"]["code"]) == expected
    # What staff gives counts, and bars nothing.
    await assign(till, "team")
    found = await till.stores.postgres.rpc("find_plan", {"account": till.account.id})
    assert (found["blocked"], found["plan"]) == (None, "dev" if runs else "team")


async def test_a_partners_trial_brings_its_plan_while_it_runs(till: Till) -> None:
    account = till.account.id
    await till.stores.postgres.rpc(
        "note_signal", {"account": account, "kind": "card", "hash": "ab" * 32}
    )
    await till.call("POST", "/partner-trials/start", {"partner_code": "REDBEARD"})
    assert await own(till) == ("team", "trial", "none")
    await sql(till, "update ledger.trials set ends_at = now() - interval '1 second'")
    assert await own(till) == ("free", "free", "none")


async def test_a_change_of_plan_is_known_from_the_next_request(till: Till) -> None:
    """Whatever changes the plan raises the epoch; what ends soon is kept no longer than that."""

    async def epoch() -> int:
        (row,) = await sql(till, f"select epoch from tenancy.accounts"
                                 f" where account = '{till.account.id}'")  # fmt: skip
        return int(row["epoch"])

    async def principal() -> dict[str, Any]:
        (row,) = await sql(till, "select encode(hash, 'hex') as hash from tenancy.api_keys"
                                 f" where account = '{till.account.id}'")  # fmt: skip
        found = await till.stores.postgres.rpc("find_principal", {"hash": row["hash"]})
        return dict(found)

    start = await epoch()
    assert (await principal())["plan"] == "free"
    name, held = await subscribed(till)
    begun = await epoch()
    assert begun > start
    assert (await principal()) | {"plan": "dev", "left_ms": None} == await principal()
    await till.deliver()
    for event in till.fake.stripe.events:
        await till.fake.deliveries.send_again(till.http, event["id"])
    await till.work()
    assert await epoch() == begun
    await fail_renewal(till, name, held)
    unpaid = await epoch()
    assert unpaid > begun
    stores = till.stores
    assert await end_plans(stores.postgres, stores.redis) == {"ending": 0}
    # The day before the grace ends.
    await sql(
        till, "update ledger.subscriptions set past_due_at = now() - interval '6 days 1 hour'"
    )
    assert await end_plans(stores.postgres, stores.redis) == {"ending": 1}
    assert await epoch() > unpaid
    assert 0 < (await principal())["left_ms"] <= DAY_MS


async def test_a_product_stands_for_its_prices(till: Till, prices: dict[str, str]) -> None:
    """The seed's product ids work by configuration, and a price of another product does not."""
    product = till.fake.stripe.find("price", prices["team"])["product"]
    other = till.fake.subscriptions.create_product({"name": "Another business"})["id"]
    foreign = till.fake.subscriptions.create_price(
        {"product": other, "unit_amount": "1", "currency": "usd",
         "recurring": {"interval": "month"}}
    )["id"]  # fmt: skip
    text = f"{product}=team"
    by_product = replace(till.world.settings.billing, prices=text)
    from gatewayz.billing.stripe.client import open_client
    from gatewayz.billing.stripe.desk import Desk
    from gatewayz.billing.stripe.subscriptions import price_for
    from gatewayz.core.errors import InvalidRequest

    async with open_client(till.fake.key, till.fake.checkout.url) as client:
        desk = Desk(client, till.stores.postgres, by_product)
        price, plan = await price_for(desk, plan="team", price=None)
        assert (till.fake.stripe.find("price", price)["product"], plan) == (product, "team")
        assert await price_for(desk, plan=None, price=prices["dev"]) == (prices["dev"], "team")
        for asked in ({"price": foreign}, {"price": "price_none"}, {"plan": "dev"}, {}):
            with pytest.raises(InvalidRequest):
                await price_for(desk, plan=asked.get("plan"), price=asked.get("price"))


async def test_plans_show_their_markup_and_what_pays_for_them(till: Till) -> None:
    plans = {plan["id"]: plan for plan in (await till.http.get("/plans")).json()}
    assert {name: plan["price_markup"] for name, plan in plans.items()} == {
        "free": 1, "dev": 1, "team": 1.5, "enterprise": 0.5,
    }  # fmt: skip
    assert plans["dev"]["product_ids"] == []


async def test_a_debt_is_a_402_whatever_became_of_the_plan(till: Till) -> None:
    order = await till.checkout(1000)
    till.fake.checkout.pay(order["session_id"])
    name, _ = await subscribed(till)
    till.fake.subscriptions.cancel(name)
    await till.deliver()
    await till.stores.postgres.rpc("expire_wallets", {})
    assert (await till.world.post(till.account, max_tokens=10)).status_code == 200
    await till.world.settle()
    await till.world.sweep()
    intents = [i for i in till.fake.stripe.all("payment_intent") if i["amount"] == 1000]
    reversals.refund(till.fake.stripe, {"payment_intent": intents[0]["id"]})
    await till.deliver()
    assert await till.balance() < 0
    owing = await till.world.post(till.account, max_tokens=10)
    assert (owing.status_code, owing.json()["error"]["code"]) == (402, "insufficient_credits")
    assert await till.violations() == []
