"""Subscriptions: begun, changed and ended at Stripe; read back and turned into allowance here."""

import contextlib
from typing import Any

from gatewayz.billing.plans import load_plans, plan_of_price, read_prices
from gatewayz.billing.stripe.client import explained
from gatewayz.billing.stripe.desk import Desk, Outcome, id_of
from gatewayz.billing.stripe.facts import Facts
from gatewayz.billing.stripe.orders import TAXED
from gatewayz.billing.stripe.payments import apply_intent
from gatewayz.core.errors import Conflict, InvalidRequest, NotFound
from gatewayz.core.log import get_log

log = get_log(__name__)
NANOS_PER_CENT = 10_000_000
# Invoices of these reasons pay for a whole period; an update pays the difference of plans.
PERIODS = ("subscription_create", "subscription_cycle", "subscription_update")
RUNNING = ("active", "trialing", "past_due", "paused")
PRODUCT = "prod_"
Row = dict[str, Any]


async def sync_subscription(desk: Desk, name: str) -> Row | None:
    """Read a subscription at Stripe and keep what it is; None when it is not ours."""
    asked = await desk.postgres.rpc("clock", {})
    async with explained():
        held = await desk.client.v1.subscriptions.retrieve_async(name)
    item = held["items"].data[0]
    plan = plan_of_price(desk.settings.prices, item.price.id, id_of(item.price.product))
    if plan is None:
        log.error("unknown_price", subscription=name, price=item.price.id)
        return None
    row: Row = await desk.postgres.rpc(
        "sync_subscription",
        {
            "subscription": held.id,
            "customer": id_of(held.customer),
            "plan": plan,
            "price": item.price.id,
            "status": held.status,
            "period_start_ms": item.current_period_start * 1000,
            "period_end_ms": item.current_period_end * 1000,
            "cancel_at_period_end": held.cancel_at_period_end,
            "ended_at_ms": held.ended_at * 1000 if held.ended_at else None,
            "read_ms": asked["now_ms"],
        },
    )
    if row.get("problem"):
        return None
    await desk.tell(row["account"])
    return row | {"amount_cents": (item.price.unit_amount or 0) * (item.quantity or 1)}


async def apply_subscription(desk: Desk, subject: Facts) -> Outcome:
    row = await sync_subscription(desk, subject["id"])
    return Outcome("ignored", "not ours") if row is None else Outcome("applied", row["status"])


async def announce_renewal(desk: Desk, subject: Facts) -> Outcome:
    """A period ends soon: who pays for the next one is told when and how much, once."""
    name = subject.get("subscription")
    row = await sync_subscription(desk, name) if name else None
    if row is None:
        return Outcome("ignored", "not ours")
    if not row["cancel_at_period_end"]:
        await desk.postgres.rpc(
            "note_renewal",
            {
                "account": row["account"],
                "subscription": row["subscription"],
                "plan": row["plan"],
                "amount_nanos": row["amount_cents"] * NANOS_PER_CENT,
                "at_ms": row["period_end_ms"],
            },
        )
    return Outcome("applied", row["status"])


async def apply_invoice(desk: Desk, subject: Facts) -> Outcome:
    """A paid invoice of a subscription: the payment is booked, its period's allowance granted."""
    async with explained():
        invoice = await desk.client.v1.invoices.retrieve_async(
            subject["id"], {"expand": ["payments"]}
        )
    facts = invoice.to_dict()
    name = _subscription_of(facts)
    if name is None:
        return Outcome("ignored", "no subscription")
    row = await sync_subscription(desk, name)
    if row is None:
        return Outcome("ignored", "not ours")
    if facts["status"] != "paid":
        return Outcome("applied", str(facts["status"]))
    await _book_payment(desk, row, facts)
    if facts["billing_reason"] in PERIODS:
        await _grant(desk, row, facts)
    return Outcome("applied", "paid")


async def _grant(desk: Desk, row: Row, invoice: Facts) -> None:
    """The allowance of the plan that this invoice's lines pay for, in the period they name."""
    lines = [line for line in invoice["lines"]["data"] if line["amount"] >= 0] or [None]
    line = lines[-1]
    plan = load_plans()[plan_of_price(desk.settings.prices, *_price_of(line)) or row["plan"]]
    start_s, end_s = row["period_start_ms"] // 1000, row["period_end_ms"] // 1000
    if line is not None and invoice["billing_reason"] != "subscription_update":
        start_s, end_s = line["period"]["start"], line["period"]["end"]
    await desk.postgres.rpc(
        "grant_allowance",
        {
            "subscription": row["subscription"],
            "plan": plan.id,
            "period_start_ms": start_s * 1000,
            "period_end_ms": end_s * 1000,
            "nanos": plan.allowance_cents * NANOS_PER_CENT,
        },
    )


