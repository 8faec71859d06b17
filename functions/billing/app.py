"""Credit and payments of the calling account, cards and automatic top-ups. Control plane."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import Body, Query, Response

from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.schemas.billing import (
    AskAutoTopUp,
    AskCheckout,
    AskIntent,
    AskPortal,
    AskRefund,
    AskSetup,
)
from gatewayz.api.staff import Staff
from gatewayz.billing.packages import PACKAGES
from gatewayz.billing.returns import SESSION, return_url
from gatewayz.core.errors import InvalidRequest, NotFound
from gatewayz.core.money import usd_number
from gatewayz.runtime import entries

app = create_app("billing")
lambda_handler = entries.http(app)

NANOS_PER_CENT = 10_000_000
Row = dict[str, Any]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]


@app.get("/v1/credits")
@app.get("/api/v1/credits")
async def get_credits(caller: Caller, plane: CurrentPlane) -> Response:
    """OpenRouter's two figures; `balance` counts credit that running requests may still use."""
    row = await plane.stores.postgres.rpc("get_balance", {"account": caller.account})
    return json_answer(
        {
            "data": {
                "total_credits": usd_number(row["granted_nanos"]),
                "total_usage": usd_number(row["charged_nanos"]),
                "balance": usd_number(row["balance_nanos"]),
                "balance_nanos": row["balance_nanos"],
            }
        }
    )


# ------------------------------------------------------------------------ paying


@asynccontextmanager
async def _desk(plane: Plane) -> AsyncIterator[Any]:
    """Stripe's client is imported by the first request that needs it: it takes 0.2 s."""
    from gatewayz.billing.stripe.client import open_client
    from gatewayz.billing.stripe.desk import Desk

    key = plane.stores.secrets.find("STRIPE_SECRET_KEY")
    if not key:
        raise NotFound("Payments are not configured here.", code="payments_not_configured")
    async with open_client(key, plane.settings.billing.stripe_url) as client:
        yield Desk(client, plane.stores.postgres, plane.settings.billing, plane.stores.redis)


def _check_currency(currency: str) -> None:
    if currency.lower() != "usd":
        raise InvalidRequest(
            "Credit is sold in usd.", code="unsupported_currency", param="currency"
        )


def _payment(row: Row) -> Row:
    """A payment as callers see it."""
    return {
        "id": row["payment_id"],
        "payment_id": row["payment_id"],
        "status": row["status"],
        "kind": row["kind"],
        "amount": row["amount_cents"],
        "amount_usd": usd_number(row["amount_cents"] * NANOS_PER_CENT),
        "currency": row["currency"],
        "credits": usd_number(row["credit_nanos"]),
        "fee": usd_number(row["fee_nanos"]),
        "tax": usd_number(row["tax_cents"] * NANOS_PER_CENT),
        "amount_refunded": row["refunded_cents"],
        "amount_disputed": row["disputed_cents"],
        "description": row["description"],
        "stripe_session_id": row["session"],
        "stripe_payment_intent_id": row["intent"],
        "created_at": time_text(row["created_at_ms"]),
        "completed_at": time_text(row["paid_at_ms"]),
    }


@app.get("/api/stripe/credit-packages")
async def list_packages(plane: CurrentPlane) -> Response:
    """What to offer; the fee is shown before anybody pays. 1 credit is 1 US dollar."""
    from gatewayz.billing.stripe.orders import quote

    packages = []
    for package in PACKAGES:
        priced = quote(package.amount_cents, plane.settings.billing)
        packages.append(
            {
                "id": package.id,
                "name": package.name,
                "amount": package.amount_cents,
                "currency": "usd",
                "credits": usd_number(priced.credit_nanos),
                "fee": usd_number(priced.fee_nanos),
                "popular": package.popular,
            }
        )
    return json_answer({"packages": packages})


@app.post("/api/stripe/checkout-session")
async def open_checkout(caller: Caller, plane: CurrentPlane, asked: AskCheckout) -> Response:
    """An order of credit and the page where it is paid. What it buys is computed here."""
    from gatewayz.billing.stripe import orders

    _check_currency(asked.currency)
    settings = plane.settings.billing
    async with _desk(plane) as desk:
        row = await orders.open_checkout(
            desk.client,
            plane.stores.postgres,
            settings,
            account=caller.account,
            amount_cents=asked.amount,
            success_url=return_url(
                asked.success_url, f"/payment/success?session_id={SESSION}", settings
            ),
            cancel_url=return_url(asked.cancel_url, "/payment/cancelled", settings),
            email=asked.customer_email,
            description=asked.description,
        )
    return json_answer(
        _payment(row)
        | {"session_id": row["session"], "url": row["url"], "expires_at": row["expires_at"]}
    )


