"""Coupons and referrals: what is asked and what is answered."""

from typing import Annotated, Literal

from pydantic import Field

from gatewayz.api.schemas.billing import Asked, Time
from gatewayz.api.schemas.shape import Count, Ours, Usd

Code = Annotated[str, Field(min_length=3, max_length=50, pattern=r"^[A-Za-z0-9_-]+$")]
Days = Annotated[int, Field(ge=1, le=3650)]
Uses = Annotated[int, Field(ge=1, le=1_000_000)]


class AskCoupon(Asked):
    code: Annotated[str, Field(min_length=3, max_length=50)]


class AskReferral(Asked):
    referral_code: Annotated[str, Field(min_length=1, max_length=20)]


class NewCoupon(Asked):
    code: Code
    value_cents: Annotated[int, Field(ge=1, le=100_000, description="US cents")]
    assigned_to: Annotated[str, Field(max_length=64)] | None = None
    max_uses: Uses = 1
    valid_from_ms: Annotated[int, Field(ge=0, le=4_102_444_800_000)] | None = None
    valid_days: Days = 30
    credit_days: Days | None = Field(default=None, description="the credit lapses after this")
    description: Annotated[str, Field(max_length=200)] | None = None
    coupon_type: Literal["promotional", "referral", "compensation", "partnership"] = "promotional"


class ChangeCoupon(Asked):
    valid_days: Annotated[int, Field(ge=0, le=3650)] | None = None
    max_uses: Uses | None = None
    is_active: bool | None = None
    description: Annotated[str, Field(max_length=200)] | None = None


class Redeemed(Ours):
    success: bool
    message: str
    coupon_code: str
    coupon_value: Usd | None
    previous_balance: Usd
    new_balance: Usd
    error_code: str | None


class Coupon(Ours):
    coupon_id: str
    code: str
    value_usd: Usd
    coupon_scope: Literal["global", "user_specific"]
    coupon_type: str
    description: str | None
    valid_from: Time
    valid_until: Time
    max_uses: int
    times_used: Count
    remaining_uses: Count
    is_active: bool
    is_expired: bool


class CouponList(Ours):
    coupons: list[Coupon]
    total: Count


class Redemption(Ours):
    code: str
    value_usd: Usd
    redeemed_at: Time


class RedemptionList(Ours):
    redemptions: list[Redemption]
    total_redemptions: Count
    total_value_redeemed: Usd


class CouponSummary(Ours):
    total_redemptions: Count
    unique_users: Count
    total_value_distributed: Usd
    redemption_rate: float | None


class CouponOverview(CouponSummary):
    total_coupons: Count
    active: Count


class CouponAnalytics(CouponSummary):
    remaining_uses: Count
    is_expired: bool


class ReferralCode(Ours):
    code: str
    invite_link: str
    share_message: str
    uses: Count
    remaining: Count
    reward: Usd


class Referral(Ours):
    referee: str = Field(description="a short hash, no identity")
    status: Literal["pending", "completed"]
    created_at: Time


class ReferralStats(Ours):
    code: str | None
    uses: Count
    remaining: Count
    earnings: Usd
    referrals: list[Referral]


class ReferralCheck(Ours):
    valid: bool
    error_code: str | None
    message: str


class ReferralUsed(Ours):
    success: bool
    message: str
