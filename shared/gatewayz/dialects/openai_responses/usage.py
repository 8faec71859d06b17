"""Token counts of the Responses protocol ⇄ disjoint billing classes (D16, providers.md §2.1).

Input includes what was read from or written to the cache; output includes reasoning.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.core.money import usd_number
from gatewayz.dialects.form import JsonObject, UsageReport
from gatewayz.dialects.openai_chat.usage import read_usage as read_counts
from gatewayz.dialects.savings import money_of
from gatewayz.pricing.usage import Usage

_PATHS: Mapping[str, str] = {
    "cached_input": "usage.input_tokens_details.cached_tokens",
    "cache_write": "usage.input_tokens_details.cache_write_tokens",
    "reasoning": "usage.output_tokens_details.reasoning_tokens",
}
# Money as the provider tells it: callers see what we charge.
_MONEY_FIELDS = ("cost", "cost_details", "cost_in_usd_ticks", "is_byok")


def read_usage(
    raw: Mapping[str, Any] | None, paths: Mapping[str, str], *, searches: int = 0
) -> Usage | None:
    """None when nothing was stated; InvalidUsage when it cannot be true."""
    usage = read_counts(raw, {**_PATHS, **paths})
    if usage is None or not searches:
        return usage
    return Usage({**usage.units, "search": searches})


def count_searches(response: JsonObject) -> int:
    """How often the provider searched the web for this response: it bills each time."""
    stated: Any = response
    for step in ("tool_usage", "web_search", "num_requests"):
        stated = stated.get(step) if type(stated) is dict else None
    if type(stated) is int and stated >= 0:
        return stated
    return sum(map(_is_search, response.get("output") or ()))


def _is_search(item: Any) -> bool:
    if type(item) is not dict or item.get("type") != "web_search_call":
        return False
    action = item.get("action")
    return type(action) is not dict or action.get("type", "search") == "search"


def raw_usage(response: JsonObject) -> JsonObject | None:
    usage = response.get("usage")
    return usage if type(usage) is dict and usage else None


def _table(value: Any) -> JsonObject:
    return value if type(value) is dict else {}


def _details(raw: Mapping[str, Any]) -> JsonObject:
    """What every client expects to be there, around what the provider said."""
    return {
        "input_tokens_details": {
            "cached_tokens": 0,
            "cache_write_tokens": 0,
            **_table(raw.get("input_tokens_details")),
        },
        "output_tokens_details": {
            "reasoning_tokens": 0,
            **_table(raw.get("output_tokens_details")),
        },
    }


def write_usage(
    usage: Usage | None, report: UsageReport, raw: Mapping[str, Any] | None = None
) -> JsonObject:
    """The `usage` a client sees. `raw` travels where the provider spoke this dialect."""
    upstream = report.upstream_cost_nanos
    money = {
        **money_of(report),
        "cost_details": {
            "upstream_inference_cost": None if upstream is None else usd_number(upstream),
            "upstream_inference_input_cost": usd_number(report.prompt_cost_nanos),
            "upstream_inference_output_cost": usd_number(
                report.cost_nanos - report.prompt_cost_nanos
            ),
        },
    }
    if raw and not report.estimated:
        counts = {name: value for name, value in raw.items() if name not in _MONEY_FIELDS}
        return {**counts, **_details(counts), **money}
    if usage is None:
        read, write, reasoning = report.cached_tokens, 0, report.reasoning_tokens
        prompt, output = report.prompt_tokens, report.completion_tokens
    else:
        units = usage.units
        read, reasoning = units.get("cache_read", 0), units.get("reasoning", 0)
        write = units.get("cache_write_5m", 0) + units.get("cache_write_1h", 0)
        prompt, output = usage.input_tokens, usage.output_tokens
    counted: JsonObject = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": read, "cache_write_tokens": write},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": prompt + output,
    }
    if report.estimated:
        counted["estimated"] = True
    return {**counted, **money}
