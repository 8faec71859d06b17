"""Reads token counts of OpenAI-compatible servers into disjoint billing classes (D16, F36).

Whether input contains cached tokens and output contains reasoning decides the bill: the paths of
the provider's row say where it differs from the norm. Never guesses a count it cannot read.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.core.money import usd_number
from gatewayz.dialects.form import JsonObject, Style, UsageReport
from gatewayz.dialects.savings import money_of
from gatewayz.pricing.usage import MAX_UNITS, Usage

USD_TICKS = 10_000_000_000
# Money as the provider tells it: callers see what we charge, and the provider's under cost_details.
_MONEY_FIELDS = ("cost", "cost_details", "cost_in_usd_ticks", "estimated_cost", "is_byok",
                 "market_cost")  # fmt: skip

_DEFAULT_PATHS: Mapping[str, tuple[str, ...]] = {
    "input": ("prompt_tokens", "input_tokens"),
    "output": ("completion_tokens", "output_tokens"),
    "cached_input": (
        "prompt_tokens_details.cached_tokens",
        "cached_tokens",
        "prompt_cache_hit_tokens",
        "cache_read_input_tokens",
    ),
    "cache_write": (
        "prompt_tokens_details.cache_write_tokens",
        "prompt_tokens_details.cache_creation_input_tokens",
        "cache_creation_input_tokens",
    ),
    "reasoning": ("completion_tokens_details.reasoning_tokens", "reasoning_tokens"),
    "audio_in": ("prompt_tokens_details.audio_tokens",),
    "audio_out": ("completion_tokens_details.audio_tokens",),
}
# The same as (key, inner key or None): this runs for every answer.
_DEFAULT_STEPS: Mapping[str, tuple[tuple[str, str | None], ...]] = {
    name: tuple((path.partition(".")[0], path.partition(".")[2] or None) for path in paths)
    for name, paths in _DEFAULT_PATHS.items()
}
_ABSENT: Mapping[str, str] = {}
_TOTALS = frozenset({"prompt_tokens", "completion_tokens", "total_tokens"})


class InvalidUsage(ValueError):
    """The upstream's usage cannot be true: the caller estimates instead and alarms."""


def find_usage(chunk: JsonObject) -> JsonObject | None:
    """The usage object of an answer or chunk, wherever this provider puts it."""
    usage = chunk.get("usage")
    if type(usage) is dict and usage:
        return usage
    groq = chunk.get("x_groq")
    if type(groq) is dict and type(groq.get("usage")) is dict:
        return groq["usage"]  # type: ignore[no-any-return]
    choices = chunk.get("choices")
    if type(choices) is list and choices and type(choices[0]) is dict:
        inner = choices[0].get("usage")
        if type(inner) is dict and inner:
            return inner
    return None


def find_cost(chunk: JsonObject, paths: Mapping[str, str]) -> float | None:
    """What the provider says this cost in USD, for comparison only; None when it says nothing."""
    ticks = paths.get("cost_usd_ticks")
    if ticks is not None and (value := _number(_at(chunk, ticks))) is not None:
        return value / USD_TICKS
    return _number(_at(chunk, paths.get("cost_usd", "usage.cost")))


