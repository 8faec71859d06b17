"""The stand-in for Stripe, by the genuine SDK: what billing relies on is as Stripe documents it."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
import stripe

from tests.fakes.stripe import reversals
from tests.fakes.stripe.account import SHAPES
from tests.fakes.stripe.app import COLLECTIONS, FakeStripe
from tests.fakes.stripe.deliveries import Endpoint, Manners, sign
from tests.world import Server

SECRET = "whsec_test"


@pytest.fixture
def fake() -> FakeStripe:
    fake = FakeStripe()
    fake.deliveries.manners.hold = True
    return fake


@pytest.fixture
def client(fake: FakeStripe) -> Iterator[stripe.StripeClient]:
    server = Server(fake.app)
    yield stripe.StripeClient(fake.key, base_addresses={"api": server.url}, max_network_retries=0)
    server.stop()


def _session(client: stripe.StripeClient, **more: Any) -> Any:
    wanted: Any = {
        "mode": "payment",
        "success_url": "https://shop.example/done?s={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://shop.example/",
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": "usd",
                    "unit_amount": 2500,
                    "product_data": {"name": "Credit"},
                },
            }
        ],
        "metadata": {"account": "acct_1"},
        **more,
    }
    return client.v1.checkout.sessions.create(wanted)


def _kinds(fake: FakeStripe) -> list[str]:
    return [event["type"] for event in fake.stripe.events]


def test_a_paid_session_leaves_an_intent_a_charge_and_their_events(
    fake: FakeStripe, client: stripe.StripeClient
) -> None:
    session = _session(client, payment_intent_data={"metadata": {"account": "acct_1"}})
    assert (session.status, session.payment_status, session.amount_total) == (
        "open", "unpaid", 2500,
    )  # fmt: skip
    fake.checkout.pay(session.id, email="a@b.example")
    session = client.v1.checkout.sessions.retrieve(
        session.id, {"expand": ["payment_intent.latest_charge"]}
    )
    assert (session.status, session.payment_status) == ("complete", "paid")
    intent: Any = session.payment_intent
    assert intent.metadata["account"] == "acct_1"
    assert intent.latest_charge.payment_method_details.card.last4 == "4242"
    kinds = _kinds(fake)
    assert kinds.index("payment_intent.succeeded") < kinds.index("checkout.session.completed")


def test_a_declined_card_leaves_the_session_open(
    fake: FakeStripe, client: stripe.StripeClient
) -> None:
    session = _session(client)
    with pytest.raises(Exception, match="declined"):
        fake.checkout.pay(session.id, "pm_card_visa_chargeDeclined")
    assert client.v1.checkout.sessions.retrieve(session.id).status == "open"
    assert "payment_intent.payment_failed" in _kinds(fake)
    client.v1.checkout.sessions.expire(session.id)
    assert _kinds(fake)[-1] == "checkout.session.expired"


def test_a_bank_debit_is_paid_later(fake: FakeStripe, client: stripe.StripeClient) -> None:
    session = _session(client)
    fake.checkout.pay(session.id, "pm_usBankAccount_success")
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "unpaid"
    fake.checkout.settle(session.id, paid=True)
    assert client.v1.checkout.sessions.retrieve(session.id).payment_status == "paid"
    assert _kinds(fake)[-1] == "checkout.session.async_payment_succeeded"


def test_an_idempotency_key_replays_and_refuses_other_parameters(
    client: stripe.StripeClient,
) -> None:
    options: Any = {"idempotency_key": "k1"}
    first = client.v1.customers.create({"email": "a@b.example"}, options)
    again = client.v1.customers.create({"email": "a@b.example"}, options)
    assert first.id == again.id
    with pytest.raises(stripe.IdempotencyError):
        client.v1.customers.create({"email": "c@d.example"}, options)


def test_off_session_payments_succeed_decline_or_ask_for_the_bank(
    fake: FakeStripe, client: stripe.StripeClient
) -> None:
    customer = client.v1.customers.create({"email": "a@b.example"})

    def attempt(card: str) -> Any:
        return client.v1.payment_intents.create(
            {
                "amount": 1000,
                "currency": "usd",
                "customer": customer.id,
                "payment_method": card,
                "off_session": True,
                "confirm": True,
            }
        )

    assert attempt("pm_card_visa").status == "succeeded"
    with pytest.raises(stripe.CardError) as declined:
        attempt("pm_card_chargeDeclined")
    assert declined.value.code == "card_declined"
    with pytest.raises(stripe.CardError) as asked:
        attempt("pm_card_authenticationRequired")
    assert asked.value.code == "authentication_required"
    assert asked.value.error is not None
    assert asked.value.error.payment_intent is not None


def test_refunds_add_up_and_fail_back(fake: FakeStripe, client: stripe.StripeClient) -> None:
    intent = client.v1.payment_intents.create(
        {"amount": 1000, "currency": "usd", "payment_method": "pm_card_visa", "confirm": True}
    )
    client.v1.refunds.create({"payment_intent": intent.id, "amount": 300})
    with pytest.raises(stripe.InvalidRequestError, match="greater than unrefunded"):
        client.v1.refunds.create({"payment_intent": intent.id, "amount": 701})
    rest = client.v1.refunds.create({"payment_intent": intent.id})
    assert rest.amount == 700
    charge = client.v1.charges.retrieve(str(intent.latest_charge))
    assert (charge.amount_refunded, charge.refunded) == (1000, True)
    fake.stripe.events.clear()
    reversals.fail_refund(fake.stripe, rest.id)
    assert client.v1.charges.retrieve(charge.id).amount_refunded == 300
    assert "refund.failed" in _kinds(fake)


def test_a_subscription_renews_fails_recovers_and_ends(
    fake: FakeStripe, client: stripe.StripeClient
) -> None:
    product = client.v1.products.create({"name": "Pro"})
    price = client.v1.prices.create(
        {
            "product": product.id,
            "unit_amount": 2000,
            "currency": "usd",
            "recurring": {"interval": "month"},
        }
    )
    customer = client.v1.customers.create({"payment_method": "pm_card_visa"})
    made = client.v1.subscriptions.create(
        {"customer": customer.id, "items": [{"price": price.id}], "metadata": {"a": "1"}}
    )
    assert made.status == "active"
    invoice = client.v1.invoices.retrieve(str(made.latest_invoice), {"expand": ["payments"]})
    assert (invoice.status, invoice.billing_reason) == ("paid", "subscription_create")
    assert invoice.parent is not None
    assert invoice.parent.subscription_details is not None
    assert invoice.parent.subscription_details.subscription == made.id

    end_s = made["items"].data[0].current_period_end
    card = fake.stripe.all("payment_method", customer=customer.id)[0]
    fake.payments.set_behaviour(card["id"], "card_declined")
    fake.subscriptions.advance(end_s + 60)
    assert client.v1.subscriptions.retrieve(made.id).status == "past_due"
    assert {"invoice.upcoming", "invoice.payment_failed"} <= set(_kinds(fake))
    fake.payments.set_behaviour(card["id"], "succeed")
    fake.subscriptions.advance(end_s + 4 * 86400)
    assert client.v1.subscriptions.retrieve(made.id).status == "active"

    client.v1.subscriptions.update(made.id, {"cancel_at_period_end": True})
    fake.subscriptions.advance(end_s + 40 * 86400)
    assert client.v1.subscriptions.retrieve(made.id).status == "canceled"
    assert _kinds(fake)[-1] == "customer.subscription.deleted"


def test_an_upgrade_in_mid_period_charges_the_difference(
    fake: FakeStripe, client: stripe.StripeClient
) -> None:
    product = client.v1.products.create({"name": "Plans"})

    def price(cents: int) -> Any:
        return client.v1.prices.create(
            {
                "product": product.id,
                "unit_amount": cents,
                "currency": "usd",
                "recurring": {"interval": "month"},
            }
        )

    clock = client.v1.test_helpers.test_clocks.create({"frozen_time": 1_800_000_000})
    customer = client.v1.customers.create(
        {"payment_method": "pm_card_visa", "test_clock": clock.id}
    )
    small, large = price(1000), price(3000)
    made = client.v1.subscriptions.create({"customer": customer.id, "items": [{"price": small.id}]})
    item = made["items"].data[0]
    half = (item.current_period_start + item.current_period_end) // 2
    client.v1.test_helpers.test_clocks.advance(clock.id, {"frozen_time": half})
    made = client.v1.subscriptions.update(
        made.id,
        {
            "items": [{"id": item.id, "price": large.id}],
            "proration_behavior": "always_invoice",
        },
    )
    invoice = client.v1.invoices.retrieve(str(made.latest_invoice))
    assert (invoice.billing_reason, invoice.amount_paid) == ("subscription_update", 1000)


def test_lists_page_and_searches_find(client: stripe.StripeClient) -> None:
    made = [
        client.v1.customers.create({"email": f"{n}@b.example", "metadata": {"n": str(n)}}).id
        for n in range(5)
    ]
    listed = [c.id for c in client.v1.customers.list({"limit": 2}).auto_paging_iter()]
    assert listed == made[::-1]
    found = client.v1.customers.search({"query": "metadata['n']:'3' AND email:'3@b.example'"})
    assert [c.id for c in found.data] == [made[3]]
    with pytest.raises(stripe.InvalidRequestError):
        client.v1.customers.retrieve("cus_nobody")
    with pytest.raises(stripe.AuthenticationError):
        stripe.StripeClient("sk_wrong", base_addresses=client._requestor._options.base_addresses
                            ).v1.customers.list()  # fmt: skip


class Mailbox:
    """An endpoint that verifies as the SDK does, and is out of order when told so."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.broken = 0

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        if self.broken:
            self.broken -= 1
            return httpx.Response(500)
        try:
            event = stripe.Webhook.construct_event(
                request.content, request.headers["stripe-signature"], SECRET
            )
        except stripe.SignatureVerificationError:
            return httpx.Response(400)
        self.events.append(event)
        return httpx.Response(200)


