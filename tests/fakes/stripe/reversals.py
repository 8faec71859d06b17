"""Money that goes back: refunds, disputes, warnings of fraud."""

from typing import Any

from tests.fakes.stripe.account import Object, Stripe, listed
from tests.fakes.stripe.errors import wrong
from tests.fakes.stripe.forms import merged_metadata, needed, whole

# ---------------------------------------------------------------- refunds


def refund(stripe: Stripe, params: dict[str, Any]) -> Object:
    charge = _charge_named(stripe, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    if left <= 0:
        raise wrong(
            f"Charge {charge['id']} has already been refunded.", None, "charge_already_refunded"
        )
    amount = whole(params, "amount", left)
    if not 0 < amount <= left:
        raise wrong(
            f"Refund amount (${amount / 100:.2f}) is greater than unrefunded amount "
            f"on charge (${left / 100:.2f})",
            "amount",
        )
    if charge["disputed"]:
        raise wrong("This charge has been charged back.", None, "charge_disputed")
    refund = stripe.make(
        "refund",
        amount=amount,
        charge=charge["id"],
        currency=charge["currency"],
        payment_intent=charge["payment_intent"],
        reason=params.get("reason"),
        status="succeeded",
        metadata=dict(params.get("metadata") or {}),
        customer=charge["customer"],
        destination_details={"type": "card", "card": {}},
    )
    refund["balance_transaction"] = book(stripe, "refund", -amount, 0, refund)
    _set_refunded(stripe, charge, charge["amount_refunded"] + amount)
    stripe.emit("refund.created", refund)
    stripe.emit("charge.refunded", charge)
    return refund


def fail_refund(stripe: Stripe, given: str) -> Object:
    """The bank sent the money back: the refund did not happen."""
    refund = stripe.find("refund", given)
    if refund["status"] == "failed":
        return refund
    charge = stripe.find("charge", refund["charge"])
    refund["status"] = "failed"
    refund["balance_transaction"] = book(stripe, "refund_failure", refund["amount"], 0, refund)
    _set_refunded(stripe, charge, charge["amount_refunded"] - refund["amount"])
    stripe.emit("refund.updated", refund)
    stripe.emit("refund.failed", refund)
    stripe.emit("charge.refund.updated", refund)
    return refund


def update_refund(stripe: Stripe, given: str, params: dict[str, Any]) -> Object:
    refund = stripe.find("refund", given)
    metadata = merged_metadata(refund["metadata"], params)
    return stripe.update(refund, "refund.updated", metadata=metadata)


def _set_refunded(stripe: Stripe, charge: Object, amount: int) -> None:
    held = stripe.all("refund", charge=charge["id"])
    charge |= {
        "amount_refunded": amount,
        "refunded": amount >= charge["amount_captured"],
        "refunds": listed(list(reversed(held)), f"/v1/charges/{charge['id']}/refunds"),
    }


def _charge_named(stripe: Stripe, params: dict[str, Any]) -> Object:
    if params.get("payment_intent"):
        intent = stripe.find("payment_intent", params["payment_intent"], "payment_intent")
        if intent["status"] != "succeeded":
            raise wrong("This PaymentIntent does not have a successful charge to refund.")
        return stripe.find("charge", intent["latest_charge"])
    return stripe.find("charge", needed(params, "charge"), "charge")


# --------------------------------------------------------------- disputes


def open_dispute(stripe: Stripe, charge_id: str, amount: int | None = None) -> Object:
    charge = stripe.find("charge", charge_id)
    amount = amount if amount is not None else charge["amount"]
    dispute = stripe.make(
        "dispute",
        amount=amount,
        charge=charge_id,
        currency=charge["currency"],
        payment_intent=charge["payment_intent"],
        reason="fraudulent",
        status="needs_response",
        is_charge_refundable=False,
        evidence={},
        evidence_details={
            "due_by": stripe.now_s + 7 * 86400,
            "has_evidence": False,
            "past_due": False,
            "submission_count": 0,
        },
    )
    charge["disputed"] = True
    taken = book(stripe, "adjustment", -amount, 1500, dispute)
    dispute["balance_transactions"] = [stripe.find("balance_transaction", taken)]
    stripe.emit("charge.dispute.created", dispute)
    stripe.emit("charge.dispute.funds_withdrawn", dispute)
    return dispute


def close_dispute(stripe: Stripe, given: str, *, won: bool) -> Object:
    dispute = stripe.find("dispute", given)
    if dispute["status"] in ("won", "lost"):
        return dispute
    dispute["status"] = "won" if won else "lost"
    if won:
        back = book(stripe, "adjustment", dispute["amount"], -1500, dispute)
        dispute["balance_transactions"].append(stripe.find("balance_transaction", back))
        stripe.emit("charge.dispute.funds_reinstated", dispute)
    stripe.emit("charge.dispute.closed", dispute)
    return dispute


def warn_of_fraud(stripe: Stripe, charge_id: str) -> Object:
    charge = stripe.find("charge", charge_id)
    warning = stripe.make(
        "radar.early_fraud_warning", charge=charge["id"], actionable=True, fraud_type="misc"
    )
    stripe.emit("radar.early_fraud_warning.created", warning)
    return warning


def book(stripe: Stripe, kind: str, amount: int, fee: int, source: Object) -> str:
    booked = stripe.make(
        "balance_transaction",
        amount=amount,
        fee=fee,
        net=amount - fee,
        type=kind,
        currency=source["currency"],
        source=source["id"],
        status="available",
        reporting_category=kind,
        balance_type="payments",
        available_on=stripe.now_s,
    )
    return str(booked["id"])
