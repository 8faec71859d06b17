"""Token counts of the Messages protocol ⇄ disjoint billing classes (D16, providers.md §2.1).

Input excludes what was read from or written to the cache; output includes thinking.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.counts import count, table, usage_of
from gatewayz.dialects.form import JsonObject, UsageReport
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.savings import money_of
from gatewayz.pricing.usage import Usage


def read_usage(raw: Mapping[str, Any] | None) -> Usage | None:
    """None when nothing was stated; InvalidUsage when it cannot be true."""
    if not raw:
        return None
    if raw.get("input_tokens") is None and raw.get("output_tokens") is None:
        raise InvalidUsage("neither input nor output count")
    output = count(raw, "output_tokens")
    thinking = min(count(table(raw, "output_tokens_details"), "thinking_tokens"), output)
    written = count(raw, "cache_creation_input_tokens")
    split = table(raw, "cache_creation")
    long_lived = count(split, "ephemeral_1h_input_tokens")
    written = max(written, long_lived + count(split, "ephemeral_5m_input_tokens"))
    units = {
        "input": count(raw, "input_tokens"),
        "cache_read": count(raw, "cache_read_input_tokens"),
        "cache_write_5m": written - long_lived,
        "cache_write_1h": long_lived,
        "output": output - thinking,
        "reasoning": thinking,
        "search": count(table(raw, "server_tool_use"), "web_search_requests"),
    }
    return usage_of(units)


def merge_usage(first: Mapping[str, Any], later: Mapping[str, Any]) -> JsonObject:
    """What a stream's end says, over what its start said: the end is cumulative but may leave
    fields out."""
    return {**first, **{name: value for name, value in later.items() if value is not None}}


def write_usage(
    usage: Usage | None, report: UsageReport, raw: Mapping[str, Any] | None = None
) -> JsonObject:
    """The `usage` a client sees. `raw` travels where the provider spoke this dialect."""
    if raw and not report.estimated:
        return {**raw, **money_of(report)}
    if usage is None:
        counted: JsonObject = {
            "input_tokens": report.prompt_tokens,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 0,
            "output_tokens": report.completion_tokens,
        }
        return {**counted, **money_of(report)}
    units = usage.units
    short, long = units.get("cache_write_5m", 0), units.get("cache_write_1h", 0)
    read = units.get("cache_read", 0)
    written: JsonObject = {
        "input_tokens": usage.input_tokens - short - long - read,
        "cache_creation_input_tokens": short + long,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"thinking_tokens": units.get("reasoning", 0)},
    }
    if searches := units.get("search"):
        written["server_tool_use"] = {"web_search_requests": searches, "web_fetch_requests": 0}
    return {**written, **money_of(report)}
