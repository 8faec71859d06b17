"""Disjoint counts in the layout of OpenAI's `usage`, for answers that came in another dialect."""

from gatewayz.dialects.form import JsonObject
from gatewayz.pricing.usage import Usage


def usage_object(usage: Usage) -> JsonObject:
    """What read_usage() reads back into the same counts, but for the age of cache writes."""
    units = usage.units
    written = units.get("cache_write_5m", 0) + units.get("cache_write_1h", 0)
    prompt: JsonObject = {"cached_tokens": units.get("cache_read", 0)}
    if written:
        prompt["cache_write_tokens"] = written
    if audio := units.get("audio_in"):
        prompt["audio_tokens"] = audio
    completion: JsonObject = {"reasoning_tokens": units.get("reasoning", 0)}
    if audio := units.get("audio_out"):
        completion["audio_tokens"] = audio
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": prompt,
        "completion_tokens_details": completion,
    }
