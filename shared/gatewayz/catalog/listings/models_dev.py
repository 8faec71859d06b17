"""The feed models.dev: USD per 10^6 tokens by provider and native id, tiers above a prompt length.

A cost of 0 is written for free models and for plans by subscription alike, so it states nothing;
for a model that answers with pictures `output` is the price of those.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
    Item,
    RateReader,
    Rates,
    Row,
    at,
    count_of,
    day_of,
    id_of,
    modalities_of,
    second_of,
    table,
    text_of,
    tier_rows,
)

KEYS = {
    "input": "input",
    "output": "output",
    "cache_read": "cache_read",
    "cache_write": "cache_write_5m",
    "reasoning": "reasoning",
    "input_audio": "audio_in",
    "output_audio": "audio_out",
}
CAN = {"tool_call": "tools", "reasoning": "reasoning", "structured_output": "structured_outputs"}
LONG = "context_over_200k"
LONG_ABOVE = 200_000


def read(name: str, item: Any) -> Iterator[tuple[str, Row]]:
    """(provider's name in the feed, row) of every model of one provider."""
    models = table(at(item, "models"))
    for native, model in models.items():
        row = _row(native, table(model))
        if row is not None:
            yield name, row


def _row(native: str, model: Item) -> Row | None:
    native_id = id_of(native)
    if not native_id:
        return None
    outputs = modalities_of(at(model, "modalities", "output"))
    inputs = modalities_of(at(model, "modalities", "input"))
    features = tuple(word for key, word in CAN.items() if model.get(key) is True)
    retired = model.get("status") == "deprecated"
    cost = table(model.get("cost"))
    return Row(
        native_id,
        name=text_of(model.get("name"), 120),
        created_s=second_of(model.get("release_date")),
        context_tokens=count_of(at(model, "limit", "context")),
        max_output_tokens=count_of(at(model, "limit", "output")),
        max_prompt_tokens=count_of(at(model, "limit", "input")),
        input_modalities=inputs,
        output_modalities=outputs,
        parameters=openai.parameters_of({}, features),
        capabilities=openai.capabilities_of(features, inputs),
        reasons="reasoning" in features,
        knowledge_cutoff=day_of(model.get("knowledge")),
        deprecated_at=day_of(model.get("last_updated")) if retired else None,
        rates=rates_of(cost, outputs),
        tiers=_tiers(cost, outputs),
    )


def rates_of(cost: Item, outputs: tuple[str, ...]) -> Rates:
    rates = RateReader(Decimal(1))
    for key, name in KEYS.items():
        pictures = key == "output" and "image" in outputs
        rates.add("image_out" if pictures else name, cost.get(key))
    return {} if rates.problems else rates.stated()


def _tiers(cost: Item, outputs: tuple[str, ...]) -> tuple[tuple[int, Rates], ...]:
    stated = cost.get("tiers")
    tiers = [
        (count_of(at(tier, "tier", "size")), rates_of(table(tier), outputs))
        for tier in (stated if isinstance(stated, list) else [])
    ]
    if not tiers and LONG in cost:
        tiers = [(LONG_ABOVE, rates_of(table(cost[LONG]), outputs))]
    return tier_rows(tiers)
