"""The rows of credit, payments, subscriptions, promotions and trials in the API document."""

from typing import Any

from pydantic import BaseModel

from gatewayz.api.model_operations import ask, up_to
from gatewayz.api.operation import ALWAYS, WITH_KEY, Operation, Parameter
from gatewayz.api.schemas.billing import (
    AskAutoTopUp,
    AskCap,
    AskCheckout,
    AskIntent,
    AskPortal,
    AskSetup,
    AutoTopUp,
    Cap,
    CardList,
    CheckoutState,
    IntentState,
    InvoiceList,
    OpenedCheckout,
    OpenedIntent,
    OpenedSetup,
    OpenedSetupIntent,
    PackageList,
    Payment,
    PaymentList,
    PaymentReceipt,
    Portal,
)
from gatewayz.api.schemas.credits import Feed, FeedSummary, TransactionList
from gatewayz.api.schemas.promotions import (
    AskCoupon,
    AskReferral,
    CouponList,
    Redeemed,
    RedemptionList,
    ReferralCheck,
    ReferralCode,
    ReferralStats,
    ReferralUsed,
)
from gatewayz.api.schemas.subscriptions import (
    AskPlan,
    AskSubscription,
    Entitlements,
    OpenedSubscription,
    OwnPlan,
    Plan,
    PlanList,
    PlanUse,
    Subscription,
)
from gatewayz.api.schemas.trials import (
    AskPartnerTrial,
    AskTrial,
    DailyLimit,
    Terms,
    TermsCheck,
    Trial,
)
from gatewayz.api.transactions import KINDS, ORDERS, TYPES, USAGE

REFUSED = (*WITH_KEY, "invalid_request")
PAYS = (*REFUSED, "payments_not_configured")
ORDERS_CREDIT = (*PAYS, "invalid_amount", "unsupported_currency")
CHANGES = (*PAYS, "unknown_price", "unknown_plan", "wrong_direction", "subscription_not_found")
TRIES = (
    *REFUSED, "trial_code_not_found", "trial_already_used", "not_a_new_customer",
    "verification_required",
)  # fmt: skip
ORDER_DETAIL = """\
The caller names what is paid; what it buys is computed here: the amount less the fee, 1 credit is 1
US dollar. Credited when Stripe says that it is paid, once, whatever the order of events."""
PAGE = (
    ask("limit", "at most so many", up_to(1000)),
    ask("offset", "how many to skip", {"type": "integer", "minimum": 0, "maximum": 1_000_000}),
)
WORD = {"type": ["string", "null"], "maxLength": 40}
FILTERS = (
    ask("type", "of these movements only", choices=sorted({*KINDS, *TYPES, USAGE})),
    ask("from_date", "ISO 8601; a date or a time", WORD),
    ask("to_date", "ISO 8601; a date is all of that day, UTC", WORD),
    ask("min_amount", "US dollars, whatever the sign", {"type": ["string", "null"]}),
    ask("max_amount", "US dollars, whatever the sign", {"type": ["string", "null"]}),
    ask("sort", "by time or by amount", choices=sorted(ORDERS)),
)
SESSION_ID = Parameter("session_id", "path", "of a checkout session", "cs_test_a1B2c3D4")
INTENT_ID = Parameter("intent_id", "path", "of a payment intent", "pi_a1B2c3D4")
PAYMENT_ID = Parameter("payment_id", "path", "of a payment", "pay_01M89HHCCJT9KCQZSB0ZRMMK9Z")
PLAN_ID = Parameter("plan_id", "path", "free, dev, team or enterprise", "dev")
CODE = Parameter("code", "path", "a partner's code", "REDBEARD")
FORMAT = ask("format", "of the file", choices=("csv", "json"))


def _get(path: str, summary: str, answer: type[BaseModel] | None, **more: Any) -> Operation:
    errors = more.pop("errors", WITH_KEY)
    return Operation(path, "billing", summary, answer, errors=errors, **more)


def _send(
    path: str, summary: str, request: type[BaseModel] | None, answer: type[BaseModel], **more: Any
) -> Operation:
    method = more.pop("method", "post")
    return Operation(path, "billing", summary, answer, method=method, request=request, **more)


