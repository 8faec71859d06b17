"""Token accounting of every provider, from what they sent, against providers.md §2.1 by hand."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gatewayz.dialects.anthropic import usage as anthropic
from gatewayz.dialects.bedrock import usage as bedrock
from gatewayz.dialects.cohere import usage as cohere
from gatewayz.dialects.embeddings.wires import WIRES
from gatewayz.dialects.google import usage as google
from gatewayz.dialects.one_shot import Place
from gatewayz.dialects.openai_chat.usage import find_cost, find_usage, read_usage
from gatewayz.dialects.openai_responses import usage as responses
from gatewayz.inference.finish import stated_nanos
from gatewayz.pricing.usage import Usage
from gatewayz.providers.config import load_providers
from gatewayz.providers.provider import Provider

ROWS = load_providers()
KEPT = Path(__file__).resolve().parents[2] / "recordings" / "providers"
RECORDED: list[dict[str, Any]] = json.loads((KEPT / "usage.json").read_text())
DOCUMENTED: list[dict[str, Any]] = json.loads((KEPT / "documented.json").read_text())


def title(entry: Mapping[str, Any]) -> str:
    return f"{entry['provider']}-{entry['dialect']}-{entry['name']}"


def raw_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The last whole usage object of an answer, wherever its dialect puts it."""
    found: dict[str, Any] = {}
    for chunk in entry["chunks"]:
        match entry["dialect"]:
            case "openai_chat":
                found = find_usage(chunk) or found
            case "anthropic":
                first = (chunk.get("message") or {}).get("usage") or {}
                found = anthropic.merge_usage({**found, **first}, chunk.get("usage") or {})
            case "google":
                found = chunk.get("usageMetadata") or found
            case "cohere":
                found = (chunk.get("delta") or chunk).get("usage") or found
            case "openai_responses":
                found = (chunk.get("response") or chunk).get("usage") or found
            case _:
                found = chunk.get("usage") or found
    return found


def counted(entry: Mapping[str, Any]) -> Usage:
    raw, row = raw_of(entry), ROWS[entry["provider"]]
    readers: Mapping[str, Callable[[dict[str, Any]], Usage | None]] = {
        "openai_chat": lambda raw: read_usage(raw, row.usage),
        "openai_responses": lambda raw: responses.read_usage(raw, {}),
        "anthropic": anthropic.read_usage,
        "google": google.read_usage,
        "bedrock": bedrock.read_usage,
        "cohere": cohere.read_usage,
        "embeddings": lambda raw: embedded(raw, row),
    }
    usage = readers[entry["dialect"]](raw)
    assert usage is not None
    return usage


def embedded(raw: dict[str, Any], row: Provider) -> Usage | None:
    endpoint = row.kinds["embeddings"]
    place = Place(row.target("m"), endpoint, ("input",))
    wire: Any = WIRES[endpoint.wire]
    usage: Usage | None = wire.used(raw, place)
    return usage


def normal(usage: Usage) -> tuple[int, int, int, int, int, int]:
    """input_uncached, cache_read, cache_write_5m, cache_write_1h, output, of which reasoning."""
    units = usage.units
    names = ("input", "cache_read", "cache_write_5m", "cache_write_1h")
    head = [units.get(name, 0) for name in names]
    head[0] += units.get("audio_in", 0) + units.get("image_in", 0)
    return (*head, usage.output_tokens, units.get("reasoning", 0))  # type: ignore[return-value]


# ---------------------------------------------------------------- the table, read by hand


def n(raw: Mapping[str, Any], *path: str) -> int:
    value: Any = raw
    for step in path:
        value = (value or {}).get(step)
    return int(value or 0)


def openai(raw: Mapping[str, Any], row: Provider) -> tuple[int, ...]:
    prompt = n(raw, "prompt_tokens")
    output = n(raw, "completion_tokens")
    details = "prompt_tokens_details"
    written = n(raw, "completion_tokens_details", "reasoning_tokens")
    cached = (
        n(raw, details, "cached_tokens")
        or n(raw, "cached_tokens")
        or n(raw, "cache_read_input_tokens")
    )
    cached = min(cached, prompt)  # one host states more cached than read
    creation = n(raw, details, "cache_write_tokens") or n(raw, "cache_creation_input_tokens")
    if row.slug == "xai":
        output += written
    if row.slug == "mistral":
        prompt += n(raw, details, "audio_tokens")
    return (prompt - cached - creation, cached, creation, 0, output, min(written, output))


