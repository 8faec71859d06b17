"""Catalog entries as JSON: the item shapes of /v1/models, of the older web client and of
OpenRouter's /api/v1/models, made from one model and its offers.

Guarantees exact per-token prices as decimal text (never a float), that listing and charge read the
same price object, and null for what nobody knows.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from gatewayz.catalog.facts import logo_of, site_of
from gatewayz.catalog.model import Model, Offer
from gatewayz.pricing.price import Price
from gatewayz.pricing.tiers import TieredPrice
from gatewayz.providers.config import Provider

Item = dict[str, Any]

# nano-USD per 10^6 units → USD per unit.
TOKEN_DIGITS = 15
UNKNOWN_PRICE = "-1"
# Billing class → OpenRouter's key.
PRICE_KEYS: Mapping[str, str] = {
    "input": "prompt",
    "output": "completion",
    "cache_read": "input_cache_read",
    "cache_write_5m": "input_cache_write",
    "cache_write_1h": "input_cache_write_1h",
    "reasoning": "internal_reasoning",
    "audio_in": "audio",
    "audio_out": "audio_output",
    "image_in": "image_token",
    "image_out": "image_output",
    "request": "request",
    "search": "web_search",
    "second": "second",
}
# Its keys for a dearer tier; the others do not vary there.
TIER_KEYS = ("prompt", "completion", "audio", "input_cache_read", "input_cache_write",
             "input_cache_write_1h")  # fmt: skip
# Closed lists of its contract: a strict client refuses a word beyond them.
PARAMETERS = frozenset(
    {
        "temperature", "top_p", "top_k", "min_p", "top_a", "frequency_penalty",
        "presence_penalty", "repetition_penalty", "max_tokens", "max_completion_tokens",
        "logit_bias", "logprobs", "top_logprobs", "prediction", "seed", "response_format",
        "structured_outputs", "stop", "tools", "tool_choice", "parallel_tool_calls",
        "include_reasoning", "reasoning", "reasoning_effort", "web_search_options", "verbosity",
    }
)  # fmt: skip
INPUTS = frozenset({"text", "image", "file", "audio", "video"})
OUTPUTS = frozenset(
    {"text", "image", "embeddings", "audio", "video", "rerank", "speech", "transcription"}
)
QUANTIZATIONS = frozenset(
    {
        "int4", "int8", "fp4", "mxfp4", "nvfp4", "fp6", "fp8", "mxfp8", "fp16", "bf16", "fp32",
        "unknown",
    }
)  # fmt: skip
CAPABILITIES = ("tools", "vision", "reasoning", "structured_outputs", "json_mode",
                "prompt_caching", "streaming", "audio", "file", "web_search")  # fmt: skip
SCORES = ("intelligence_index", "coding_index", "agentic_index")
TASK = "task:"
# Until something is measured an offer counts as up (OpenRouter's 0) and its health as unknown.
STATUS_UP = 0
HEALTH_UNKNOWN = "unknown"


def usd_per_token(nanos_per_million: int) -> str:
    """Exact plain decimal: 590_000_000 → "0.00000059", 0 → "0"."""
    whole, rest = divmod(nanos_per_million, 10**TOKEN_DIGITS)
    digits = f"{rest:0{TOKEN_DIGITS}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def pricing_item(price: Price | None) -> Item:
    """OpenRouter writes -1 for a price that is not known, so an unpriced offer does too.

    A tier stands in `overrides`: the price of a whole request from so many prompt tokens on.
    """
    if price is None:
        return {"prompt": UNKNOWN_PRICE, "completion": UNKNOWN_PRICE}
    item: Item = {"prompt": UNKNOWN_PRICE, "completion": UNKNOWN_PRICE}
    item |= _named(price.nanos_per_million)
    if isinstance(price, TieredPrice):
        item["overrides"] = [
            {"min_prompt_tokens": tier.above_tokens + 1, **_in_tier(tier.nanos_per_million)}
            for tier in price.tiers
        ]
    return item


def model_item(model: Model, offers: Iterable[Offer]) -> Item:
    """OpenRouter's item; price and limits are those of the offer that would be tried first."""
    first = next(iter(offers), None)
    item: Item = {
        "id": model.id,
        "canonical_slug": model.canonical_slug or model.id,
        "hugging_face_id": model.hugging_face_id,
        "name": model.name,
        "created": model.created_s,
        "description": model.description,
        "context_length": model.context_tokens,
        "architecture": architecture(model),
        "pricing": pricing_item(first.price if first else None),
        "top_provider": {
            "context_length": first.context_tokens if first else None,
            "max_completion_tokens": first.max_output_tokens if first else None,
            "is_moderated": bool(model.is_moderated),
        },
        "per_request_limits": None,
        "supported_parameters": [p for p in model.supported_parameters if p in PARAMETERS],
        "default_parameters": None,
        "supported_voices": None,
        "knowledge_cutoff": model.knowledge_cutoff,
        "expiration_date": model.deprecated_at,
        "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
    }
    if model.benchmarks:
        item["benchmarks"] = _benchmarks(model.benchmarks)
    return item


