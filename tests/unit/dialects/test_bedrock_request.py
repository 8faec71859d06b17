"""Converse requests: what is written is what the service's own model of itself allows."""

import base64
import itertools
import json
import re
from typing import Any

import botocore.session
import pytest
from botocore.validate import ParamValidator
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.bedrock.codec import BEDROCK
from gatewayz.dialects.bedrock.write_request import JSON_HINT, JSON_TOOL, NO_CALLS_HINT
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
    Video,
)
from gatewayz.dialects.protocol import HttpRequest
from gatewayz.dialects.registry import CLIENTS
from tests.unit.dialects.exchanges import REPORT, reply
from tests.unit.dialects.forms import requests_of

MODEL = "us.anthropic.claude-sonnet-4-v1:0"
CLAUDE = Target(MODEL, provider="provider")
OTHER = Target("maker.model-v1:0", provider="provider")
PNG = Source("data", "iVBORw0KGgo=", "image/png")
PDF = Source("data", base64.b64encode(b"%PDF-1.4").decode(), "application/pdf")
HELLO = Message("user", (Text("Hello"),))
SERVICE = botocore.session.get_session().get_service_model("bedrock-runtime")


def _check_words(value: Any, shape: Any, where: str) -> None:
    """What botocore itself leaves to the service: enumerations, and patterns of names."""
    match shape.type_name:
        case "structure" if not getattr(shape, "is_document_type", False):
            for name, inner in value.items():
                _check_words(inner, shape.members[name], f"{where}.{name}")
        case "list":
            for inner in value:
                _check_words(inner, shape.member, where)
        case "string":
            assert not shape.enum or value in shape.enum, f"{where} = {value}"
            pattern = shape.metadata.get("pattern")
            assert pattern is None or re.fullmatch(pattern, value), f"{where} = {value}"


def checked(sent: HttpRequest, target: Target) -> Any:
    """The body, after the model of the service has accepted it."""
    body = json.loads(sent.body)
    shape = SERVICE.operation_model("Converse").input_shape
    report = ParamValidator().validate({"modelId": target.native_id, **body}, shape)
    assert not report.has_errors(), report.generate_report()
    _check_words(body, shape, "")
    _check_turns(body)
    return body


def _check_turns(body: Any) -> None:
    """What its documentation says beyond its model."""
    roles = [message["role"] for message in body["messages"]]
    assert roles[0] == "user"
    assert all(one != two for one, two in itertools.pairwise(roles))
    blocks = [block for message in body["messages"] for block in message["content"]]
    assert all(block["text"].strip() for block in blocks if "text" in block)
    if any(block.keys() & {"toolUse", "toolResult"} for block in blocks):
        assert "toolConfig" in body
    marks = [b for b in [*blocks, *body.get("system", ())] if "cachePoint" in b]
    marks += [t for t in body.get("toolConfig", {}).get("tools", ()) if "cachePoint" in t]
    assert len(marks) <= 4
    names = [block["document"]["name"] for block in blocks if "document" in block]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"(?!.*  )[A-Za-z0-9 ()\[\]-]+", name) for name in names)


def sent(target: Target = CLAUDE, **fields: Any) -> tuple[Any, HttpRequest]:
    dialect, messages = fields.pop("dialect", "openai_chat"), fields.pop("messages", (HELLO,))
    request = GenerationRequest(dialect, "maker/model", messages, **fields)
    written = BEDROCK.encode_request(request, target)
    return checked(written, target), written


def test_the_model_stands_in_the_path_as_one_segment() -> None:
    assert sent()[1].path == "/model/us.anthropic.claude-sonnet-4-v1%3A0/converse"
    arn = "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-x-v1:0"
    path = sent(Target(arn), stream=True)[1].path
    assert path == "/model/" + arn.replace(":", "%3A").replace("/", "%2F") + "/converse-stream"


