"""Models, their offers and providers, as the public lists show them."""

from typing import Literal

from pydantic import AwareDatetime, Field

from gatewayz.api.schemas.shape import Count, Ours, PerToken, UnixSeconds


class Architecture(Ours):
    modality: str
    input_modalities: list[str]
    output_modalities: list[str]
    tokenizer: str
    instruct_type: None


class Override(Ours):
    """A dearer tier: the prices of a whole request from so many prompt tokens on."""

    min_prompt_tokens: Count
    prompt: PerToken | None = None
    completion: PerToken | None = None
    audio: PerToken | None = None
    input_cache_read: PerToken | None = None
    input_cache_write: PerToken | None = None
    input_cache_write_1h: PerToken | None = None


class Pricing(Ours):
    """USD per token, per request, search or second; what is absent is billed as its fallback."""

    prompt: PerToken
    completion: PerToken
    input_cache_read: PerToken | None = None
    input_cache_write: PerToken | None = None
    input_cache_write_1h: PerToken | None = None
    internal_reasoning: PerToken | None = None
    audio: PerToken | None = None
    audio_output: PerToken | None = None
    image_token: PerToken | None = None
    image_output: PerToken | None = None
    request: PerToken | None = None
    web_search: PerToken | None = None
    second: PerToken | None = None
    overrides: list[Override] | None = None


class ArtificialAnalysis(Ours):
    intelligence_index: float | None
    coding_index: float | None
    agentic_index: float | None


class Benchmarks(Ours):
    """Scores as their feeds state them; absent where there are none."""

    design_arena: list[None]
    artificial_analysis: ArtificialAnalysis | None = None
    tasks: dict[str, float] | None = None


class TopProvider(Ours):
    """Limits of the offer that is tried first."""

    context_length: Count | None
    max_completion_tokens: Count | None
    is_moderated: bool


class ModelLinks(Ours):
    details: str


class RoutedModel(Ours):
    """A model as /api/v1 lists it."""

    id: str
    canonical_slug: str
    hugging_face_id: str | None
    name: str
    created: UnixSeconds
    description: str
    context_length: Count | None
    architecture: Architecture
    pricing: Pricing
    top_provider: TopProvider
    per_request_limits: None
    supported_parameters: list[str]
    default_parameters: None
    supported_voices: None
    knowledge_cutoff: str | None = Field(description="YYYY-MM-DD or YYYY-MM")
    expiration_date: str | None = Field(description="YYYY-MM-DD")
    links: ModelLinks
    benchmarks: Benchmarks | None = None
    available: bool | None = Field(
        None, description="only with ?available=all: can this gateway serve it now"
    )


class Capabilities(Ours):
    """What some source states; absence of evidence is false."""

    tools: bool
    vision: bool
    reasoning: bool
    structured_outputs: bool
    json_mode: bool
    prompt_caching: bool
    streaming: bool
    audio: bool
    file: bool
    web_search: bool


class HuggingFace(Ours):
    downloads: Count | None
    likes: Count | None


class Model(RoutedModel):
    """A model as /v1 lists it: with what the older web client reads."""

    object: Literal["model"]
    owned_by: str
    capabilities: Capabilities
    categories: list[str]
    provider_slug: str = Field(description="the organisation that made it")
    provider_site_url: str | None
    model_logo_url: str | None
    source_gateway: str | None = Field(description="the host whose price is shown")
    source_gateways: list[str]
    health_status: Literal["healthy", "degraded", "down", "unknown"]
    average_response_time_ms: float | None
    is_active: bool
    is_free: bool = Field(description="its host declares it free")
    is_private: bool = Field(description="some host runs it in confidential compute")
    hugging_face: HuggingFace
    flags: list[str] = Field(description="context_varies: hosts disagree by more than twice")
    sandbox: bool


class PageLinks(Ours):
    next: str | None = Field(description="path and query of the next page")


class ModelList(Ours):
    object: Literal["list"]
    data: list[Model]
    total: Count
    total_count: Count
    returned: Count
    offset: Count
    limit: Count | None
    has_more: bool
    next_offset: Count | None
    links: PageLinks
    gateway: str
    note: str
    timestamp: AwareDatetime = Field(description="when this catalog was made")


class RoutedModelList(Ours):
    data: list[RoutedModel]
    total_count: Count
    links: PageLinks


class ModelCount(Ours):
    count: Count


class ModelCountAnswer(Ours):
    data: ModelCount


class RoutedModelAnswer(Ours):
    data: RoutedModel


class Percentiles(Ours):
    p50: float
    p75: float
    p90: float
    p99: float


class DataPolicy(Ours):
    """What becomes of a prompt at a provider; null where nobody says."""

    training: bool | None
    retains_prompts: bool | None
    zero_data_retention: bool
    confidential_compute: bool
    region: str | None


class Endpoint(Ours):
    """An offer: the model at one provider. Statistics are null until they are measured."""

    name: str
    model_id: str
    model_name: str
    provider_name: str
    tag: str
    quantization: str
    context_length: Count = Field(description="0 when nobody states one")
    max_completion_tokens: Count | None
    max_prompt_tokens: Count | None
    pricing: Pricing
    supported_parameters: list[str]
    supports_implicit_caching: bool
    supports_voice_cloning: bool
    status: int = Field(description="0 is up; below it the worse the lower")
    uptime_last_5m: float | None
    uptime_last_30m: float | None
    uptime_last_1d: float | None
    latency_last_30m: Percentiles | None = Field(description="seconds to the first token")
    throughput_last_30m: Percentiles | None = Field(description="output tokens per second")
    price_version: str | None = Field(description="names this price for ever")
    price_checked: str | None = Field(description="YYYY-MM-DD")
    price_source: str | None
    data_policy: DataPolicy
    expiration_date: str | None


class EndpointsList(Ours):
    data: list[Endpoint]


class EndpointList(Ours):
    id: str
    name: str
    created: UnixSeconds
    description: str
    architecture: Architecture
    endpoints: list[Endpoint]


class EndpointsAnswer(Ours):
    data: EndpointList


class Provider(Ours):
    name: str
    slug: str
    headquarters: str | None = Field(description="ISO 3166 country code")
    datacenters: list[str] | None
    privacy_policy_url: str | None
    terms_of_service_url: str | None
    status_page_url: str | None
    available: bool = Field(description="this gateway has a credential for it")
    local: bool
    sandbox: bool


class ProviderList(Ours):
    data: list[Provider]