BILLING_OPERATIONS: tuple[Operation, ...] = (
    _get("/api/stripe/credit-packages", "List amounts to offer", PackageList,
         errors=ALWAYS, public=True),
    _send("/api/stripe/checkout-session", "Order credit", AskCheckout, OpenedCheckout,
          detail=ORDER_DETAIL, errors=ORDERS_CREDIT),
    _get("/api/stripe/checkout-session/{session_id}", "See what became of an order", CheckoutState,
         parameters=(SESSION_ID,), errors=(*PAYS, "payment_not_found")),
    _send("/api/stripe/payment-intent", "Order credit to be paid on a page of yours", AskIntent,
          OpenedIntent, detail=ORDER_DETAIL, errors=ORDERS_CREDIT),
    _get("/api/stripe/payment-intent/{intent_id}", "See what became of it", IntentState,
         parameters=(INTENT_ID,), errors=(*PAYS, "payment_not_found")),
    _send("/api/stripe/portal", "Open Stripe's page for cards, invoices and receipts", AskPortal,
          Portal, errors=PAYS, body_needed=False),
    _get("/api/stripe/payments", "List payments", PaymentList, parameters=PAGE,
         errors=(*WITH_KEY, "invalid_request")),
    _get("/api/stripe/payments/{payment_id}", "Show a payment", Payment,
         parameters=(PAYMENT_ID,), errors=(*WITH_KEY, "payment_not_found")),
    _get("/api/stripe/payments/{payment_id}/receipt", "Find the receipt of a payment",
         PaymentReceipt,
         parameters=(PAYMENT_ID,), errors=(*PAYS, "payment_not_found", "receipt_not_found")),
    _get("/api/stripe/invoices", "List invoices", InvoiceList,
         parameters=(ask("limit", "at most so many", up_to(100)),), errors=PAYS),
    _send("/api/stripe/setup-session", "Open Stripe's page for saving a card", AskSetup,
          OpenedSetup, errors=PAYS, body_needed=False),
    _send("/api/stripe/setup-intent", "Save a card on a page of yours", None, OpenedSetupIntent,
          errors=PAYS),
    _get("/api/stripe/payment-methods", "List saved cards", CardList, errors=PAYS),
    _get("/user/auto-topup", "Show the automatic top-up", AutoTopUp),
    _send("/user/auto-topup", "Set the automatic top-up", AskAutoTopUp, AutoTopUp, method="put",
          detail="One payment for each time that credit falls below the threshold, within caps of"
          " a day and a month; three declines switch it off.",
          errors=(*PAYS, "invalid_amount", "no_payment_method")),
    _get("/user/daily-cap", "Show the daily cap", Cap),
    _send("/user/daily-cap", "Set the most that is spent in a day", AskCap, Cap, method="put",
          errors=REFUSED),
    _get("/user/credit-transactions", "List what moved credit", TransactionList,
         parameters=(*PAGE, *FILTERS), errors=(*WITH_KEY, "invalid_request")),
    _get("/user/credit-transactions/export", "Export what moved credit", None,
         parameters=(FORMAT, *FILTERS), errors=(*WITH_KEY, "invalid_request"),
         media="text/csv", also_media=("application/json",)),
    _get("/analytics/transactions", "List what requests cost", Feed, parameters=PAGE,
         errors=(*WITH_KEY, "invalid_request")),
    _get("/analytics/transactions/summary", "Sum what requests cost", FeedSummary),
    _get("/plans", "List plans", PlanList, errors=ALWAYS, public=True),
    _get("/plans/{plan_id}", "Show a plan", Plan, parameters=(PLAN_ID,),
         errors=(*ALWAYS, "plan_not_found"), public=True),
    _get("/user/plan", "Show the account's plan", OwnPlan),
    _get("/user/plan/usage", "Show what of the plan is used", PlanUse),
    _get("/user/environment-usage", "Show what of the plan is used", PlanUse),
    _get("/user/plan/entitlements", "Show what the plan allows", Entitlements,
         parameters=(ask("feature", "as in the plan's features"),),
         errors=(*WITH_KEY, "invalid_request")),
    _send("/api/stripe/subscription-checkout", "Begin a subscription", AskSubscription,
          OpenedSubscription,
          errors=(*PAYS, "unknown_price", "unknown_plan", "already_subscribed")),
    _get("/api/stripe/subscription", "Show the subscription", Subscription,
         errors=(*WITH_KEY, "subscription_not_found")),
    _send("/api/stripe/subscription/upgrade", "Change to a dearer plan now", AskPlan, Subscription,
          errors=CHANGES),
    _send("/api/stripe/subscription/downgrade", "Change to a cheaper plan", AskPlan, Subscription,
          errors=CHANGES),
    _send("/api/stripe/subscription/cancel", "End with the period", None, Subscription,
          errors=(*PAYS, "subscription_not_found")),
    _send("/api/stripe/subscription/resume", "Take a cancellation back", None, Subscription,
          errors=(*PAYS, "subscription_not_found")),
    _send("/coupons/redeem", "Redeem a coupon", AskCoupon, Redeemed,
          detail="A refusal is a 400 whose `error_code` names the reason.",
          errors=(*REFUSED, "too_many_attempts"), refusal=Redeemed),
    _get("/coupons/available", "List coupons made for this account", CouponList),
    _get("/coupons/history", "List redeemed coupons", RedemptionList),
    _get("/referral/code", "Show the referral code", ReferralCode),
    _send("/referral/generate", "Make the referral code", None, ReferralCode, errors=WITH_KEY),
    _get("/referral/stats", "Show what referring earned", ReferralStats),
    _send("/referral/validate", "Check a referral code", AskReferral, ReferralCheck,
          errors=REFUSED),
    _send("/referral/use", "Be referred", AskReferral, ReferralUsed,
          errors=REFUSED),
    _get("/trial/status", "Show the trial", Trial),
    _get("/partner-trials/status", "Show the trial", Trial),
    _get("/partner-trials/daily-limit", "Show what a trial may spend in a day", DailyLimit),
    _send("/trial/start", "Start the trial", AskTrial, Trial, errors=TRIES, body_needed=False),
    _send("/trials/start", "Start the trial", AskTrial, Trial, errors=TRIES, body_needed=False),
    _send("/partner-trials/start", "Start a partner's trial", AskPartnerTrial, Trial, errors=TRIES),
    _get("/partner-trials/config/{code}", "Show a partner's terms", Terms, parameters=(CODE,),
         errors=(*WITH_KEY, "trial_code_not_found")),
    _get("/partner-trials/check/{code}", "Check a partner's code", TermsCheck, parameters=(CODE,)),
)  # fmt: skip
