"""OpenRouter's list: USD per token as decimal text; -1 is the price of a router, which is none.

The ids are the vendor/name that much of the field uses. `overrides` are prices of long prompts
(or of hours of the day, which are not read).
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
    Item,
    Row,
    at,
    count_of,
    day_of,
    id_of,
    modalities_of,
    number_of,
    second_of,
    table,
    text_of,
    tier_rows,
    words_of,
)

# Ids of routers and moving names: asking for one is asking for another model.
MOVING = "~"
FREE = ":free"
# Half price, answers within a day: no offer for a request that waits.
BATCH = ":batch"
INDEXES = ("intelligence_index", "coding_index", "agentic_index")


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    if not native_id or native_id.startswith(MOVING) or native_id.endswith(BATCH):
        return
    pricing = table(item.get("pricing"))
    rates = openai.read_rates(pricing, unit)
    free = rates.all_zero and native_id.endswith(FREE)
    architecture, top = table(item.get("architecture")), table(item.get("top_provider"))
    parameters = words_of(item.get("supported_parameters"))
    inputs = modalities_of(architecture.get("input_modalities"))
    tokenizer = text_of(architecture.get("tokenizer"), 40)
    yield Row(
        native_id,
        name=text_of(item.get("name"), 120),
        description=text_of(item.get("description")),
        created_s=second_of(item.get("created")),
        context_tokens=count_of(top.get("context_length"), item.get("context_length")),
        max_output_tokens=count_of(top.get("max_completion_tokens")),
        input_modalities=inputs,
        output_modalities=modalities_of(architecture.get("output_modalities")),
        parameters=parameters,
        capabilities=capabilities_of(parameters, inputs, pricing),
        reasons="reasoning" in parameters,
        hugging_face_id=id_of(item.get("hugging_face_id")) or None,
        tokenizer="" if tokenizer == "Router" else tokenizer,
        knowledge_cutoff=day_of(item.get("knowledge_cutoff")),
        deprecated_at=day_of(item.get("expiration_date")),
        is_moderated=top["is_moderated"] if isinstance(top.get("is_moderated"), bool) else None,
        canonical=native_id,
        aliases=tuple(filter(None, [id_of(item.get("canonical_slug"))])),
        rates=rates.rates if free else rates.stated(),
        tiers=() if free else overrides(pricing, unit),
        free=free,
        problems=openai.problems_of(rates, free=free),
        benchmarks=benchmarks_of(table(item.get("benchmarks"))),
    )


def overrides(pricing: Item, unit: str) -> tuple[tuple[int, Any], ...]:
    """Prices from so many prompt tokens on; those of hours of the day are left out."""
    known = pricing.get("overrides")
    tiers = []
    for override in known if isinstance(known, list) else []:
        least = count_of(at(override, "min_prompt_tokens"))
        if least is not None and least > 1:
            tiers.append((least - 1, openai.read_rates(override, unit).stated()))
    return tier_rows(tiers)


def capabilities_of(
    parameters: tuple[str, ...], inputs: tuple[str, ...], pricing: Item
) -> tuple[str, ...]:
    words = list(parameters)
    if "response_format" in words:
        words.append("json_mode")
    if number_of(pricing.get("input_cache_read")):
        words.append("prompt_caching")
    if "web_search_options" in words:
        words.append("web_search")
    return openai.capabilities_of(tuple(words), inputs)


def benchmarks_of(stated: Item) -> dict[str, float]:
    """Scores by name: the three indexes, and Elo figures by the arena's category."""
    scores: dict[str, float] = {}
    for source in stated.values():
        for name in INDEXES:
            _put(scores, name, at(source, name))
        for entry in source if isinstance(source, list) else []:
            arena = words_of([at(entry, "category")])
            if arena:
                _put(scores, f"task:{arena[0]}", at(entry, "elo"))
    return scores


def _put(scores: dict[str, float], name: str, value: Any) -> None:
    number = number_of(value)
    if isinstance(number, Decimal) and number.is_finite() and 0 <= number < 10_000:
        scores[name] = float(number)
