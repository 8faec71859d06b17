"""Streams of response events: the exact sequence we write, and the odd ones that we read."""

from typing import Any

import orjson
import pytest

from gatewayz.core.errors import (
    RateLimited,
    UpstreamAuth,
    UpstreamBroken,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from gatewayz.dialects.events import (
    ArgumentsDelta,
    Begin,
    BlockStart,
    BlockStop,
    CitationDelta,
    Ended,
    Event,
    Failed,
    Pinged,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import Finish
from gatewayz.dialects.openai_responses.codec import OPENAI_RESPONSES as RESPONSES
from gatewayz.dialects.openai_responses.stream import ResponsesStream
from gatewayz.dialects.parts import (
    Citation,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gatewayz.pricing.usage import Usage
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import REPORT, TARGET, gather, reply, run

ULID = "01ARZ3NDEKTSV4RRFFQ69G5FAV"


def written(*events: Event, finish: str | None = None) -> list[Any]:
    encoder = RESPONSES.stream_encoder(reply())
    raw = b"".join(map(encoder.encode, events))
    usage = Usage({"input": 5, "cache_read": 2, "output": 3, "reasoning": 1})
    out = list(recorded.events(raw + encoder.close(REPORT, usage=usage, finish=finish)))
    assert [event["sequence_number"] for event in out] == list(range(len(out)))
    return out


def kinds(events: list[Any]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def test_a_thought_a_text_and_a_call_are_written_in_the_exact_order() -> None:
    cited = Citation(url="https://example.com/", title="E")
    events = written(
        Begin("anthropic"),
        BlockStart(0, Thinking("", origin="anthropic")),
        ThinkingDelta(0, "hm"),
        SignatureDelta(0, "sig", "anthropic"),
        BlockStop(0),
        BlockStart(1, Text("")),
        TextDelta(1, "He"),
        TextDelta(1, "y"),
        CitationDelta(1, cited),
        BlockStop(1),
        BlockStart(2, ToolCall("call_1", "f", "")),
        ArgumentsDelta(2, '{"a":'),
        ArgumentsDelta(2, "1}"),
        BlockStop(2),
        Ended(Finish("tool_calls")),
    )
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.annotation.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    done = [event["item"] for event in events if event["type"].endswith("output_item.done")]
    final = events[-1]["response"]
    assert final["output"] == done
    assert [item["id"] for item in done] == [f"rs_{ULID}_0", f"msg_{ULID}_1", f"fc_{ULID}_2"]
    assert [e["output_index"] for e in events if "output_index" in e] == [0] * 6 + [1] * 8 + [2] * 5
    assert done[1]["content"][0]["annotations"] == [
        {
            "type": "url_citation",
            "url": "https://example.com/",
            "title": "E",
            "start_index": 0,
            "end_index": 3,
        }
    ]
    assert done[2]["arguments"] == '{"a":1}'
    assert final["usage"] == {
        "input_tokens": 7,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 11,
        "cost": 0.00123,
        "cost_details": {
            "upstream_inference_cost": None,
            "upstream_inference_input_cost": 0,
            "upstream_inference_output_cost": 0.00123,
        },
    }
    again = RESPONSES.decode_request({"model": "m", "input": done})
    assert again.messages[0].parts[0] == Thinking("hm", "sig", "anthropic")


def test_texts_that_follow_each_other_are_parts_of_one_message() -> None:
    events = written(
        BlockStart(0, Text("")),
        TextDelta(0, "a"),
        BlockStop(0),
        BlockStart(1, Text("b")),
        BlockStop(1),
        BlockStart(2, Refusal("")),
        TextDelta(2, "no"),
        BlockStop(2),
    )
    [item] = events[-1]["response"]["output"]
    assert [part.get("text", part.get("refusal")) for part in item["content"]] == ["a", "b", "no"]
    places = [e["content_index"] for e in events if e["type"].endswith("part.added")]
    assert places == [0, 1, 2]
    assert "refusal.done" in kinds(events)


def test_what_stays_empty_is_not_shown() -> None:
    empty = [BlockStart(0, Text("")), BlockStop(0), BlockStart(1, Thinking("")), BlockStop(1)]
    assert kinds(written(*empty)) == ["created", "in_progress", "completed"]


def test_a_hidden_thought_is_a_whole_item_and_a_ping_a_comment() -> None:
    events = written(BlockStart(0, RedactedThinking("data", "openai", "rs_1")), BlockStop(0))
    item = {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "data"}
    assert events[-1]["response"]["output"] == [item]
    assert RESPONSES.stream_encoder(reply()).encode(Pinged()) == b": keepalive\n\n"


def test_a_signature_without_words_belongs_to_its_own_thought() -> None:
    events = written(
        BlockStart(0, ToolCall("a", "f", "{}")),
        BlockStop(0),
        BlockStart(1, Thinking("", origin="anthropic")),
        SignatureDelta(1, "sig", "anthropic"),
        BlockStop(1),
        BlockStart(2, ToolCall("b", "f", "")),
        BlockStop(2),
        SignatureDelta(2, "late", "google"),
    )
    output = events[-1]["response"]["output"]
    [message] = RESPONSES.decode_request({"model": "m", "input": output}).messages
    assert message.parts == (
        ToolCall("a", "f", "{}"),
        Thinking("", "sig", "anthropic"),
        ToolCall("b", "f", "", signature="late", origin="google"),
    )


@pytest.mark.parametrize(
    ("finish", "status", "reason"),
    [
        ("length", "incomplete", "max_output_tokens"),
        ("context", "incomplete", "max_output_tokens"),
        ("content_filter", "incomplete", "content_filter"),
        ("stop_sequence", "completed", None),
        ("pause", "completed", None),
    ],
)
def test_an_end_is_told_by_status_and_reason(finish: Any, status: str, reason: Any) -> None:
    said = [BlockStart(0, Text("")), TextDelta(0, "a"), BlockStop(0), Ended(Finish(finish))]
    last = written(*said)[-1]
    assert last["type"] == f"response.{status}"
    response = last["response"]
    assert (response["incomplete_details"] or {}).get("reason") == reason
    assert response["output"][0]["status"] == status


def test_used_up_credit_ends_an_answer_as_too_long() -> None:
    said = [BlockStart(0, Text("")), TextDelta(0, "a")]
    assert written(*said, finish="length")[-1]["type"] == "response.incomplete"


def test_log_probabilities_stand_beside_their_text() -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": None, "top_logprobs": []}
    events = written(BlockStart(0, Text("")), TextDelta(0, "a", logprobs=[token]), BlockStop(0))
    expected = [{**token, "bytes": []}]
    assert [e["logprobs"] for e in events if e["type"].endswith("text.delta")] == [expected]
    part = events[-1]["response"]["output"][0]["content"][0]
    assert (part["text"], part["logprobs"]) == ("a", expected)


def test_D27_a_failure_ends_in_an_error_and_a_failed_response() -> None:
    encoder = RESPONSES.stream_encoder(reply())
    for event in (Begin("x"), BlockStart(0, Text(""))):
        encoder.encode(event)
    # Nothing was shown yet: what was held back is said again.
    events = list(recorded.events(encoder.fail(RateLimited("Slow down."))))
    assert kinds(events) == ["created", "in_progress", "error", "failed"]
    assert [event["sequence_number"] for event in events] == [0, 1, 2, 3]
    assert events[-1]["response"]["error"]["code"] == "rate_limit_exceeded"
    encoder = RESPONSES.stream_encoder(reply())
    for event in (Begin("x"), BlockStart(0, Text("a"))):
        encoder.encode(event)
    events = list(recorded.events(encoder.fail(UpstreamBroken("No.", provider="p"))))
    assert kinds(events) == ["error", "failed"]
    assert events[-1]["response"]["status"] == "failed"


# ---------------------------------------------------------------- reading


def event(kind: str, **fields: Any) -> bytes:
    data = orjson.dumps({"type": kind, **fields})
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


MESSAGE = {"type": "message", "id": "m", "role": "assistant"}
CALL = {"type": "function_call", "id": "f", "call_id": "c", "name": "g"}


def ended(*output: Any, **fields: Any) -> bytes:
    response = {"id": "r", "status": "completed", "output": list(output), **fields}
    return event("response.completed", response=response)


def parts(*blocks: bytes, target: Target = TARGET) -> Any:
    decoder = RESPONSES.stream_decoder(target)
    events = [e for block in blocks for e in decoder.feed(block)] + decoder.end()
    assert not any(isinstance(e, Failed) for e in events)
    return gather(events)[0].parts


def test_what_only_the_end_tells_is_read() -> None:
    content = [{"type": "output_text", "text": "hi", "annotations": [], "logprobs": []}]
    thought = {"type": "reasoning", "id": "t", "summary": [], "encrypted_content": "s"}
    found = parts(ended(thought, {**MESSAGE, "content": content}, {**CALL, "arguments": "{}"}))
    expected = [RedactedThinking("s", "openai", "t"), Text("hi"), ToolCall("c", "g", "{}")]
    assert found == expected


def test_what_the_end_of_an_item_adds_to_its_deltas_is_read() -> None:
    cited = {"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}
    content = [{"type": "output_text", "text": "hi", "annotations": [cited]}]
    found = parts(
        event("response.output_item.added", output_index=0, item={**CALL, "arguments": ""}),
        event("response.function_call_arguments.delta", output_index=0, delta='{"a'),
        event("response.output_item.done", output_index=0, item={**CALL, "arguments": '{"a":1}'}),
        event("response.output_text.delta", output_index=1, content_index=0, delta="hi"),
        event("response.output_item.done", output_index=1, item={**MESSAGE, "content": content}),
        ended(),
    )
    assert found[0] == ToolCall("c", "g", '{"a":1}')
    assert found[1].text == "hi"
    assert [c.url for c in found[1].citations] == ["u"]


def test_items_that_come_mixed_are_read_one_after_another() -> None:
    calls = [{**CALL, "call_id": f"c{i}", "arguments": ""} for i in range(2)]
    found = parts(
        *[
            event("response.output_item.added", output_index=i, item=call)
            for i, call in enumerate(calls)
        ],
        *[
            event("response.function_call_arguments.delta", output_index=i, delta=piece)
            for piece in ("{", "}")
            for i in (1, 0)
        ],
        event("response.output_item.done", output_index=1, item={**calls[1], "arguments": "{}"}),
        event("response.output_item.done", output_index=0, item={**calls[0], "arguments": "{}"}),
        ended(),
    )
    assert found == [ToolCall("c0", "g", "{}"), ToolCall("c1", "g", "{}")]


def test_items_that_never_end_are_closed_by_the_end_of_the_answer() -> None:
    found = parts(
        event("response.output_text.delta", output_index=0, content_index=0, delta="a"),
        event("response.output_item.added", output_index=1, item={**CALL, "arguments": ""}),
        event("response.function_call_arguments.delta", output_index=1, delta="{}"),
        ended(),
    )
    assert found == [Text("a"), ToolCall("c", "g", "{}")]


def test_a_signature_at_the_end_of_a_thought_belongs_to_the_targets_family() -> None:
    item = {"type": "reasoning", "id": "t", "summary": [{"type": "summary_text", "text": "hm"}]}
    found = parts(
        event("response.reasoning_summary_text.delta", output_index=0, summary_index=0, delta="hm"),
        event("response.output_item.done", output_index=0, item={**item, "encrypted_content": "s"}),
        ended(),
        target=Target("n", family="xai"),
    )
    assert found == [Thinking("hm", "s", "xai", "t")]


FAILURES = [
    ({"code": "server_error", "message": "x"}, UpstreamUnavailable),
    ({"code": "rate_limit_exceeded", "message": "x"}, UpstreamThrottled),
    ({"code": "invalid_prompt", "message": "flagged"}, UpstreamRejected),
    ({"code": "context_length_exceeded", "message": "x"}, UpstreamRejected),
    ({"code": "invalid_api_key", "message": "x"}, UpstreamAuth),
    (None, UpstreamUnavailable),
]


@pytest.mark.parametrize(("error", "kind"), FAILURES)
def test_F37_a_failed_response_is_the_error_it_means(error: Any, kind: type[Exception]) -> None:
    raws = [event("response.failed", response={"status": "failed", "error": error})]
    if error is not None:
        raws += [event("error", **error), event("error", error=error)]
    for raw in raws:
        [failed] = RESPONSES.stream_decoder(TARGET).feed(raw)
        assert isinstance(failed, Failed)
        assert type(failed.error) is kind
        reader = ResponsesStream(reply(), TARGET)
        reader.feed(raw)
        assert type(reader.error) is kind


@pytest.mark.parametrize(
    "raw",
    [
        b"data: {nonsense\n\n",
        b"data: [1]\n\n",
        b'data: {"type":"response.created"}\n\n',
        b'data: {"type":"response.output_item.added","output_index":0}\n\n',
        b'data: {"type":"response.output_item.done","output_index":0,"item":{"type":"message",'
        b'"content":[1]}}\n\n',
        b'data: {"type":"response.output_text.delta","output_index":0}\n\n',
        b"<html>",
        b"",
    ],
)
def test_F33_what_is_no_response_stream_fails_and_never_raises(raw: bytes) -> None:
    decoder = RESPONSES.stream_decoder(TARGET)
    events = decoder.feed(raw) + decoder.end()
    assert isinstance(events[-1], Failed)
    assert isinstance(events[-1].error, UpstreamBroken)
    assert decoder.feed(raw) + decoder.end() == []
    reader = ResponsesStream(reply(), TARGET)
    run(reader, [raw])
    assert isinstance(reader.error, UpstreamBroken)


def test_nothing_before_the_first_content_reaches_the_client() -> None:
    reader = ResponsesStream(reply(), TARGET)
    begin = event("response.created", sequence_number=0, response={"id": "r", "output": []})
    thought = event(
        "response.output_item.added",
        sequence_number=1,
        output_index=0,
        item={"type": "reasoning", "id": "t", "summary": []},
    )
    assert reader.feed(begin) == reader.feed(thought) == b""
    delta = event("response.output_text.delta", sequence_number=2, output_index=1, delta="a")
    out = reader.feed(delta)
    assert kinds(list(recorded.events(out))) == [
        "created",
        "output_item.added",
        "output_text.delta",
    ]
    assert reader.started
    # Our own decision to stop is an incomplete response.
    last = list(recorded.events(reader.close(REPORT, finish="length")))[-1]
    assert (last["type"], last["sequence_number"]) == ("response.incomplete", 3)
    assert last["response"]["incomplete_details"] == {"reason": "max_output_tokens"}
