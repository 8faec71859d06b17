"""Cards that a customer saves without paying: a page or a form of Stripe's, and what comes of it.

No number and no expiry is ever stored here; Stripe's hash of a card, hashed again, is.
"""

from typing import Any

from gatewayz.billing.stripe.client import explained
from gatewayz.billing.stripe.desk import Desk, Outcome, id_of
from gatewayz.billing.stripe.payments import note_card

Row = dict[str, Any]


async def open_setup(desk: Desk, customer: str, *, success_url: str, cancel_url: str) -> Row:
    """Stripe's page for saving a card: {session_id, url, expires_at}."""
    async with explained():
        session = await desk.client.v1.checkout.sessions.create_async(
            {
                "mode": "setup",
                "currency": "usd",
                "customer": customer,
                "success_url": success_url,
                "cancel_url": cancel_url,
            }
        )
    return {"session_id": session.id, "url": session.url, "expires_at": session.expires_at}


async def open_setup_intent(desk: Desk, customer: str) -> Row:
    """The same on a page of the caller's own: {setup_intent_id, client_secret}."""
    async with explained():
        made = await desk.client.v1.setup_intents.create_async(
            {"customer": customer, "usage": "off_session"}
        )
    return {"setup_intent_id": made.id, "client_secret": made.client_secret}


async def list_cards(desk: Desk, customer: str) -> list[Row]:
    """What Stripe keeps for the customer, as it may be shown to them."""
    async with explained():
        found = await desk.client.v1.customers.payment_methods.list_async(customer, {"limit": 20})
    return [
        {"id": one.id, "brand": one.card.brand, "last4": one.card.last4}
        for one in found.data
        if one.card is not None
    ]


async def apply_setup(desk: Desk, subject: Row) -> Outcome:
    """A card was saved: it is a verified signal, and the card to charge when there is none yet."""
    async with explained():
        made = await desk.client.v1.setup_intents.retrieve_async(
            subject["id"], {"expand": ["payment_method"]}
        )
    customer = id_of(made.customer)
    method: Any = made.payment_method
    if made.status != "succeeded" or customer is None or method is None:
        return Outcome("ignored", "no card was saved")
    known = await desk.postgres.rpc("find_customer", {"customer": customer})
    if known is None:
        return Outcome("ignored", "not ours")
    card = method.card
    if card is not None and card.fingerprint:
        await note_card(desk, known["account"], card.fingerprint)
    async with explained():
        held = await desk.client.v1.customers.retrieve_async(customer)
        chosen = held.invoice_settings.default_payment_method if held.invoice_settings else None
        if chosen is None:
            await desk.client.v1.customers.update_async(
                customer, {"invoice_settings": {"default_payment_method": method.id}}
            )
    return Outcome("applied", "saved")
