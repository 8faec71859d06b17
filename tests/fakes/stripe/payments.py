"""Cards, payment intents, charges, setup intents."""

from contextlib import suppress
from typing import Any

from tests.fakes.stripe.account import Object, Stripe, listed
from tests.fakes.stripe.errors import StripeFault, wrong
from tests.fakes.stripe.forms import needed, truth, whole
from tests.fakes.stripe.reversals import book, open_dispute

# Stripe's own test cards by the name of their payment method, and what becomes of a payment.
CARDS = {
    "pm_card_visa": ("4242", "visa", "succeed"),
    "pm_card_mastercard": ("4444", "mastercard", "succeed"),
    "pm_card_chargeDeclined": ("0002", "visa", "card_declined"),
    "pm_card_visa_chargeDeclined": ("0002", "visa", "card_declined"),
    "pm_card_chargeDeclinedInsufficientFunds": ("9995", "visa", "insufficient_funds"),
    "pm_card_chargeCustomerFail": ("0341", "visa", "card_declined"),
    "pm_card_authenticationRequired": ("3184", "visa", "authentication"),
    "pm_card_threeDSecure2Required": ("3220", "visa", "authentication"),
    "pm_card_createDispute": ("0259", "visa", "dispute"),
    "pm_usBankAccount_success": ("6789", "us_bank_account", "asynchronous"),
}
FEE_PER_MILLE, FEE_CENTS = 29, 30


