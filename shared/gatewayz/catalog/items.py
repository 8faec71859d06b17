"""Catalog entries as JSON: the item shapes of /v1/models and OpenRouter's /api/v1/models.

Guarantees exact per-token prices as decimal text (never a float) and that listing and charge read
the same price object.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gatewayz.catalog.model import Catalog, Model, Offer
from gatewayz.pricing.price import Price
from gatewayz.providers.config import Provider

Item = dict[str, Any]

# nano-USD per 10^6 tokens → USD per token.
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
}


def usd_per_token(nanos_per_million: int) -> str:
    """Exact plain decimal: 590_000_000 → "0.00000059", 0 → "0"."""
    whole, rest = divmod(nanos_per_million, 10**TOKEN_DIGITS)
    digits = f"{rest:0{TOKEN_DIGITS}d}".rstrip("0")
    return f"{whole}.{digits}" if digits else str(whole)


def pricing_item(price: Price | None) -> dict[str, str]:
    """OpenRouter writes -1 for a price that is not known, so an unpriced offer does too."""
    if price is None:
        return {"prompt": UNKNOWN_PRICE, "completion": UNKNOWN_PRICE}
    return {
        key: usd_per_token(price.nanos_per_million[name])
        for name, key in PRICE_KEYS.items()
        if name in price.nanos_per_million
    }


def model_item(model: Model, offers: Iterable[Offer]) -> Item:
    """OpenRouter's item; price and limits are those of the offer that would be tried first."""
    first = next(iter(offers), None)
    return {
        "id": model.id,
        "canonical_slug": model.id,
        "hugging_face_id": model.hugging_face_id,
        "name": model.name,
        "created": model.created_s,
        "description": model.description,
        "context_length": model.context_tokens,
        "architecture": _architecture(model),
        "pricing": pricing_item(first.price if first else None),
        "top_provider": {
            "context_length": first.context_tokens if first else None,
            "max_completion_tokens": first.max_output_tokens if first else None,
            "is_moderated": False,
        },
        "per_request_limits": None,
        "supported_parameters": list(model.supported_parameters),
        "default_parameters": None,
        "supported_voices": None,
        "knowledge_cutoff": None,
        "expiration_date": None,
        "links": {"details": f"/api/v1/models/{model.id}/endpoints"},
    }


def openai_item(model: Model, offers: Iterable[Offer]) -> Item:
    """OpenAI's model object with the fields of `model_item` besides."""
    own = {
        "id": model.id,
        "object": "model",
        "created": model.created_s,
        "owned_by": model.id.partition("/")[0],
    }
    return {**own, **model_item(model, offers), "sandbox": model.sandbox}


def endpoints_item(
    model: Model, offers: Iterable[Offer], providers: Mapping[str, Provider]
) -> Item:
    """`data` of …/endpoints. Statistics are null until they are measured."""
    return {
        "id": model.id,
        "name": model.name,
        "created": model.created_s,
        "description": model.description,
        "architecture": _architecture(model),
        "endpoints": [_endpoint(model, offer, providers[offer.provider]) for offer in offers],
    }


def provider_items(providers: Mapping[str, Provider], catalog: Catalog) -> list[Item]:
    """OpenRouter's provider item, and whether this gateway can call it."""
    return [
        {
            "name": provider.name,
            "slug": provider.slug,
            "privacy_policy_url": None,
            "terms_of_service_url": None,
            "status_page_url": None,
            "available": provider.slug in catalog.ready,
            "local": provider.local,
            "sandbox": provider.sandbox,
        }
        for provider in providers.values()
    ]


def _architecture(model: Model) -> Item:
    inputs, outputs = "+".join(model.input_modalities), "+".join(model.output_modalities)
    return {
        "modality": f"{inputs}->{outputs}",
        "input_modalities": list(model.input_modalities),
        "output_modalities": list(model.output_modalities),
        "tokenizer": "Other",
        "instruct_type": None,
    }


def _endpoint(model: Model, offer: Offer, provider: Provider) -> Item:
    return {
        "name": f"{provider.name} | {offer.native_id}",
        "model_id": model.id,
        "model_name": model.name,
        "provider_name": provider.name,
        "tag": provider.slug,
        "quantization": "unknown",
        "context_length": offer.context_tokens,
        "max_completion_tokens": offer.max_output_tokens,
        "max_prompt_tokens": None,
        "pricing": pricing_item(offer.price),
        "supported_parameters": list(model.supported_parameters),
        "supports_implicit_caching": offer.price is not None
        and "cache_read" in offer.price.nanos_per_million,
        "status": 0,
        "uptime_last_5m": None,
        "uptime_last_30m": None,
        "uptime_last_1d": None,
        "latency_last_30m": None,
        "throughput_last_30m": None,
    }
