"""Helicone's registry: USD per 10^6 tokens for each endpoint of a model; the dearest one stands.

Its gateway chooses the endpoint, so a request may cost as much as any of them.
"""

from collections.abc import Iterator

from gatewayz.catalog.listings import openai
from gatewayz.catalog.listings.row import (
    UNITS,
    Item,
    RateReader,
    Row,
    at,
    count_of,
    day_of,
    id_of,
    modalities_of,
    text_of,
    words_of,
)

KEYS = {
    "prompt": "input",
    "completion": "output",
    "cacheRead": "cache_read",
    "cacheWrite": "cache_write_5m",
    "reasoning": "reasoning",
}


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    endpoints = item.get("endpoints")
    if not native_id or not isinstance(endpoints, list):
        return
    rates = RateReader(UNITS[unit])
    for key, name in KEYS.items():
        stated = [at(endpoint, "pricing", key) for endpoint in endpoints]
        known = [value for value in stated if value is not None]
        for value in known:
            each = RateReader(UNITS[unit])
            each.add(name, value)
            rates.problems += each.problems
            if name in each.rates:
                rates.rates[name] = max(rates.rates.get(name, each.rates[name]), each.rates[name])
    inputs = modalities_of(item.get("inputModalities"))
    parameters = words_of(item.get("supportedParameters"))
    author = id_of(item.get("author"))
    yield Row(
        native_id,
        name=text_of(item.get("name"), 120),
        description=text_of(item.get("description")),
        context_tokens=count_of(item.get("contextLength")),
        max_output_tokens=count_of(item.get("maxOutput")),
        input_modalities=inputs,
        output_modalities=modalities_of(item.get("outputModalities")),
        parameters=parameters,
        capabilities=openai.capabilities_of(parameters, inputs),
        knowledge_cutoff=day_of(item.get("trainingDate")),
        canonical=f"{author}/{native_id}" if author else "",
        rates=rates.stated(),
        problems=openai.problems_of(rates),
    )
