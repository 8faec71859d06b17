"""Automatic top-ups: one order and one off-session payment for each crossing of a threshold.

The ledger marks the crossing and counts it (the epoch); account and epoch are the idempotency key,
so the same crossing is paid once however often it is worked on (F78).
"""

import hashlib
from typing import Any

import stripe

from gatewayz.billing.stripe.client import explained
from gatewayz.billing.stripe.desk import Desk, Outcome, id_of
from gatewayz.billing.stripe.orders import CURRENCY, quote
from gatewayz.billing.stripe.payments import AUTO, apply_intent, end_auto_topup
from gatewayz.core.errors import InvalidRequest
from gatewayz.core.log import get_log

log = get_log(__name__)
Row = dict[str, Any]


def payment_name(account: str, epoch: int) -> str:
    """The order of one crossing; the epoch is read back from its end."""
    return f"{AUTO}{hashlib.sha256(account.encode()).hexdigest()[:24]}_{epoch}"


async def top_up(desk: Desk, account: str, epoch: int) -> Outcome:
    """Pay one crossing. Raises when Stripe or the ledger is away: it comes again."""
    name = payment_name(account, epoch)
    asked = await desk.postgres.rpc(
        "begin_auto_topup",
        {
            "account": account,
            "epoch": epoch,
            "payment_id": name,
            "day_most": desk.settings.auto_topup_day_cents,
        },
    )
    if "skip" in asked:
        log.info("auto_topup_skipped", account=account, reason=asked["skip"])
        return Outcome("ignored", asked["skip"])
    order = await desk.postgres.rpc("find_payment", {"payment_id": name})
    if order is not None and order["intent"] is not None:
        return await apply_intent(desk, order["intent"])
    customer = await desk.postgres.rpc("find_customer", {"account": account})
    if customer is None:
        return await end_auto_topup(desk, name, account, problem="no_payment_method")
    card = asked["payment_method"] or await find_card(desk, customer["customer"])
    if card is None:
        return await end_auto_topup(desk, name, account, problem="no_payment_method")
    if order is None:
        order = await _open(desk, account, name, asked["amount_cents"], customer["customer"])
    return await _pay(desk, order, card, key=f"autotopup:{account}:{epoch}")


async def find_card(desk: Desk, customer: str) -> str | None:
    """The card to charge: the customer's default, else the one saved last."""
    async with explained():
        held = await desk.client.v1.customers.retrieve_async(customer)
        chosen = held.invoice_settings.default_payment_method if held.invoice_settings else None
        if chosen is not None:
            return id_of(chosen)
        cards = await desk.client.v1.customers.payment_methods.list_async(customer, {"limit": 1})
    return cards.data[0].id if cards.data else None


async def _open(desk: Desk, account: str, name: str, cents: int, customer: str) -> Row:
    priced = quote(cents, desk.settings)
    row: Row = await desk.postgres.rpc(
        "open_payment",
        {
            "payment_id": name,
            "account": account,
            "kind": "auto_topup",
            "currency": CURRENCY,
            "amount_cents": priced.amount_cents,
            "credit_nanos": priced.credit_nanos,
            "customer": customer,
            "description": "Automatic top-up",
        },
    )
    return row


async def _pay(desk: Desk, order: Row, card: str, *, key: str) -> Outcome:
    intent_id: str | None
    try:
        async with explained():
            intent = await desk.client.v1.payment_intents.create_async(
                {
                    "amount": order["amount_cents"],
                    "currency": order["currency"],
                    "customer": order["customer"],
                    "payment_method": card,
                    "off_session": True,
                    "confirm": True,
                    "metadata": {"payment_id": order["payment_id"]},
                },
                {"idempotency_key": key},
            )
        intent_id = intent.id
    except InvalidRequest as error:
        intent_id = _intent_in(error.__cause__)
        if intent_id is None:
            # Refused before there was an intent: the card is gone, for one.
            await desk.postgres.rpc(
                "close_payment", {"payment_id": order["payment_id"], "status": "failed"}
            )
            return await end_auto_topup(
                desk, order["payment_id"], order["account"], problem=error.code
            )
    name = order["payment_id"]
    await desk.postgres.rpc("link_payment", {"payment_id": name, "intent": intent_id})
    return await apply_intent(desk, str(intent_id))


def _intent_in(error: BaseException | None) -> str | None:
    """The intent that a declined card left behind."""
    if not isinstance(error, stripe.StripeError) or error.error is None:
        return None
    return id_of(getattr(error.error, "payment_intent", None))
