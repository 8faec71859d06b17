"""What an account asked for: by day, by model, one by one."""

from pydantic import Field

from gatewayz.api.schemas.billing import Time
from gatewayz.api.schemas.shape import Count, Ours, Usd


class DayStats(Ours):
    date: str = Field(description="a day in UTC")
    spend: Usd
    tokens: Count
    requests: Count


class ActivityStats(Ours):
    total_requests: Count
    total_tokens: Count
    total_spend: Usd
    daily_stats: list[DayStats]


class ActivityRow(Ours):
    id: str
    user_id: str
    api_key_id: str | None
    timestamp: Time
    model: str | None
    provider: str | None
    tokens: Count
    prompt_tokens: Count
    completion_tokens: Count
    cost: Usd
    speed: float | None = Field(description="tokens of the answer per second after the first")
    finish_reason: str | None
    outcome: str
    app: str | None = Field(description="X-Title, or HTTP-Referer, of the request")


class ActivityLog(Ours):
    logs: list[ActivityRow]
    total: Count


class RoutedActivity(Ours):
    date: str
    model: str
    model_permaslug: str
    endpoint_id: str | None
    provider_name: str | None
    usage: Usd
    byok_usage_inference: Usd
    requests: Count
    prompt_tokens: Count
    completion_tokens: Count
    reasoning_tokens: Count


class RoutedActivityList(Ours):
    data: list[RoutedActivity]
