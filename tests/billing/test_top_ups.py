"""Money in by Stripe and out again, to the cent and only once. The genuine SDK on our side."""

import asyncio
from typing import Any

import httpx
import pytest

from gatewayz.core.billing_settings import BillingSettings
from tests.billing.conftest import CENT, STAFF_SECRET, Till
from tests.fakes.stripe import reversals
from tests.fakes.stripe.deliveries import Manners, as_event

PAID = 10 * 95 * CENT  # $10 less the fee of 5 %


async def test_a_paid_checkout_is_credited_less_the_fee(till: Till) -> None:
    opened = await till.checkout(1000)
    assert (opened["amount"], opened["credits"], opened["fee"]) == (1000, 9.5, 0.5)
    assert opened["url"].startswith(till.fake.checkout.url)
    till.fake.checkout.pay(opened["session_id"])
    await till.deliver()
    assert await till.balance() == PAID
    payment = (await till.call("GET", f"/api/stripe/payments/{opened['payment_id']}")).json()
    assert (payment["status"], payment["amount"]) == ("paid", 1000)
    assert payment["completed_at"] is not None
    listed = (await till.call("GET", "/api/stripe/payments")).json()
    assert [one["id"] for one in listed["payments"]] == [opened["payment_id"]]
    moved = (await till.call("GET", "/user/credit-transactions?limit=50")).json()
    assert [(t["type"], t["amount"], t["balance_after"]) for t in moved["transactions"]] == [
        ("purchase", 9.5, 9.5)
    ]
    assert await till.violations() == []


async def test_F73_one_event_ten_times_at_once_is_one_top_up(till: Till) -> None:
    opened = await till.checkout(1000)
    till.fake.checkout.pay(opened["session_id"])
    await asyncio.gather(
        *(till.fake.deliveries.send_again(till.http, event["id"])
          for event in till.fake.stripe.events for _ in range(10))
    )  # fmt: skip
    await till.work()
    await till.deliver(Manners(copies=3, shuffle_seed=1))
    assert await till.balance() == PAID
    assert await till.violations() == []


async def test_the_client_never_chooses_the_credit(till: Till) -> None:
    opened = await till.checkout(1000, credit_value=3000, metadata={"credits": "999999"})
    assert opened["credits"] == 9.5
    till.fake.checkout.pay(opened["session_id"])
    await till.deliver()
    assert await till.balance() == PAID


async def test_a_customer_who_is_back_before_the_event_is_credited_by_the_look(till: Till) -> None:
    opened = await till.checkout(1000)
    path = f"/api/stripe/checkout-session/{opened['session_id']}"
    before = (await till.call("GET", path)).json()
    assert (before["payment_status"], before["credits_reconciled"]) == ("unpaid", False)
    till.fake.checkout.pay(opened["session_id"])
    looked = (await till.call("GET", path)).json()
    assert (looked["payment_status"], looked["credits_reconciled"]) == ("paid", True)
    again = (await till.call("GET", path)).json()
    assert (again["payment_status"], again["credits_reconciled"]) == ("paid", False)
    await till.deliver()
    assert await till.balance() == PAID


async def test_a_bank_debit_is_credited_when_it_arrives_and_not_before(till: Till) -> None:
    opened = await till.checkout(1000)
    till.fake.checkout.pay(opened["session_id"], "pm_usBankAccount_success")
    await till.deliver()
    assert await till.balance() == 0
    till.fake.checkout.settle(opened["session_id"], paid=True)
    await till.deliver()
    assert await till.balance() == PAID


async def test_an_expired_session_credits_nothing(till: Till) -> None:
    opened = await till.checkout(1000)
    till.fake.checkout.expire(opened["session_id"])
    await till.deliver()
    payment = (await till.call("GET", f"/api/stripe/payments/{opened['payment_id']}")).json()
    assert payment["status"] == "expired"
    assert await till.balance() == 0


async def test_an_intent_is_paid_on_a_page_of_the_callers_own(till: Till) -> None:
    answer = await till.call("POST", "/api/stripe/payment-intent", {"amount": 2000})
    made = answer.json()
    assert made["client_secret"].startswith(made["payment_intent_id"])
    till.fake.payments.confirm(made["payment_intent_id"], {"payment_method": "pm_card_visa"})
    looked = await till.call("GET", f"/api/stripe/payment-intent/{made['payment_intent_id']}")
    assert (looked.json()["status"], looked.json()["credits_reconciled"]) == ("paid", True)
    assert await till.balance() == 2 * PAID


