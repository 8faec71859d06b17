"""What some providers take otherwise than the rest: each flag on the body that goes out."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.openai_chat.quirks import apply_quirks, short_id
from gatewayz.dialects.openai_chat.request import decode_request, forward_request
from gatewayz.dialects.registry import UPSTREAMS
from gatewayz.providers.config import load_providers

ROWS = load_providers()
HELLO = [{"role": "user", "content": "hi"}]


def sent(slug: str, native_id: str = "m", **body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The body as it goes out, and what it says that it left out."""
    asked = {"model": "m", "messages": HELLO, **body}
    before = json.dumps(asked)
    request = forward_request(decode_request(asked), ROWS[slug].target(native_id))
    assert json.dumps(asked) == before, "what the caller sent is not to be changed"
    return json.loads(request.body), request.dropped


def test_every_quirk_of_every_row_is_one_that_its_dialect_implements() -> None:
    for row in ROWS.values():
        spoken = {row.dialect, *(name for name in row.also if name in UPSTREAMS)}
        known = {quirk for name in spoken for quirk in UPSTREAMS[name].quirks}
        assert row.quirks <= UPSTREAMS[row.dialect].quirks
        for variant in row.variants:
            assert variant.quirks <= known, row.slug


CALLS = [
    {"role": "user", "content": "hi"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "call_Zx-1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "abcDEF123", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        ],
    },
    {"role": "tool", "tool_call_id": "call_Zx-1", "content": "1"},
    {"role": "tool", "tool_call_id": "abcDEF123", "content": "2"},
]


def test_ids_of_calls_are_nine_letters_and_digits_where_no_others_are_taken() -> None:
    body, dropped = sent("mistral", messages=CALLS)
    first, second = body["messages"][1]["tool_calls"]
    assert len(first["id"]) == 9
    assert first["id"].isalnum()
    assert body["messages"][2]["tool_call_id"] == first["id"]
    assert second["id"] == body["messages"][3]["tool_call_id"] == "abcDEF123"
    assert dropped == ()
    assert sent("openai", messages=CALLS)[0]["messages"] == CALLS


@given(st.text())
def test_a_short_id_is_short_and_the_same_at_every_turn(call_id: str) -> None:
    made = short_id(call_id)
    assert len(made) == 9
    assert made.isascii()
    assert made.isalnum()
    assert short_id(call_id) == made
    assert short_id(made) == made


def test_names_of_speakers_are_left_out_where_they_are_refused_and_it_is_said() -> None:
    named = [{"role": "user", "name": "ann", "content": "hi"}]
    body, dropped = sent("groq", messages=named)
    assert body["messages"] == HELLO
    assert "messages.name" in dropped
    assert sent("groq")[1] == ()
    assert sent("openai", messages=named)[0]["messages"] == named


TOOLS = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in "ab"]


def test_a_choice_of_one_tool_is_made_by_sending_it_alone_where_no_object_is_taken() -> None:
    choice = {"type": "function", "function": {"name": "b"}}
    body, _ = sent("azure-ai-foundry", tools=TOOLS, tool_choice=choice)
    assert body["tools"] == TOOLS[1:]
    assert body["tool_choice"] == "required"
    body, _ = sent("azure-ai-foundry", tools=TOOLS, tool_choice="auto")
    assert (body["tools"], body["tool_choice"]) == (TOOLS, "auto")
    unknown = {"type": "function", "function": {"name": "c"}}
    body, _ = sent("azure-ai-foundry", tools=TOOLS, tool_choice=unknown)
    assert body["tool_choice"] == unknown


def test_words_about_a_schema_are_left_out_of_it_but_fields_of_that_name_stay() -> None:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {"$id": {"type": "string", "$comment": "x"}, "b": {"type": "integer"}},
    }
    tools = [{"type": "function", "function": {"name": "a", "parameters": schema}}]
    body, _ = sent("moonshot", tools=tools)
    assert body["tools"][0]["function"]["parameters"] == {
        "type": "object",
        "properties": {"$id": {"type": "string"}, "b": {"type": "integer"}},
    }


