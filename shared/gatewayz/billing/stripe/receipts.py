"""Invoices and receipts: pages of Stripe's, found for who paid. Nothing of them is kept here."""

from typing import Any

from gatewayz.billing.stripe.client import explained
from gatewayz.billing.stripe.desk import Desk
from gatewayz.core.errors import NotFound

Row = dict[str, Any]


async def list_invoices(desk: Desk, customer: str, limit: int) -> list[Row]:
    """The newest first; amounts in cents, `created_at` in Unix seconds."""
    async with explained():
        found = await desk.client.v1.invoices.list_async({"customer": customer, "limit": limit})
    return [
        {
            "id": one.id,
            "number": one.number,
            "status": one.status,
            "currency": one.currency,
            "total": one.total,
            "amount_paid": one.amount_paid,
            "created_at": one.created,
            "url": one.hosted_invoice_url,
            "pdf": one.invoice_pdf,
        }
        for one in found.data
        if one.status != "draft"
    ]


async def find_receipt(desk: Desk, payment: Row) -> str:
    """The address of the receipt of a payment; NotFound when nothing was paid."""
    url = None
    if payment["captured_cents"] > 0:
        async with explained():
            intent = await desk.client.v1.payment_intents.retrieve_async(
                payment["intent"], {"expand": ["latest_charge"]}
            )
        charge = intent.latest_charge
        url = None if charge is None or isinstance(charge, str) else charge.receipt_url
    if url is None:
        raise NotFound("Of this payment there is no receipt.", code="receipt_not_found")
    return url
