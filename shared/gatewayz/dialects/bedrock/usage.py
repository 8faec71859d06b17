"""Token counts of the Converse protocol → disjoint billing classes (D16, providers.md §2.1).

Input excludes what was read from or written to the cache, the total includes both; thoughts are
inside the output and not told apart.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.pricing.usage import MAX_UNITS, Usage

LONG_TTL = "1h"


def read_usage(raw: Mapping[str, Any] | None) -> Usage | None:
    """None when nothing was stated; InvalidUsage when it cannot be true."""
    if not raw:
        return None
    if raw.get("inputTokens") is None and raw.get("outputTokens") is None:
        raise InvalidUsage("neither input nor output count")
    long_lived = short_lived = 0
    details = raw.get("cacheDetails")
    for detail in details if type(details) is list else ():
        if type(detail) is not dict:
            continue
        if detail.get("ttl") == LONG_TTL:
            long_lived += _count(detail, "inputTokens")
        else:
            short_lived += _count(detail, "inputTokens")
    written = _count(raw, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    written = max(written, long_lived + short_lived)
    units = {
        "input": _count(raw, "inputTokens"),
        "cache_read": _count(raw, "cacheReadInputTokens", "cacheReadInputTokenCount"),
        "cache_write_5m": written - long_lived,
        "cache_write_1h": long_lived,
        "output": _count(raw, "outputTokens"),
    }
    return Usage({name: n for name, n in units.items() if n or name in ("input", "output")})


def read_counts(value: Any) -> tuple[Usage | None, JsonObject | None]:
    """What is billed and what was written; no usage with something written: it cannot be true."""
    raw = value if type(value) is dict and value else None
    try:
        return read_usage(raw), raw
    except InvalidUsage:
        return None, raw


def _count(raw: Mapping[str, Any], *names: str) -> int:
    value = next((raw[name] for name in names if raw.get(name) is not None), 0)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_UNITS:
        raise InvalidUsage(f"{names[0]} is no count")
    return value
