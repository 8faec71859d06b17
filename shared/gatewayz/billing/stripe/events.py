"""What each of Stripe's events makes us do. Every handler may run twice, late and in any order:
it reads what is true now and lets the ledger post what is missing.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from gatewayz.billing.stripe.cards import apply_setup
from gatewayz.billing.stripe.client import explained
from gatewayz.billing.stripe.desk import Desk, Outcome
from gatewayz.billing.stripe.facts import intent_of
from gatewayz.billing.stripe.payments import apply_intent
from gatewayz.billing.stripe.subscriptions import (
    announce_renewal,
    apply_invoice,
    apply_subscription,
)
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric

log = get_log(__name__)


Subject = dict[str, Any]
Handler = Callable[[Desk, Subject], Awaitable[Outcome]]
IGNORED = Outcome("ignored", "nothing to do")


async def apply_event(desk: Desk, event_id: str) -> Outcome:
    """Work on a stored event, once more if it was worked on before. Raises when Stripe or the
    ledger is away: the queue brings it again."""
    event = await desk.postgres.rpc("find_stripe_event", {"event_id": event_id})
    if event is None:
        return Outcome("ignored", "not stored here")
    handler = HANDLERS.get(event["type"])
    subject = event["payload"]["data"]["object"]
    outcome = IGNORED if handler is None else await handler(desk, subject)
    await desk.postgres.rpc(
        "mark_stripe_event",
        {"event_id": event_id, "status": outcome.status, "detail": outcome.detail},
    )
    metric("stripe_applied", kind=event["type"], result=outcome.status)
    return outcome


async def _apply_payment(desk: Desk, subject: Subject) -> Outcome:
    intent_id = intent_of(subject)
    return IGNORED if intent_id is None else await apply_intent(desk, intent_id)


async def _apply_session(desk: Desk, subject: Subject) -> Outcome:
    if subject.get("mode") == "setup" and subject.get("setup_intent"):
        return await apply_setup(desk, {"id": subject["setup_intent"]})
    if subject.get("mode") == "subscription" and subject.get("subscription"):
        return await apply_subscription(desk, {"id": subject["subscription"]})
    return await _apply_payment(desk, subject)


async def _expire_session(desk: Desk, subject: Subject) -> Outcome:
    row = await desk.postgres.rpc("close_payment", {"session": subject["id"], "status": "expired"})
    return IGNORED if row is None else Outcome("applied", "expired")


async def _forget_customer(desk: Desk, subject: Subject) -> Outcome:
    row = await desk.postgres.rpc("forget_customer", {"customer": subject["id"]})
    return Outcome("applied", "forgotten") if row["forgotten"] else IGNORED


async def _note_fraud(desk: Desk, subject: Subject) -> Outcome:
    """A bank warns before a dispute comes. Whether to refund is a person's decision; until then the
    account's cards are not charged without it."""
    async with explained():
        charge = await desk.client.v1.charges.retrieve_async(subject["charge"])
    intent_id = intent_of(charge.to_dict())
    log.error("fraud_warning", intent=intent_id)
    metric("fraud_warnings")
    asked = {"intent": intent_id}
    row = await desk.postgres.rpc("find_payment", asked) if intent_id is not None else None
    if row is not None:
        halt = {"account": row["account"], "problem": "fraud_warning"}
        await desk.postgres.rpc("halt_auto_topup", halt)
    return Outcome("applied", "warned")


HANDLERS: dict[str, Handler] = {
    "checkout.session.completed": _apply_session,
    "checkout.session.async_payment_succeeded": _apply_session,
    "checkout.session.async_payment_failed": _apply_session,
    "checkout.session.expired": _expire_session,
    "payment_intent.succeeded": _apply_payment,
    "payment_intent.payment_failed": _apply_payment,
    "payment_intent.canceled": _apply_payment,
    "payment_intent.processing": _apply_payment,
    "charge.refunded": _apply_payment,
    "charge.dispute.created": _apply_payment,
    "charge.dispute.updated": _apply_payment,
    "charge.dispute.closed": _apply_payment,
    "charge.dispute.funds_withdrawn": _apply_payment,
    "charge.dispute.funds_reinstated": _apply_payment,
    "refund.created": _apply_payment,
    "refund.updated": _apply_payment,
    "refund.failed": _apply_payment,
    "customer.subscription.created": apply_subscription,
    "customer.subscription.updated": apply_subscription,
    "customer.subscription.deleted": apply_subscription,
    "customer.subscription.paused": apply_subscription,
    "customer.subscription.resumed": apply_subscription,
    "invoice.paid": apply_invoice,
    "invoice.payment_failed": apply_invoice,
    "invoice.upcoming": announce_renewal,
    "setup_intent.succeeded": apply_setup,
    "customer.deleted": _forget_customer,
    "radar.early_fraud_warning.created": _note_fraud,
}
