"""Vercel's list: USD per token as text; tiers as half-open intervals [min, max) of input tokens."""

from collections.abc import Iterator
from decimal import Decimal

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
    UNITS,
    Item,
    RateReader,
    Row,
    at,
    count_of,
    id_of,
    number_of,
    second_of,
    table,
    text_of,
    tier_rows,
    words_of,
)

KEYS = {
    "input": "input",
    "output": "output",
    "input_cache_read": "cache_read",
    "input_cache_write": "cache_write_5m",
}
OUTPUTS = {"language": "text", "embedding": "embeddings", "image": "image", "speech": "audio"}
# USD per thousand searches → per million.
SEARCHES = Decimal(1000)


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    if not native_id:
        return
    pricing = table(item.get("pricing"))
    rates = RateReader(UNITS[unit])
    tiers: dict[int, dict[str, Decimal]] = {}
    for key, name in KEYS.items():
        rates.add(name, pricing.get(key))
        for least, rate in _tiers(pricing.get(key + "_tiers"), unit):
            tiers.setdefault(least - 1, {})[name] = rate
    rates.add("search", pricing.get("web_search"), SEARCHES)
    tags = words_of(item.get("tags"))
    inputs = ("text", "image") if "vision" in tags else ("text",)
    kind = text_of(item.get("type"), 20)
    yield Row(
        native_id,
        name=text_of(item.get("name"), 120),
        description=text_of(item.get("description")),
        created_s=second_of(item.get("released") or item.get("created")),
        context_tokens=count_of(item.get("context_window")),
        max_output_tokens=count_of(item.get("max_tokens")),
        input_modalities=inputs,
        output_modalities=(OUTPUTS[kind],) if kind in OUTPUTS else (),
        parameters=openai.parameters_of(item, ("tools",) if "tool-use" in tags else ()),
        capabilities=openai.capabilities_of(tags, inputs),
        reasons="reasoning" in tags,
        canonical=native_id,
        rates=rates.stated(),
        tiers=tier_rows(tiers.items()),
        problems=openai.problems_of(rates),
    )


def _tiers(stated: object, unit: str) -> list[tuple[int, Decimal]]:
    """(from so many input tokens on, rate) of every interval but the first."""
    tiers = []
    for interval in stated if isinstance(stated, list) else []:
        least, cost = count_of(at(interval, "min")), number_of(at(interval, "cost"))
        if least is not None and least > 1 and cost is not None and cost > 0:
            tiers.append((least, cost * UNITS[unit]))
    return tiers
