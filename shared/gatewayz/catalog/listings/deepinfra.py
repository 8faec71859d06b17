"""DeepInfra's /models/list: US cents per token; cached tokens by a ratio of the input price.

Prices by time, by length of audio or by picture are of other units: such a row has no token price.
"""

from collections.abc import Iterator

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
    UNITS,
    Item,
    RateReader,
    Row,
    count_of,
    day_of,
    id_of,
    table,
    text_of,
    words_of,
)

OUTPUTS = {
    "text-generation": "text",
    "embeddings": "embeddings",
    "text-to-image": "image",
    "automatic-speech-recognition": "text",
    "text-to-speech": "audio",
    "text-to-video": "video",
}


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("model_name"))
    if not native_id or item.get("private"):
        return
    pricing, tags = table(item.get("pricing")), words_of(item.get("tags"))
    rates = RateReader(UNITS[unit])
    if pricing.get("type") == "tokens":
        rates.add("input", pricing.get("cents_per_input_token"))
        rates.add("output", pricing.get("cents_per_output_token"))
        rates.scaled("cache_read", "input", pricing.get("rate_per_input_token_cached"))
        rates.scaled("cache_write_5m", "input", pricing.get("rate_per_input_token_cache_write"))
    kind = OUTPUTS.get(text_of(item.get("type"), 60), "")
    inputs = ("text", "image") if "multimodal" in tags or "vision" in tags else ("text",)
    yield Row(
        native_id,
        description=text_of(item.get("description")),
        context_tokens=count_of(item.get("max_tokens")),
        input_modalities=inputs,
        output_modalities=(kind,) if kind else (),
        parameters=openai.parameters_of(item, _features(tags)),
        capabilities=openai.capabilities_of(_features(tags), inputs),
        reasons="reasoning" in tags,
        quantization=openai.quantization_of(item.get("quantization")),
        deprecated_at=day_of(item.get("deprecated")),
        rates=rates.stated(),
        problems=openai.problems_of(rates),
    )


def _features(tags: tuple[str, ...]) -> tuple[str, ...]:
    words = {"structured-output": "structured_outputs", "json": "json_mode"}
    return tuple(words.get(tag, tag) for tag in tags)
