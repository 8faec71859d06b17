"""Payments and what moved credit. A request may carry more than is read: the existing frontend
sends a credit value, which nobody here believes."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from gatewayz.api.schemas.shape import Count, Ours, Usd

Cents = Annotated[int, Field(ge=1, le=99_999_999, description="US cents")]
Text = Annotated[str, Field(max_length=2000)]
Time = Annotated[str, Field(description="ISO 8601, UTC")]


class Asked(BaseModel):
    """A body of ours that may carry fields nobody reads."""

    model_config = ConfigDict(extra="ignore", strict=True)


class AskCheckout(Asked):
    amount: Cents
    currency: Annotated[str, Field(min_length=3, max_length=3)] = "usd"
    success_url: Text | None = None
    cancel_url: Text | None = None
    customer_email: Annotated[str, Field(max_length=320)] | None = None
    description: Annotated[str, Field(max_length=200)] | None = None


class AskIntent(Asked):
    amount: Cents
    currency: Annotated[str, Field(min_length=3, max_length=3)] = "usd"
    customer_email: Annotated[str, Field(max_length=320)] | None = None
    description: Annotated[str, Field(max_length=200)] | None = None


class AskPortal(Asked):
    return_url: Text | None = None


class AskRefund(Asked):
    payment_id: Annotated[str, Field(max_length=80)] | None = None
    payment_intent_id: Annotated[str, Field(max_length=100)] | None = None
    amount: Cents | None = None
    reason: Annotated[str, Field(max_length=200)] | None = None


class Package(Ours):
    id: str
    name: str
    amount: Cents
    currency: str
    credits: Usd = Field(description="what paying the amount buys; 1 credit is 1 US dollar")
    fee: Usd
    popular: bool


class PackageList(Ours):
    packages: list[Package]


class Payment(Ours):
    id: str
    payment_id: str
    status: str
    kind: Literal["topup", "auto_topup", "subscription"]
    amount: Cents
    amount_usd: Usd
    currency: str
    credits: Usd
    fee: Usd
    tax: Usd
    amount_refunded: Count
    amount_disputed: Count
    description: str | None
    stripe_session_id: str | None
    stripe_payment_intent_id: str | None
    created_at: Time
    completed_at: Time | None


class PaymentList(Ours):
    payments: list[Payment]
    total: Count


class PaymentReceipt(Ours):
    url: str = Field(description="Stripe's page of it")


class Invoice(Ours):
    id: str
    number: str | None
    status: str
    currency: str
    total: int = Field(description="cents; tax included")
    amount_paid: int = Field(description="cents")
    created_at: Time
    url: str | None = Field(description="Stripe's page of it")
    pdf: str | None


class InvoiceList(Ours):
    invoices: list[Invoice]


class OpenedCheckout(Payment):
    session_id: str
    url: str | None
    expires_at: int = Field(description="Unix seconds")


class CheckoutState(Payment):
    session_id: str
    payment_status: Literal["paid", "unpaid"]
    credits_reconciled: bool = Field(description="this look credited it, before any event came")


class OpenedIntent(Payment):
    payment_intent_id: str
    client_secret: str


class IntentState(Payment):
    payment_intent_id: str
    credits_reconciled: bool


class Portal(Ours):
    url: str


class AskSetup(Asked):
    success_url: Text | None = None
    cancel_url: Text | None = None
    customer_email: Annotated[str, Field(max_length=320)] | None = None


class OpenedSetup(Ours):
    session_id: str
    url: str | None
    expires_at: int = Field(description="Unix seconds")


class OpenedSetupIntent(Ours):
    setup_intent_id: str
    client_secret: str


class Card(Ours):
    id: str
    brand: str | None
    last4: str | None


class CardList(Ours):
    payment_methods: list[Card]


class AskAutoTopUp(Asked):
    enabled: bool
    threshold_cents: Annotated[int, Field(ge=0, le=10_000_000)] = 500
    amount_cents: Cents = 2_000
    monthly_cap_cents: Annotated[int, Field(ge=1, le=999_999_999)] = 50_000
    payment_method: Annotated[str, Field(max_length=100)] | None = None


class AutoTopUp(Ours):
    enabled: bool
    threshold: Usd
    amount: Usd
    monthly_cap: Usd
    payment_method: str | None
    charged_this_month: Usd
    failures: Count
    problem: str | None = Field(description="why it was switched off, or waits")


class AskCap(Asked):
    daily_cap: Annotated[str, Field(max_length=20, pattern=r"^[0-9]{1,6}(\.[0-9]{1,9})?$")] | None


class Cap(Ours):
    daily_cap: Usd | None = Field(description="the lowest that holds, a trial's included")
    own_cap: Usd | None
    spent_today: Usd
    remaining_today: Usd | None
