"""What clients of the OpenRouter style are promised of a message besides (D25): every field is
there, null where there is nothing to say.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.core.money import usd_number
from gatewayz.dialects.form import JsonObject, Style, UsageReport

_MESSAGE: Mapping[str, Any] = {"container": None, "stop_details": None}
_USAGE: Mapping[str, Any] = {
    "cache_creation": None,
    "inference_geo": None,
    "output_tokens_details": None,
    "server_tool_use": None,
    "service_tier": None,
}
_BLOCKS: Mapping[str, Mapping[str, Any]] = {
    "text": {"citations": None},
    "tool_use": {"caller": {"type": "direct"}},
}
_NOTHING: Mapping[str, Any] = {}


def full_message(message: JsonObject, style: Style) -> JsonObject:
    """A message, the one a stream begins with or what changes of it at its end."""
    return message if style == "openai" else {**_MESSAGE, **message}


def full_block(block: JsonObject, style: Style) -> JsonObject:
    return block if style == "openai" else {**_BLOCKS.get(block["type"], _NOTHING), **block}


def full_usage(usage: JsonObject, style: Style, report: UsageReport | None = None) -> JsonObject:
    """`report`: of the whole answer, where it is known."""
    if style == "openai":
        return usage
    full = {**_USAGE, **usage}
    if report is None:
        return full
    upstream = report.upstream_cost_nanos
    full["is_byok"] = report.byok
    full["cost_details"] = {
        "upstream_inference_cost": None if upstream is None else usd_number(upstream),
        "upstream_inference_prompt_cost": usd_number(report.prompt_cost_nanos),
        "upstream_inference_completions_cost": usd_number(
            report.cost_nanos - report.prompt_cost_nanos
        ),
    }
    return full