async def _book_payment(desk: Desk, row: Row, invoice: Facts) -> None:
    """The money of an invoice as a payment of ours, so that refunds and disputes find it."""
    if invoice["amount_paid"] <= 0:
        return
    payments = (invoice.get("payments") or {}).get("data") or []
    intent = next(
        (p["payment"].get("payment_intent") for p in payments if p["status"] == "paid"), None
    )
    if intent is None:
        return
    payment_id = f"pay_{invoice['id']}"
    await desk.postgres.rpc(
        "open_payment",
        {
            "payment_id": payment_id,
            "account": row["account"],
            "kind": "subscription",
            "currency": invoice["currency"],
            "amount_cents": invoice["amount_paid"],
            "credit_nanos": 0,
            "customer": id_of(invoice["customer"]),
            "description": f"Subscription {row['plan']}",
        },
    )
    await desk.postgres.rpc("link_payment", {"payment_id": payment_id, "intent": id_of(intent)})
    await apply_intent(desk, str(id_of(intent)))


def _subscription_of(invoice: Facts) -> str | None:
    details = (invoice.get("parent") or {}).get("subscription_details") or {}
    return id_of(details.get("subscription") or invoice.get("subscription"))


def _price_of(line: Facts | None) -> tuple[str | None, str | None]:
    """Price and product of an invoice's line."""
    details = ((line or {}).get("pricing") or {}).get("price_details") or {}
    return id_of(details.get("price")), id_of(details.get("product"))


# ------------------------------------------------------------- what customers do


async def price_for(desk: Desk, *, plan: str | None, price: str | None) -> tuple[str, str]:
    """The price to pay, a known one or that of a plan, and the plan: it follows from the price."""
    if price is not None:
        return price, await _plan_at(desk, price)
    prices = read_prices(desk.settings.prices)
    names = sorted(name for name, its in prices.items() if its == plan)
    if plan is None or not names:
        raise InvalidRequest("There is no such plan on sale.", code="unknown_plan", param="plan")
    # A price that is named goes before a product's newest one.
    if not names[0].startswith(PRODUCT):
        return names[0], plan
    async with explained():
        listed = await desk.client.v1.prices.list_async(
            {"product": names[0], "active": True, "type": "recurring", "limit": 1}
        )
    if not listed.data:
        raise InvalidRequest("There is no such plan on sale.", code="unknown_plan", param="plan")
    return listed.data[0].id, plan


async def _plan_at(desk: Desk, price: str) -> str:
    text = desk.settings.prices
    plan = plan_of_price(text, price, None)
    if plan is None and any(name.startswith(PRODUCT) for name in read_prices(text)):
        with contextlib.suppress(InvalidRequest):
            async with explained():
                held = await desk.client.v1.prices.retrieve_async(price)
            plan = plan_of_price(text, held.id, id_of(held.product)) if held.active else None
    if plan is None:
        raise InvalidRequest("There is no such price.", code="unknown_price", param="price_id")
    return plan


async def open_subscription(
    desk: Desk, *, account: str, customer: str, price: str, success_url: str, cancel_url: str
) -> Row:
    """A page at Stripe where a subscription is begun: {session_id, url, expires_at}."""
    running = await desk.postgres.rpc("find_subscription", {"account": account})
    if running is not None and running["status"] in RUNNING:
        raise Conflict("This account has a subscription already.", code="already_subscribed")
    async with explained():
        session = await desk.client.v1.checkout.sessions.create_async(
            {
                "mode": "subscription",
                "customer": customer,
                "success_url": success_url,
                "cancel_url": cancel_url,
                "line_items": [{"price": price, "quantity": 1}],
                "subscription_data": {"metadata": {"account": account}},
                **(TAXED if desk.settings.tax else {}),
            }
        )
    return {"session_id": session.id, "url": session.url, "expires_at": session.expires_at}


async def own_subscription(desk: Desk, account: str) -> Row:
    """The account's running subscription; NotFound without one."""
    row: Row | None = await desk.postgres.rpc("find_subscription", {"account": account})
    if row is None or row["status"] not in RUNNING:
        raise NotFound("This account has no subscription.", code="subscription_not_found")
    return row


async def change_plan(desk: Desk, row: Row, price: str, plan: str, *, now: bool) -> Row:
    """Another price: an upgrade at once, with the difference paid; a downgrade without refund.
    InvalidRequest when the direction is the other one."""
    old, new = load_plans()[row["plan"]], load_plans()[plan]
    if (new.price_cents > old.price_cents) is not now or new.id == old.id:
        raise InvalidRequest(
            f"{new.name} is no {'upgrade' if now else 'downgrade'} of {old.name}.",
            code="wrong_direction",
            param="price_id",
        )
    async with explained():
        held = await desk.client.v1.subscriptions.retrieve_async(row["subscription"])
        await desk.client.v1.subscriptions.update_async(
            row["subscription"],
            {
                "items": [{"id": held["items"].data[0].id, "price": price}],
                "proration_behavior": "always_invoice" if now else "none",
            },
        )
    return await sync_subscription(desk, row["subscription"]) or row


async def set_ending(desk: Desk, row: Row, *, ending: bool) -> Row:
    """Let it end with its period, or not; a paused one is resumed."""
    async with explained():
        if row["status"] == "paused" and not ending:
            await desk.client.v1.subscriptions.resume_async(row["subscription"])
        else:
            await desk.client.v1.subscriptions.update_async(
                row["subscription"], {"cancel_at_period_end": ending}
            )
    return await sync_subscription(desk, row["subscription"]) or row
