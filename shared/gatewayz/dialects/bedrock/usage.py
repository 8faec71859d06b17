"""Token counts of the Converse protocol → disjoint billing classes (D16, providers.md §2.1).

Input excludes what was read from or written to the cache, the total includes both; thoughts are
inside the output and not told apart.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.counts import count, stated, usage_of
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.pricing.usage import Usage

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
            long_lived += count(detail, "inputTokens")
        else:
            short_lived += count(detail, "inputTokens")
    written = count(raw, "cacheWriteInputTokens", "cacheWriteInputTokenCount")
    written = max(written, long_lived + short_lived)
    units = {
        "input": count(raw, "inputTokens"),
        "cache_read": count(raw, "cacheReadInputTokens", "cacheReadInputTokenCount"),
        "cache_write_5m": written - long_lived,
        "cache_write_1h": long_lived,
        "output": count(raw, "outputTokens"),
    }
    return usage_of(units)


def read_counts(value: Any) -> tuple[Usage | None, JsonObject | None]:
    """What is billed and what was written."""
    return stated(value, read_usage)