def responses_of(raw: Mapping[str, Any], row: Provider) -> tuple[int, ...]:
    cached = n(raw, "input_tokens_details", "cached_tokens")
    creation = n(raw, "input_tokens_details", "cache_write_tokens")
    reasoning = n(raw, "output_tokens_details", "reasoning_tokens")
    fresh = n(raw, "input_tokens") - cached - creation
    return (fresh, cached, creation, 0, n(raw, "output_tokens"), reasoning)


def anthropic_of(raw: Mapping[str, Any], row: Provider) -> tuple[int, ...]:
    long = n(raw, "cache_creation", "ephemeral_1h_input_tokens")
    creation = n(raw, "cache_creation_input_tokens")
    thinking = n(raw, "output_tokens_details", "thinking_tokens")
    read = n(raw, "cache_read_input_tokens")
    return (n(raw, "input_tokens"), read, creation - long, long, n(raw, "output_tokens"), thinking)


def google_of(raw: Mapping[str, Any], row: Provider) -> tuple[int, ...]:
    cached, thoughts = n(raw, "cachedContentTokenCount"), n(raw, "thoughtsTokenCount")
    fresh = n(raw, "promptTokenCount") - cached + n(raw, "toolUsePromptTokenCount")
    return (fresh, cached, 0, 0, n(raw, "candidatesTokenCount") + thoughts, thoughts)


def bedrock_of(raw: Mapping[str, Any], row: Provider) -> tuple[int, ...]:
    read = n(raw, "cacheReadInputTokens")
    written = n(raw, "cacheWriteInputTokens")
    return (n(raw, "inputTokens"), read, written, 0, n(raw, "outputTokens"), 0)


def cohere_of(raw: Mapping[str, Any], row: Provider) -> tuple[int, ...]:
    billed = raw["billed_units"]
    # Thoughts that are not billed are counted beside what is.
    thought = n(raw, "tokens", "reasoning_tokens")
    said = n(raw, "tokens", "output_tokens") - thought
    output = n(billed, "output_tokens")
    return (n(billed, "input_tokens"), 0, 0, 0, output, min(thought, max(0, output - said)))


BY_HAND = {
    "openai_chat": openai,
    "openai_responses": responses_of,
    "anthropic": anthropic_of,
    "google": google_of,
    "bedrock": bedrock_of,
    "cohere": cohere_of,
}


@pytest.mark.parametrize("entry", RECORDED, ids=title)
def test_what_is_billed_is_what_the_table_says(entry: dict[str, Any]) -> None:
    row = ROWS[entry["provider"]]
    assert normal(counted(entry)) == BY_HAND[entry["dialect"]](raw_of(entry), row)


# Numbers a person can check: where providers differ from each other.
PINNED = {
    # completion 31, reasoning 430, total 493 = 32 + 31 + 430
    "xai-openai_chat-cache_hit-parallel_tools-thinking": (30, 2, 0, 0, 461, 430),
    # 466 read of which 192 cached, 68 written and 266 thought: total 800
    "xai-openai_chat-cache_hit_stream-parallel_tools_stream-thinking_stream": (
        274, 192, 0, 0, 334, 266,
    ),
    # cached 403 of 347 read
    "azure-ai-foundry-openai_chat-cache_hit_stream-tool_call_stream-tool_result_stream": (
        0, 347, 0, 0, 18, 0,
    ),
    "deepseek-openai_chat-cache_hit-tool_result": (53, 128, 0, 0, 12, 0),
    "together-openai_chat-basic": (44, 0, 0, 0, 23, 0),
    "novita-openai_chat-basic": (46, 0, 0, 0, 4, 0),
    "nebius-openai_chat-tool_call": (21, 0, 0, 0, 2, 0),
    "databricks-openai_chat-stream": (14, 0, 0, 0, 4, 0),
    "hyperbolic-openai_chat-stream": (48, 0, 0, 0, 3, 0),
    "groq-openai_chat-stream": (124, 0, 0, 0, 2, 0),
    "venice-openai_chat-cache_hit_stream-length_stream-thinking_stream": (509, 5280, 0, 0, 16, 0),
    "perplexity-openai_chat-citations-schema": (20, 0, 0, 0, 5, 0),
}  # fmt: skip


@pytest.mark.parametrize("name", PINNED)
def test_a_few_are_pinned_number_by_number(name: str) -> None:
    [entry] = [entry for entry in RECORDED if title(entry) == name]
    assert normal(counted(entry)) == PINNED[name]


