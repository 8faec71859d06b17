"""Tools that take free text, at targets that take JSON only: the text comes back unchanged."""

from typing import Any

import orjson
import pytest

from gatewayz.dialects.custom_tools import FIELD, Restorer
from gatewayz.dialects.events import (
    ArgumentsDelta,
    Begin,
    BlockStart,
    BlockStop,
    Ended,
    Event,
)
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import Choice, Finish, FunctionTool, Generation, GenerationRequest
from gatewayz.dialects.parts import Message, Text, ToolCall, ToolResult
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from gatewayz.dialects.translated import TranslatedStream, read_answer
from tests.unit.dialects.exchanges import REPORT, gather, reply, run

PATCH = '*** Begin Patch\n+ "quoted" line\n*** End Patch'
REQUEST = GenerationRequest(
    dialect="elsewhere",
    model="m",
    messages=(
        Message("user", (Text("go"),)),
        Message("assistant", (ToolCall("call_1", "apply_patch", PATCH, custom=True),)),
        Message("tool", (ToolResult("call_1", (Text("done"),)),)),
    ),
    tools=(
        FunctionTool(
            "apply_patch",
            "Changes files.",
            custom=True,
            extras={"format": {"type": "grammar", "syntax": "lark"}},
        ),
    ),
)
TARGET = Target("native")


@pytest.mark.parametrize("upstream", ["openai_chat", "anthropic"])
def test_such_a_tool_is_sent_as_one_with_a_text_field(upstream: str) -> None:
    sent = UPSTREAMS[upstream].encode_request(REQUEST, TARGET)
    assert sent.notes.custom == {"apply_patch"}
    body = orjson.loads(sent.body)
    (tool,) = body["tools"]
    held = tool.get("function", tool)
    schema = held.get("parameters") or held["input_schema"]
    assert list(schema["properties"]) == [FIELD]
    assert "lark" in held["description"]
    assert orjson.dumps(orjson.dumps({FIELD: PATCH}).decode()) in sent.body or (
        orjson.dumps({FIELD: PATCH}) in sent.body
    )


def _answer(upstream: str) -> tuple[bytes, bytes]:
    """The same call by a provider, whole and streamed in two pieces."""
    text = orjson.dumps({FIELD: PATCH}).decode()
    call = ToolCall("call_2", "apply_patch", text)
    finish = Finish("tool_calls")
    client = CLIENTS[upstream]
    whole = client.encode_answer(Generation("x", (Choice((call,), finish),)), reply(), REPORT)
    events: list[Event] = [
        Begin("x"),
        BlockStart(0, ToolCall("call_2", "apply_patch", "")),
        ArgumentsDelta(0, text[:9]),
        ArgumentsDelta(0, text[9:]),
        BlockStop(0),
        Ended(finish),
    ]
    encoder = client.stream_encoder(reply())
    return whole, b"".join(map(encoder.encode, events)) + encoder.close(REPORT)


@pytest.mark.parametrize("upstream", ["openai_chat", "anthropic"])
def test_its_text_comes_back_whole_and_streamed(upstream: str) -> None:
    notes = UPSTREAMS[upstream].encode_request(REQUEST, TARGET).notes
    whole, streamed = _answer(upstream)
    expected = ToolCall("call_2", "apply_patch", PATCH, custom=True)
    answer = read_answer(UPSTREAMS[upstream], whole, TARGET, notes)
    assert answer.generation.choices[0].parts == (expected,)
    decoder = UPSTREAMS[upstream].stream_decoder(TARGET, notes)
    restorer = Restorer(notes.custom)
    events = [*restorer.take(decoder.feed(streamed)), *restorer.take(decoder.end())]
    assert gather(events)[0].parts == [expected]
    reader = TranslatedStream(
        UPSTREAMS[upstream].stream_decoder(TARGET, notes),
        CLIENTS["openai_chat"].stream_encoder(reply()),
        notes=notes,
    )
    assert orjson.dumps(PATCH) in run(reader, [streamed])


def test_what_a_model_wrote_beside_the_field_is_handed_on_as_it_is() -> None:
    notes: Any = UPSTREAMS["openai_chat"].encode_request(REQUEST, TARGET).notes
    call = {"name": "apply_patch", "arguments": '{"patch":"x"}'}
    body = {
        "choices": [
            {
                "message": {
                    "role": "assistant",
                    "tool_calls": [{"id": "c", "type": "function", "function": call}],
                },
                "finish_reason": "tool_calls",
            }
        ]
    }
    answer = read_answer(UPSTREAMS["openai_chat"], orjson.dumps(body), TARGET, notes)
    (part,) = answer.generation.choices[0].parts
    assert isinstance(part, ToolCall)
    assert part.arguments == '{"patch":"x"}'