@app.get("/api/stripe/checkout-session/{session_id}")
async def get_checkout(session_id: str, caller: Caller, plane: CurrentPlane) -> Response:
    """What became of it. When Stripe says paid and no event came yet, it is credited now."""
    from gatewayz.billing.stripe import orders

    async with _desk(plane) as desk:
        row = await orders.find_own(plane.stores.postgres, caller.account, session=session_id)
        row, credited = await orders.refresh_payment(desk, row)
        paid = row["captured_cents"] > 0
    return json_answer(
        _payment(row)
        | {
            "session_id": session_id,
            "payment_status": "paid" if paid else "unpaid",
            "credits_reconciled": credited,
        }
    )


@app.post("/api/stripe/payment-intent")
async def open_intent(caller: Caller, plane: CurrentPlane, asked: AskIntent) -> Response:
    """The same order, to be paid on a page of the caller's own."""
    from gatewayz.billing.stripe import orders

    _check_currency(asked.currency)
    async with _desk(plane) as desk:
        row = await orders.open_intent(
            desk.client,
            plane.stores.postgres,
            plane.settings.billing,
            account=caller.account,
            amount_cents=asked.amount,
            email=asked.customer_email,
            description=asked.description,
        )
    return json_answer(
        _payment(row)
        | {
            "payment_intent_id": row["intent"],
            "client_secret": row["client_secret"],
            "status": row["intent_status"],
        }
    )


@app.get("/api/stripe/payment-intent/{intent_id}")
async def get_intent(intent_id: str, caller: Caller, plane: CurrentPlane) -> Response:
    from gatewayz.billing.stripe import orders

    async with _desk(plane) as desk:
        row = await orders.find_own(plane.stores.postgres, caller.account, intent=intent_id)
        row, credited = await orders.refresh_payment(desk, row)
    return json_answer(
        _payment(row) | {"payment_intent_id": intent_id, "credits_reconciled": credited}
    )


@app.post("/api/stripe/portal")
async def open_portal(
    caller: Caller, plane: CurrentPlane, asked: Annotated[AskPortal | None, Body()] = None
) -> Response:
    """Stripe's own page for cards, invoices and receipts of this account."""
    from gatewayz.billing.stripe import orders
    from gatewayz.billing.stripe.client import explained

    async with _desk(plane) as desk:
        settings = plane.settings.billing
        customer = await orders.customer_of(
            desk.client, plane.stores.postgres, caller.account, email=None
        )
        back = return_url(asked.return_url if asked else None, "/settings/credits", settings)
        async with explained():
            session = await desk.client.v1.billing_portal.sessions.create_async(
                {"customer": customer, "return_url": back}
            )
    return json_answer({"url": session.url})


@app.get("/api/stripe/payments")
async def list_payments(
    caller: Caller, plane: CurrentPlane, limit: Limit = 50, offset: Offset = 0
) -> Response:
    rows = await plane.stores.postgres.rpc(
        "list_payments", {"account": caller.account, "limit": limit, "offset": offset}
    )
    all_of_them = await plane.stores.postgres.rpc("count_payments", {"account": caller.account})
    payments = [_payment(row) for row in rows]
    return json_answer({"payments": payments, "total": all_of_them["number"]})


@app.get("/api/stripe/payments/{payment_id}")
async def get_payment(payment_id: str, caller: Caller, plane: CurrentPlane) -> Response:
    from gatewayz.billing.stripe import orders

    row = await orders.find_own(plane.stores.postgres, caller.account, payment_id=payment_id)
    return json_answer(_payment(row))


@app.get("/api/stripe/payments/{payment_id}/receipt")
async def get_receipt(payment_id: str, caller: Caller, plane: CurrentPlane) -> Response:
    """The address of Stripe's page of it."""
    from gatewayz.billing.stripe import orders, receipts

    row = await orders.find_own(plane.stores.postgres, caller.account, payment_id=payment_id)
    async with _desk(plane) as desk:
        return json_answer({"url": await receipts.find_receipt(desk, row)})


