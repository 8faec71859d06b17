"""Novita's list: 1/10,000 USD per 10^6 tokens, whatever the name of the key promises."""

from collections.abc import Iterator

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
    UNITS,
    Item,
    RateReader,
    Row,
    at,
    count_of,
    id_of,
    modalities_of,
    second_of,
    text_of,
    words_of,
)


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    if not native_id:
        return
    rates = RateReader(UNITS[unit])
    rates.add("input", item.get("input_token_price_per_m"))
    rates.add("output", item.get("output_token_price_per_m"))
    rates.add("cache_read", at(item, "pricing", "cache_read", "price_per_m"))
    features = words_of(item.get("features"))
    inputs = modalities_of(item.get("input_modalities")) or ("text",)
    embeds = item.get("model_type") == "embedding"
    yield Row(
        native_id,
        name=text_of(item.get("display_name"), 120),
        description=text_of(item.get("description")),
        created_s=second_of(item.get("created")),
        context_tokens=count_of(item.get("context_size")),
        max_output_tokens=count_of(item.get("max_output_tokens")),
        input_modalities=inputs,
        output_modalities=("embeddings",) if embeds else ("text",),
        parameters=openai.parameters_of(item, features),
        capabilities=openai.capabilities_of(features, inputs),
        reasons="reasoning" in features,
        rates=rates.stated(),
        problems=openai.problems_of(rates),
    )
