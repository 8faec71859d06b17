"""The older web client's lists: search, trends, hosts side by side, rankings, gateways."""

from typing import Any, Literal

from pydantic import AwareDatetime, Field

from gatewayz.api.schemas.models import Architecture, DataPolicy, Model, Pricing, Provider
from gatewayz.api.schemas.shape import Count, Ours, PerToken

TimeRange = Literal["1h", "24h", "7d", "30d"]
Dollars = str


class OneModel(Model):
    """OpenAI's object, and beside it the same in the older client's envelope."""

    data: Model
    providers: list[str]
    provider: str
    model: str
    gateway: str | None
    timestamp: AwareDatetime


class SearchMeta(Ours):
    total: Count
    limit: Count
    offset: Count
    returned: Count
    filters_applied: dict[str, Any]


class SearchAnswer(Ours):
    success: bool
    data: list[Model]
    meta: SearchMeta
    timestamp: AwareDatetime


class Trend(Ours):
    rank: Count
    id: str
    model: str
    name: str
    provider: str
    gateway: str | None
    requests: Count
    total_tokens: Count
    unique_users: Count
    average_response_time_ms: float | None = Field(description="median to the first token")
    throughput: float | None = Field(description="median output tokens per second")


class TrendingAnswer(Ours):
    """From our own settled requests: empty until there are some."""

    success: bool
    data: list[Trend]
    count: Count
    total: Count
    offset: Count
    gateway: str
    time_range: TimeRange
    sort_by: Literal["requests", "tokens", "users"]
    timestamp: AwareDatetime


class FastModel(Ours):
    id: str
    name: str
    source_gateways: list[str]
    average_response_time_ms: float
    tier: Literal["ultra", "low"]
    requests: Count


class SpeedTier(Ours):
    tier: Count
    median_first_token_ms: float


class Thresholds(Ours):
    ultra: Count
    low: Count


class LowLatencyAnswer(Ours):
    """Measured on our own streams of the last week: empty until there are some."""

    models: list[FastModel]
    count: Count
    providers_by_speed: list[str]
    provider_tiers: dict[str, SpeedTier]
    thresholds_ms: Thresholds
    alternatives: dict[str, str | None] | None = None
    timestamp: AwareDatetime


class UniqueHost(Ours):
    slug: str
    pricing: Pricing
    context_length: Count | None
    native_id: str
    health_status: str
    average_response_time_ms: float | None


class UniqueModel(Ours):
    id: str
    name: str
    model_name: str
    description: str
    context_length: Count | None
    architecture: Architecture
    provider_count: Count
    cheapest_provider: str | None
    cheapest_prompt_price: PerToken | None
    cheapest_completion_price: PerToken | None
    providers: list[UniqueHost]
    available: bool


class UniqueAnswer(Ours):
    object: Literal["list"]
    data: list[UniqueModel]
    total: Count
    returned: Count
    offset: Count
    limit: Count
    has_more: bool
    next_offset: Count | None
    timestamp: AwareDatetime


class ComparedPricing(Pricing):
    prompt_cost_per_1m: Dollars | None
    completion_cost_per_1m: Dollars | None


class Compared(Ours):
    gateway: str
    available: bool
    model_id: str
    name: str
    pricing: ComparedPricing
    context_length: Count | None
    max_completion_tokens: Count | None
    architecture: Architecture
    provider_site_url: str | None
    source_gateway: str
    data_policy: DataPolicy


class PairOfPrices(Ours):
    prompt: PerToken | None
    completion: PerToken | None


class Recommendation(Ours):
    gateway: str | None
    reason: str
    pricing: PairOfPrices | None = None


class Savings(Ours):
    """Dollars as exact text, for a million tokens in and a million out."""

    potential_savings: Dollars
    potential_savings_per_1m_tokens: Dollars | None = None
    savings_percentage: float | None = None
    cheapest_gateway: str | None
    cheapest_cost: Dollars | None = None
    most_expensive_gateway: str | None
    most_expensive_cost: Dollars | None = None


