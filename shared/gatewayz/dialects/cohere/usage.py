"""Token counts of the Cohere chat protocol → disjoint billing classes (D16, providers.md §2.1).

What is billed stands in `billed_units`; `tokens` also counts what the provider adds by itself, and
`cached_tokens` are a part of those. Only without billed units are tokens taken for the bill.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.pricing.usage import MAX_UNITS, Usage


def read_usage(raw: Mapping[str, Any] | None) -> Usage | None:
    """None when nothing was stated; InvalidUsage when it cannot be true."""
    if not raw:
        return None
    billed, counted = _table(raw, "billed_units"), _table(raw, "tokens")
    cached = 0
    if _states(billed):
        source = billed
    elif _states(counted):
        source = counted
        cached = min(_count(raw, "cached_tokens"), _count(counted, "input_tokens"))
    else:
        raise InvalidUsage("neither input nor output count")
    output = _count(source, "output_tokens")
    # Thoughts may be billed or not: what is billed beyond the rest of the output are thoughts.
    thoughts = _count(counted, "reasoning_tokens")
    rest = max(0, _count(counted, "output_tokens") - thoughts)
    thoughts = min(thoughts, max(0, output - rest))
    units = {
        "input": _count(source, "input_tokens") - cached,
        "cache_read": cached,
        "output": output - thoughts,
        "reasoning": thoughts,
        "search": _count(billed, "search_units"),
    }
    return Usage({name: n for name, n in units.items() if n or name in ("input", "output")})


def read_counts(value: Any) -> tuple[Usage | None, JsonObject | None]:
    """What is billed and what was written; no usage with something written: it cannot be true."""
    raw = value if type(value) is dict and value else None
    try:
        return read_usage(raw), raw
    except InvalidUsage:
        return None, raw


def _states(counts: Mapping[str, Any]) -> bool:
    return counts.get("input_tokens") is not None or counts.get("output_tokens") is not None


def _table(raw: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = raw.get(name)
    return value if type(value) is dict else {}


def _count(raw: Mapping[str, Any], name: str) -> int:
    value = raw.get(name)
    if value is None:
        return 0
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_UNITS:
        raise InvalidUsage(f"{name} is no count")
    return value
