"""Orders of credit: what a top-up costs and buys, and how it is paid at Stripe.

The caller names an amount to pay and nothing else; what it buys is computed here, stored before
Stripe hears of it, and posted only from what Stripe says was paid.
"""

from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from typing import Any

from stripe import StripeClient

from gatewayz.billing.stripe.client import explained
from gatewayz.billing.stripe.desk import Desk
from gatewayz.billing.stripe.payments import apply_intent
from gatewayz.core.billing_settings import BillingSettings
from gatewayz.core.errors import InvalidRequest, NotFound
from gatewayz.core.ids import new_id
from gatewayz.stores.postgres import Postgres

NANOS_PER_CENT = 10_000_000
CURRENCY = "usd"
# The address that the tax depends on is what the customer gives on the page.
TAXED: Any = {"automatic_tax": {"enabled": True}, "customer_update": {"address": "auto"}}
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Quote:
    """What paying `amount_cents` buys: credit plus fee is the amount, to the nano."""

    amount_cents: int
    credit_nanos: int
    fee_nanos: int


def quote(amount_cents: int, settings: BillingSettings) -> Quote:
    """The fee is rounded up to the nano, so that credit never exceeds what was paid for it."""
    if not settings.least_cents <= amount_cents <= settings.most_cents:
        raise InvalidRequest(
            f"amount must be from {settings.least_cents} to {settings.most_cents} cents",
            code="invalid_amount",
            param="amount",
        )
    paid = amount_cents * NANOS_PER_CENT
    fee = int((Decimal(paid) * settings.fee_rate).to_integral_value(ROUND_CEILING))
    return Quote(amount_cents, paid - fee, fee)


async def customer_of(
    client: StripeClient, postgres: Postgres, account: str, *, email: str | None
) -> str:
    """The account's one customer at Stripe, made when there is none. Two at once make one: the
    idempotency key is the account's name and how many it had that were deleted."""
    known = await postgres.rpc("find_customer", {"account": account})
    if known is not None:
        return str(known["customer"])
    gone = await postgres.rpc("count_gone_customers", {"account": account})
    async with explained():
        made = await client.v1.customers.create_async(
            {"metadata": {"account": account}, **({"email": email} if email else {})},
            {"idempotency_key": f"customer:{account}:{gone['number']}"},
        )
    row = await postgres.rpc("set_customer", {"account": account, "customer": made.id})
    return str(row["customer"])


async def open_checkout(
    client: StripeClient,
    postgres: Postgres,
    settings: BillingSettings,
    *,
    account: str,
    amount_cents: int,
    success_url: str,
    cancel_url: str,
    email: str | None,
    description: str | None,
) -> Row:
    """An order and its page at Stripe: the payment's row with `url` and `expires_at` (Unix s)."""
    priced = quote(amount_cents, settings)
    customer = await customer_of(client, postgres, account, email=email)
    order = await _open_order(postgres, account, priced, "topup", customer, description)
    metadata = {"payment_id": order["payment_id"]}
    async with explained():
        session = await client.v1.checkout.sessions.create_async(
            {
                "mode": "payment",
                "customer": customer,
                "client_reference_id": order["payment_id"],
                "success_url": success_url,
                "cancel_url": cancel_url,
                "metadata": metadata,
                "payment_intent_data": {
                    "metadata": metadata,
                    "setup_future_usage": "off_session",
                },
                "line_items": [
                    {
                        "quantity": 1,
                        "price_data": {
                            "currency": CURRENCY,
                            "unit_amount": amount_cents,
                            "product_data": {"name": description or "Gatewayz credit"},
                        },
                    }
                ],
                **(TAXED if settings.tax else {}),
                **({"invoice_creation": {"enabled": True}} if settings.invoices else {}),
            },
            {"idempotency_key": f"session:{order['payment_id']}"},
        )
    row: Row = await postgres.rpc(
        "link_payment", {"payment_id": order["payment_id"], "session": session.id}
    )
    return row | {"url": session.url, "expires_at": session.expires_at}


