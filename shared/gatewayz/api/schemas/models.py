"""Models, their offers and providers, as the public lists show them."""

from typing import Literal

from pydantic import Field

from gatewayz.api.schemas.shape import Count, Ours, PerToken, UnixSeconds


class Architecture(Ours):
    modality: str
    input_modalities: list[str]
    output_modalities: list[str]
    tokenizer: str
    instruct_type: None


class Pricing(Ours):
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
    knowledge_cutoff: None
    expiration_date: None
    links: ModelLinks
    available: bool | None = Field(
        None, description="only with ?available=all: can this gateway serve it now"
    )


class Model(RoutedModel):
    """A model as /v1 lists it."""

    object: Literal["model"]
    owned_by: str
    sandbox: bool


class ModelList(Ours):
    object: Literal["list"]
    data: list[Model]


class PageLinks(Ours):
    next: None


class RoutedModelList(Ours):
    data: list[RoutedModel]
    total_count: Count
    links: PageLinks


class RoutedModelAnswer(Ours):
    data: RoutedModel


class Endpoint(Ours):
    """An offer: the model at one provider. Statistics are null until they are measured."""

    name: str
    model_id: str
    model_name: str
    provider_name: str
    tag: str
    quantization: str
    context_length: Count | None
    max_completion_tokens: Count | None
    max_prompt_tokens: Count | None
    pricing: Pricing
    supported_parameters: list[str]
    supports_implicit_caching: bool
    status: int
    uptime_last_5m: float | None
    uptime_last_30m: float | None
    uptime_last_1d: float | None
    latency_last_30m: float | None
    throughput_last_30m: float | None


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
    privacy_policy_url: str | None
    terms_of_service_url: str | None
    status_page_url: str | None
    available: bool = Field(description="this gateway has a credential for it")
    local: bool
    sandbox: bool


class ProviderList(Ours):
    data: list[Provider]
