"""Anthropic's list: no prices; limits, and a tree of capabilities."""

from collections.abc import Iterator

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import Item, Row, at, count_of, id_of, second_of, table, text_of


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    if not native_id:
        return
    stated = table(item.get("capabilities"))
    can = {name for name in stated if at(stated, name, "supported") is True}
    inputs = ("text", *(["image"] * ("image_input" in can)), *(["file"] * ("pdf_input" in can)))
    features = {"thinking", "structured_outputs"} & can | ({"tools", "prompt_caching"})
    yield Row(
        native_id,
        name=text_of(item.get("display_name"), 120),
        created_s=second_of(item.get("created_at")),
        context_tokens=count_of(item.get("max_input_tokens")),
        max_output_tokens=count_of(item.get("max_tokens")),
        input_modalities=inputs,
        output_modalities=("text",),
        parameters=openai.parameters_of(item, tuple(sorted(features))),
        capabilities=openai.capabilities_of(tuple(sorted(features)), inputs),
        reasons="thinking" in can,
        tokenizer="Claude",
    )
