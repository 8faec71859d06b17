"""The two lists of Amazon Bedrock: foundation models, and its compatible endpoint. No prices.

Ids are `maker.name-version`; a model that only runs on bought capacity is no offer.
"""

import re
from collections.abc import Iterator

from gatewayz.catalog.listings.row import (
    Item,
    Row,
    at,
    count_of,
    day_of,
    id_of,
    modalities_of,
    second_of,
    text_of,
)

SIZED = re.compile(r":\d+k$")


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("modelId"))
    kinds = item.get("inferenceTypesSupported")
    on_demand = isinstance(kinds, list) and {"ON_DEMAND", "INFERENCE_PROFILE"} & set(kinds)
    if not native_id or not on_demand or SIZED.search(native_id):
        return
    streams = item.get("responseStreamingSupported") is True
    yield Row(
        native_id,
        name=text_of(item.get("modelName"), 120),
        created_s=second_of(at(item, "modelLifecycle", "startOfLifeTime")),
        max_output_tokens=count_of(at(item, "converse", "maxTokensMaximum")),
        input_modalities=modalities_of(item.get("inputModalities")),
        output_modalities=modalities_of(item.get("outputModalities")),
        capabilities=("reasoning",)
        if at(item, "converse", "reasoningSupported") and streams
        else (),
        reasons=bool(at(item, "converse", "reasoningSupported")),
        deprecated_at=day_of(at(item, "modelLifecycle", "endOfLifeTime")),
    )


def read_compatible(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    if not native_id or item.get("status") not in (None, "available"):
        return
    yield Row(
        native_id,
        created_s=second_of(item.get("created")),
        zdr=at(item, "data_retention", "mode") == "none",
    )