async def test_a_refund_takes_its_share_of_the_credit(till: Till) -> None:
    opened = await till.checkout(1000)
    till.fake.checkout.pay(opened["session_id"])
    await till.deliver()
    staff = {"authorization": f"Bearer {STAFF_SECRET}"}
    body = {"payment_id": opened["payment_id"], "amount": 300, "reason": "requested_by_customer"}
    denied = await till.call("POST", "/api/stripe/refund", body)
    assert denied.status_code == 401
    answer = await till.call("POST", "/api/stripe/refund", body, headers=staff)
    assert answer.json()["status"] == "partially_refunded"
    assert await till.balance() == PAID * 7 // 10
    await till.deliver(Manners(copies=2, shuffle_seed=5))
    assert await till.balance() == PAID * 7 // 10
    (refund,) = till.fake.stripe.all("refund")
    reversals.fail_refund(till.fake.stripe, refund["id"])
    await till.deliver()
    assert await till.balance() == PAID
    assert await till.violations() == []


async def test_F77_a_refund_of_spent_credit_leaves_the_wallet_below_zero(till: Till) -> None:
    opened = await till.checkout(1000)
    till.fake.checkout.pay(opened["session_id"])
    await till.deliver()
    for _ in range(3):
        answer = await till.world.post(till.account, max_tokens=50)
        assert answer.status_code == 200
    await till.world.settle()
    await till.world.sweep()
    spent = PAID - await till.balance()
    assert spent > 0
    intent = till.fake.stripe.all("payment_intent")[0]["id"]
    reversals.refund(till.fake.stripe, {"payment_intent": intent})
    await till.deliver()
    assert await till.balance() == -spent
    refused = await till.world.post(till.account)
    assert refused.status_code == 402
    assert await till.violations() == []
    again = await till.checkout(1000)
    till.fake.checkout.pay(again["session_id"])
    await till.deliver()
    await asyncio.sleep(1.1)  # a refusal is remembered for a second
    assert (await till.world.post(till.account, max_tokens=50)).status_code == 200
    await till.world.settle()
    assert await till.violations() == []


async def test_a_dispute_takes_the_credit_and_gives_it_back_when_won(till: Till) -> None:
    opened = await till.checkout(1000)
    till.fake.checkout.pay(opened["session_id"])
    charge = till.fake.stripe.all("charge")[0]["id"]
    dispute = reversals.open_dispute(till.fake.stripe, charge)
    await till.deliver()
    assert await till.balance() == 0
    path = f"/api/stripe/payments/{opened['payment_id']}"
    assert (await till.call("GET", path)).json()["status"] == "disputed"
    reversals.close_dispute(till.fake.stripe, dispute["id"], won=True)
    await till.deliver()
    assert await till.balance() == PAID
    assert (await till.call("GET", path)).json()["status"] == "paid"
    assert await till.violations() == []


