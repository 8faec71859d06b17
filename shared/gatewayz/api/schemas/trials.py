"""Trials: what is asked and what is answered."""

from typing import Annotated

from pydantic import Field

from gatewayz.api.schemas.billing import Asked, Time
from gatewayz.api.schemas.shape import Count, Ours, Usd

Code = Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[A-Za-z0-9_-]+$")]


class AskTrial(Asked):
    """`trial_days` and the like are not read: the terms are ours."""

    partner_code: Code | None = None


class AskPartnerTrial(Asked):
    partner_code: Code


class Trial(Ours):
    is_trial: bool
    trial_active: bool
    trial_expired: bool
    trial_converted: bool
    can_start: bool
    verified: list[str] = Field(description="what of the account is verified: card, email, phone")
    partner_code: str | None
    trial_start_date: Time | None
    trial_end_date: Time | None
    trial_ended_by: str | None
    trial_used_tokens: Count
    trial_max_tokens: Count
    trial_remaining_tokens: Count
    trial_used_requests: Count
    trial_max_requests: Count
    trial_remaining_requests: Count
    trial_used_credits: Usd
    trial_max_credits: Usd
    trial_remaining_credits: Usd
    trial_daily_credits: Usd | None
    subscription_plan: str


class DailyLimit(Ours):
    daily_limit: Usd | None = Field(description="the lowest that holds, an own cap included")
    used_today: Usd
    remaining_today: Usd | None


class Terms(Ours):
    code: str
    name: str
    trial_days: Count
    credits: Usd
    max_tokens: Count
    max_requests: Count
    daily_credits: Usd | None
    plan: str
    is_active: bool


class TermsCheck(Ours):
    valid: bool
    partner_code: str
    partner_name: str | None


class NewTerms(Asked):
    name: Annotated[str, Field(min_length=1, max_length=100)]
    trial_days: Annotated[int, Field(ge=1, le=90)] = 14
    credit_cents: Annotated[int, Field(ge=0, le=100_000)] = 500
    max_tokens: Annotated[int, Field(ge=1, le=10**12)] = 1_000_000
    max_requests: Annotated[int, Field(ge=1, le=10**12)] = 10_000
    daily_cents: Annotated[int, Field(ge=1, le=100_000)] | None = None
    plan: Annotated[str, Field(max_length=40, pattern=r"^[a-z0-9_-]+$")] = "free"
    is_active: bool = True
