"""NEAR AI's /model/list: USD per token as amount / 10^scale. It is confidential computing."""

from collections.abc import Iterator
from decimal import Decimal

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
    MILLION,
    Item,
    RateReader,
    Row,
    at,
    count_of,
    id_of,
    number_of,
    table,
    text_of,
)

KEYS = {
    "inputCostPerToken": "input",
    "outputCostPerToken": "output",
    "cacheReadCostPerToken": "cache_read",
}
MAX_SCALE = 18


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("modelId"))
    if not native_id:
        return
    rates = RateReader(MILLION)
    for key, name in KEYS.items():
        stated = table(item.get(key))
        scale, amount = number_of(stated.get("scale")), number_of(stated.get("amount"))
        if amount is None:
            continue
        sane = scale is not None and scale == int(scale) and 0 <= scale <= MAX_SCALE
        if not sane or stated.get("currency") != "USD":
            rates.problems.append(f"{name}: scale or currency is not known")
        else:
            assert scale is not None
            rates.add(name, amount * Decimal(10) ** -int(scale))
    about = table(item.get("metadata"))
    yield Row(
        native_id,
        name=text_of(about.get("modelDisplayName"), 120),
        description=text_of(about.get("modelDescription")),
        context_tokens=count_of(about.get("contextLength")),
        output_modalities=("text",),
        confidential=at(about, "verifiable") is True,
        rates=rates.stated(),
        problems=openai.problems_of(rates),
    )