@given(
    st.dictionaries(
        st.sampled_from(["messages", "tools", "tool_choice", "response_format", "x"]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=8), inner, max_size=3)
            ),
            max_leaves=10,
        ),
    ),
    st.sets(st.sampled_from(["short_call_ids", "no_names", "named_tool_alone", "plain_schemas"])),
)
def test_no_body_breaks_a_quirk(body: dict[str, Any], quirks: set[str]) -> None:
    apply_quirks(body, frozenset(quirks))


# ---------------------------------------------------------------- rows in the flesh


def test_a_default_that_would_change_the_answer_is_turned_off() -> None:
    """One host cuts prompts in silence, one puts words of its own before the caller's."""
    assert sent("fireworks")[0]["context_length_exceeded_behavior"] == "error"
    assert sent("venice")[0]["venice_parameters"] == {"include_venice_system_prompt": False}
    own = {"include_venice_system_prompt": True}
    assert sent("venice", venice_parameters=own)[0]["venice_parameters"] == own


def test_no_row_adds_a_parameter_of_sampling() -> None:
    known = {"model", "messages"}
    for slug, row in ROWS.items():
        if row.dialect == "openai_chat":
            added = sent(slug)[0].keys() - known - row.defaults.keys()
            assert not added, slug


@pytest.mark.parametrize(
    ("native_id", "kept"), [("gpt-5.4", True), ("gpt-4o", True), ("gpt-5", False), ("o3", False)]
)
def test_a_model_that_reasons_is_sent_no_sampling_and_it_is_said(
    native_id: str, kept: bool
) -> None:
    body, dropped = sent("openai", native_id, temperature=0.5, seed=1)
    assert ("temperature" in body) == kept
    assert ("temperature" in dropped) != kept
    assert body["seed"] == 1


def test_what_must_not_get_lost_is_refused_where_it_cannot_be_sent() -> None:
    with pytest.raises(InvalidRequest, match="stop"):
        sent("xai", "grok-4", stop=["x"])
    assert sent("xai", "grok-3", stop=["x"])[0]["stop"] == ["x"]
    with pytest.raises(InvalidRequest, match="tools"):
        sent("perplexity", tools=TOOLS)


def test_bounds_are_the_providers() -> None:
    assert sent("moonshot", temperature=1.7)[0]["temperature"] == 1
    assert sent("zai", top_p=0.0)[0]["top_p"] == 0.01
    assert ROWS["minimax"].clamp == {"temperature": (0.01, 1.0)}


def test_models_of_a_row_differ_by_their_names() -> None:
    target = ROWS["anthropic"].target
    assert "adaptive_thinking" in target("claude-opus-4-7-20260101").quirks
    assert "no_sampling" in target("claude-opus-5").quirks
    assert target("claude-opus-4-6").quirks == {"strict_tools", "adaptive_thinking"}
    assert "no_output_format" in target("claude-3-5-haiku-20241022").quirks
    assert target("claude-opus-4-5-20251101").quirks == {"strict_tools"}
    bedrock = ROWS["aws-bedrock"].target
    assert "adaptive_thinking" in bedrock("us.anthropic.claude-opus-4-7-v1:0").quirks
    assert "reasoning_effort" in bedrock("openai.gpt-oss-120b-1:0").quirks
    assert bedrock("eu.anthropic.claude-sonnet-4-5-20250929-v1:0").quirks == frozenset()


@pytest.mark.parametrize("slug", ["groq", "deepseek", "zai", "cerebras", "perplexity", "ollama"])
def test_who_gives_one_answer_only_is_never_asked_for_several(slug: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(slug, n=2)
    assert refused.value.param == "n"
    # What asks for nothing is neither sent nor told.
    for value in (1, None):
        body, dropped = sent(slug, n=value)
        assert ("n" in body, "n" in dropped) == (False, False)