@pytest.fixture
async def mail(fake: FakeStripe) -> AsyncIterator[tuple[Mailbox, httpx.AsyncClient]]:
    box = Mailbox()
    fake.deliveries.endpoints.append(Endpoint("https://hook.example/", SECRET))
    async with httpx.AsyncClient(transport=httpx.MockTransport(box)) as http:
        yield box, http


async def test_deliveries_are_signed_duplicated_shuffled_late_and_forged(
    fake: FakeStripe, mail: tuple[Mailbox, httpx.AsyncClient]
) -> None:
    box, http = mail
    intent = fake.payments.create_intent({"amount": "500", "currency": "usd"})
    fake.payments.confirm(intent["id"], {"payment_method": "pm_card_visa"})
    made = [event["id"] for event in fake.stripe.events]
    box.broken = 1
    await fake.deliveries.deliver(http, Manners(copies=2, shuffle_seed=3))
    assert fake.deliveries.due <= 1
    await fake.deliveries.deliver(http)
    got = [event.id for event in box.events]
    assert set(got) == set(made)
    assert len(got) > len(made)
    assert fake.deliveries.due == 0
    refused = await fake.deliveries.forge(http, fake.stripe.events[0], secret="whsec_other")
    assert refused.status_code == 400
    old = await fake.deliveries.forge(http, fake.stripe.events[0], secret=SECRET, at_s=1_000)
    assert old.status_code == 400


