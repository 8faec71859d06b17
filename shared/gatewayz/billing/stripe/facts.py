"""What Stripe knows of one payment, read from its API now: the arguments of `apply_payment`.

An event says only that something changed. What it has become is read anew, so that events may
come late, twice or in any order.
"""

from typing import Any

from stripe import StripeClient

from gatewayz.billing.stripe.desk import id_of

PAGE = 100
Facts = dict[str, Any]


async def read_payment(client: StripeClient, intent_id: str) -> Facts:
    """The intent, its session, its refunds and disputes; amounts in the currency's cents."""
    intent = await client.v1.payment_intents.retrieve_async(
        intent_id, {"expand": ["latest_charge"]}
    )
    charge = intent.latest_charge
    card = None
    if charge is not None and not isinstance(charge, str) and charge.payment_method_details:
        card = charge.payment_method_details.card
    sessions = await client.v1.checkout.sessions.list_async(
        {"payment_intent": intent_id, "limit": 1}
    )
    session = sessions.data[0] if sessions.data else None
    refunds = await client.v1.refunds.list_async({"payment_intent": intent_id, "limit": PAGE})
    disputes = await client.v1.disputes.list_async({"payment_intent": intent_id, "limit": PAGE})
    return {
        "intent": intent.id,
        "status": intent.status,
        "received_cents": intent.amount_received if intent.status == "succeeded" else 0,
        "currency": intent.currency,
        "customer": id_of(intent.customer),
        "failure": intent.last_payment_error.code if intent.last_payment_error else None,
        "payment_id": intent.metadata.to_dict().get("payment_id"),
        "session": session.id if session else None,
        "tax_cents": session.total_details.amount_tax if session and session.total_details else 0,
        "fingerprint": card.fingerprint if card else None,
        "refunds": [_reversal(one) async for one in refunds.auto_paging_iter()],
        "disputes": [_reversal(one) async for one in disputes.auto_paging_iter()],
    }


def intent_of(subject: dict[str, Any]) -> str | None:
    """The payment intent that an event's object belongs to."""
    if subject.get("object") == "payment_intent":
        return str(subject["id"])
    intent = subject.get("payment_intent")
    return id_of(intent)


def _reversal(one: Any) -> Facts:
    return {"id": one.id, "status": one.status, "amount_cents": one.amount}
