"""The price map of LiteLLM: USD per token as floats, one flat object over all providers.

The first key documents the format. An id may carry the provider's name before a slash. Prices of
batches, of priority and of slow service are other products and are not read.
"""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
    MILLION,
    Item,
    RateReader,
    Rates,
    Row,
    count_of,
    day_of,
    id_of,
    table,
    text_of,
    tier_rows,
)

SAMPLE = "sample_spec"
KEYS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write_5m",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
    "input_cost_per_audio_token": "audio_in",
    "output_cost_per_audio_token": "audio_out",
    "output_cost_per_image_token": "image_out",
}
TIER = re.compile(r"(\w+?)_above_(\d+)k_tokens")
CAN = {
    "supports_function_calling": "tools",
    "supports_reasoning": "reasoning",
    "supports_response_schema": "structured_outputs",
    "supports_prompt_caching": "prompt_caching",
    "supports_web_search": "web_search",
}
INPUTS = {
    "supports_vision": "image",
    "supports_audio_input": "audio",
    "supports_pdf_input": "file",
}
OUTPUTS = {"chat": "text", "responses": "text", "completion": "text", "embedding": "embeddings"}


def read(name: str, item: Any) -> Iterator[tuple[str, Row]]:
    """(provider's name in the feed, row) of one entry, if it is priced by tokens."""
    known = table(item)
    provider = known.get("litellm_provider")
    mode = text_of(known.get("mode"), 30)
    if name == SAMPLE or not isinstance(provider, str) or mode not in OUTPUTS:
        return
    rates = _rates(known)
    native_id = id_of(name.removeprefix(provider + "/"))
    if not native_id or not rates:
        return
    features = tuple(word for key, word in CAN.items() if known.get(key) is True)
    inputs = ("text", *(word for key, word in INPUTS.items() if known.get(key) is True))
    yield (
        provider,
        Row(
            native_id,
            context_tokens=count_of(known.get("max_input_tokens"), known.get("max_tokens")),
            max_output_tokens=count_of(known.get("max_output_tokens")),
            input_modalities=inputs,
            output_modalities=(OUTPUTS[mode],),
            parameters=openai.parameters_of({}, features),
            capabilities=openai.capabilities_of(features, inputs),
            reasons="reasoning" in features,
            deprecated_at=day_of(known.get("deprecation_date")),
            rates=rates,
            tiers=_tiers(known),
        ),
    )


def _rates(known: Item) -> Rates:
    rates = RateReader(MILLION)
    for key, name in KEYS.items():
        rates.add(name, known.get(key))
    return {} if rates.problems else rates.stated()


def _tiers(known: Item) -> tuple[tuple[int, Rates], ...]:
    tiers: dict[int, dict[str, Decimal]] = {}
    for key, value in known.items():
        found = TIER.fullmatch(key)
        if found and found[1] in KEYS:
            rates = RateReader(MILLION)
            rates.add(KEYS[found[1]], value)
            tiers.setdefault(int(found[2]) * 1000, {}).update(rates.stated())
    return tier_rows(tiers.items())
