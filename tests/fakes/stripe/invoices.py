"""Invoices of subscriptions: drawn, finalised, collected, tried again."""

from tests.fakes.stripe.account import Object, Stripe, listed
from tests.fakes.stripe.errors import StripeFault
from tests.fakes.stripe.payments import Payments

# A failed payment is tried again after so long.
RETRY_S = (3 * 86400, 5 * 86400, 7 * 86400)


class Invoices:
    def __init__(self, stripe: Stripe, payments: Payments) -> None:
        self._stripe = stripe
        self._payments = payments

    def bill(self, held: Object, reason: str, lines: list[tuple[int, str]] | None = None) -> Object:
        item = item_of(held)
        if lines is None:
            whole_price = item["price"]["unit_amount"] * item["quantity"]
            waiting = self._stripe.all("invoiceitem", customer=held["customer"], invoice=None)
            lines = [(whole_price, "subscription")]
            lines += [(one["amount"], one["description"]) for one in waiting]
        else:
            waiting = []
        invoice = self.draft(held, reason, lines)
        for one in waiting:
            one["invoice"] = invoice["id"]
        held["latest_invoice"] = invoice["id"]
        self._stripe.emit("invoice.created", invoice)
        invoice |= {"status": "open", "number": f"GW-{len(self._stripe.objects['invoice']):04d}"}
        invoice["status_transitions"]["finalized_at"] = invoice["created"]
        invoice["hosted_invoice_url"] = f"https://invoice.stripe.example/i/{invoice['id']}"
        invoice["invoice_pdf"] = f"https://invoice.stripe.example/i/{invoice['id']}/pdf"
        self._stripe.emit("invoice.finalized", invoice)
        self.collect(held, invoice)
        return invoice

    def receipt(self, session: Object, intent: Object) -> Object:
        """The invoice that Checkout writes for what was paid once."""
        invoice = self._stripe.make(
            "invoice",
            customer=session["customer"],
            status="paid",
            billing_reason="manual",
            currency=session["currency"],
            total=session["amount_total"],
            amount_due=session["amount_total"],
            amount_paid=intent["amount_received"],
            amount_remaining=0,
            attempted=True,
            parent=None,
            metadata={},
            lines=listed([], "/v1/invoices/lines"),
            number=f"GW-{len(self._stripe.objects['invoice']) + 1:04d}",
            created=self._stripe.time_of(session["customer"]),
        )
        invoice["hosted_invoice_url"] = f"https://invoice.stripe.example/i/{invoice['id']}"
        invoice["invoice_pdf"] = f"https://invoice.stripe.example/i/{invoice['id']}/pdf"
        self._stripe.emit("invoice.paid", invoice)
        return invoice

    def collect(self, held: Object, invoice: Object) -> bool:
        """Take what is due from the card; whether it is paid now."""
        now_s = self._stripe.time_of(held["customer"])
        invoice["attempted"] = True
        if invoice["amount_due"] > 0 and not self._take(held, invoice):
            invoice["attempt_count"] += 1
            tries = invoice["attempt_count"]
            wait_s = RETRY_S[tries - 1] if tries <= len(RETRY_S) else None
            invoice["next_payment_attempt"] = now_s + wait_s if wait_s else None
            self._stripe.emit("invoice.payment_failed", invoice)
            if held["status"] == "active":
                self._stripe.update(held, "customer.subscription.updated", status="past_due")
            return False
        invoice |= {
            "status": "paid",
            "amount_paid": invoice["amount_due"],
            "amount_remaining": 0,
            "next_payment_attempt": None,
        }
        invoice["status_transitions"]["paid_at"] = now_s
        if held["status"] in ("incomplete", "past_due", "unpaid"):
            kind = "customer.subscription.updated"
            self._stripe.update(held, kind, status="active")
        self._stripe.emit("invoice.paid", invoice)
        self._stripe.emit("invoice.payment_succeeded", invoice)
        return True

    def _take(self, held: Object, invoice: Object) -> bool:
        card = held["default_payment_method"] or self.default_card(
            self._stripe.find("customer", held["customer"])
        )
        intent = self._payments.create_intent(
            {
                "amount": str(max(50, invoice["amount_due"])),
                "currency": invoice["currency"],
                "customer": held["customer"],
                "description": "Subscription",
            }
        )
        self._stripe.make(
            "invoice_payment",
            invoice=invoice["id"],
            amount_requested=invoice["amount_due"],
            currency=invoice["currency"],
            is_default=True,
            status="open",
            payment={"type": "payment_intent", "payment_intent": intent["id"]},
            status_transitions={"canceled_at": None, "paid_at": None},
        )
        if not card:
            return False
        try:
            self._payments.confirm(intent["id"], {"payment_method": card, "off_session": "true"})
        except StripeFault:
            return False
        if intent["status"] != "succeeded":
            return False
        for paid in self._stripe.all("invoice_payment", invoice=invoice["id"]):
            if paid["payment"]["payment_intent"] == intent["id"]:
                paid |= {"status": "paid", "amount_paid": invoice["amount_due"]}
        return True

    def draft(self, held: Object, reason: str, lines: list[tuple[int, str]]) -> Object:
        customer = self._stripe.find("customer", held["customer"])
        item = item_of(held)
        total = sum(amount for amount, _ in lines)
        due = max(0, total)
        made = self._stripe.make(
            "invoice",
            customer=customer["id"],
            currency=held["currency"],
            billing_reason=reason,
            status="draft",
            total=total,
            subtotal=total,
            subtotal_excluding_tax=total,
            total_excluding_tax=total,
            amount_due=due,
            amount_paid=0,
            amount_remaining=due,
            amount_shipping=0,
            amount_overpaid=0,
            attempted=False,
            attempt_count=0,
            auto_advance=True,
            collection_method="charge_automatically",
            customer_email=customer["email"],
            customer_name=customer["name"],
            default_payment_method=held["default_payment_method"],
            period_start=item["current_period_start"],
            period_end=item["current_period_end"],
            starting_balance=0,
            post_payment_credit_notes_amount=0,
            pre_payment_credit_notes_amount=0,
            test_clock=held["test_clock"],
            status_transitions={
                "finalized_at": None,
                "marked_uncollectible_at": None,
                "paid_at": None,
                "voided_at": None,
            },
            parent={
                "type": "subscription_details",
                "quote_details": None,
                "subscription_details": {
                    "subscription": held["id"],
                    "metadata": dict(held["metadata"]),
                },
            },
        )
        data = [self._line(made, held, amount, text) for amount, text in lines]
        made["lines"] = listed(data, f"/v1/invoices/{made['id']}/lines")
        return made

    def _line(self, invoice: Object, held: Object, amount: int, text: str) -> Object:
        item = item_of(held)
        return self._stripe.make(
            "line_item",
            amount=amount,
            subtotal=amount,
            currency=held["currency"],
            description=text,
            invoice=invoice["id"],
            discountable=True,
            quantity=item["quantity"],
            period={"start": item["current_period_start"], "end": item["current_period_end"]},
            metadata=dict(held["metadata"]),
            pricing={
                "type": "price_details",
                "unit_amount_decimal": str(item["price"]["unit_amount"]),
                "price_details": {
                    "price": item["price"]["id"],
                    "product": item["price"]["product"],
                },
            },
            parent={
                "type": "subscription_item_details",
                "invoice_item_details": None,
                "subscription_item_details": {
                    "subscription": held["id"],
                    "subscription_item": item["id"],
                    "invoice_item": None,
                    "proration": text != "subscription",
                    "proration_details": {"credited_items": None},
                },
            },
        )

    def unpaid(self, held: Object) -> Object | None:
        latest = self._stripe.objects["invoice"].get(held["latest_invoice"] or "")
        return latest if latest is not None and latest["status"] == "open" else None

    def default_card(self, customer: Object) -> str | None:
        settings = customer["invoice_settings"] or {}
        chosen = settings.get("default_payment_method")
        if chosen:
            return str(chosen)
        cards = self._stripe.all("payment_method", customer=customer["id"])
        return cards[-1]["id"] if cards else None


def item_of(held: Object) -> Object:
    """The one item of a subscription."""
    item: Object = held["items"]["data"][0]
    return item
