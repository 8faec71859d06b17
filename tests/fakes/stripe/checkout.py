"""Customers, checkout sessions and the billing portal: what a person does on Stripe's pages."""

from typing import Any

from tests.fakes.stripe.account import Object, Stripe, listed
from tests.fakes.stripe.errors import wrong
from tests.fakes.stripe.forms import merged_metadata, needed, truth, whole
from tests.fakes.stripe.invoices import Invoices
from tests.fakes.stripe.payments import Payments
from tests.fakes.stripe.subscriptions import Subscriptions

EXPIRES_S = 86400
# What "automatic tax" adds here, in per cent.
TAX_PER_CENT = 10


class Checkout:
    """`url` is where this server can be reached by a browser."""

    def __init__(
        self, stripe: Stripe, payments: Payments, subscriptions: Subscriptions, *, url: str
    ) -> None:
        self._stripe = stripe
        self._payments = payments
        self._subscriptions = subscriptions
        self._invoices = Invoices(stripe, payments)
        self.url = url
        self._wanted: dict[str, dict[str, Any]] = {}

    # ---------------------------------------------------------------- customers

    def create_customer(self, params: dict[str, Any]) -> Object:
        made = self._stripe.make(
            "customer",
            email=params.get("email"),
            name=params.get("name"),
            description=params.get("description"),
            metadata=dict(params.get("metadata") or {}),
            balance=0,
            delinquent=False,
            invoice_prefix="GW",
            next_invoice_sequence=1,
            tax_exempt="none",
            test_clock=params.get("test_clock"),
            invoice_settings={
                "custom_fields": None,
                "default_payment_method": None,
                "footer": None,
                "rendering_options": None,
            },
        )
        if params.get("payment_method"):
            self._payments.attach(params["payment_method"], made["id"])
        self._stripe.emit("customer.created", made)
        return made

    def update_customer(self, given: str, params: dict[str, Any]) -> Object:
        held = self._stripe.find("customer", given, "customer")
        plain: dict[str, Any] = {
            k: params[k] for k in ("email", "name", "description") if k in params
        }
        chosen = (params.get("invoice_settings") or {}).get("default_payment_method")
        if chosen is not None:
            card = self._payments.card(chosen)
            if card["customer"] != given:
                raise wrong("The payment method is not attached to this customer.")
            settings = held["invoice_settings"] | {"default_payment_method": card["id"]}
            plain["invoice_settings"] = settings
        metadata = merged_metadata(held["metadata"], params)
        return self._stripe.update(held, "customer.updated", metadata=metadata, **plain)

    def delete_customer(self, given: str) -> Object:
        held = self._stripe.find("customer", given, "customer")
        for one in self._stripe.all("subscription", customer=given):
            if one["status"] not in ("canceled", "incomplete_expired"):
                self._subscriptions.cancel(one["id"])
        del self._stripe.objects["customer"][given]
        self._stripe.emit("customer.deleted", held)
        return {"id": given, "object": "customer", "deleted": True}

    # ----------------------------------------------------------------- sessions

    def create_session(self, params: dict[str, Any]) -> Object:
        mode = needed(params, "mode")
        if mode not in ("payment", "subscription", "setup"):
            raise wrong(f"Invalid mode: {mode}", "mode")
        if params.get("customer"):
            self._stripe.find("customer", params["customer"], "customer")
        needed(params, "success_url")
        now_s = self._stripe.time_of(params.get("customer"))
        lines = [] if mode == "setup" else self._lines(params, mode)
        subtotal = sum(line["amount_total"] for line in lines)
        taxed = truth(params.get("automatic_tax") or {}, "enabled")
        tax = subtotal * TAX_PER_CENT // 100 if taxed else 0
        if taxed and params.get("customer") and not params.get("customer_update"):
            raise wrong(
                "Automatic tax calculation in Checkout requires a valid address on the Customer."
                " Add a valid address to the Customer or set either `customer_update[address]` to"
                " 'auto' or `customer_update[shipping]` to 'auto'.",
                "automatic_tax",
            )
        made = self._stripe.make(
            "checkout.session",
            mode=mode,
            status="open",
            payment_status="no_payment_required" if mode == "setup" else "unpaid",
            amount_subtotal=subtotal or None,
            amount_total=subtotal + tax or None,
            total_details={"amount_discount": 0, "amount_shipping": 0, "amount_tax": tax},
            currency=lines[0]["currency"] if lines else params.get("currency"),
            customer=params.get("customer"),
            customer_email=params.get("customer_email"),
            customer_creation=params.get("customer_creation"),
            client_reference_id=params.get("client_reference_id"),
            metadata=dict(params.get("metadata") or {}),
            success_url=params["success_url"],
            cancel_url=params.get("cancel_url"),
            payment_method_types=params.get("payment_method_types") or ["card"],
            expires_at=whole(params, "expires_at", now_s + EXPIRES_S),
            automatic_tax={
                "enabled": taxed,
                "liability": None,
                "provider": None,
                "status": "complete" if taxed else None,
            },
            ui_mode="hosted",
            created=now_s,
        )
        made["url"] = f"{self.url}/pay/{made['id']}"
        self._wanted[made["id"]] = params | {"_lines": lines}
        return made

    def line_items(self, given: str) -> list[Object]:
        self._stripe.find("checkout.session", given)
        lines: list[Object] = self._wanted[given]["_lines"]
        return lines

    def expire(self, given: str) -> Object:
        session = self._stripe.find("checkout.session", given)
        if session["status"] != "open":
            raise wrong("Only Checkout Sessions with a status of open can be expired.")
        session |= {"status": "expired", "url": None}
        self._stripe.emit("checkout.session.expired", session)
        return session

    def expire_due(self) -> None:
        for session in self._stripe.all("checkout.session", status="open"):
            if session["expires_at"] <= self._stripe.time_of(session["customer"]):
                self.expire(session["id"])

    def pay(self, given: str, card: str = "pm_card_visa", *, email: str | None = None) -> Object:
        """What a person does on the page. A refused card leaves the session open."""
        session = self._stripe.find("checkout.session", given)
        if session["status"] != "open":
            raise wrong(f"This session is {session['status']}.")
        params = self._wanted[given]
        customer = session["customer"] or self._customer_for(session, params, email)
        method = self._payments.card(card)
        if session["mode"] == "payment":
            self._pay_once(session, params, customer, method)
        elif session["mode"] == "subscription":
            self._subscribe(session, params, customer, method)
        else:
            made = self._payments.create_setup({"customer": customer})
            self._payments.confirm_setup(made["id"], {"payment_method": method["id"]})
            session["setup_intent"] = made["id"]
        session |= {"status": "complete", "customer": customer, "url": None}
        session["customer_details"] = {
            "email": email or session["customer_email"],
            "name": None,
            "phone": None,
            "address": None,
            "tax_exempt": "none",
            "tax_ids": [],
        }
        self._stripe.emit("checkout.session.completed", session)
        return session

    def settle(self, given: str, *, paid: bool) -> Object:
        """The end of a delayed payment: the bank has, or has not, sent the money."""
        session = self._stripe.find("checkout.session", given)
        intent = self._stripe.find("payment_intent", session["payment_intent"])
        if intent["status"] != "processing":
            raise wrong("This session waits for no bank.")
        if paid:
            self._payments.succeed(intent)
            session["payment_status"] = "paid"
            self._stripe.emit("checkout.session.async_payment_succeeded", session)
        else:
            self._payments.fail(intent)
            self._stripe.emit("checkout.session.async_payment_failed", session)
        return session

    def _pay_once(
        self, session: Object, params: dict[str, Any], customer: str | None, method: Object
    ) -> None:
        extra = params.get("payment_intent_data") or {}
        intent = self._payments.create_intent(
            {
                "amount": str(session["amount_total"]),
                "currency": session["currency"],
                "customer": customer,
                "metadata": extra.get("metadata"),
                "description": extra.get("description"),
                "setup_future_usage": extra.get("setup_future_usage"),
            }
        )
        session["payment_intent"] = intent["id"]
        self._payments.confirm(intent["id"], {"payment_method": method["id"]})
        if intent["status"] == "requires_action":
            self._payments.authenticate(intent["id"])
        session["payment_status"] = "paid" if intent["status"] == "succeeded" else "unpaid"
        if truth(params.get("invoice_creation") or {}, "enabled"):
            session["invoice"] = self._invoices.receipt(session, intent)["id"]

    def _subscribe(
        self, session: Object, params: dict[str, Any], customer: str | None, method: Object
    ) -> None:
        assert customer is not None
        self._payments.attach(method["id"], customer)
        extra = params.get("subscription_data") or {}
        made = self._subscriptions.create(
            {
                "customer": customer,
                "items": [params["line_items"][0]],
                "metadata": extra.get("metadata"),
                "trial_period_days": extra.get("trial_period_days"),
                "default_payment_method": method["id"],
                "payment_behavior": "error_if_incomplete",
            }
        )
        session |= {"subscription": made["id"], "invoice": made["latest_invoice"]}
        session["payment_status"] = "paid" if made["latest_invoice"] else "no_payment_required"

    def _customer_for(
        self, session: Object, params: dict[str, Any], email: str | None
    ) -> str | None:
        wanted = session["mode"] != "payment" or params.get("customer_creation") == "always"
        if not wanted:
            return None
        made = self.create_customer({"email": email or session["customer_email"]})
        return str(made["id"])

    def _lines(self, params: dict[str, Any], mode: str) -> list[Object]:
        given = params.get("line_items")
        if not given:
            raise wrong("Missing required param: line_items.", "line_items", "parameter_missing")
        return [self._line(one, mode) for one in given]

    def _line(self, given: dict[str, Any], mode: str) -> Object:
        quantity = whole(given, "quantity", 1)
        if given.get("price"):
            price = self._stripe.find("price", given["price"], "line_items[0][price]")
        else:
            data = needed(given, "price_data")
            product = (
                data.get("product")
                or self._subscriptions.create_product(needed(data, "product_data"))["id"]
            )
            price = self._subscriptions.create_price(data | {"product": product})
        if (mode == "subscription") != bool(price["recurring"]):
            raise wrong(f"The price does not suit the mode {mode}.", "line_items[0][price]")
        amount = price["unit_amount"] * quantity
        return self._stripe.make(
            "item",
            amount_total=amount,
            amount_subtotal=amount,
            amount_discount=0,
            amount_tax=0,
            currency=price["currency"],
            price=price,
            quantity=quantity,
            description=self._stripe.find("product", price["product"])["name"],
        )

    # ------------------------------------------------------------------- portal

    def create_portal(self, params: dict[str, Any]) -> Object:
        customer = self._stripe.find("customer", needed(params, "customer"), "customer")
        made = self._stripe.make(
            "billing_portal.session",
            customer=customer["id"],
            return_url=params.get("return_url"),
            configuration="bpc_default",
        )
        made["url"] = f"{self.url}/portal/{customer['id']}"
        return made

    def cards_of(self, customer: str) -> Object:
        data = list(reversed(self._stripe.all("payment_method", customer=customer)))
        return listed(data, f"/v1/customers/{customer}/payment_methods")