def openai_item(model: Model, offers: Sequence[Offer]) -> Item:
    """OpenAI's model object, with OpenRouter's fields and those the older web client reads."""
    first = offers[0] if offers else None
    author = author_of(model)
    own = {"id": model.id, "object": "model", "created": model.created_s, "owned_by": author}
    known = set(model.capabilities)
    return {
        **own,
        **model_item(model, offers),
        "supported_parameters": list(model.supported_parameters),
        "capabilities": {name: name in known for name in CAPABILITIES},
        "categories": list(model.categories),
        "provider_slug": author,
        "provider_site_url": site_of(author) or (site_of(first.provider) if first else None),
        "model_logo_url": logo_of(author) or (logo_of(first.provider) if first else None),
        "source_gateway": first.provider if first else None,
        "source_gateways": list(dict.fromkeys(offer.provider for offer in offers)),
        "health_status": HEALTH_UNKNOWN,
        "average_response_time_ms": None,
        "is_active": any(offer.servable for offer in offers),
        "is_free": first is not None and first.free,
        "is_private": is_private(offers),
        "hugging_face": {"downloads": model.hf_downloads, "likes": model.hf_likes},
        "flags": list(model.flags),
        "sandbox": model.sandbox,
    }


def endpoints_item(
    model: Model, offers: Iterable[Offer], providers: Mapping[str, Provider]
) -> Item:
    """`data` of …/endpoints."""
    return {
        "id": model.id,
        "name": model.name,
        "created": model.created_s,
        "description": model.description,
        "architecture": architecture(model),
        "endpoints": [endpoint_item(model, offer, providers) for offer in offers],
    }


def endpoint_item(model: Model, offer: Offer, providers: Mapping[str, Provider]) -> Item:
    """One offer in OpenRouter's words. Statistics are null until they are measured; our own
    fields say where its price was read, and what becomes of a prompt there."""
    provider = providers.get(offer.provider)
    name = provider.name if provider else offer.provider
    parameters = offer.supported_parameters or model.supported_parameters
    return {
        "name": f"{name} | {offer.native_id}",
        "model_id": model.id,
        "model_name": model.name,
        "provider_name": name,
        "tag": offer.provider,
        "quantization": offer.quantization if offer.quantization in QUANTIZATIONS else "unknown",
        # The contract has a number here, so a length nobody states is the model's, and last 0.
        "context_length": offer.context_tokens or model.context_tokens or 0,
        "max_completion_tokens": offer.max_output_tokens,
        "max_prompt_tokens": offer.max_prompt_tokens,
        "pricing": pricing_item(offer.price),
        "supported_parameters": [p for p in parameters if p in PARAMETERS],
        "supports_implicit_caching": offer.price is not None
        and "cache_read" in offer.price.nanos_per_million,
        "supports_voice_cloning": False,
        "status": STATUS_UP,
        "uptime_last_5m": None,
        "uptime_last_30m": None,
        "uptime_last_1d": None,
        "latency_last_30m": None,
        "throughput_last_30m": None,
        "price_version": offer.price.version if offer.price else None,
        "price_checked": offer.checked or None,
        "price_source": offer.source or None,
        "data_policy": data_policy(offer),
        "expiration_date": offer.deprecated_at,
    }


def data_policy(offer: Offer) -> Item:
    """What becomes of a prompt there; null where nobody says."""
    return {
        "training": offer.trains,
        "retains_prompts": offer.retains,
        "zero_data_retention": offer.zdr,
        "confidential_compute": offer.confidential,
        "region": offer.region,
    }


def architecture(model: Model) -> Item:
    inputs, outputs = "+".join(model.input_modalities), "+".join(model.output_modalities)
    return {
        "modality": f"{inputs}->{outputs}",
        "input_modalities": [word for word in model.input_modalities if word in INPUTS],
        "output_modalities": [word for word in model.output_modalities if word in OUTPUTS],
        "tokenizer": model.tokenizer,
        "instruct_type": None,
    }


def author_of(model: Model) -> str:
    return model.author or model.id.partition("/")[0]


def is_private(offers: Iterable[Offer]) -> bool:
    """Some host runs it in confidential compute: not even the host can read the prompt."""
    return any(offer.confidential for offer in offers)


def iso(at_ms: int) -> str:
    """A moment as the public API writes it."""
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")


def _named(nanos: Mapping[str, int]) -> dict[str, str]:
    return {key: usd_per_token(nanos[name]) for name, key in PRICE_KEYS.items() if name in nanos}


def _in_tier(nanos: Mapping[str, int]) -> dict[str, str]:
    return {key: text for key, text in _named(nanos).items() if key in TIER_KEYS}


def _benchmarks(scores: Mapping[str, float]) -> Item:
    item: Item = {"design_arena": []}
    if any(name in scores for name in SCORES):
        item["artificial_analysis"] = {name: scores.get(name) for name in SCORES}
    tasks = {k.removeprefix(TASK): v for k, v in scores.items() if k.startswith(TASK)}
    if tasks:
        item["tasks"] = tasks
    return item
