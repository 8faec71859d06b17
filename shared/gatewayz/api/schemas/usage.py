"""The request log, questions about usage, exports, receipts, spending alerts, service levels."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from gatewayz.api.schemas.billing import Time
from gatewayz.api.schemas.shape import Count, GenerationId, Ours, Passed, RequestId, Usd

Text = Annotated[
    str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Name = Annotated[
    str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]*$")
]
Scalar = Text | bool | int | float | None
Moment = Annotated[str, Field(description="ISO 8601; UTC without a zone", max_length=40)]
Granularity = Literal["hour", "day", "week", "month"]
Percent = Annotated[int, Field(ge=1, le=1000)]


class LoggedRequest(Ours):
    id: GenerationId
    request_id: RequestId
    created_at: Time
    model: str | None
    provider: str | None
    offer: str | None
    api_key_id: str | None
    team: str | None
    member: str | None
    tags: list[str]
    end_user: str | None = Field(description="a keyed hash of what the caller named")
    session_id: str | None
    app: str | None
    outcome: str
    finish_reason: str | None
    error_class: str | None
    blame: Literal["client", "gateway", "provider"] | None
    streamed: bool
    is_byok: bool
    tokens_prompt: Count
    tokens_completion: Count
    tokens_cached: Count
    tokens_reasoning: Count
    usage: Usd
    cache_savings: Usd
    estimated: bool
    attempts: list[dict[str, Any]]
    first_token_ms: Count | None
    total_ms: Count | None
    price_version: str | None
    client_request_id: str | None


class RequestLog(Ours):
    data: list[LoggedRequest]
    next_cursor: str | None = Field(description="give it as `cursor` for the next page")


class NamedMetric(Ours):
    name: str
    display_label: str
    display_format: Literal["number", "currency", "percent", "latency", "throughput"]
    is_rate: bool


class NamedThing(Ours):
    name: str
    display_label: str


class NamedOperator(Ours):
    name: str
    value_type: Literal["scalar", "array"]


class AnalyticsWords(Ours):
    metrics: list[NamedMetric]
    dimensions: list[NamedThing]
    granularities: list[NamedThing]
    operators: list[NamedOperator]


class AnalyticsMeta(Ours):
    data: AnalyticsWords


class TimeRange(Passed):
    start: Moment
    end: Moment


class UsageFilter(Passed):
    field: Text
    operator: Literal["eq", "neq", "in", "not_in"]
    value: Scalar | list[Scalar]
    include_unset: bool = False


class UsageOrder(Passed):
    field: Text
    direction: Literal["asc", "desc"] = "desc"


class AnalyticsQuery(Passed):
    metrics: list[Text] = Field(min_length=1, max_length=16)
    dimensions: list[Text] = Field(default=[], max_length=4)
    granularity: Granularity | None = None
    filters: list[UsageFilter] = Field(default=[], max_length=20)
    time_range: TimeRange | None = Field(default=None, description="the last 30 days without")
    order_by: UsageOrder | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    group_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None


class QueryFacts(Ours):
    query_time_ms: float
    row_count: Count
    truncated: bool
    start: Time
    end: Time
    granularity: str | None


class QueryRows(Ours):
    data: list[dict[str, Any]]
    metadata: QueryFacts


class AnalyticsAnswer(Ours):
    data: QueryRows


class Feedback(Passed):
    generation_id: Text
    category: Literal[
        "latency",
        "incoherence",
        "incorrect_response",
        "formatting",
        "billing",
        "api_error",
        "other",
    ]
    comment: Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00]*$")] | None = None


class FeedbackTaken(Ours):
    success: bool


class FeedbackAnswer(Ours):
    data: FeedbackTaken


class NewExport(Passed):
    kind: Literal["requests", "usage", "focus"] = "requests"
    format: Literal["csv", "json", "ndjson", "parquet"] = "csv"
    start: Moment
    end: Moment
    filters: dict[str, Text] = Field(
        default={}, max_length=20, description="of the log, by the names of its parameters"
    )
    metrics: list[Text] = Field(default=["request_count", "usage"], min_length=1, max_length=16)
    dimensions: list[Text] = Field(default=["model"], max_length=4)
    granularity: Granularity | None = "day"


class ExportPart(Ours):
    url: str = Field(description="works for an hour, for whoever has it")
    rows: Count
    bytes: Count


class Export(Ours):
    id: str
    kind: str
    format: str
    status: Literal["queued", "running", "done", "failed", "expired"]
    created_at: Time
    finished_at: Time | None
    expires_at: Time | None
    rows: Count
    error: str | None
    parts: list[ExportPart]


class ExportAnswer(Ours):
    data: Export


class ExportList(Ours):
    data: list[Export]


class SignedReceipt(Ours):
    receipt: dict[str, Any] = Field(description="exactly what is hashed and signed")
    hash: str = Field(description="SHA-256 of the receipt's text; the next one names it")
    intact: bool
    jws: str = Field(description="RFC 7515, EdDSA; its payload is the receipt's text")


class SignedReceiptAnswer(Ours):
    data: SignedReceipt


class ReceiptKey(Ours):
    kty: str
    crv: str
    x: str
    kid: str
    alg: str
    use: str


class ReceiptKeys(Ours):
    keys: list[ReceiptKey]


class AlertFields(Passed):
    name: Name
    limit: Annotated[float, Field(gt=0, le=1_000_000, description="US dollars")]
    period: Literal["day", "week", "month"] = "month"
    thresholds: list[Percent] = Field(
        default=[50, 80, 100], max_length=10, description="percent of the limit"
    )
    forecast: bool = Field(default=True, description="told when the period will end above it")
    daily_report: bool = False
    dimension: (
        Literal["api_key_id", "team", "member", "model", "provider", "app", "end_user", "tag"]
        | None
    ) = Field(default=None, description="the whole account without")
    value: Text | None = None
    enabled: bool = True


class SpendAlert(Ours):
    id: str
    name: str
    limit: Usd
    period: Literal["day", "week", "month"]
    thresholds: list[int]
    forecast: bool
    daily_report: bool
    dimension: str | None
    value: str | None
    enabled: bool
    created_at: Time
    period_start: Time
    period_end: Time
    spent: Usd
    spent_percent: int
    expected: Usd | None = Field(description="what the period comes to when it goes on like this")


class SpendAlertAnswer(Ours):
    data: SpendAlert


class SpendAlertList(Ours):
    data: list[SpendAlert]


class AlertDeleted(Ours):
    deleted: bool


class SlaStep(Ours):
    below: float = Field(description="percent of requests that did not fail by our fault")
    credit_percent: int


class SlaPlan(Ours):
    plan: str
    promised: float
    least_requests: Count
    steps: list[SlaStep]


class OutcomeCredit(Ours):
    outcome: str
    credit_percent: int


class SlaTerms(Ours):
    plans: list[SlaPlan]
    outcomes: list[OutcomeCredit]
    blame: dict[str, str] = Field(description="what each blame means")


class SlaTermsAnswer(Ours):
    data: SlaTerms


class SlaUptime(Ours):
    name: str
    requests: Count
    failed: Count
    availability: float | None = Field(description="percent")


class SlaUptimeList(Ours):
    data: list[SlaUptime]


class SlaIncident(Ours):
    id: int
    model: str
    provider: str
    kind: str
    severity: str
    error_class: str | None
    failures: Count
    opened_at: Time
    closed_at: Time | None


class SlaIncidentList(Ours):
    data: list[SlaIncident]


class ServiceCredit(Ours):
    id: str
    kind: Literal["sla", "outcome", "overcharge"]
    period: str
    amount: Usd
    reason: str
    detail: dict[str, Any]
    posted_at: Time
    reversed_at: Time | None
    reversed_for: str | None


class ServiceCreditList(Ours):
    data: list[ServiceCredit]


class SlaProvider(Ours):
    provider: str
    requests: Count
    failed: Count


class SlaReport(Ours):
    month: str
    plan: str
    final: bool
    requests: Count
    failed: Count
    failed_by: dict[str, int]
    failed_as: dict[str, int]
    providers: list[SlaProvider]
    availability: float | None
    promised: float
    least_requests: Count
    charged: Usd
    breached: bool
    credit_percent: int
    credit: Usd
    credits: list[ServiceCredit]


class SlaReportAnswer(Ours):
    data: SlaReport


class ReverseCredit(Passed):
    reason: Text
