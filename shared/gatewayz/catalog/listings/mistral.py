"""Mistral's list: no prices; capabilities, deprecation; aliases are rows of their own."""

from collections.abc import Iterator

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import Item, Row, at, count_of, day_of, id_of, table, text_of

FEATURES = {"function_calling": "tools", "vision": "vision", "reasoning": "reasoning"}


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    stated = table(item.get("capabilities"))
    if not native_id:
        return
    can = {name for name, value in stated.items() if value is True}
    features = tuple(word for name, word in FEATURES.items() if name in can)
    inputs = ("text", *(["image"] * ("vision" in can)), *(["audio"] * ("audio" in can)))
    aliases = item.get("aliases")
    yield Row(
        native_id,
        name=text_of(item.get("name"), 120),
        description=text_of(item.get("description")),
        context_tokens=count_of(item.get("max_context_length")),
        input_modalities=inputs,
        output_modalities=("text",) if at(stated, "completion_chat") is True else (),
        parameters=openai.parameters_of(item, features),
        capabilities=openai.capabilities_of(features, inputs),
        reasons="reasoning" in can,
        tokenizer="Mistral",
        deprecated_at=day_of(item.get("deprecation")),
        aliases=tuple(filter(None, map(id_of, aliases if isinstance(aliases, list) else []))),
    )
