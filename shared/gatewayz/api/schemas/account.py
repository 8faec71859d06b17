"""The calling account's credit and the calling key."""

from pydantic import Field

from gatewayz.api.schemas.shape import Ours, Usd


class Credits(Ours):
    total_credits: Usd = Field(description="everything ever paid or granted")
    total_usage: Usd = Field(description="everything ever charged")
    balance: Usd = Field(description="what is left; running requests may still use some of it")
    balance_nanos: int = Field(description="the same in nano-dollars, an integer")


class CreditsAnswer(Ours):
    data: Credits


class RateLimit(Ours):
    requests: int
    interval: str
    note: str


class Key(Ours):
    label: str
    name: str
    limit: Usd | None
    limit_reset: str | None
    limit_remaining: Usd | None
    include_byok_in_limit: bool
    usage: Usd
    usage_daily: Usd
    usage_weekly: Usd
    usage_monthly: Usd
    byok_usage: Usd
    byok_usage_daily: Usd
    byok_usage_weekly: Usd
    byok_usage_monthly: Usd
    is_free_tier: bool
    is_management_key: bool
    is_provisioning_key: bool
    creator_user_id: str | None
    expires_at: str | None
    balance: Usd = Field(description="what the account has left")
    rate_limits: dict[str, int | None] = Field(description="limits of this key, by name")
    rate_limit: RateLimit


class KeyAnswer(Ours):
    data: Key