class CompareAnswer(Ours):
    success: bool
    model_id: str
    provider: str
    model: str
    comparisons: list[Compared]
    recommendation: Recommendation
    savings: Savings
    available_count: Count
    total_gateways_checked: Count
    timestamp: AwareDatetime


class BatchRequest(Ours):
    model_ids: list[str] = Field(min_length=1, max_length=100)


class BatchResult(Ours):
    model_id: str
    comparison: dict[str, Any] | None = Field(
        None, description="host → prices, context length or availability, as asked"
    )
    savings: Savings | None = None
    gateways_available: Count | None = None
    error: str | None = None


class BatchAnswer(Ours):
    success: bool
    criteria: Literal["price", "context", "availability"]
    models_compared: Count
    results: list[BatchResult]
    timestamp: AwareDatetime


class Host(Provider):
    site_url: str | None
    logo_url: str | None
    is_moderated: bool
    model_count: Count
    source_gateway: str
    source_gateways: list[str]


class HostList(Ours):
    data: list[Host]
    total: Count
    returned: Count
    offset: Count
    limit: Count | None
    gateway: str
    timestamp: AwareDatetime


class Gateway(Ours):
    id: str
    name: str
    color: str
    priority: Literal["fast", "slow"]
    site_url: str | None
    logo_url: str | None
    icon: str | None
    aliases: list[str]
    available: bool = Field(description="this gateway has a credential for it")
    aggregator: bool
    local: bool
    model_count: Count


class GatewayList(Ours):
    data: list[Gateway]
    total: Count
    timestamp: AwareDatetime


class HostFigures(Ours):
    total_requests: Count
    successful_requests: Count
    failed_requests: Count
    throttled_requests: Count
    success_rate: float | None
    total_tokens: Count
    prompt_tokens: Count
    completion_tokens: Count
    average_response_time_ms: float | None


class HostStats(HostFigures):
    provider: str
    gateway: str
    name: str
    time_range: str
    available: bool
    models_used: Count
    top_model: str | None


class HostStatsAnswer(Ours):
    success: Literal[True]
    data: HostStats
    timestamp: AwareDatetime


class HostModel(HostFigures):
    rank: Count
    model: str
    name: str


class HostModelsAnswer(Ours):
    success: Literal[True]
    provider: str
    gateway: str
    time_range: str
    data: list[HostModel]
    count: Count
    total: Count
    timestamp: AwareDatetime


class HostsSummary(Ours):
    success: Literal[True]
    time_range: str
    data: list[HostStats]
    total: Count
    totals: HostFigures
    timestamp: AwareDatetime


class BackEnd(Ours):
    id: str
    name: str
    configured: bool
    enabled: bool
    model_count: Count


class BackEndList(Ours):
    data: list[BackEnd]
    total: Count
    configured: Count
    timestamp: AwareDatetime


class Router(Ours):
    id: str
    name: str
    kind: Literal["variant", "model"]
    description: str


class RouterList(Ours):
    data: list[Router]
    total: Count
    timestamp: AwareDatetime


class Ranked(Ours):
    id: Count
    rank: Count
    tokens: str
    requests: Count
    trend_percentage: str = Field(description="against the time before; -- without one")
    trend_direction: Literal["up", "down"]
    trend_icon: str
    trend_color: str
    time_period: TimeRange
    scraped_at: AwareDatetime


class RankedModel(Ranked):
    model_id: str
    model_name: str
    author: str
    model_url: str
    author_url: str
    logo_url: str | None


class RankedApp(Ranked):
    app_name: str
    app_url: str | None
    models: Count


class ModelRanking(Ours):
    """From our own settled requests: empty until there are some."""

    success: bool
    data: list[RankedModel]
    count: Count
    total: Count
    limit: Count | None
    offset: Count
    has_logo_urls: bool


class AppRanking(ModelRanking):
    """Applications that name themselves by X-Title or HTTP-Referer."""

    data: list[RankedApp]  # type: ignore[assignment]