def read_usage(raw: Mapping[str, Any] | None, paths: Mapping[str, str] = _ABSENT) -> Usage | None:
    """Disjoint counts; None when the upstream stated none. `raw` is the usage object itself.

    InvalidUsage when a count is negative, fractional, not a number or absurd, or when no total is
    there. An explicit zero is a statement, not a gap.
    """
    if not raw:
        return None
    if not paths and raw.keys() <= _TOTALS and len(raw) == len(_TOTALS):
        # Nothing is told apart: most servers of open models say no more.
        prompt, output = raw["prompt_tokens"], raw["completion_tokens"]
        if prompt is not None and output is not None:
            units = {"input": _checked(prompt, "input"), "output": _checked(output, "output")}
            return Usage(units)
    prompt, output = _count(raw, "input", paths), _count(raw, "output", paths)
    if prompt is None and output is None:
        if all(value is None for value in raw.values()):
            return None
        raise InvalidUsage("neither input nor output count")
    prompt, output = prompt or 0, output or 0
    cached = _count(raw, "cached_input", paths) or 0
    written = _count(raw, "cache_write", paths) or 0
    reasoning = _count(raw, "reasoning", paths) or 0
    audio_in = _count(raw, "audio_in", paths) or 0
    audio_out = _count(raw, "audio_out", paths) or 0
    total = raw.get("total_tokens")
    if reasoning and (_outside(paths, "reasoning") or total == prompt + output + reasoning):
        output += reasoning
    if audio_in and (_outside(paths, "audio") or total == prompt + output + audio_in):
        prompt += audio_in
    if _outside(paths, "cached"):
        prompt += cached
    if _outside(paths, "cache_write"):
        prompt += written
    # Parts that exceed their whole are cut: some providers report more cached than read.
    cached = min(cached, prompt)
    written = min(written, prompt - cached)
    audio_in = min(audio_in, prompt - cached - written)
    audio_out = min(audio_out, output)
    reasoning = min(reasoning, output - audio_out)
    units = {
        "input": prompt - cached - written - audio_in,
        "cache_read": cached,
        "cache_write_5m": written,
        "audio_in": audio_in,
        "output": output - reasoning - audio_out,
        "reasoning": reasoning,
        "audio_out": audio_out,
    }
    return Usage({name: count for name, count in units.items() if count or name in _ALWAYS})


_ALWAYS = ("input", "output")


def _outside(paths: Mapping[str, str], part: str) -> bool:
    return paths.get(part + "_outside") == "true"


def _count(raw: Mapping[str, Any], name: str, paths: Mapping[str, str]) -> int | None:
    own = paths.get(name)
    if own is not None:
        value = _at(raw, own.removeprefix("usage."))
        return None if value is None else _checked(value, name)
    for outer, inner in _DEFAULT_STEPS[name]:
        value = raw.get(outer)
        if inner is not None:
            value = value.get(inner) if type(value) is dict else None
        if value is not None:
            return _checked(value, name)
    return None


def _at(root: Any, path: str) -> Any:
    for step in path.split("."):
        if type(root) is dict:
            root = root.get(step)
        elif type(root) is list and step.isdecimal() and int(step) < len(root):
            root = root[int(step)]
        else:
            return None
    return root


def _checked(value: Any, name: str) -> int:
    # Some servers write 12.0; anything else that is no whole number is a broken count.
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MAX_UNITS:
        raise InvalidUsage(f"{name} is no count")
    return value


def _number(value: Any) -> float | None:
    if type(value) in (int, float) and 0 <= value < float("inf"):
        return value  # type: ignore[no-any-return]
    return None


def encode_usage(raw: Mapping[str, Any] | None, report: UsageReport, style: Style) -> JsonObject:
    """The `usage` a client sees: the billed counts, the upstream's details, our charge in USD."""
    usage: JsonObject = {
        "prompt_tokens": report.prompt_tokens,
        "completion_tokens": report.completion_tokens,
        "total_tokens": report.prompt_tokens + report.completion_tokens,
    }
    if raw and not report.estimated:
        usage = {**raw, **usage}
        for name in _MONEY_FIELDS:
            usage.pop(name, None)
    elif report.estimated:
        usage["estimated"] = True
    if style == "openrouter":
        details = usage.get("prompt_tokens_details") or {"cached_tokens": report.cached_tokens}
        usage["prompt_tokens_details"] = details
        details = usage.get("completion_tokens_details")
        usage["completion_tokens_details"] = details or {
            "reasoning_tokens": report.reasoning_tokens
        }
        usage["is_byok"] = report.byok
    usage |= money_of(report)
    upstream = report.upstream_cost_nanos
    costs: JsonObject = {
        "upstream_inference_cost": None if upstream is None else usd_number(upstream)
    }
    if style == "openrouter":
        prompt_nanos = report.prompt_cost_nanos
        costs["upstream_inference_prompt_cost"] = usd_number(prompt_nanos)
        written_nanos = report.cost_nanos - prompt_nanos
        costs["upstream_inference_completions_cost"] = usd_number(written_nanos)
    usage["cost_details"] = costs
    return usage
