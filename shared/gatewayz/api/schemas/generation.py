"""One request looked up, and the receipt of its charge."""

from typing import Literal

from pydantic import AwareDatetime, ConfigDict, Field

from gatewayz.api.schemas.shape import Count, GenerationId, Milliseconds, Ours, RequestId, Usd

State = Literal["running", "settling", "settled"]
Outcome = Literal["completed", "empty", "failed", "cut", "left", "expired"]


class Attempt(Ours):
    """One call of an offer; `error` is the class of its failure, `cut` that of one after its
    first content. `tools`: calls made, and those whose arguments were JSON."""

    offer: str
    provider: str
    error: str | None
    upstream_status: int | None = None
    ms: Milliseconds
    model: str | None = None
    stage: str | None = None
    cut: str | None = None
    first_ms: Milliseconds | None = None
    tps: float | None = None
    tools: list[Count] | None = None
    byok: bool | None = Field(default=None, description="with the caller's own provider key")
    provider_key: str | None = Field(default=None, description="the id of that key")


class Generation(Ours):
    # The request's own words are text or null; what no feature fills yet is null.
    id: GenerationId
    request_id: RequestId
    client_request_id: str | None
    upstream_id: str | None
    model: str
    provider_name: str | None
    state: State = Field(description="running, then settling, then settled: never unknown between")
    outcome: Outcome | None = Field(description="null while it runs")
    estimated: bool
    total_cost: Usd
    usage: Usd
    upstream_inference_cost: Usd | None
    cache_discount: Usd | None
    created_at: AwareDatetime
    streamed: bool
    cancelled: bool
    finish_reason: str | None
    native_finish_reason: str | None
    latency: Milliseconds | None = Field(description="to the first token, else to the end")
    generation_time: Milliseconds | None
    total_time: Milliseconds | None
    moderation_latency: Milliseconds | None
    tokens_prompt: Count
    tokens_completion: Count
    native_tokens_prompt: Count
    native_tokens_completion: Count
    native_tokens_reasoning: Count
    native_tokens_cached: Count
    native_tokens_completion_images: Count
    num_media_prompt: Count | None
    num_media_completion: Count | None
    num_input_audio_prompt: Count | None
    num_search_results: Count | None
    num_fetches: Count | None
    tokens: dict[str, Count] = Field(description="billed units by class")
    attempts: list[Attempt]
    is_byok: bool
    api_type: str
    app_id: str | None
    origin: str
    http_referer: str | None
    user_agent: str | None
    external_user: str | None
    session_id: str | None
    preset_id: str | None
    router: str | None
    service_tier: str | None
    data_region: str | None
    web_search_engine: str | None
    provider_responses: None


class GenerationAnswer(Ours):
    data: Generation


class ReceiptLine(Ours):
    model_config = ConfigDict(extra="forbid", strict=True, populate_by_name=True)

    cls: str = Field(alias="class")
    units: Count
    usd_per_million: Usd
    amount_usd: Usd


class Receipt(Ours):
    """The charge recomputed from units × the price pinned at admission."""

    id: GenerationId
    request_id: RequestId
    model: str
    offer: str | None
    price_version: str | None
    state: State
    outcome: Outcome | None
    lines: list[ReceiptLine]
    formula: str
    computed_nanos: Count
    cap_nanos: Count | None = Field(description="an estimate is never charged above the hold")
    charge_nanos: Count
    charge_usd: Usd
    matches: bool
    reason: str | None
    is_byok: bool = Field(description="at the caller's own provider key: the lines are our fee")
    byok_fee: float | None = Field(description="the share of the list price that they are")


class ReceiptAnswer(Ours):
    data: Receipt