async def open_intent(
    client: StripeClient,
    postgres: Postgres,
    settings: BillingSettings,
    *,
    account: str,
    amount_cents: int,
    email: str | None,
    description: str | None,
) -> Row:
    """An order to be paid on a page of the caller's own: the row with `client_secret`."""
    priced = quote(amount_cents, settings)
    customer = await customer_of(client, postgres, account, email=email)
    order = await _open_order(postgres, account, priced, "topup", customer, description)
    async with explained():
        intent = await client.v1.payment_intents.create_async(
            {
                "amount": amount_cents,
                "currency": CURRENCY,
                "customer": customer,
                "automatic_payment_methods": {"enabled": True},
                "metadata": {"payment_id": order["payment_id"]},
            },
            {"idempotency_key": f"intent:{order['payment_id']}"},
        )
    row: Row = await postgres.rpc(
        "link_payment", {"payment_id": order["payment_id"], "intent": intent.id}
    )
    return row | {"client_secret": intent.client_secret, "intent_status": intent.status}


async def refresh_payment(desk: Desk, row: Row) -> tuple[Row, bool]:
    """The payment as Stripe knows it now, and whether this look credited it: a customer may be
    back on our page before the webhook comes."""
    if row["status"] not in ("pending", "processing"):
        return row, False
    intent_id = row["intent"]
    async with explained():
        if intent_id is None and row["session"] is not None:
            session = await desk.client.v1.checkout.sessions.retrieve_async(row["session"])
            intent_id = session.payment_intent if isinstance(session.payment_intent, str) else None
            if session.status == "expired":
                closing = {"session": row["session"], "status": "expired"}
                return await desk.postgres.rpc("close_payment", closing) or row, False
    if intent_id is None:
        return row, False
    await apply_intent(desk, intent_id)
    fresh: Row = await desk.postgres.rpc("find_payment", {"payment_id": row["payment_id"]})
    return fresh, fresh["captured_cents"] > row["captured_cents"]


async def find_own(postgres: Postgres, account: str, **name: str) -> Row:
    """A payment of this account; NotFound for another's, as for one that never was."""
    row: Row | None = await postgres.rpc("find_payment", {"account": account, **name})
    if row is None:
        raise NotFound("There is no such payment.", code="payment_not_found")
    return row


async def refund(
    desk: Desk, *, payment_id: str, amount_cents: int | None, reason: str | None, actor: str
) -> Row:
    """Send money back; the credit it bought leaves the wallet in the same step."""
    row: Row | None = await desk.postgres.rpc("find_payment", {"payment_id": payment_id})
    if row is None:
        raise NotFound("There is no such payment.", code="payment_not_found")
    left = row["captured_cents"] - row["refunded_cents"] - row["disputed_cents"]
    if row["intent"] is None or left <= 0 or (amount_cents or left) > left:
        raise InvalidRequest(
            f"Of this payment {max(0, left)} cents can be refunded.",
            code="not_refundable",
            param="amount",
        )
    amount = left if amount_cents is None else amount_cents
    params: Any = {
        "payment_intent": row["intent"],
        "amount": amount,
        "metadata": {"payment_id": payment_id, "actor": actor},
    }
    if reason in ("duplicate", "fraudulent", "requested_by_customer"):
        params["reason"] = reason
    key = f"refund:{payment_id}:{row['refunded_cents']}:{amount}"
    async with explained():
        await desk.client.v1.refunds.create_async(params, {"idempotency_key": key})
    await apply_intent(desk, row["intent"])
    fresh: Row = await desk.postgres.rpc("find_payment", {"payment_id": payment_id})
    return fresh


async def _open_order(
    postgres: Postgres,
    account: str,
    priced: Quote,
    kind: str,
    customer: str,
    description: str | None,
) -> Row:
    row: Row = await postgres.rpc(
        "open_payment",
        {
            "payment_id": new_id("pay_"),
            "account": account,
            "kind": kind,
            "currency": CURRENCY,
            "amount_cents": priced.amount_cents,
            "credit_nanos": priced.credit_nanos,
            "customer": customer,
            "description": description,
        },
    )
    return row