def test_a_signature_is_made_as_documented() -> None:
    text = sign(b'{"id": "evt_1"}', "whsec_x", 123)
    expected = hmac.new(b"whsec_x", b'123.{"id": "evt_1"}', hashlib.sha256).hexdigest()
    assert text.split(",")[:2] == ["t=123", f"v1={expected}"]


async def test_a_person_pays_in_the_browser(fake: FakeStripe) -> None:
    transport = httpx.ASGITransport(fake.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://stripe.test") as http:
        asked = {
            "mode": "payment",
            "success_url": "https://shop.example/done?s={CHECKOUT_SESSION_ID}",
            "line_items[0][price_data][currency]": "usd",
            "line_items[0][price_data][unit_amount]": "1000",
            "line_items[0][price_data][product_data][name]": "Credit",
        }
        headers = {"authorization": f"Bearer {fake.key}"}
        made = (await http.post("/v1/checkout/sessions", data=asked, headers=headers)).json()
        page = await http.get(f"/pay/{made['id']}")
        assert "10.00 USD" in page.text
        refused = await http.post(f"/pay/{made['id']}", data={"card": "pm_card_chargeDeclined"})
        assert refused.status_code == 402
        done = await http.post(f"/pay/{made['id']}", data={"card": "pm_card_visa"})
        assert done.headers["location"] == f"https://shop.example/done?s={made['id']}"
        over = await http.post(f"/pay/{made['id']}", data={"card": "pm_card_visa"})
        assert over.status_code == 400
        await asyncio.sleep(0)


def _assert_shape(kind: str, made: Any, sample: Any, where: str) -> None:
    if not isinstance(sample, dict) or not isinstance(made, dict):
        return
    missing = set(sample) - set(made)
    assert not missing, f"{kind}{where} lacks {sorted(missing)}"
    for name, inner in sample.items():
        _assert_shape(kind, made[name], inner, f"{where}.{name}")


def test_objects_have_every_documented_field(fake: FakeStripe, client: stripe.StripeClient) -> None:
    test_a_subscription_renews_fails_recovers_and_ends(fake, client)
    test_refunds_add_up_and_fail_back(fake, client)
    test_a_paid_session_leaves_an_intent_a_charge_and_their_events(fake, client)
    charge = fake.stripe.all("charge", status="succeeded")[-1]
    reversals.close_dispute(
        fake.stripe, reversals.open_dispute(fake.stripe, charge["id"])["id"], won=True
    )
    reversals.warn_of_fraud(fake.stripe, charge["id"])
    fake.payments.create_setup({"payment_method": "pm_card_visa", "confirm": "true"})
    customer = fake.stripe.all("customer")[0]["id"]
    fake.checkout.create_portal({"customer": customer, "return_url": "https://shop.example/"})
    kinds = {kind for kind, held in fake.stripe.objects.items() if held}
    assert len(kinds) >= 18
    paths = {kind: path for path, kind in COLLECTIONS.items()}
    options: Any = client._requestor._options
    for kind in kinds & set(paths):
        answer = httpx.get(
            f"{options.base_addresses['api']}/v1/{paths[kind]}",
            params={"limit": 100, "status": "all"},
            headers={"authorization": f"Bearer {fake.key}"},
        )
        assert answer.json()["data"], kind
        for made in answer.json()["data"]:
            _assert_shape(kind, made, SHAPES[kind], "")
    for event in fake.stripe.events:
        subject = event["data"]["object"]
        _assert_shape(event["type"], subject, SHAPES[subject["object"]], "")