@pytest.mark.parametrize("seed", range(6))
async def test_F74_events_in_any_order_and_number_end_in_one_state(till: Till, seed: int) -> None:
    first, second = await till.checkout(1000), await till.checkout(700)
    till.fake.checkout.pay(first["session_id"])
    till.fake.checkout.pay(second["session_id"])
    charges = [c["id"] for c in till.fake.stripe.all("charge")]
    refund = reversals.refund(till.fake.stripe, {"charge": charges[0], "amount": "301"})
    reversals.refund(till.fake.stripe, {"charge": charges[0], "amount": "99"})
    reversals.fail_refund(till.fake.stripe, refund["id"])
    dispute = reversals.open_dispute(till.fake.stripe, charges[1])
    reversals.close_dispute(till.fake.stripe, dispute["id"], won=bool(seed % 2))
    await till.deliver(Manners(copies=1 + seed % 3, shuffle_seed=seed))
    await till.deliver(Manners(copies=2, shuffle_seed=seed))
    kept = (1000 - 99) * 95 * CENT // 100
    lost = 0 if seed % 2 else 1
    assert await till.balance() == kept + (0 if lost else 700 * 95 * CENT // 100)
    assert await till.violations() == []


def _forged(kind: str) -> tuple[str, int | None]:
    return {"wrong secret": ("whsec_other", None), "old": ("whsec_test_test_test", 1_000),
            "future": ("whsec_test_test_test", 99_999_999_999)}[kind]  # fmt: skip


@pytest.mark.parametrize("kind", ["wrong secret", "old", "future"])
async def test_F75_a_forged_event_is_refused_and_leaves_no_row(till: Till, kind: str) -> None:
    secret, at_s = _forged(kind)
    event = as_event("payment_intent.succeeded", {"id": "pi_1", "object": "payment_intent"})
    answer = await till.fake.deliveries.forge(till.http, event, secret=secret, at_s=at_s)
    assert answer.status_code == 400
    assert await till.stores.postgres.rpc("find_stripe_event", {"event_id": "evt_forged"}) is None


async def test_F75_no_header_other_mode_and_a_rewritten_body_are_refused(till: Till) -> None:
    from tests.billing.conftest import HOOK, WEBHOOK_SECRET
    from tests.fakes.stripe.deliveries import encode, sign

    url = till.fake.deliveries.endpoints[0].url
    assert url.endswith(HOOK)
    event = as_event("payment_intent.succeeded", {"id": "pi_1", "object": "payment_intent"})
    payload = encode(event)
    assert (await till.http.post(url, content=payload)).status_code == 400
    rewritten = payload.replace(b"  ", b"")
    headers = {"stripe-signature": sign(payload, WEBHOOK_SECRET)}
    assert (await till.http.post(url, content=rewritten, headers=headers)).status_code == 400
    live = encode(event | {"livemode": True})
    headers = {"stripe-signature": sign(live, WEBHOOK_SECRET)}
    assert (await till.http.post(url, content=live, headers=headers)).status_code == 400
    assert await till.stores.postgres.rpc("find_stripe_event", {"event_id": "evt_forged"}) is None


async def test_F76_what_fits_no_order_credits_nobody(till: Till) -> None:
    other = await till.world.account(usd=0)
    opened = await till.checkout(1000)
    session = till.fake.stripe.find("checkout.session", opened["session_id"])
    session["amount_total"] = 500
    till.fake.checkout.pay(opened["session_id"])
    intent = till.fake.payments.create_intent(
        {"amount": "5000", "currency": "usd",
         "metadata": {"payment_id": opened["payment_id"], "account": other.id}}
    )  # fmt: skip
    till.fake.payments.confirm(intent["id"], {"payment_method": "pm_card_visa"})
    await till.deliver()
    assert await till.balance() == 0
    assert await till.balance(other.id) == 0
    payment = (await till.call("GET", f"/api/stripe/payments/{opened['payment_id']}")).json()
    assert payment["status"] == "mismatch"
    assert await till.violations() == []


async def test_F65_the_page_leads_back_only_to_hosts_of_ours(till: Till) -> None:
    home = till.world.settings.billing.app_url
    for bad in ("//evil.example", "https://good@evil.example/", "javascript:alert(1)",
                "https://evil.example", "/\\evil.example", "https:evil.example",
                "http://example.com\t@evil", "https://127.0.0.1:8000.evil.example/"):  # fmt: skip
        opened = await till.checkout(1000, success_url=bad, cancel_url=bad)
        session = till.fake.stripe.find("checkout.session", opened["session_id"])
        assert session["success_url"].startswith(home + "/"), bad
        assert session["cancel_url"].startswith(home + "/"), bad
    good = home + "/thanks?session={CHECKOUT_SESSION_ID}"
    opened = await till.checkout(1000, success_url=good)
    session = till.fake.stripe.find("checkout.session", opened["session_id"])
    assert session["success_url"] == good


async def test_another_accounts_payments_do_not_exist(till: Till) -> None:
    opened = await till.checkout(1000)
    other = await till.world.account(usd=0)
    for path in (f"/api/stripe/payments/{opened['payment_id']}",
                 f"/api/stripe/checkout-session/{opened['session_id']}"):  # fmt: skip
        answer = await till.call("GET", path, headers=other.headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "payment_not_found")


@pytest.mark.parametrize("body", [{"amount": 499}, {"amount": 100_000_000}, {"amount": 10.5},
                                  {"amount": "1000"}, {"amount": True}, {},
                                  {"amount": 1000, "currency": "eur"}])  # fmt: skip
async def test_a_bad_order_is_a_clear_400(till: Till, body: Any) -> None:
    answer = await till.call("POST", "/api/stripe/checkout-session", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"]
    assert till.fake.stripe.all("checkout.session") == []


async def test_one_customer_is_made_by_two_orders_at_once(till: Till) -> None:
    await asyncio.gather(till.checkout(1000), till.checkout(1500))
    assert len(till.fake.stripe.all("customer")) == 1


async def test_stripe_away_is_a_503_and_the_event_comes_again(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = await till.checkout(1000)
    till.fake.checkout.pay(opened["session_id"])
    await till.fake.deliveries.deliver(till.http)
    monkeypatch.setenv("STRIPE_API_URL", "http://127.0.0.1:9")
    received, done = await till.worker.step(till.stores)
    assert received > 0
    assert done < received
    monkeypatch.setenv("STRIPE_API_URL", till.fake.checkout.url)
    waiting = await till.stores.postgres.rpc("list_stripe_events", {"status": "received"})
    assert waiting
    from gatewayz.billing.stripe.client import open_client
    from gatewayz.billing.stripe.desk import Desk
    from gatewayz.billing.stripe.events import apply_event

    async with open_client(till.fake.key, till.fake.checkout.url) as client:
        desk = Desk(client, till.stores.postgres, till.world.settings.billing)
        for event in waiting:
            await apply_event(desk, event["event_id"])
    assert await till.balance() == PAID


@pytest.mark.parametrize("path", ["/api/stripe/checkout-session", "/api/stripe/payment-intent"])
async def test_without_a_key_nobody_orders(till: Till, path: str) -> None:
    async with httpx.AsyncClient(base_url=till.world.url) as http:
        assert (await http.post(path, json={"amount": 1000})).status_code == 401


async def test_packages_show_the_fee_before_anybody_pays(till: Till) -> None:
    answer = (await till.call("GET", "/api/stripe/credit-packages")).json()
    for package in answer["packages"]:
        assert round((package["credits"] + package["fee"]) * 100) == package["amount"]


class TestTax:
    @pytest.fixture
    def bill(self) -> Any:
        from dataclasses import replace

        def terms(billing: BillingSettings) -> BillingSettings:
            return replace(billing, tax=True)

        return terms

    async def test_tax_is_paid_on_top_and_is_no_credit(self, till: Till) -> None:
        opened = await till.checkout(1000)
        till.fake.checkout.pay(opened["session_id"])
        await till.deliver()
        assert await till.balance() == PAID
        charge = till.fake.stripe.all("charge")[0]
        assert charge["amount"] == 1100
        reversals.refund(till.fake.stripe, {"charge": charge["id"], "amount": "1100"})
        await till.deliver()
        assert await till.balance() == 0
        assert await till.violations() == []


@pytest.mark.parametrize(
    ("key", "secret", "starts"),
    [("", "", True), ("sk_test_x", "", False), ("sk_test_x", " , ", False), ("sk_x", "w", True)],
)
async def test_F75_where_payments_are_taken_no_webhook_starts_without_its_secret(
    till: Till, monkeypatch: pytest.MonkeyPatch, key: str, secret: str, starts: bool
) -> None:
    import importlib

    monkeypatch.setenv("STRIPE_SECRET_KEY", key)
    monkeypatch.setenv("STRIPE_WEBHOOK_SECRET", secret)
    app = importlib.import_module("functions.stripe_webhook.app").WebhookApp(till.world.settings)
    events = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    said: list[str] = []

    async def receive() -> Any:
        return events.pop(0)

    async def send(message: Any) -> None:
        said.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    expected = ["startup.complete", "shutdown.complete"] if starts else ["startup.failed"]
    assert said == [f"lifespan.{end}" for end in expected]


def test_the_webhook_starts_without_the_heavy_libraries() -> None:
    """It has to answer at once, also when it is cold."""
    import subprocess
    import sys
    from pathlib import Path

    root = Path(__file__).resolve().parents[2]
    code = (
        "import functions.stripe_webhook.app, sys;"
        "print(sorted({'stripe', 'fastapi', 'pydantic', 'httpx', 'boto3'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root,
        env={"PYTHONPATH": f"{root}/shared:{root}", "PATH": ""},
    )  # fmt: skip
    assert done.stdout == "[]\n"
