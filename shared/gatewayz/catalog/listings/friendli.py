"""Friendli's list: USD per 10^6 tokens, or per second of computing where unit_type says so.

A price by the second of their machine is none that a request could be held and charged by.
"""

from collections.abc import Iterator
from decimal import Decimal

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
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

FEATURES = {"tool_call": "tools", "structured_output": "structured_outputs"}


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    if not native_id:
        return
    pricing = table(item.get("pricing"))
    rates = RateReader(Decimal(1))
    if pricing.get("unit_type") == "TOKEN":
        rates.add("input", pricing.get("input"))
        rates.add("output", pricing.get("output"))
    features = tuple(
        word for key, word in FEATURES.items() if at(item, "functionality", key) is True
    )
    yield Row(
        native_id,
        name=text_of(item.get("name"), 120),
        description=text_of(item.get("description")),
        created_s=second_of(item.get("created")),
        context_tokens=count_of(item.get("context_length")),
        max_output_tokens=count_of(item.get("max_completion_tokens")),
        output_modalities=("text",),
        parameters=openai.parameters_of(item, features),
        capabilities=openai.capabilities_of(features, ("text",)),
        hugging_face_id=id_of(item.get("hugging_face_url")).removeprefix("https://huggingface.co/")
        or None,
        rates=rates.stated(),
        problems=openai.problems_of(rates),
    )
