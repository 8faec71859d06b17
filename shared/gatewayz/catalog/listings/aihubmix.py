"""AiHubMix's list: USD per 10^6 tokens; facts as comma-separated words; bare ids of many makers."""

from collections.abc import Iterator

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
    Item,
    Row,
    count_of,
    id_of,
    modalities_of,
    table,
    text_of,
    words_of,
)

OUTPUTS = {"llm": "text", "embedding": "embeddings", "image_generation": "image"}


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("model_id"))
    if not native_id:
        return
    rates = openai.read_rates(table(item.get("pricing")), unit)
    features = words_of(item.get("features"))
    inputs = modalities_of(item.get("input_modalities"))
    kind = OUTPUTS.get(text_of(item.get("types"), 40), "")
    yield Row(
        native_id,
        name=text_of(item.get("model_name"), 120),
        description=text_of(item.get("desc")),
        context_tokens=count_of(item.get("context_length")),
        max_output_tokens=count_of(item.get("max_output")),
        input_modalities=inputs,
        output_modalities=(kind,) if kind else (),
        parameters=openai.parameters_of(item, features),
        capabilities=openai.capabilities_of(features, inputs),
        reasons="thinking" in features,
        rates=rates.stated(),
        problems=openai.problems_of(rates),
    )
