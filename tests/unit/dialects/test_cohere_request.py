"""Cohere chat requests: what is written, what is dropped by name, what is refused."""

import json
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.cohere.codec import COHERE
from gatewayz.dialects.cohere.wire import sent_name
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import (
    FunctionTool,
    GenerationRequest,
    Reasoning,
    ResponseFormat,
    ToolChoice,
)
from gatewayz.dialects.parts import (
    Audio,
    CacheMark,
    File,
    Image,
    Message,
    Opaque,
    RedactedThinking,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gatewayz.dialects.protocol import HttpRequest
from tests.unit.dialects.forms import requests_of

PLAIN = Target("command-a", provider="provider")
THINKS = Target("command-a-reasoning", provider="provider", reasons=True)
HELLO = Message("user", (Text("Hello"),))
PNG = Source("data", "iVBORw0KGgo=", "image/png")
KNOWN = {
    "model", "messages", "stream", "tools", "tool_choice", "strict_tools", "documents",
    "citation_options", "response_format", "safety_mode", "max_tokens", "stop_sequences",
    "temperature", "seed", "frequency_penalty", "presence_penalty", "k", "p", "logprobs",
    "thinking",
}  # fmt: skip


def checked(written: HttpRequest) -> Any:
    """The body, with the promises of the protocol's documentation kept."""
    body = json.loads(written.body)
    assert body.keys() <= KNOWN
    assert written.path == "/v2/chat"
    assert 0 <= body.get("temperature", 0) <= 1
    assert 0.01 <= body.get("p", 0.5) <= 0.99
    assert 0 <= body.get("k", 0) <= 500
    assert len(body.get("stop_sequences", ())) <= 5
    assert body.get("tool_choice") in (None, "NONE", "REQUIRED")
    for tool in body.get("tools", ()):
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", tool["function"]["name"])
        assert tool["function"]["parameters"]["type"]
    for message in body["messages"]:
        assert message["role"] in ("system", "user", "assistant", "tool")
        assert message.get("content") or message.get("tool_calls")
    return body


def sent(target: Target = PLAIN, **fields: Any) -> tuple[Any, HttpRequest]:
    messages = fields.pop("messages", (HELLO,))
    request = GenerationRequest("openai_chat", "maker/model", messages, **fields)
    written = COHERE.encode_request(request, target)
    return checked(written), written


def test_a_plain_request_has_nothing_that_was_not_asked() -> None:
    body, written = sent()
    assert body == {"model": "command-a", "messages": [{"role": "user", "content": "Hello"}]}
    assert written.dropped == ()


def test_messages_keep_their_roles_and_order() -> None:
    call = ToolCall("call_1", "f", '{"a" : 1.0}')
    body, written = sent(
        messages=(
            Message("developer", (Text("One"), Text("Two"))),
            Message("user", (Text("Look"), Text(""), Image(PNG, "high"))),
            Message("assistant", (Thinking("I look."), call, ToolCall("c2", "g-h", ""))),
            Message("tool", (
                ToolResult("call_1", (Text("ok"),)),
                ToolResult("c2", (Text("a"), File(Source("text", "doc"), "Doc"), Image(PNG))),
                ToolResult("c3", ()),
            )),
            Message("system", (Text("Late"),)),
            Message("assistant", (Refusal("No."),)),
        ),
        tools=(FunctionTool("f"), FunctionTool("g-h", "Does g", {"properties": {"x": {}}})),
    )  # fmt: skip
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "tool", "tool", "user", "system",
                     "assistant"]  # fmt: skip
    system, user, called, first, second, third, pictures, _, refused = body["messages"]
    assert [item["text"] for item in system["content"]] == ["One", "Two"]
    assert user["content"][1]["image_url"] == {"url": PNG.data_url, "detail": "high"}
    assert called["tool_plan"] == "I look."
    assert "content" not in called
    changed = sent_name("g-h")
    functions = [call["function"] for call in called["tool_calls"]]
    assert functions == [
        {"name": "f", "arguments": '{"a" : 1.0}'},
        {"name": changed, "arguments": "{}"},
    ]
    assert written.notes.names == {changed: "g-h"}
    assert first == {"role": "tool", "tool_call_id": "call_1", "content": "ok"}
    assert [item["type"] for item in second["content"]] == ["text", "document", "text"]
    document = second["content"][1]["document"]
    assert document == {"data": {"title": "Doc", "text": "doc"}}
    assert third["content"] == "."
    assert [item["type"] for item in pictures["content"]] == ["text", "image_url"]
    assert refused["content"] == "No."
    assert [tool["function"]["name"] for tool in body["tools"]] == ["f", changed]