def test_the_recordings_are_of_many_providers_and_of_every_dialect() -> None:
    assert len({entry["provider"] for entry in RECORDED}) >= 35
    assert {entry["dialect"] for entry in RECORDED} == set(BY_HAND)


@pytest.mark.parametrize("entry", DOCUMENTED, ids=title)
def test_a_shape_that_is_only_documented_comes_out_as_it_should(entry: dict[str, Any]) -> None:
    assert list(normal(counted(entry))) == entry["expected"]
    if "cost_nanos" in entry:
        usage = ROWS[entry["provider"]].usage
        [cost] = [stated_nanos(find_cost(chunk, usage)) for chunk in entry["chunks"]]
        assert cost == entry["cost_nanos"]


def test_every_row_has_a_golden_shape_and_nobody_is_both_recorded_and_documented() -> None:
    recorded = {entry["provider"] for entry in RECORDED}
    documented = [entry["provider"] for entry in DOCUMENTED]
    assert len(set(documented)) == len(documented)
    assert recorded.isdisjoint(documented)
    assert recorded.union(documented) == {slug for slug, row in ROWS.items() if not row.sandbox}


def total_of(entry: Mapping[str, Any]) -> int | None:
    raw = raw_of(entry)
    total = raw.get("total_tokens", raw.get("totalTokenCount", raw.get("totalTokens")))
    return None if entry["dialect"] == "cohere" else total


@pytest.mark.parametrize("entry", [e for e in RECORDED if total_of(e) is not None], ids=title)
def test_the_total_that_was_stated_comes_out(entry: dict[str, Any]) -> None:
    """An answer's own sum, where it has one, is the sum of what is billed."""
    usage = counted(entry)
    assert usage.input_tokens + usage.output_tokens == total_of(entry)


def test_audio_is_outside_the_prompt_at_one_provider() -> None:
    raw = {
        "prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 400,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 375},
    }  # fmt: skip
    usage = read_usage(raw, ROWS["mistral"].usage)
    assert usage is not None
    assert dict(usage.units) == {"input": 20, "audio_in": 375, "output": 5}


@pytest.mark.parametrize("slug", sorted(s for s, r in ROWS.items() if r.dialect == "openai_chat"))
def test_no_count_is_ever_negative_or_lost_whatever_the_row(slug: str) -> None:
    raw = {
        "prompt_tokens": 208.0, "completion_tokens": 1, "total_tokens": 209,
        "prompt_tokens_details": {"cached_tokens": 314, "audio_tokens": None},
        "completion_tokens_details": None,
    }  # fmt: skip
    usage = read_usage(raw, ROWS[slug].usage)
    assert usage is not None
    assert all(count >= 0 for count in usage.units.values())
    assert usage.input_tokens + usage.output_tokens == 209
    assert usage.units["cache_read"] == 208


# ---------------------------------------------------------------- costs that providers state

COSTS = {
    "openrouter-openai_chat-stream": 58_500,
    "vercel-ai-gateway-openai_chat-reasoning_replay-tool_result": 2_502_000,
    "xai-openai_chat-cache_hit_stream-parallel_tools_stream-thinking_stream": 559_640,
    "perplexity-openai_chat-citations-schema": 5_030_000,
    "avian-openai_chat-cache_hit_stream-parallel_tools_stream-thinking_stream": 328_700,
    "venice-openai_chat-tool_call_stream-tool_result_stream": 131_312,
}


@pytest.mark.parametrize("name", COSTS)
def test_the_cost_a_provider_states_is_read_to_the_nano_dollar(name: str) -> None:
    [entry] = [entry for entry in RECORDED if title(entry) == name]
    row = ROWS[entry["provider"]]
    stated = [find_cost(chunk, row.usage) for chunk in entry["chunks"]]
    [last] = [cost for cost in stated if cost is not None][-1:]
    assert stated_nanos(last) == pytest.approx(COSTS[name], abs=1)


def test_who_states_no_cost_has_none() -> None:
    silent = {"openai", "anthropic", "groq", "cerebras", "mistral", "deepseek", "together"}
    for entry in RECORDED:
        if entry["provider"] in silent and entry["dialect"] == "openai_chat":
            usage = ROWS[entry["provider"]].usage
            assert [find_cost(chunk, usage) for chunk in entry["chunks"]] == [
                None for _ in entry["chunks"]
            ]
