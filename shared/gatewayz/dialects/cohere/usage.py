"""Token counts of the Cohere chat protocol → disjoint billing classes (D16, providers.md §2.1).

What is billed stands in `billed_units`; `tokens` also counts what the provider adds by itself, and
`cached_tokens` are a part of those. Only without billed units are tokens taken for the bill.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.counts import count, stated, table, usage_of
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.pricing.usage import Usage


def read_usage(raw: Mapping[str, Any] | None) -> Usage | None:
    """None when nothing was stated; InvalidUsage when it cannot be true."""
    if not raw:
        return None
    billed, counted = table(raw, "billed_units"), table(raw, "tokens")
    cached = 0
    if _states(billed):
        source = billed
    elif _states(counted):
        source = counted
        cached = min(count(raw, "cached_tokens"), count(counted, "input_tokens"))
    else:
        raise InvalidUsage("neither input nor output count")
    output = count(source, "output_tokens")
    # Thoughts may be billed or not: what is billed beyond the rest of the output are thoughts.
    thoughts = count(counted, "reasoning_tokens")
    rest = max(0, count(counted, "output_tokens") - thoughts)
    thoughts = min(thoughts, max(0, output - rest))
    units = {
        "input": count(source, "input_tokens") - cached,
        "cache_read": cached,
        "output": output - thoughts,
        "reasoning": thoughts,
        "search": count(billed, "search_units"),
    }
    return usage_of(units)


def read_counts(value: Any) -> tuple[Usage | None, JsonObject | None]:
    """What is billed and what was written."""
    return stated(value, read_usage)


def _states(counts: Mapping[str, Any]) -> bool:
    return counts.get("input_tokens") is not None or counts.get("output_tokens") is not None
