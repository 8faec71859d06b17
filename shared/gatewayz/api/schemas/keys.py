"""API keys: what is asked and what is answered, in the web client's form and in OpenRouter's."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gatewayz.api.schemas.billing import Asked, Time
from gatewayz.api.schemas.shape import Count, Ours, Usd

PLAIN = r"^[^\x00-\x1f\x7f]+$"
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=PLAIN)]
Word = Annotated[str, Field(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Pattern = Annotated[str, Field(max_length=128, pattern=r"^[A-Za-z0-9._:/@*-]+$")]
Patterns = Annotated[list[Pattern], Field(max_length=200, description="`*` stands for anything")]
Network = Annotated[str, Field(max_length=64)]
Domain = Annotated[str, Field(max_length=253)]
Environment = Literal["test", "staging", "live", "development"]
Reset = Literal["daily", "weekly", "monthly"]
Limit = Annotated[int, Field(ge=1, le=10**12)]
Spend = Annotated[float, Field(ge=0, le=1_000_000, description="US dollars")]
Moment = Annotated[
    str, Field(max_length=40, description="ISO 8601", json_schema_extra={"format": "date-time"})
]
ScopeName = Literal[
    "inference", "keys:read", "keys:write", "usage:read", "billing", "management"
]  # fmt: skip


class RateLimits(Asked):
    """What is not given is not limited by the key."""

    requests_per_minute: Limit | None = None
    requests_per_hour: Limit | None = None
    requests_per_day: Limit | None = None
    tokens_per_minute: Limit | None = None
    tokens_per_day: Limit | None = None
    tokens_per_month: Limit | None = None
    concurrent_requests: Limit | None = None


class KeyFields(Asked):
    environment_tag: Environment = "live"
    scopes: Annotated[list[ScopeName], Field(max_length=10)] | None = Field(
        default=None, description="inference and usage:read when it is not given"
    )
    scope_permissions: dict[Word, list[Word]] | None = Field(
        default=None, description='the older form: a scope, or read, write, admin; for all: ["*"]'
    )
    expiration_days: Annotated[int, Field(ge=1, le=3650)] | None = None
    max_requests: Limit | None = None
    ip_allowlist: Annotated[list[Network], Field(max_length=200)] | None = None
    domain_referrers: Annotated[list[Domain], Field(max_length=200)] | None = None
    allowed_models: Patterns | None = None
    blocked_models: Patterns | None = None
    allowed_providers: Patterns | None = None
    blocked_providers: Patterns | None = None
    limit: Spend | None = Field(default=None, description="US dollars, within limit_reset")
    limit_reset: Reset | None = Field(default=None, description="null: never; in UTC")
    rate_limits: RateLimits | None = None
    preferences: dict[str, Any] | None = Field(
        default=None,
        description="what `provider` of a request says, for requests that do not; and a"
        " `system_prompt`, for requests without one",
    )
    team: Word | None = None
    metadata: Annotated[dict[Word, Word], Field(max_length=16)] | None = None


class NewApiKey(KeyFields):
    key_name: Name


class ChangeApiKey(KeyFields):
    key_name: Name | None = None
    is_active: bool | None = None
    action: Literal["rotate", "bulk_rotate"] | None = Field(
        default=None, description="bulk_rotate: every key, or those of environment_tag"
    )
    overlap_s: Annotated[int, Field(ge=0, le=30 * 86400)] = Field(
        default=86400, description="how long a rotated key's old secret still works"
    )


class DeleteApiKey(Asked):
    confirmation: Literal["DELETE_KEY"]


class ApiKey(Ours):
    id: str
    api_key: str = Field(description="how it begins; the whole is shown once, when it is made")
    key_name: str
    environment_tag: Environment
    scopes: list[str]
    scope_permissions: dict[str, list[str]]
    is_active: bool
    is_primary: bool
    expiration_date: Time | None
    days_remaining: Count | None
    max_requests: Count | None
    requests_used: Count
    requests_remaining: Count | None
    usage_percentage: float | None
    ip_allowlist: list[str]
    domain_referrers: list[str]
    allowed_models: list[str]
    blocked_models: list[str]
    allowed_providers: list[str]
    blocked_providers: list[str]
    limit: Usd | None
    limit_reset: Reset | None
    rate_limits: RateLimits
    preferences: dict[str, Any] | None
    team: str | None
    metadata: dict[str, str]
    old_secret_until: Time | None = Field(description="a rotated key's old secret works until then")
    created_at: Time
    updated_at: Time | None
    last_used_at: Time | None = Field(description="of the last settled request")


class ApiKeyList(Ours):
    status: Literal["success"]
    total_keys: Count
    keys: list[ApiKey]


class ApiKeyMade(Ours):
    status: Literal["success"]
    message: str
    api_key: str = Field(description="the whole key, this once")
    key_name: str
    environment_tag: Environment
    id: str


class Rotated(Ours):
    id: str
    key_name: str
    api_key: str = Field(description="the whole key, this once")
    old_secret_until: Time | None


class ApiKeyChanged(Ours):
    status: Literal["success"]
    message: str
    key: ApiKey | None
    api_key: str | None = Field(description="after `rotate`: the new secret, this once")
    rotated: list[Rotated]


class ApiKeyDeleted(Ours):
    status: Literal["success"]
    message: str
    deleted_key_id: str


class ApiKeyUse(Ours):
    id: str
    key_name: str
    is_active: bool
    requests: Count
    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    usage: Usd
    usage_daily: Usd
    usage_weekly: Usd
    usage_monthly: Usd
    max_requests: Count | None
    limit: Usd | None
    limit_reset: Reset | None
    limit_remaining: Usd | None
    last_used_at: Time | None


class ApiKeyUsage(Ours):
    status: Literal["success"]
    keys: list[ApiKeyUse]


class AuditEntry(Ours):
    id: Count = Field(description="the place in the account's chain")
    timestamp: Time
    actor: str
    action: str
    target: str | None
    details: dict[str, Any]
    hash: str = Field(description="over this entry and the hash before it")


class AuditLog(Ours):
    status: Literal["success"]
    total: Count
    logs: list[AuditEntry]


class AuditVerdict(Ours):
    account: str
    entries: Count
    valid: bool
    first_broken: Count | None
    head: str | None


class NewRoutedKey(Asked):
    name: Name
    limit: Spend | None = None
    limit_reset: Reset | None = None
    include_byok_in_limit: bool = False
    expires_at: Moment | None = None
    creator_user_id: Word | None = None
    workspace_id: Word | None = None


class ChangeRoutedKey(Asked):
    name: Name | None = None
    disabled: bool | None = None
    limit: Spend | None = None
    limit_reset: Reset | None = None
    include_byok_in_limit: bool | None = None
    expires_at: Moment | None = None


class RoutedKey(Ours):
    hash: str
    name: str
    label: str
    disabled: bool
    limit: Usd | None
    limit_remaining: Usd | None
    limit_reset: Reset | None
    include_byok_in_limit: bool
    usage: Usd
    usage_daily: Usd
    usage_weekly: Usd
    usage_monthly: Usd
    byok_usage: Usd
    byok_usage_daily: Usd
    byok_usage_weekly: Usd
    byok_usage_monthly: Usd
    created_at: Time
    updated_at: Time | None
    expires_at: Time | None
    creator_user_id: str | None
    workspace_id: str | None


class RoutedKeyAnswer(Ours):
    data: RoutedKey


class RoutedKeyMade(Ours):
    data: RoutedKey
    key: str = Field(description="the whole key, this once")


class RoutedKeyList(Ours):
    data: list[RoutedKey]


class RoutedKeyDeleted(Ours):
    deleted: Literal[True]