def test_a_plain_request_has_nothing_that_was_not_asked() -> None:
    body, written = sent()
    assert body == {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
    assert written.dropped == ()


def test_messages_become_alternating_turns() -> None:
    call = ToolCall("call_1", "f", '{"a" : 1.0}')
    other = ToolCall("id with blanks", "g.h", "")
    body, written = sent(
        messages=(
            Message("system", (Text("One"),)),
            Message("developer", (Text("Two"),)),
            HELLO,
            Message("user", (Text("More"), Text("  "), Image(PNG))),
            Message("assistant", (Text("I call."), call, other)),
            Message("tool", (
                ToolResult("call_1", (Text("ok"), Image(PNG), File(PDF, "r.pdf"))),
                ToolResult("id with blanks", (), is_error=True),
            )),
            Message("user", (Text("Then?"),)),
            Message("system", (Text("Late"),)),
            Message("assistant", (Text("It is  "),)),
        ),
        tools=(FunctionTool("f"), FunctionTool("g.h", "Does g")),
    )  # fmt: skip
    assert body["system"] == [{"text": "One"}, {"text": "Two"}]
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user", "assistant"]
    assert [next(iter(block)) for block in body["messages"][0]["content"]] == [
        "text",
        "text",
        "image",
    ]
    [_, first, second] = body["messages"][1]["content"]
    assert first["toolUse"] == {"toolUseId": "call_1", "name": "f", "input": {"a": 1.0}}
    assert b'{"a" : 1.0}' in written.body
    changed = second["toolUse"]["name"]
    assert written.notes.names == {changed: "g.h"}
    assert body["toolConfig"]["tools"][1]["toolSpec"]["name"] == changed
    [one, two, then, late] = body["messages"][2]["content"]
    assert [next(iter(b)) for b in one["toolResult"]["content"]] == ["text", "image", "document"]
    assert two["toolResult"]["toolUseId"] == second["toolUse"]["toolUseId"]
    assert two["toolResult"]["status"] == "error"
    assert (then, late) == ({"text": "Then?"}, {"text": "<system>Late</system>"})
    assert body["messages"][3]["content"] == [{"text": "It is"}]


def test_files_are_documents_with_names_of_their_own() -> None:
    files = (
        File(PDF, "a/b  c.pdf"), File(PDF, "a/b c.pdf"), File(PDF),
        File(Source("text", "plain", "text/plain"), "Notes"),
        File(Source("data", "YSxi", "text/csv"), extras={"context": "c", "citations": None}),
        File(Source("data", "eHh4"), "sheet.XLSX"),
    )  # fmt: skip
    body, _ = sent(messages=(Message("user", files),), dialect="anthropic")
    written = body["messages"][0]["content"]
    documents = [block["document"] for block in written[:-1]]
    assert written[-1] == {"text": "."}
    named = [(d["name"], d["format"]) for d in documents]
    assert named == [
        ("a-b c", "pdf"), ("a-b c-2", "pdf"), ("document", "pdf"), ("Notes", "txt"),
        ("document-2", "csv"), ("sheet-XLSX", "xlsx"),
    ]  # fmt: skip
    assert base64.b64decode(documents[3]["source"]["bytes"]) == b"plain"
    assert documents[4]["context"] == "c"


def test_videos_and_sounds_are_bytes_too() -> None:
    parts = (Video(Source("data", "AAAA", "video/mp4")), Audio(Source("data", "AAAA"), "wav"))
    body, _ = sent(messages=(Message("user", parts),))
    assert [next(iter(b)) for b in body["messages"][0]["content"]] == ["video", "audio"]
    assert set(BEDROCK.bytes_only) == {Image, File, Video, Audio}


REFUSED: list[Any] = [
    Image(Source("url", "https://example.com/a.png")),
    Image(Source("url", "s3://bucket/ours.png")),
    Image(Source("id", "file-1")),
    Image(Source("data", "AAAA", "image/tiff")),
    File(Source("data", "AAAA", "application/zip"), "a.zip"),
    Audio(Source("data", "AAAA"), "midi"),
    Opaque("anthropic", {"type": "search_result"}),
    ToolCall("c", "f", "not json"),
    ToolCall("c", "f", "text", custom=True),
    ToolResult("c", (Opaque("anthropic", {"type": "tool_reference"}),)),
    ToolResult("c", (Audio(Source("data", "AAAA"), "wav"),)),
]


@pytest.mark.parametrize("part", REFUSED, ids=repr)
def test_what_cannot_be_said_is_refused_by_its_place(part: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(messages=(Message("user", (Text("x"), part)),))
    assert refused.value.param == "messages[0].content[1]"


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2},
        {"tools": (Opaque("anthropic", {"type": "web_search_20250305"}),)},
        {"tools": (FunctionTool("f", custom=True),)},
        {"extras": {"web_search_options": {"a": 1}}},
        {"extras": {"guardrailConfig": "x"}},
    ],
)
def test_what_must_not_get_lost_is_refused(fields: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        sent(**fields)
    assert refused.value.param


# ---------------------------------------------------------------- thoughts

SIGNED = Thinking("Hm", "c2ln", "anthropic")
HIDDEN = RedactedThinking("EqQBdata", "anthropic")


def _thoughts(target: Target, *parts: Any) -> Any:
    turns = (HELLO, Message("assistant", (*parts, Text("Hi"))), HELLO)
    body, written = sent(target, messages=turns)
    return body["messages"][1]["content"][:-1], written


def test_thoughts_go_back_only_to_the_family_that_signed_them() -> None:
    blocks, written = _thoughts(CLAUDE, SIGNED, HIDDEN)
    assert blocks[0]["reasoningContent"]["reasoningText"] == {"text": "Hm", "signature": "c2ln"}
    data = blocks[1]["reasoningContent"]["redactedContent"]
    assert base64.b64decode(data) == b"EqQBdata"
    assert written.dropped == ()
    for target, part in [
        (OTHER, SIGNED),
        (CLAUDE, Thinking("Hm", "c2ln", "google")),
        (CLAUDE, Thinking("Hm")),
        (CLAUDE, RedactedThinking("x", "openai")),
    ]:
        blocks, written = _thoughts(target, part)
        assert blocks == []
        assert written.dropped == ("messages.thinking",)
    assert _thoughts(Target("arn:profile", family="anthropic"), SIGNED)[0]


@pytest.mark.parametrize("target", [CLAUDE, OTHER])
def test_hidden_thoughts_come_back_as_the_bytes_that_went(target: Target) -> None:
    data = base64.b64encode(b"EqQBdata" if target is CLAUDE else b"\xff\x00").decode()
    content = [{"reasoningContent": {"redactedContent": data}}]
    body = {"output": {"message": {"content": content}}, "stopReason": "end_turn"}
    part = BEDROCK.decode_answer(json.dumps(body).encode(), target).choices[0].parts[0]
    assert _thoughts(target, part)[0] == content


def _asked(target: Target, reasoning: Reasoning, **fields: Any) -> Any:
    body, written = sent(target, reasoning=reasoning, max_output_tokens=20_000, **fields)
    return body.get("additionalModelRequestFields"), written.dropped


def test_reasoning_is_asked_in_the_words_of_the_model() -> None:
    high = Reasoning("high")
    budget = {"thinking": {"type": "enabled", "budget_tokens": 16384}}
    assert _asked(CLAUDE, high) == (budget, ())
    adaptive = Target(MODEL, quirks=frozenset({"adaptive_thinking"}))
    fields, _ = _asked(adaptive, Reasoning("high", show="omitted"))
    assert fields == {
        "thinking": {"type": "adaptive", "display": "omitted"}, "output_config": {"effort": "high"},
    }  # fmt: skip
    effort = Target("openai.gpt-oss-1:0", quirks=frozenset({"reasoning_effort"}))
    assert _asked(effort, Reasoning("xhigh"))[0] == {"reasoning_effort": "high"}
    config = Target("amazon.nova-2-lite-v1:0", quirks=frozenset({"reasoning_config"}))
    fields, _ = _asked(config, high)
    assert fields == {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}
    assert _asked(config, Reasoning("none"))[0] == {"reasoningConfig": {"type": "disabled"}}
    for target in (OTHER, Target(MODEL, reasons=False)):
        assert _asked(target, high) == (None, ("reasoning_effort",))
    assert _asked(CLAUDE, Reasoning(mode="off")) == (None, ())


def test_thinking_gives_way_to_what_it_cannot_stand_beside() -> None:
    high = Reasoning("high")
    tools = (FunctionTool("f"),)
    forced = {"tools": tools, "tool_choice": ToolChoice("required")}
    assert _asked(CLAUDE, high, **forced)[1] == ("reasoning_effort",)
    replied = (
        HELLO,
        Message("assistant", (ToolCall("c", "f", "{}"),)),
        Message("tool", (ToolResult("c", (Text("x"),)),)),
    )
    assert _asked(CLAUDE, high, messages=replied, tools=tools)[1] == ("reasoning_effort",)
    fields, dropped = _asked(CLAUDE, high, temperature=0.2, top_p=0.5, top_k=3)
    assert "thinking" in fields
    assert dropped == ("temperature", "top_p", "top_k")
    body, _ = sent(CLAUDE, reasoning=high)
    assert body["inferenceConfig"]["maxTokens"] == 8192


# ---------------------------------------------------------------- tools and output


def _tools(choice: ToolChoice | None, target: Target = CLAUDE, **fields: Any) -> Any:
    tools = (FunctionTool("f", strict=True), FunctionTool("g", "", {"properties": {}}))
    return sent(target, tools=tools, tool_choice=choice, **fields)


def test_tools_and_their_choice_are_written() -> None:
    body, written = _tools(ToolChoice("auto"))
    assert body["toolConfig"]["toolChoice"] == {"auto": {}}
    assert written.dropped == ("tools.strict",)
    strict = Target(MODEL, quirks=frozenset({"strict_tools"}))
    assert _tools(None, strict)[0]["toolConfig"]["tools"][0]["toolSpec"]["strict"] is True
    for choice, expected in [
        (ToolChoice("required"), {"any": {}}),
        (ToolChoice("required", ("g",)), {"tool": {"name": "g"}}),
    ]:
        assert _tools(choice)[0]["toolConfig"]["toolChoice"] == expected
    subset = _tools(ToolChoice("auto", ("g",)))[0]["toolConfig"]
    assert [tool["toolSpec"]["name"] for tool in subset["tools"]] == ["g"]
    free = Target(MODEL, quirks=frozenset({"no_tool_choice"}))
    assert "toolChoice" not in _tools(ToolChoice("auto"), free)[0]["toolConfig"]
    with pytest.raises(InvalidRequest, match="tool_choice"):
        _tools(ToolChoice("required"), free)
    assert "parallel_tool_calls" in _tools(None, parallel_tools=False)[1].dropped


def test_no_call_is_said_by_leaving_out_the_tools_or_in_a_sentence() -> None:
    body, _ = _tools(ToolChoice("none"))
    assert "toolConfig" not in body
    history = (
        HELLO,
        Message("assistant", (ToolCall("c", "f", "{}"),)),
        Message("tool", (ToolResult("c", (Text("x"),)),)),
    )
    body, _ = _tools(ToolChoice("none"), messages=history)
    assert len(body["toolConfig"]["tools"]) == 2
    assert body["system"] == [{"text": NO_CALLS_HINT}]
    body, _ = sent(messages=history)
    assert body["toolConfig"]["tools"][0]["toolSpec"]["name"] == "f"
    assert body["system"] == [{"text": NO_CALLS_HINT}]


def test_structured_output_is_asked_as_a_text_of_schema_or_by_a_tool() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    form = ResponseFormat("json_schema", schema, "my answer", "An answer", True)
    body, _ = sent(response_format=form)
    written = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert json.loads(written["schema"]) == schema
    assert written["description"] == "An answer"
    older = Target(MODEL, quirks=frozenset({"no_output_format"}))
    body, request = sent(older, response_format=form)
    assert body["toolConfig"]["toolChoice"] == {"tool": {"name": JSON_TOOL}}
    assert request.notes.json_tool == JSON_TOOL
    with pytest.raises(InvalidRequest, match="response_format"):
        sent(older, response_format=form, tools=(FunctionTool("f"),))
    body, _ = sent(response_format=ResponseFormat("json_object"))
    assert body["system"] == [{"text": JSON_HINT}]
    assert "system" not in sent(response_format=ResponseFormat("text"))[0]


def test_sampling_is_bounded_and_what_is_unknown_is_named() -> None:
    body, written = sent(
        temperature=1.7, top_p=0.9, top_k=40, stop=("END",), max_output_tokens=9, seed=1,
        user="u-1", logprobs=True, service_tier="priority", presence_penalty=0.1,
        metadata={"a": "b"}, extras={"x_new": 1, "guardrailConfig": {"guardrailIdentifier": "g1"}},
    )  # fmt: skip
    config = {"maxTokens": 9, "temperature": 1, "stopSequences": ["END"]}
    assert body["inferenceConfig"] == config
    assert body["additionalModelRequestFields"] == {"top_k": 40}
    assert body["additionalModelResponseFieldPaths"] == ["/stop_sequence"]
    assert body["requestMetadata"] == {"user_id": "u-1"}
    assert body["guardrailConfig"] == {"guardrailIdentifier": "g1"}
    assert set(written.dropped) == {
        "top_p", "seed", "logprobs", "service_tier", "presence_penalty", "metadata", "x_new",
    }  # fmt: skip
    both, _ = sent(OTHER, temperature=0.1, top_p=0.9)
    assert both["inferenceConfig"] == {"temperature": 0.1, "topP": 0.9}
    nested = Target("amazon.nova-v1:0", quirks=frozenset({"nested_top_k"}))
    fields = sent(nested, top_k=5)[0]["additionalModelRequestFields"]
    assert fields == {"inferenceConfig": {"topK": 5}}
    tiers = Target(MODEL, quirks=frozenset({"service_tiers"}))
    assert sent(tiers, service_tier="flex")[0]["serviceTier"] == {"type": "flex"}
    assert sent(service_tier="auto")[1].dropped == ()


def test_the_row_of_a_provider_changes_fields_wherever_they_stand() -> None:
    row = Target(
        MODEL,
        drop=frozenset({"topP", "requestMetadata"}),
        clamp={"temperature": (0.0, 0.5)},
    )
    body, written = sent(row, temperature=0.9, user="u")
    assert body["inferenceConfig"] == {"temperature": 0.5}
    assert "requestMetadata" not in body
    assert written.dropped == ("requestMetadata",)


def test_cache_marks_become_points_behind_what_they_mark() -> None:
    mark, long = CacheMark(), CacheMark("1h")
    messages = (
        Message("system", (Text("S", cache=long),)),
        Message("user", (Text("A", cache=mark), Text("B", cache=mark))),
        Message("assistant", (ToolCall("c", "f", "{}"),)),
        Message("tool", (ToolResult("c", (Text("x", cache=mark),)),)),
    )
    tools = (FunctionTool("f", cache=mark),)
    body, written = sent(messages=messages, tools=tools, cache=mark)
    assert written.dropped == ()
    # Only the last four count.
    assert all("cachePoint" not in tool for tool in body["toolConfig"]["tools"])
    assert [next(iter(b)) for b in body["messages"][2]["content"]] == [
        "toolResult", "cachePoint",
    ]  # fmt: skip
    body, _ = sent(messages=(*messages[:1], HELLO), tools=tools)
    assert body["system"][1]["cachePoint"] == {"type": "default", "ttl": "1h"}
    assert body["toolConfig"]["tools"][1]["cachePoint"] == {"type": "default"}
    for target in (OTHER, Target(MODEL, quirks=frozenset({"no_cache_points"}))):
        body, written = sent(target, messages=messages, tools=tools)
        assert "cachePoint" not in str(body)
        assert written.dropped == ("cache_control",)
    points = Target("amazon.nova-v1:0", quirks=frozenset({"cache_points"}))
    body, written = sent(points, messages=messages, tools=tools)
    assert "cachePoint" in str(body["messages"])
    assert "cachePoint" not in str(body["toolConfig"])


def test_a_cache_point_stands_only_where_it_may() -> None:
    mark = CacheMark()
    plain, pdf = File(Source("text", "x"), cache=mark), File(PDF, cache=mark)
    for parts, expected in [
        ((Text("A"), plain), ["text", "cachePoint", "document"]),
        ((Text("A", cache=mark), plain), ["text", "cachePoint", "document"]),
        ((Text("A"), pdf), ["text", "document", "cachePoint"]),
    ]:
        body, written = sent(messages=(Message("user", parts),))
        assert [next(iter(b)) for b in body["messages"][0]["content"]] == expected
        assert written.dropped == ()
    body, written = sent(messages=(Message("user", (plain,)),))
    assert "cachePoint" not in str(body)
    assert written.dropped == ("cache_control",)
    body, _ = sent(messages=(HELLO, Message("assistant", (Text("B"), SIGNED))), cache=mark)
    assert list(body["messages"][1]["content"][1]) == ["cachePoint"]


def test_a_refusal_in_the_history_is_said_as_text() -> None:
    body, _ = sent(messages=(Message("assistant", (Refusal("No."),)),))
    assert body["messages"][0] == {"role": "user", "content": [{"text": "."}]}
    assert body["messages"][1]["content"] == [{"text": "No."}]


# ---------------------------------------------------------------- any request

STEADY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("dialect", ["openai_chat", "anthropic"])
@STEADY
@given(data=st.data())
def test_any_request_is_one_the_service_takes_or_is_refused_by_its_place(
    dialect: str, data: Any
) -> None:
    request: GenerationRequest = data.draw(requests_of(dialect))
    target = data.draw(st.sampled_from([CLAUDE, OTHER]))
    try:
        written = BEDROCK.encode_request(request, target)
    except InvalidRequest as error:
        assert error.param  # noqa: PT017
        return
    body = checked(written, target)
    said = json.dumps(body["messages"] + body.get("system", []), ensure_ascii=False)
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, Text):
                words = [json.dumps(word, ensure_ascii=False)[1:-1] for word in part.text.split()]
                assert all(word in said for word in words)
            if isinstance(part, ToolCall) and part.arguments:
                assert part.arguments.encode() in written.body


