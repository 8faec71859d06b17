"""Settings of money that comes in: fees, bonuses, caps of grants, and the way to Stripe."""

from dataclasses import dataclass
from decimal import Decimal

from gatewayz.core.setting import setting as _set


@dataclass(frozen=True, slots=True)
class BillingSettings:
    topup_fee: str = _set(
        "GATEWAYZ_TOPUP_FEE", "0.05", "share of a payment kept as fee, 0 to 0.5; the rest is credit"
    )
    byok_fee: str = _set(
        "GATEWAYZ_BYOK_FEE",
        "0.05",
        "share of the list price that a request at an account's own provider key costs, 0 to 0.5",
    )
    least_cents: int = _set("GATEWAYZ_TOPUP_LEAST_CENTS", 500, "smallest top-up")
    most_cents: int = _set("GATEWAYZ_TOPUP_MOST_CENTS", 99_999_999, "largest top-up")
    first_bonus_cents: int = _set(
        "GATEWAYZ_FIRST_TOPUP_BONUS_CENTS", 0, "credit given once, with the first top-up"
    )
    first_bonus_least_cents: int = _set(
        "GATEWAYZ_FIRST_TOPUP_BONUS_LEAST_CENTS", 500, "… when that much was paid and stays paid"
    )
    referral_cents: int = _set(
        "GATEWAYZ_REFERRAL_CENTS", 1000, "credit for who refers and who is referred, each"
    )
    referral_least_cents: int = _set(
        "GATEWAYZ_REFERRAL_LEAST_CENTS", 1000, "… when one payment of that size stays paid"
    )
    prices: str = _set(
        "GATEWAYZ_STRIPE_PRICES",
        "",
        "prices or products at Stripe and the plans they pay for: `price_abc=dev prod_def=team`",
    )
    plan_markups: str = _set(
        "GATEWAYZ_PLAN_MARKUPS",
        "",
        "factors on the published price by plan: `dev=1.10 team=0.95`; 1 where none is named",
    )
    grant_most_cents: int = _set(
        "GATEWAYZ_MAX_CREDIT_GRANT_CENTS", 100_000, "most that staff gives or takes in one order"
    )
    grant_day_cents: int = _set(
        "GATEWAYZ_DAILY_GRANT_LIMIT_CENTS", 500_000, "… and one person in a day (UTC)"
    )
    grant_second_cents: int = _set(
        "GATEWAYZ_SECOND_APPROVAL_CENTS", 50_000, "orders above it wait for a second person"
    )
    auto_topup_day_cents: int = _set(
        "GATEWAYZ_AUTO_TOPUP_DAY_CENTS",
        100_000,
        "most that automatic top-ups charge one account in a day (UTC)",
    )
    tax: bool = _set("GATEWAYZ_STRIPE_TAX", False, "let Stripe Tax add the tax of the customer")
    invoices: bool = _set(
        "GATEWAYZ_STRIPE_INVOICES", True, "have Stripe write an invoice for every top-up"
    )
    app_url: str = _set(
        "GATEWAYZ_APP_URL",
        "http://127.0.0.1:8000",
        "address of the web application: where Stripe's pages lead back to",
    )
    return_hosts: str = _set(
        "GATEWAYZ_RETURN_HOSTS",
        "",
        "other hosts, separated by spaces, that a payment's page may lead back to",
    )
    stand_in: str = _set(
        "GATEWAYZ_STRIPE",
        "",
        "`fake`: a local stack starts a stand-in for Stripe beside itself, to try paying",
    )
    stripe_url: str = _set(
        "STRIPE_API_URL", "", "address of a stand-in for Stripe's API, on this machine only"
    )

    @property
    def fee_rate(self) -> Decimal:
        return Decimal(self.topup_fee)

    @property
    def byok_fee_ppm(self) -> int:
        """The fee on requests at an account's own keys, in millionths of the list price."""
        return int(Decimal(self.byok_fee) * 1_000_000)