@app.get("/api/stripe/invoices")
async def list_invoices(
    caller: Caller, plane: CurrentPlane, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> Response:
    """Top-ups and periods as Stripe invoiced them; the pages and files are Stripe's."""
    from gatewayz.billing.stripe.receipts import list_invoices as invoices_of

    known = await plane.stores.postgres.rpc("find_customer", {"account": caller.account})
    async with _desk(plane) as desk:
        rows = await invoices_of(desk, known["customer"], limit) if known else []
    return json_answer(
        {"invoices": [row | {"created_at": time_text(row["created_at"] * 1000)} for row in rows]}
    )


@app.post("/api/stripe/refund")
@app.post("/admin/stripe/refund")
async def refund_payment(staff: Staff, plane: CurrentPlane, asked: AskRefund) -> Response:
    """Money back to the card; the credit that it bought goes with it. Staff only."""
    from gatewayz.billing.stripe import orders

    async with _desk(plane) as desk:
        name = {"payment_id": asked.payment_id, "intent": asked.payment_intent_id}
        row = await plane.stores.postgres.rpc(
            "find_payment", {key: value for key, value in name.items() if value}
        )
        if row is None:
            raise NotFound("There is no such payment.", code="payment_not_found")
        row = await orders.refund(
            desk,
            payment_id=row["payment_id"],
            amount_cents=asked.amount,
            reason=asked.reason,
            actor=staff.name,
        )
    return json_answer(_payment(row))


# ------------------------------------------------------- cards and automatic top-ups


@app.post("/api/stripe/setup-session")
async def open_setup(
    caller: Caller, plane: CurrentPlane, asked: Annotated[AskSetup | None, Body()] = None
) -> Response:
    """Stripe's page for saving a card: nothing is charged."""
    from gatewayz.billing.stripe import cards, orders

    settings = plane.settings.billing
    asked = asked or AskSetup()
    async with _desk(plane) as desk:
        customer = await orders.customer_of(
            desk.client, plane.stores.postgres, caller.account, email=asked.customer_email
        )
        opened = await cards.open_setup(
            desk,
            customer,
            success_url=return_url(asked.success_url, "/settings/credits", settings),
            cancel_url=return_url(asked.cancel_url, "/settings/credits", settings),
        )
    return json_answer(opened)


@app.post("/api/stripe/setup-intent")
async def open_setup_intent(caller: Caller, plane: CurrentPlane) -> Response:
    """The same on a page of the caller's own."""
    from gatewayz.billing.stripe import cards, orders

    async with _desk(plane) as desk:
        customer = await orders.customer_of(
            desk.client, plane.stores.postgres, caller.account, email=None
        )
        return json_answer(await cards.open_setup_intent(desk, customer))


@app.get("/api/stripe/payment-methods")
async def list_cards(caller: Caller, plane: CurrentPlane) -> Response:
    """Cards that Stripe keeps for this account."""
    from gatewayz.billing.stripe import cards

    async with _desk(plane) as desk:
        known = await plane.stores.postgres.rpc("find_customer", {"account": caller.account})
        found = await cards.list_cards(desk, known["customer"]) if known else []
    return json_answer({"payment_methods": found})


# What an account has that never asked for any.
NO_TOPUP: Row = {
    "enabled": False, "threshold_nanos": 0, "amount_cents": 0, "month_cap_cents": 0,
    "payment_method": None, "month_cents": 0, "failures": 0, "problem": None,
}  # fmt: skip


def _auto_topup(row: Row | None) -> Row:
    row = row or NO_TOPUP
    return {
        "enabled": row["enabled"],
        "threshold": usd_number(row["threshold_nanos"]),
        "amount": usd_number(row["amount_cents"] * NANOS_PER_CENT),
        "monthly_cap": usd_number(row["month_cap_cents"] * NANOS_PER_CENT),
        "payment_method": row["payment_method"],
        "charged_this_month": usd_number(row["month_cents"] * NANOS_PER_CENT),
        "failures": row["failures"],
        "problem": row["problem"],
    }


@app.get("/user/auto-topup")
async def get_auto_topup(caller: Caller, plane: CurrentPlane) -> Response:
    row = await plane.stores.postgres.rpc("find_auto_topup", {"account": caller.account})
    return json_answer(_auto_topup(row))


@app.put("/user/auto-topup")
async def set_auto_topup(caller: Caller, plane: CurrentPlane, asked: AskAutoTopUp) -> Response:
    """When credit falls below the threshold, the saved card is charged the amount."""
    from gatewayz.billing.due import send_due
    from gatewayz.billing.stripe.auto_topup import find_card
    from gatewayz.billing.stripe.cards import list_cards as cards_of
    from gatewayz.billing.stripe.orders import quote

    quote(asked.amount_cents, plane.settings.billing)
    if asked.enabled:
        async with _desk(plane) as desk:
            known = await plane.stores.postgres.rpc("find_customer", {"account": caller.account})
            held = [card["id"] for card in await cards_of(desk, known["customer"])] if known else []
            if known is None or await find_card(desk, known["customer"]) is None:
                raise InvalidRequest("Save a card first.", code="no_payment_method")
        if asked.payment_method is not None and asked.payment_method not in held:
            raise InvalidRequest(
                "This card is not saved.", code="no_payment_method", param="payment_method"
            )
    row = await plane.stores.postgres.rpc(
        "set_auto_topup",
        {
            "account": caller.account,
            "enabled": asked.enabled,
            "threshold_nanos": asked.threshold_cents * NANOS_PER_CENT,
            "amount_cents": asked.amount_cents,
            "month_cap_cents": max(asked.monthly_cap_cents, asked.amount_cents),
            "payment_method": asked.payment_method,
        },
    )
    await send_due(plane.stores.postgres, plane.stores.queue)
    return json_answer(_auto_topup(row))