class Payments:
    def __init__(self, stripe: Stripe) -> None:
        self._stripe = stripe
        self._behaviour: dict[str, str] = {}

    # ------------------------------------------------------------------ cards

    def card(self, given: str) -> Object:
        """A payment method; naming a test card makes a new one of that sort."""
        known = self._stripe.objects["payment_method"].get(given)
        if known is not None:
            return known
        if given not in CARDS:
            raise StripeFault(
                400,
                f"No such PaymentMethod: '{given}'",
                code="resource_missing",
                param="payment_method",
            )
        last4, brand, behaviour = CARDS[given]
        made = self._stripe.make(
            "payment_method",
            type="card",
            allow_redisplay="unspecified",
            billing_details={"address": None, "email": None, "name": None, "phone": None},
            card={
                "brand": brand,
                "last4": last4,
                "exp_month": 12,
                "exp_year": 2034,
                "funding": "credit",
                "country": "US",
                "fingerprint": f"fp_{last4}_{brand}",
                "checks": {"cvc_check": "pass"},
                "wallet": None,
            },
        )
        self._behaviour[made["id"]] = behaviour
        return made

    def set_fingerprint(self, method: str, fingerprint: str) -> None:
        self._stripe.find("payment_method", method)["card"]["fingerprint"] = fingerprint

    def set_behaviour(self, method: str, behaviour: str) -> None:
        """What becomes of payments with this card from now on."""
        self._behaviour[method] = behaviour

    def attach(self, method: str, customer: str) -> Object:
        self._stripe.find("customer", customer, "customer")
        card = self.card(method)
        if card["customer"] != customer:
            card["customer"] = customer
            self._stripe.emit("payment_method.attached", card)
        return card

    def detach(self, method: str) -> Object:
        card = self._stripe.find("payment_method", method)
        card["customer"] = None
        self._stripe.emit("payment_method.detached", card)
        return card

    # ---------------------------------------------------------------- intents

    def create_intent(self, params: dict[str, Any]) -> Object:
        amount = whole(params, "amount")
        if not 50 <= amount <= 99_999_999:
            raise wrong(
                "Amount must be between $0.50 and $999,999.99 usd",
                "amount",
                "amount_too_small" if amount < 50 else "amount_too_large",
            )
        customer = params.get("customer")
        if customer:
            self._stripe.find("customer", customer, "customer")
        intent = self._stripe.make(
            "payment_intent",
            amount=amount,
            currency=needed(params, "currency").lower(),
            customer=customer,
            metadata=dict(params.get("metadata") or {}),
            description=params.get("description"),
            status="requires_payment_method",
            amount_received=0,
            amount_capturable=0,
            capture_method="automatic",
            confirmation_method="automatic",
            receipt_email=params.get("receipt_email"),
            payment_method_types=params.get("payment_method_types") or ["card"],
            setup_future_usage=params.get("setup_future_usage"),
            amount_details={"tip": {}},
            automatic_payment_methods=params.get("automatic_payment_methods"),
            payment_method_options={},
        )
        intent["client_secret"] = f"{intent['id']}_secret_{intent['id'][-8:]}"
        self._stripe.emit("payment_intent.created", intent)
        if params.get("payment_method"):
            card = self.card(params["payment_method"])
            intent |= {"payment_method": card["id"], "status": "requires_confirmation"}
        if truth(params, "confirm"):
            return self.confirm(intent["id"], params)
        return intent

    def confirm(self, given: str, params: dict[str, Any]) -> Object:
        intent = self._stripe.find("payment_intent", given, "intent")
        if intent["status"] in ("succeeded", "canceled", "processing"):
            raise wrong(
                f"This PaymentIntent's status is {intent['status']}.",
                None,
                "payment_intent_unexpected_state",
            )
        if params.get("payment_method"):
            intent["payment_method"] = self.card(params["payment_method"])["id"]
        if not intent["payment_method"]:
            raise wrong(
                "You cannot confirm this PaymentIntent because it's missing a payment method.",
                "payment_method",
            )
        behaviour = self._behaviour.get(intent["payment_method"], "succeed")
        if behaviour == "authentication":
            if truth(params, "off_session"):
                return self._refuse(intent, "authentication_required")
            return self._stripe.update(
                intent,
                "payment_intent.requires_action",
                status="requires_action",
                next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {}},
            )
        if behaviour in ("card_declined", "insufficient_funds"):
            return self._refuse(intent, behaviour)
        if behaviour == "asynchronous":
            return self._stripe.update(intent, "payment_intent.processing", status="processing")
        self.succeed(intent)
        if behaviour == "dispute":
            open_dispute(self._stripe, intent["latest_charge"])
        return intent

    def authenticate(self, given: str, *, passed: bool = True) -> Object:
        """What the customer does in the bank's window."""
        intent = self._stripe.find("payment_intent", given)
        if intent["status"] != "requires_action":
            raise wrong("Nothing waits for authentication.")
        intent["next_action"] = None
        if passed:
            return self.succeed(intent)
        try:
            return self._refuse(intent, "payment_intent_authentication_failure")
        except StripeFault:
            return intent

    def succeed(self, intent: Object) -> Object:
        charge = self._charge(intent, status="succeeded", paid=True, captured=True)
        intent |= {
            "status": "succeeded",
            "amount_received": intent["amount"],
            "next_action": None,
            "latest_charge": charge["id"],
            "last_payment_error": None,
        }
        if intent["customer"] and intent["setup_future_usage"] and intent["payment_method"]:
            self.attach(intent["payment_method"], intent["customer"])
        self._stripe.emit("charge.succeeded", charge)
        self._stripe.emit("payment_intent.succeeded", intent)
        return intent

    def fail(self, intent: Object, code: str = "card_declined") -> Object:
        """A delayed payment that did not come."""
        with suppress(StripeFault):
            self._refuse(intent, code)
        return intent

    def cancel(self, given: str, reason: str | None) -> Object:
        intent = self._stripe.find("payment_intent", given, "intent")
        if intent["status"] in ("succeeded", "canceled"):
            raise wrong(
                f"You cannot cancel this PaymentIntent because it has a status of "
                f"{intent['status']}.",
                None,
                "payment_intent_unexpected_state",
            )
        intent |= {
            "status": "canceled",
            "canceled_at": self._stripe.time_of(intent["customer"]),
            "cancellation_reason": reason,
        }
        self._stripe.emit("payment_intent.canceled", intent)
        return intent

    def _refuse(self, intent: Object, code: str) -> Object:
        decline = code if code != "card_declined" else "generic_decline"
        charge = self._charge(
            intent,
            status="failed",
            paid=False,
            captured=False,
            failure_code=code,
            failure_message="Your card was declined.",
        )
        error = {
            "type": "card_error",
            "message": "Your card was declined.",
            "charge": charge["id"],
            "code": code if code != "insufficient_funds" else "card_declined",
            "decline_code": decline,
        }
        intent |= {
            "status": "requires_payment_method",
            "last_payment_error": error,
            "latest_charge": charge["id"],
            "payment_method": None,
        }
        self._stripe.emit("charge.failed", charge)
        self._stripe.emit("payment_intent.payment_failed", intent)
        fields = {k: v for k, v in error.items() if k not in ("type", "message")}
        raise StripeFault(402, error["message"], payment_intent=intent, **fields)

    def _charge(self, intent: Object, **fields: Any) -> Object:
        card = self._stripe.objects["payment_method"].get(intent["payment_method"] or "")
        details = {"type": "card", "card": dict(card["card"])} if card else None
        charge = self._stripe.make(
            "charge",
            amount=intent["amount"],
            currency=intent["currency"],
            amount_refunded=0,
            amount_captured=intent["amount"] if fields["paid"] else 0,
            refunded=False,
            customer=intent["customer"],
            payment_intent=intent["id"],
            disputed=False,
            payment_method=intent["payment_method"],
            payment_method_details=details,
            metadata=dict(intent["metadata"]),
            description=intent["description"],
            billing_details=card["billing_details"] if card else None,
            fraud_details={},
            **fields,
        )
        charge["receipt_url"] = f"https://pay.stripe.example/receipts/{charge['id']}"
        charge["refunds"] = listed([], f"/v1/charges/{charge['id']}/refunds")
        if fields["paid"]:
            fee = charge["amount"] * FEE_PER_MILLE // 1000 + FEE_CENTS
            charge["balance_transaction"] = book(
                self._stripe, "charge", charge["amount"], fee, charge
            )
        return charge

    # ----------------------------------------------------------- setup intents

    def create_setup(self, params: dict[str, Any]) -> Object:
        made = self._stripe.make(
            "setup_intent",
            customer=params.get("customer"),
            usage=params.get("usage", "off_session"),
            metadata=dict(params.get("metadata") or {}),
            status="requires_payment_method",
            payment_method_types=["card"],
            payment_method_options={},
        )
        made["client_secret"] = f"{made['id']}_secret_{made['id'][-8:]}"
        self._stripe.emit("setup_intent.created", made)
        if params.get("payment_method") and truth(params, "confirm"):
            return self.confirm_setup(made["id"], params)
        return made

    def confirm_setup(self, given: str, params: dict[str, Any]) -> Object:
        made = self._stripe.find("setup_intent", given)
        card = self.card(needed(params, "payment_method"))
        if self._behaviour.get(card["id"]) in ("card_declined", "insufficient_funds"):
            self._stripe.emit("setup_intent.setup_failed", made)
            raise StripeFault(
                402,
                "Your card was declined.",
                code="card_declined",
                decline_code="generic_decline",
                setup_intent=made,
            )
        made |= {"payment_method": card["id"], "status": "succeeded"}
        if made["customer"]:
            self.attach(card["id"], made["customer"])
        self._stripe.emit("setup_intent.succeeded", made)
        return made