def test_names_of_tools_are_changed_only_where_they_must_be() -> None:
    for name in ("f", "_x", "get_weather2"):
        assert sent_name(name) == name
    odd = ["a-b", "a_b", "a.b", "2x", "Ä", "", "x" * 80, "a b", "-"]
    changed = [sent_name(name) for name in odd]
    assert len(set(changed)) == len(odd)
    assert all(re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", name) for name in changed)


def test_texts_of_files_stand_beside_the_messages_or_in_them() -> None:
    files = (File(Source("data", "YSxi", "text/csv"), "t.csv"), File(Source("text", "plain")))
    messages = (Message("user", (*files, Text("Sum?"))),)
    documents = [{"id": "mine", "data": {"text": "x"}}]
    extras = {"documents": documents, "citation_options": {"mode": "FAST"}, "odd": 1}
    body, written = sent(messages=messages, extras=extras)
    assert body["documents"] == [
        {"id": "document-1", "data": {"title": "t.csv", "text": "a,b"}},
        {"id": "document-2", "data": {"text": "plain"}},
        *documents,
    ]
    assert body["citation_options"] == {"mode": "FAST"}
    assert body["messages"] == [{"role": "user", "content": "Sum?"}]
    assert written.dropped == ("odd",)
    body, _ = sent(messages=messages, tools=(FunctionTool("f"),))
    texts = [item["text"] for item in body["messages"][0]["content"]]
    assert texts == ["t.csv:\na,b", "plain", "Sum?"]
    assert "documents" not in body


def test_thoughts_go_back_where_the_model_takes_them() -> None:
    own, other = Thinking("Hm", origin="cohere"), Thinking("No", "sig", "anthropic")
    turn = Message("assistant", (own, other, RedactedThinking("x", "anthropic"), Text("Hi")))
    body, written = sent(THINKS, messages=(HELLO, turn, HELLO))
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "Hm"},
        {"type": "text", "text": "Hi"},
    ]
    assert written.dropped == ("messages.reasoning",)
    body, written = sent(messages=(HELLO, turn, HELLO))
    assert body["messages"][1] == {"role": "assistant", "content": "Hi"}
    assert written.dropped == ("messages.reasoning",)


REASONING = [
    (Reasoning("high"), {"type": "enabled", "token_budget": 16384}),
    (Reasoning("max"), {"type": "enabled"}),
    (Reasoning(mode="on"), {"type": "enabled"}),
    (Reasoning(budget_tokens=3000, mode="on"), {"type": "enabled", "token_budget": 3000}),
    (Reasoning("none"), {"type": "disabled"}),
    (Reasoning(mode="off"), {"type": "disabled"}),
]


@pytest.mark.parametrize(("reasoning", "expected"), REASONING)
def test_reasoning_is_asked_by_a_budget(reasoning: Reasoning, expected: Any) -> None:
    assert sent(THINKS, reasoning=reasoning)[0]["thinking"] == expected
    body, written = sent(Target("m", reasons=False), reasoning=reasoning)
    assert "thinking" not in body
    assert written.dropped == (() if reasoning.off else ("reasoning_effort",))


def test_tools_and_their_choice_are_written() -> None:
    tools = (FunctionTool("f", strict=True), FunctionTool("g"))
    body, written = sent(tools=tools, tool_choice=ToolChoice("auto"))
    assert "tool_choice" not in body
    assert "strict_tools" not in body
    assert written.dropped == ("tools.strict",)
    needy = {"type": "object", "properties": {"a": {}}, "required": ["a"]}
    strict, _ = sent(tools=(FunctionTool("f", parameters=needy, strict=True),))
    assert strict["strict_tools"] is True
    assert body["tools"][1]["function"]["parameters"] == {"type": "object", "properties": {}}
    for choice, word, count in [
        (ToolChoice("none"), "NONE", 2),
        (ToolChoice("required"), "REQUIRED", 2),
        (ToolChoice("required", ("g",)), "REQUIRED", 1),
        (ToolChoice("auto", ("g",)), None, 1),
    ]:
        body, _ = sent(tools=tools, tool_choice=choice)
        assert (body.get("tool_choice"), len(body["tools"])) == (word, count)
    assert "parallel_tool_calls" in sent(tools=tools, parallel_tools=False)[1].dropped


