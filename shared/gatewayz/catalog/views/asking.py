"""What a caller asked of a list, as checked values, made into filters and an order.

Guarantees that one query means the same on every route that takes it.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.catalog import facts
from gatewayz.catalog.shelf import Shelf
from gatewayz.catalog.views.filters import ALL, Filters, Usage, both_nanos, sorted_by
from gatewayz.catalog.views.rows import Form, Row

SCORES = ("intelligence_index", "coding_index", "agentic_index")
SAME = ("q", "category", "arch", "context", "min_price", "max_price", "min_output_price",
        "max_output_price", "min_age_days", "max_age_days", "min_tool_success_rate",
        "max_tool_success_rate", "provider", "region")  # fmt: skip
PER_MILLION = 1_000_000


def is_plain(asked: Mapping[str, Any]) -> bool:
    """Does it ask for the list as it is?"""
    rest = asked.keys() - {"available", "unique_models"}
    return not rest or (rest == {"gateway"} and asked["gateway"].lower() == ALL)


def list_filters(asked: Mapping[str, Any], shelf: Shelf, form: Form) -> Filters:
    """The filters of /models; OpenRouter's clients see models that write text unless they ask."""
    outputs = _words(asked.get("output_modalities"))
    if not outputs and form == "openrouter":
        outputs = ("text",)
    return Filters(
        **{name: asked[name] for name in SAME if name in asked},
        text=asked.get("search", ""),
        supported_parameters=_words(asked.get("supported_parameters")),
        input_modalities=_words(asked.get("input_modalities")),
        output_modalities=outputs,
        model_authors=_words(asked.get("model_authors")),
        providers=_words(asked.get("providers")),
        gateways=gateways_of(asked.get("gateway"), shelf),
        distillable=_flag(asked.get("distillable")),
        zdr=_flag(asked.get("zdr")),
        is_private=_flag(asked.get("is_private")),
        scores=tuple(
            (name, asked.get(f"min_{name}"), asked.get(f"max_{name}"))
            for name in SCORES
            if f"min_{name}" in asked or f"max_{name}" in asked
        ),
    )


def search_filters(asked: Mapping[str, Any], shelf: Shelf) -> Filters:
    """The filters of the older search: its prices are per token and of the mean."""

    def per_million(name: str) -> Any:
        return None if asked.get(name) is None else asked[name] * PER_MILLION

    return Filters(
        text=asked.get("q") or "",
        modality=asked.get("modality") or "",
        is_private=_flag(asked.get("is_private")),
        context=asked.get("min_context"),
        max_context=asked.get("max_context"),
        min_mean_price=per_million("min_price"),
        max_mean_price=per_million("max_price"),
        gateways=gateways_of(asked.get("gateway"), shelf),
    )


def search_order(rows: list[Row], by: str, *, falling: bool, usage: Usage) -> list[Row]:
    """price, context, popularity or name; what has no value comes last either way."""
    if by == "name":
        return sorted(rows, key=lambda row: row.model.name.lower(), reverse=falling)
    if by == "context":
        return sorted_by(rows, lambda row: row.model.context_tokens, falling=falling)
    if by == "popularity":
        return sorted_by(rows, lambda row: _requests(row, usage), falling=falling)
    return sorted_by(rows, both_nanos, falling=falling)


def gateways_of(word: str | None, shelf: Shelf) -> tuple[str, ...]:
    """Hosts by slug, or by a name they also have; () for all. A word that means no host stays, so
    that it finds nothing."""
    if not word or word.lower() == ALL:
        return ()
    found: list[str] = []
    for each in _words(word):
        also = facts.named(each)
        found += (*shelf.gateways_named(each), *((also,) if also else ())) or (each,)
    return tuple(dict.fromkeys(found))


def _requests(row: Row, usage: Usage) -> int | None:
    known = usage.get(row.model.id)
    return known.requests if known else None


def _words(text: str | None) -> tuple[str, ...]:
    return tuple(word for part in (text or "").split(",") if (word := part.strip().lower()))


def _flag(text: str | None) -> bool | None:
    return None if text is None else text == "true"