@pytest.mark.parametrize("client", ["anthropic", "openai_chat"])
def test_thoughts_and_calls_survive_a_round_trip_through_a_client(client: str) -> None:
    content: Any = [
        {"reasoningContent": {"reasoningText": {"text": "Hm", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": base64.b64encode(b"EqQBx").decode()}},
        {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": {"a": 1}}},
    ]
    body = {"output": {"message": {"content": content}}, "stopReason": "tool_use"}
    generation = BEDROCK.decode_answer(json.dumps(body).encode(), CLAUDE)
    answer = json.loads(CLIENTS[client].encode_answer(generation, reply(), REPORT))
    question = {"role": "user", "content": "?"}
    if client == "anthropic":
        said = {"role": "assistant", "content": answer["content"]}
        result = {"type": "tool_result", "tool_use_id": "tooluse_1", "content": "ok"}
        done: Any = {"role": "user", "content": [result]}
        more: Any = {"max_tokens": 9, "tools": [{"name": "f", "input_schema": {"type": "object"}}]}
    else:
        said = answer["choices"][0]["message"]
        done = {"role": "tool", "tool_call_id": "tooluse_1", "content": "ok"}
        more = {"tools": [{"type": "function", "function": {"name": "f"}}]}
    request = CLIENTS[client].decode_request(
        {"model": "maker/model", "messages": [question, said, done], **more}
    )
    written = BEDROCK.encode_request(request, CLAUDE)
    assert checked(written, CLAUDE)["messages"][1]["content"] == content
    assert written.dropped == ()
