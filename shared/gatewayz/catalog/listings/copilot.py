"""GitHub Copilot's list: limits and capabilities; sold by subscription, so without prices."""

from collections.abc import Iterator

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import Item, Row, at, count_of, id_of, table, text_of

CAN = {
    "tool_calls": "tools",
    "structured_outputs": "structured_outputs",
    "adaptive_thinking": "reasoning",
    "vision": "vision",
}


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    if not native_id:
        return
    about = table(item.get("capabilities"))
    limits, can = table(about.get("limits")), table(about.get("supports"))
    features = tuple(word for key, word in CAN.items() if can.get(key) is True)
    inputs = ("text", "image") if "vision" in features else ("text",)
    embeds = about.get("type") == "embeddings"
    yield Row(
        native_id,
        name=text_of(item.get("name"), 120),
        context_tokens=count_of(limits.get("max_context_window_tokens")),
        max_output_tokens=count_of(limits.get("max_output_tokens")),
        max_prompt_tokens=count_of(limits.get("max_prompt_tokens")),
        input_modalities=inputs,
        output_modalities=("embeddings",) if embeds else ("text",),
        parameters=openai.parameters_of({}, features),
        capabilities=openai.capabilities_of(features, inputs),
        reasons=at(can, "adaptive_thinking") is True,
    )