def test_structured_output_is_an_object_with_a_schema() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    body, _ = sent(response_format=ResponseFormat("json_schema", schema, "n"))
    assert body["response_format"] == {"type": "json_object", "json_schema": schema}
    body, _ = sent(response_format=ResponseFormat("json_object"))
    assert body["response_format"] == {"type": "json_object"}
    assert "response_format" not in sent(response_format=ResponseFormat("text"))[0]


def test_sampling_is_bounded_and_what_is_unknown_is_named() -> None:
    body, written = sent(
        stream=True, temperature=1.7, top_p=1, top_k=900, stop=("END",), max_output_tokens=9,
        seed=1, presence_penalty=-1, frequency_penalty=1.5, logprobs=True, top_logprobs=2,
        user="u", service_tier="flex", cache=CacheMark(),
    )  # fmt: skip
    assert {k: v for k, v in body.items() if k not in ("model", "messages")} == {
        "stream": True, "temperature": 1, "p": 0.99, "k": 500, "stop_sequences": ["END"],
        "max_tokens": 9, "seed": 1, "frequency_penalty": 1, "logprobs": True,
    }  # fmt: skip
    assert set(written.dropped) == {
        "presence_penalty", "top_logprobs", "user", "service_tier", "cache_control",
    }  # fmt: skip


def test_the_row_of_a_provider_changes_fields() -> None:
    row = Target("m", drop=frozenset({"seed"}), rename={"max_tokens": "max_output"})
    request = GenerationRequest("openai_chat", "m", (HELLO,), seed=1, max_output_tokens=5)
    written = COHERE.encode_request(request, row)
    assert json.loads(written.body)["max_output"] == 5
    assert written.dropped == ("seed",)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"stop": ("a", "b", "c", "d", "e", "f")},
        {"tools": (Opaque("anthropic", {"type": "web_search_20250305"}),)},
        {"tools": (FunctionTool("f", custom=True),)},
        {"tools": (FunctionTool("f"),), "response_format": ResponseFormat("json_object")},
        {"messages": (Message("user", (Audio(Source("data", "AAAA"), "wav"),)),)},
        {"messages": (Message("user", (Image(Source("id", "file-1")),)),)},
        {"messages": (Message("user", (File(Source("data", "AAAA", "application/pdf")),)),)},
        {"messages": (Message("user", (File(Source("data", "/w==", "text/plain")),)),)},
        {"messages": (Message("assistant", (ToolCall("c", "f", "x", custom=True),)),)},
        {"messages": (Message("tool", (Text("x"),)),)},
        {"extras": {"documents": "x"}},
        {"extras": {"documents": ["x"]}, "response_format": ResponseFormat("json_object")},
    ],
)
def test_what_must_not_get_lost_is_refused(fields: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(**fields)
    assert refused.value.param


STEADY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
@STEADY
@given(data=st.data())
def test_any_request_is_written_or_refused_by_its_place(dialect: str, data: Any) -> None:
    request: GenerationRequest = data.draw(requests_of(dialect))
    target = data.draw(st.sampled_from([PLAIN, THINKS]))
    try:
        written = COHERE.encode_request(request, target)
    except InvalidRequest as error:
        assert error.param  # noqa: PT017
        return
    body = checked(written)
    texts = json.dumps(body["messages"], ensure_ascii=False)
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, Text):
                assert json.dumps(part.text, ensure_ascii=False)[1:-1] in texts
            if isinstance(part, ToolCall) and part.arguments:
                calls = [c for m in body["messages"] for c in m.get("tool_calls", ())]
                assert part.arguments in [call["function"]["arguments"] for call in calls]
