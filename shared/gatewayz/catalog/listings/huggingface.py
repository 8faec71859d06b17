"""The router of Hugging Face: one offer for each company behind it, USD per 10^6 tokens.

An offer's native id is `org/name:company`; a company that bills by computing time has no price.
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
    id_of,
    modalities_of,
    second_of,
    table,
)


def read(item: Item, unit: str) -> Iterator[Row]:
    model = id_of(item.get("id"))
    hosts = item.get("providers")
    if not model or not isinstance(hosts, list):
        return
    architecture = table(item.get("architecture"))
    inputs = modalities_of(architecture.get("input_modalities"))
    for host in hosts:
        company = id_of(at(host, "provider"))
        if not company or at(host, "status") != "live":
            continue
        rates = RateReader(UNITS[unit])
        rates.add("input", at(host, "pricing", "input"))
        rates.add("output", at(host, "pricing", "output"))
        features = [
            *["tools"] * (at(host, "supports_tools") is True),
            *["structured_outputs"] * (at(host, "supports_structured_output") is True),
        ]
        yield Row(
            f"{model}:{company}",
            created_s=second_of(item.get("created")),
            context_tokens=count_of(at(host, "context_length")),
            input_modalities=inputs,
            output_modalities=modalities_of(architecture.get("output_modalities")),
            parameters=openai.parameters_of({}, tuple(features)),
            capabilities=openai.capabilities_of(tuple(features), inputs),
            hugging_face_id=model,
            canonical=model,
            rates=rates.stated(),
            problems=openai.problems_of(rates),
        )
