"""Cloudflare's plain model list: prices as rows of `properties`, each with its unit in words.

The other form of the same list (format=openrouter) is of the common shape.
"""

import re
from collections.abc import Iterator
from decimal import Decimal

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import Item, RateReader, Row, at, count_of, id_of, text_of

CLASSES = {
    "per M input tokens": "input",
    "per M output tokens": "output",
    "per M cached input tokens": "cache_read",
}


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("name"))
    listed = item.get("properties")
    if not native_id or not native_id.startswith("@"):
        yield from openai.read(item, unit)
        return
    stated = {
        str(at(p, "property_id")): at(p, "value") for p in listed or [] if isinstance(p, dict)
    }
    rates = RateReader(Decimal(1))
    prices = stated.get("price")
    for price in prices if isinstance(prices, list) else []:
        name = CLASSES.get(text_of(at(price, "unit"), 60))
        if name and at(price, "currency") == "USD":
            rates.add(name, at(price, "price"))
    calls = re.fullmatch("true", str(stated.get("function_calling")), re.IGNORECASE) is not None
    yield Row(
        native_id,
        description=text_of(item.get("description")),
        context_tokens=count_of(stated.get("context_window"), stated.get("max_input_tokens")),
        capabilities=("tools",) if calls else (),
        output_modalities=("text",) if at(item, "task", "name") == "Text Generation" else (),
        rates=rates.stated(),
        problems=openai.problems_of(rates),
    )
