"""xAI's /language-models: prices in 1/10,000 USD per 10^6 tokens; of searches likewise."""

from collections.abc import Iterator
from decimal import Decimal

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
    UNITS,
    Item,
    RateReader,
    Row,
    id_of,
    modalities_of,
    second_of,
)

KEYS = {
    "prompt_text_token_price": "input",
    "cached_prompt_text_token_price": "cache_read",
    "completion_text_token_price": "output",
}
LONG = {
    "prompt_text_token_price_long_context": "input",
    "cached_prompt_text_token_price_long_context": "cache_read",
    "completion_text_token_price_long_context": "output",
}
# Where its documentation lets the long-context prices begin.
LONG_ABOVE = 200_000
# Whole dollars are 10^10 here: 250,000,000 is $0.025 a search, which is 25,000 USD per 10^6.
SEARCHES = Decimal("0.0001")


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    if not native_id:
        return
    rates, longer = RateReader(UNITS[unit]), RateReader(UNITS[unit])
    for key, name in KEYS.items():
        rates.add(name, item.get(key))
    for key, name in LONG.items():
        longer.add(name, item.get(key))
    rates.add("search", item.get("search_price"), SEARCHES)
    stated = rates.stated()
    inputs = modalities_of(item.get("input_modalities"))
    aliases = item.get("aliases")
    yield Row(
        native_id,
        created_s=second_of(item.get("created")),
        input_modalities=inputs,
        output_modalities=modalities_of(item.get("output_modalities")),
        capabilities=openai.capabilities_of(("tools",), inputs),
        tokenizer="Grok",
        aliases=tuple(filter(None, map(id_of, aliases if isinstance(aliases, list) else []))),
        rates=stated,
        tiers=((LONG_ABOVE, longer.stated()),) if longer.stated() else (),
        problems=openai.problems_of(rates),
    )
