"""How offers fare. Figures are null where nothing was measured."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gatewayz.api.schemas.shape import Count, Passed

StatusWord = Literal[
    "operational", "degraded", "partial_outage", "major_outage", "offline", "unknown"
]
Percent = Annotated[float, Field(ge=0, le=100)]
Percentiles = Annotated[
    dict[str, float] | None, Field(description="p50, p75, p90, p99: seconds, or tokens per second")
]
Time = Annotated[str, Field(description="ISO 8601, UTC")]


class StatusOverview(Passed):
    status: StatusWord
    status_message: str
    uptime_percentage: Percent | None
    total_models: Count
    healthy_models: Count
    offline_models: Count
    total_providers: Count
    active_incidents: Count
    last_updated: Time


class ProviderHealth(Passed):
    provider: str
    status: StatusWord
    uptime_24h: Percent | None
    total_models: Count
    error_rate: Percent | None
    average_response_time_ms: float | None
    latency: Percentiles
    throughput: Percentiles


class ProviderHealthList(Passed):
    total: Count
    providers: list[ProviderHealth]


class GatewayHealth(ProviderHealth):
    name: str
    configured: bool


class GatewayHealthList(Passed):
    total: Count
    gateways: list[GatewayHealth]
    last_updated: Time


class ModelHealth(Passed):
    provider: str
    model: str
    status: StatusWord
    uptime_percentage: Percent | None
    call_count: Count
    error_count: Count
    error_rate: Percent | None
    average_response_time_ms: float | None
    consecutive_failures: Count
    last_called_at: Time | None


class ModelHealthList(Passed):
    total: Count
    limit: Count
    offset: Count
    models: list[ModelHealth]


class Availability(Passed):
    model: str
    available: bool | None
    best: str
    providers: list[ModelHealth]


class Incident(Passed):
    id: int
    provider: str
    model: str
    incident_type: Literal["outage", "timeout", "rate_limit", "degradation"]
    severity: Literal["low", "medium", "high", "critical"]
    status: Literal["active", "resolved"]
    started_at: Time
    resolved_at: Time | None


class IncidentList(Passed):
    total: Count
    incidents: list[Incident]


class Point(Passed):
    at: Time
    provider: str
    requests: Count
    errors: Count
    uptime_percentage: Percent | None
    average_response_time_ms: float | None


class Curve(Passed):
    points: list[Point]


class Breaker(Passed):
    provider: str
    state: Literal["closed", "open", "half_open"]
    retry_after_s: float | None
    offers: list[dict[str, Any]]


class BreakerList(Passed):
    total: Count
    circuit_breakers: list[Breaker]


class HealthFigures(Passed):
    """Figures by name."""
