"""Venice's list: USD per 10^6 tokens under .usd (and another currency beside it); `extended`
prices above a number of tokens.
"""

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
    second_of,
    table,
    text_of,
)

KEYS = {
    "input": "input",
    "output": "output",
    "cache_input": "cache_read",
    "cache_write": "cache_write_5m",
}
CAN = {
    "supportsFunctionCalling": "tools",
    "supportsResponseSchema": "structured_outputs",
    "supportsReasoning": "reasoning",
    "supportsWebSearch": "web_search",
}
INPUTS = {
    "supportsVision": "image",
    "supportsAudioInput": "audio",
    "supportsVideoInput": "video",
}


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    spec = table(item.get("model_spec"))
    if not native_id or spec.get("offline") is True:
        return
    pricing, can = table(spec.get("pricing")), table(spec.get("capabilities"))
    rates = _rates(pricing, unit)
    above = count_of(at(pricing, "extended", "context_token_threshold"))
    extended = _rates(table(pricing.get("extended")), unit).stated()
    features = tuple(word for key, word in CAN.items() if can.get(key) is True)
    inputs = ("text", *(word for key, word in INPUTS.items() if can.get(key) is True))
    private = at(can, "supportsTeeAttestation") is True
    yield Row(
        native_id,
        name=text_of(spec.get("name"), 120),
        description=text_of(spec.get("description")),
        created_s=second_of(item.get("created")),
        context_tokens=count_of(spec.get("availableContextTokens"), item.get("context_length")),
        max_output_tokens=count_of(spec.get("maxCompletionTokens")),
        input_modalities=inputs,
        output_modalities=("text",) if item.get("type") == "text" else (),
        parameters=openai.parameters_of(item, features),
        capabilities=openai.capabilities_of(features, inputs),
        reasons="reasoning" in features,
        quantization=openai.quantization_of(can.get("quantization")),
        confidential=private,
        zdr=spec.get("privacy") == "private",
        rates=rates.stated(),
        tiers=((above, extended),) if above and extended else (),
        problems=openai.problems_of(rates),
    )


def _rates(pricing: Item, unit: str) -> RateReader:
    rates = RateReader(UNITS[unit])
    for key, name in KEYS.items():
        rates.add(name, at(pricing, key, "usd"))
    return rates
