"""Token counts of generateContent ⇄ disjoint billing classes (D16, providers.md §2.1).

The prompt's count includes what came from the cache; thoughts are beside the candidates, prompts
made by tools beside the prompt. Images are billed as text going in, apart coming out.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.core.money import usd_number
from gatewayz.dialects.counts import count, usage_of
from gatewayz.dialects.form import JsonObject, UsageReport
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.pricing.usage import Usage

_TOTALS = ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount")


def read_usage(raw: Mapping[str, Any] | None) -> Usage | None:
    """None when nothing was stated; InvalidUsage when it cannot be true."""
    if not raw:
        return None
    if all(raw.get(name) is None for name in _TOTALS):
        raise InvalidUsage("neither input nor output count")
    prompt, written = count(raw, "promptTokenCount"), count(raw, "candidatesTokenCount")
    thoughts, tools = count(raw, "thoughtsTokenCount"), count(raw, "toolUsePromptTokenCount")
    cached = min(count(raw, "cachedContentTokenCount"), prompt)
    total = count(raw, "totalTokenCount")
    if thoughts and thoughts <= written and total == prompt + written + tools:
        written -= thoughts  # they are inside after all
    heard = _modality(raw, "promptTokensDetails", "AUDIO")
    heard = max(0, heard - _modality(raw, "cacheTokensDetails", "AUDIO"))
    heard = min(heard, prompt - cached)
    spoken = min(_modality(raw, "candidatesTokensDetails", "AUDIO"), written)
    drawn = min(_modality(raw, "candidatesTokensDetails", "IMAGE"), written - spoken)
    units = {
        "input": prompt - cached - heard + tools,
        "cache_read": cached,
        "audio_in": heard,
        "output": written - spoken - drawn,
        "reasoning": thoughts,
        "audio_out": spoken,
        "image_out": drawn,
    }
    return usage_of(units)


def _modality(raw: Mapping[str, Any], name: str, modality: str) -> int:
    details = raw.get(name)
    if type(details) is not list:
        return 0
    found = (item for item in details if type(item) is dict and item.get("modality") == modality)
    return sum(count(item, "tokenCount") for item in found)


def write_usage(
    usage: Usage | None, report: UsageReport, raw: Mapping[str, Any] | None = None
) -> JsonObject:
    """The `usageMetadata` a client sees, with our charge in USD as `cost`. `raw` travels where the
    provider spoke this dialect."""
    if raw and not report.estimated:
        written = dict(raw)
    elif usage is None:
        written = _reported(report)
    else:
        written = _counted(usage)
    written["cost"] = usd_number(report.cost_nanos)
    if report.cache_savings_nanos:
        written["cacheSavings"] = usd_number(report.cache_savings_nanos)
    if report.upstream_cost_nanos is not None:
        stated = usd_number(report.upstream_cost_nanos)
        written["costDetails"] = {"upstreamInferenceCost": stated}
    if report.estimated:
        written["estimated"] = True
    return written


def _reported(report: UsageReport) -> JsonObject:
    written: JsonObject = {
        "promptTokenCount": report.prompt_tokens,
        "candidatesTokenCount": report.completion_tokens - report.reasoning_tokens,
        "totalTokenCount": report.prompt_tokens + report.completion_tokens,
    }
    if report.reasoning_tokens:
        written["thoughtsTokenCount"] = report.reasoning_tokens
    if report.cached_tokens:
        written["cachedContentTokenCount"] = report.cached_tokens
    return written


def _counted(usage: Usage) -> JsonObject:
    units = usage.units
    thoughts = units.get("reasoning", 0)
    prompt, written = usage.input_tokens, usage.output_tokens - thoughts
    heard, seen = units.get("audio_in", 0), units.get("image_in", 0)
    spoken, drawn = units.get("audio_out", 0), units.get("image_out", 0)
    out: JsonObject = {
        "promptTokenCount": prompt,
        "candidatesTokenCount": written,
        "totalTokenCount": prompt + usage.output_tokens,
        "promptTokensDetails": _details(TEXT=prompt - heard - seen, AUDIO=heard, IMAGE=seen),
    }
    if spoken or drawn:
        text = written - spoken - drawn
        out["candidatesTokensDetails"] = _details(TEXT=text, AUDIO=spoken, IMAGE=drawn)
    if thoughts:
        out["thoughtsTokenCount"] = thoughts
    if cached := units.get("cache_read"):
        out["cachedContentTokenCount"] = cached
    return out


def _details(**counts: int) -> list[JsonObject]:
    return [{"modality": name, "tokenCount": n} for name, n in counts.items() if n]
