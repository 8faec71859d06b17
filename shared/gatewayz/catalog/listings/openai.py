"""The list most hosts copied: `{"data": [{"id": …}]}` or a bare array, with prices or without.

Hosts add their own keys for the same facts; all of them are read here. The unit of the prices is
declared by the provider's row, because equal keys carry different units.
"""

from collections.abc import Iterator
from decimal import Decimal

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
    second_of,
    table,
    text_of,
    words_of,
)

# Billing class → the keys under which `pricing` states it.
KEYS = {
    "input": ("prompt", "input"),
    "output": ("completion", "output"),
    "cache_read": ("input_cache_read", "cache_read", "cached_input", "cached"),
    "cache_write_5m": ("input_cache_write", "cache_write"),
    "cache_write_1h": ("input_cache_write_1h",),
    "reasoning": ("internal_reasoning",),
    "audio_in": ("audio",),
    "audio_out": ("audio_output",),
    "image_in": ("image_token",),
    "image_out": ("image_output",),
}
# Prices of one piece, in USD whatever the unit of the tokens is.
PIECES = {"request": "request", "web_search": "search"}
# Where `pricing` says its unit itself, the word for it.
SAID_UNITS = {"usd_per_1m_tokens": "usd_per_million", "usd_per_token": "usd_per_token"}
QUANTIZATIONS = (
    "int4", "int8", "fp4", "mxfp4", "nvfp4", "fp6", "fp8", "mxfp8", "fp16", "bf16", "fp32",
)  # fmt: skip
PIECE = Decimal(1_000_000)


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("id"))
    if not native_id or item.get("active") is False:
        return
    features = words_of(item.get("supported_features")) or words_of(item.get("features"))
    outputs = modalities_of(item.get("output_modalities"))
    inputs = modalities_of(item.get("input_modalities"))
    capabilities = capabilities_of(features, inputs)
    # Speech is priced by the character, in keys that look like those of tokens.
    spoken = outputs == ("audio",)
    rates = read_rates({} if spoken else table(item.get("pricing")), unit)
    free = rates.all_zero and (item.get("is_free") is True or native_id.endswith(":free"))
    yield Row(
        native_id,
        name=text_of(item.get("display_name") or item.get("name") or "", 120),
        description=text_of(item.get("description")),
        created_s=second_of(item.get("created") or item.get("created_at")),
        context_tokens=count_of(
            item.get("context_length"), item.get("context_window"), item.get("max_model_len"),
            item.get("max_context_length"), at(item, "meta", "n_ctx"),
        ),
        max_output_tokens=count_of(
            item.get("max_completion_tokens"), item.get("max_output_length"),
            item.get("max_output_tokens"),
        ),
        input_modalities=inputs,
        output_modalities=outputs,
        parameters=parameters_of(item, features),
        capabilities=capabilities,
        reasons="reasoning" in capabilities,
        quantization=quantization_of(item.get("quantization")),
        confidential=item.get("confidential_compute") is True,
        hugging_face_id=id_of(item.get("hugging_face_id")) or None,
        knowledge_cutoff=day_of(item.get("knowledge_cutoff")),
        deprecated_at=day_of(item.get("deprecation") or item.get("deprecation_date")),
        rates=rates.rates if free else rates.stated(),
        free=free,
        problems=problems_of(rates, free=free),
    )  # fmt: skip


def read_rates(pricing: Item, unit: str) -> RateReader:
    """The rates of a `pricing` object. Its own word for its unit wins over the row's."""
    said = pricing.get("unit")
    known = SAID_UNITS.get(said, unit) if isinstance(said, str) else unit
    rates = RateReader(UNITS[known])
    if known == "stated" or (isinstance(said, str) and said not in SAID_UNITS):
        if pricing and known != "none":
            rates.problems.append(f"unit: {str(said)[:40]!r} is not known")
        return rates
    for name, keys in KEYS.items():
        stated = next((pricing[key] for key in keys if pricing.get(key) is not None), None)
        rates.add(name, stated)
    if known != "none":
        for key, name in PIECES.items():
            rates.add(name, pricing.get(key), PIECE)
    return rates


def problems_of(rates: RateReader, *, free: bool = False) -> tuple[str, ...]:
    """What a reader found wrong. All zeros of a model that nobody declares free are wrong too."""
    if rates.all_zero and not free:
        return (*rates.problems, "every price is 0, and it is not declared free")
    return tuple(rates.problems)


def parameters_of(item: Item, features: tuple[str, ...]) -> tuple[str, ...]:
    stated = words_of(item.get("supported_parameters"))
    if stated:
        return stated
    sampling = words_of(item.get("supported_sampling_parameters"))
    more = []
    if {"tools", "function_calling"} & set(features):
        more += ["tools", "tool_choice"]
    if {"structured_outputs", "json_mode"} & set(features):
        more.append("response_format")
    if "structured_outputs" in features:
        more.append("structured_outputs")
    if {"reasoning", "thinking"} & set(features):
        more += ["reasoning", "include_reasoning"]
    return tuple(dict.fromkeys([*sampling, *more]))


def capabilities_of(features: tuple[str, ...], inputs: tuple[str, ...]) -> tuple[str, ...]:
    """Our words for what a model can do, from a host's words for it."""
    words = set(features)
    known = {
        "tools": words & {"tools", "function_calling", "tool-use", "tool_call"},
        "vision": "image" in inputs or words & {"vision", "multimodal", "image_input"},
        "audio": "audio" in inputs,
        "file": "file" in inputs,
        "reasoning": words & {"reasoning", "thinking"},
        "structured_outputs": words & {"structured_outputs", "structured-output"},
        "json_mode": words & {"json_mode", "json"},
        "prompt_caching": words & {"implicit-caching", "prompt_caching"},
        "web_search": words & {"web_search", "web-search"},
    }
    return tuple(name for name, there in known.items() if there)


def quantization_of(value: object) -> str | None:
    word = value.lower() if isinstance(value, str) else ""
    return word if word in QUANTIZATIONS else None
