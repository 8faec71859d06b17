"""How people want to be told: what is asked and answered."""

from typing import Annotated, Literal

from pydantic import Field

from gatewayz.api.schemas.billing import Asked, Time
from gatewayz.api.schemas.shape import Ours, Usd

Days = Annotated[int, Field(ge=0, le=30)]


class ChangePreferences(Asked):
    """Only what is named changes."""

    email_notifications: bool | None = Field(
        default=None, description="false: only what everybody gets, as a new key or a sign-in link"
    )
    low_balance_threshold: Annotated[float, Field(ge=0, le=1_000_000)] | None = Field(
        default=None, description="US dollars; 0 for never"
    )
    trial_expiry_reminder_days: Days | None = None
    plan_expiry_reminder_days: Days | None = None
    usage_alerts: bool | None = None
    webhook_url: Literal[""] | None = Field(
        default=None, description="not served here: events are sent by webhooks of their own"
    )


class Preferences(Ours):
    email_notifications: bool
    low_balance_threshold: Usd
    trial_expiry_reminder_days: int
    plan_expiry_reminder_days: int
    usage_alerts: bool
    webhook_url: str | None
    of: Literal["member", "account"] = Field(
        description="whose choice it is: the account's holds for members who made none"
    )
    updated_at: Time | None


class PreferencesAnswer(Ours):
    status: Literal["success"]
    preferences: Preferences


class TestSent(Ours):
    status: Literal["success"]
    message: str
