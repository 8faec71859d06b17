"""Every recorded Cohere chat exchange: what it says, however it was cut, and to whom."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayz.core.errors import (
    UpstreamAuth,
    UpstreamBroken,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gatewayz.dialects.cohere.codec import COHERE
from gatewayz.dialects.events import Begin, Done, Event, Failed, TextDelta, UsageSeen
from gatewayz.dialects.form import Target
from gatewayz.dialects.parts import Citation, Part, Text, Thinking, ToolCall
from gatewayz.dialects.protocol import NO_NOTES, Notes
from gatewayz.dialects.registry import CLIENTS
from gatewayz.dialects.translated import TranslatedStream, read_answer
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import (
    REPORT,
    TARGET,
    gather,
    pieces,
    reply,
    run,
    said,
    shown,
)
from tests.unit.dialects.forms import names, plain_arguments, words
from tests.unit.dialects.test_official_clients import FINISHES, STREAMED, WHOLE

KEPT = recorded.ROOT / "tests" / "recordings" / "cohere"


@dataclass(frozen=True)
class Exchange:
    name: str
    status: int
    raw: bytes
    is_stream: bool

    def __str__(self) -> str:
        return self.name


def exchanges() -> Iterator[Exchange]:
    """Those kept here, then those of a larger collection that may stand beside the repository."""
    paths = sorted(KEPT.glob("*.json"))
    if recorded.BESIDE.is_dir():
        paths += sorted(recorded.BESIDE.glob("*/cohere-v2-chat__*.json"))
    for path in paths:
        response = json.loads(path.read_text("utf-8"))["response"]
        body = response.get("sse", response.get("body"))
        raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
        name = f"{path.parent.name}/{path.stem}"
        yield Exchange(name, response["status"], raw, "sse" in response)


ALL = [e for e in exchanges() if "embeddings" not in e.name and "openai" not in e.name]
ANSWERS = [e for e in ALL if e.status == 200 and not e.is_stream]
STREAMS = [e for e in ALL if e.is_stream]


@dataclass
class Plain:
    text: str = ""
    thought: str = ""
    calls: list[list[Any]] = field(default_factory=list)
    cited: list[str] = field(default_factory=list)
    finish: str = ""
    usage: Any = None


def plain(exchange: Exchange) -> Plain:
    """A reading that uses none of our code."""
    if exchange.is_stream:
        return _plain_stream(exchange.raw)
    body = json.loads(exchange.raw)
    message = body["message"]
    read = Plain(finish=body["finish_reason"], usage=body["usage"])
    for item in message.get("content", ()):
        read.text += item.get("text", "")
        read.thought += item.get("thinking", "")
    for call in message.get("tool_calls", ()):
        read.calls.append([call["function"]["name"], call["function"]["arguments"]])
    read.cited = [citation["text"] for citation in message.get("citations", ())]
    return read


def _plain_stream(raw: bytes) -> Plain:
    read = Plain()
    for event in recorded.events(raw):
        message = event.get("delta", {}).get("message", {})
        match event["type"]:
            case "content-delta":
                read.text += message["content"].get("text", "")
                read.thought += message["content"].get("thinking", "")
            case "citation-start":
                read.cited.append(message["citations"]["text"])
            case "message-end":
                read.finish = event["delta"]["finish_reason"]
                read.usage = event["delta"]["usage"]
    return read


REASONS = {"COMPLETE": "stop", "TOOL_CALL": "tool_calls", "MAX_TOKENS": "length"}


def _check(parts: Any, finish: Any, usage: Any, raw: Any, read: Plain) -> None:
    found = said(parts)
    assert (found.text, found.thought, found.calls) == (read.text, read.thought, read.calls)
    cited = [
        part.text[citation.start : citation.end]
        for part in parts
        if isinstance(part, Text)
        for citation in part.citations
    ]
    assert cited == read.cited
    assert (finish.reason, finish.native) == (REASONS[read.finish], read.finish)
    assert raw == read.usage
    assert usage.input_tokens == read.usage["billed_units"]["input_tokens"]
    assert usage.output_tokens == read.usage["billed_units"]["output_tokens"]


def decode(blocks: Iterable[bytes], notes: Notes = NO_NOTES) -> list[Event]:
    decoder = COHERE.stream_decoder(TARGET, notes)
    events = [event for block in blocks for event in decoder.feed(block)]
    return events + decoder.end()


def through(client: str) -> TranslatedStream:
    decoder = COHERE.stream_decoder(TARGET, NO_NOTES)
    return TranslatedStream(decoder, CLIENTS[client].stream_encoder(reply()))


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: ".encode() + orjson.dumps({"type": kind, **fields}) + b"\n\n"


def _said(kind: str, index: int | None = None, **message: Any) -> bytes:
    numbered = {} if index is None else {"index": index}
    return event(kind, **numbered, delta={"message": message})


START = event("message-start", id="m1", delta={"message": {"role": "assistant"}})


def end(reason: str = "COMPLETE", **more: Any) -> bytes:
    usage = {"billed_units": {"input_tokens": 1, "output_tokens": 2}}
    return event("message-end", delta={"finish_reason": reason, "usage": usage, **more})


def test_the_project_keeps_recordings_of_this_dialect() -> None:
    assert len([e for e in ALL if e.name.startswith("cohere/cohere__")]) >= 7


@pytest.mark.parametrize("exchange", ANSWERS, ids=str)
def test_a_whole_answer_says_what_a_plain_reading_says(exchange: Exchange) -> None:
    generation = COHERE.decode_answer(exchange.raw, TARGET)
    choice = generation.choices[0]
    usage, raw = generation.usage, generation.raw_usage
    _check(choice.parts, choice.finish, usage, raw, plain(exchange))
    assert generation.id is not None


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
def test_a_stream_says_what_a_plain_reading_says(exchange: Exchange) -> None:
    events = decode([exchange.raw])
    assert isinstance(events[0], Begin)
    assert isinstance(events[-1], Done)
    choice = gather(events)[0]
    [seen] = [e for e in events if isinstance(e, UsageSeen)]
    _check(choice.parts, choice.finish, seen.usage, seen.raw, plain(exchange))


@pytest.mark.parametrize("exchange", STREAMS[:1], ids=str)
def test_F34_a_cut_at_any_offset_gives_the_same_events(exchange: Exchange) -> None:
    raw = exchange.raw
    whole = shown(decode([raw]))
    for cut in range(1, len(raw)):
        assert shown(decode(pieces(raw, [cut]))) == whole
    assert shown(decode([raw[i : i + 1] for i in range(len(raw))])) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
@pytest.mark.parametrize("client", CLIENTS)
def test_F34_two_hundred_random_cuts_give_the_same_bytes(exchange: Exchange, client: str) -> None:
    dice = random.Random(exchange.name)
    edges = [dice.randrange(len(exchange.raw)) for _ in range(200)]
    whole = run(through(client), [exchange.raw])
    assert run(through(client), pieces(exchange.raw, edges)) == whole


@pytest.mark.parametrize("exchange", STREAMS[:1], ids=str)
def test_F32_a_stream_that_ends_too_soon_never_ends_cleanly(exchange: Exchange) -> None:
    ends = {"openai_chat": b"data: [DONE]", "anthropic": b'"message_stop"'}
    for client, ending in ends.items():
        for cut in range(0, len(exchange.raw), 7):
            reader = through(client)
            out = run(reader, [exchange.raw[:cut]])
            assert reader.clean_end == (reader.error is None)
            assert (ending in out) == reader.clean_end


# ---------------------------------------------------------------- official clients

CALLED = {"openai_chat": "tool_calls", "anthropic": "tool_use"}


@pytest.mark.parametrize("exchange", [*ANSWERS, *STREAMS], ids=str)
@pytest.mark.parametrize("client", WHOLE)
def test_an_official_client_reads_an_answer(exchange: Exchange, client: str) -> None:
    read = plain(exchange)
    if exchange.is_stream:
        got = STREAMED[client](run(through(client), [exchange.raw]))
    else:
        generation = read_answer(COHERE, exchange.raw, TARGET).generation
        got = WHOLE[client](CLIENTS[client].encode_answer(generation, reply(), REPORT))
    assert got.text == read.text
    if client == "anthropic":
        assert got.thought == read.thought
    assert [name for name, _ in got.calls] == [name for name, _ in read.calls]
    assert got.finish in FINISHES[client]
    if read.calls:
        assert got.finish == CALLED[client]


# ---------------------------------------------------------------- failures

ERRORS = [e for e in ALL if e.status >= 300]


@pytest.mark.parametrize("exchange", ERRORS, ids=str)
def test_an_error_answer_gives_an_error_of_ours(exchange: Exchange) -> None:
    error = COHERE.decode_error(TARGET, exchange.status, {}, exchange.raw)
    assert type(error) is {400: UpstreamRejected, 401: UpstreamAuth}[exchange.status]
    assert (error.provider, error.upstream_status) == ("provider", exchange.status)
    if exchange.status == 400:
        assert error.code == "context_length_exceeded"


REFUSALS = [
    (400, "invalid request: x", UpstreamRejected),
    (404, "model 'x' not found", UpstreamModelMissing),
    (422, "invalid", UpstreamRejected),
    (429, "You are using a Trial key", UpstreamThrottled),
    (498, "invalid token", UpstreamAuth),
    (499, "closed", UpstreamUnavailable),
    (503, "x", UpstreamUnavailable),
    (504, "x", UpstreamTimeout),
]


@pytest.mark.parametrize(("status", "text", "expected"), REFUSALS)
def test_a_refusal_is_classified(status: int, text: str, expected: type[UpstreamError]) -> None:
    body = orjson.dumps({"id": "1", "message": text})
    error = COHERE.decode_error(TARGET, status, {}, body)
    assert type(error) is expected
    assert error.upstream_status == status


FAILED = [
    ("ERROR", {"error": "tool call failed", "error_type": "INVALID_TOOL_GENERATION"},
     UpstreamBroken),
    ("ERROR", {"error": "too many tokens", "error_type": "TOO_MANY_TOKENS"}, UpstreamRejected),
    ("ERROR", {}, UpstreamUnavailable),
    ("TIMEOUT", {}, UpstreamTimeout),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "more", "expected"), FAILED)
def test_F37_an_answer_that_ended_in_an_error_is_a_failure(
    reason: str, more: Any, expected: type[UpstreamError]
) -> None:
    raw = START + _said("content-delta", 0, content={"text": "Half"}) + end(reason, **more)
    events = decode([raw + b"data: [DONE]\n\n"])
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert type(failed.error) is expected
    assert isinstance(events[-2], UsageSeen)
    body = {"id": "1", "finish_reason": reason, "message": {"content": []}, **more}
    with pytest.raises(UpstreamError) as raised:
        COHERE.decode_answer(orjson.dumps(body), TARGET)
    assert type(raised.value) is expected


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"message": {"content": [7]}}',
     b'{"message": {"content": [], "tool_calls": [{"id": 5}]}}', b'{"finish_reason": []}'],
)  # fmt: skip
def test_a_whole_answer_that_is_none_is_broken(raw: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        COHERE.decode_answer(raw, TARGET)


@pytest.mark.parametrize(
    "odd",
    [b"data: [1\n\n", b"data: []\n\n", b"data: 7\n\n", _said("content-delta", 0),
     event("content-delta"), _said("tool-call-start", 0, tool_calls=[]),
     _said("tool-call-start", 0, tool_calls={"id": "x"}), _said("citation-start", 0),
     event("message-end"), b"data: [DONE]\n\n"],
)  # fmt: skip
def test_an_event_of_an_unknown_form_breaks_the_stream(odd: bytes) -> None:
    events = decode([START + odd + end()])
    assert isinstance(events[-1], Failed)
    assert type(events[-1].error) is UpstreamBroken


def test_an_error_body_in_a_stream_is_its_failure() -> None:
    [failed] = decode([b'data: {"message": "too many requests", "code": 429}\n\n'])
    assert isinstance(failed, Failed)
    assert type(failed.error) is UpstreamThrottled
    with pytest.raises(UpstreamThrottled):
        COHERE.decode_answer(b'{"message": "too many requests", "code": 429}', TARGET)


def test_events_nobody_knows_are_passed_over() -> None:
    odd = event("later", a=1) + event("debug", prompt="x") + event("citation-end", index=0)
    assert shown(decode([START + odd + end()])) == shown(decode([START + end()]))


# ---------------------------------------------------------------- what answers can hold


def test_a_plan_its_calls_and_their_names_are_read() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f_tag", "arguments": ""}}
    raw = START + _said("tool-plan-delta", tool_plan="I will ")
    raw += _said("tool-plan-delta", tool_plan="look.")
    raw += _said("tool-call-start", 0, tool_calls=call)
    for piece in ('{"a" ', ": 1}"):
        raw += _said("tool-call-delta", 0, tool_calls={"function": {"arguments": piece}})
    raw += event("tool-call-end", index=0) + end("TOOL_CALL")
    notes = Notes({"f_tag": "f-original"})
    choice = gather(decode([raw], notes))[0]
    expected = [
        Thinking("I will look.", origin="cohere"),
        ToolCall("c1", "f-original", '{"a" : 1}'),
    ]
    assert choice.parts == expected
    function = {"name": "f_tag", "arguments": '{"a" : 1}'}
    message = {"tool_plan": "I will look.", "tool_calls": [{**call, "function": function}]}
    body = {"id": "m", "finish_reason": "TOOL_CALL", "message": message}
    whole = COHERE.decode_answer(orjson.dumps(body), TARGET, notes)
    assert list(whole.choices[0].parts) == expected


def test_a_source_behind_its_text_still_belongs_to_it() -> None:
    cited = {"start": 0, "end": 2, "text": "Hi", "sources": [
        {"type": "document", "id": "d:1", "document": {"id": "https://a.example", "title": "T",
                                                       "snippet": "S"}}]}  # fmt: skip
    plan = {"start": 0, "end": 1, "text": "x", "sources": [], "type": "PLAN"}
    raw = START + _said("content-delta", 0, content={"text": "Hi"})
    raw += event("content-end", index=0) + _said("citation-start", 0, citations=cited)
    raw += _said("citation-start", 1, citations=plan) + end()
    [text] = gather(decode([raw]))[0].parts
    assert isinstance(text, Text)
    [citation] = text.citations
    assert citation == Citation("https://a.example", "T", "S", 0, 2, "cohere", cited)


def test_probabilities_come_in_the_list_of_openai() -> None:
    item = {"text": "é", "token_ids": [1, 2], "logprobs": [-0.25, -0.5]}
    raw = START + event(
        "content-delta", index=0, delta={"message": {"content": {"text": "é"}}}, logprobs=item
    )
    [seen] = [e for e in decode([raw + end()]) if isinstance(e, TextDelta)]
    expected = {"token": "é", "logprob": -0.75, "bytes": [195, 169], "top_logprobs": []}
    assert seen.logprobs == [expected]
    body = {"finish_reason": "COMPLETE", "logprobs": [item], "message": {
        "content": [{"type": "text", "text": "é"}]}}  # fmt: skip
    choice = COHERE.decode_answer(orjson.dumps(body), TARGET).choices[0]
    assert choice.logprobs == {"content": [expected]}


USAGES = [
    ({"billed_units": {"input_tokens": 84.0, "output_tokens": 5.0},
      "tokens": {"input_tokens": 1501.0, "output_tokens": 20}, "cached_tokens": 1376},
     {"input": 84, "output": 5}),
    ({"billed_units": {"input_tokens": 83, "output_tokens": 109},
      "tokens": {"input_tokens": 379, "output_tokens": 164, "reasoning_tokens": 54}},
     {"input": 83, "output": 109}),
    ({"billed_units": {"input_tokens": 8, "output_tokens": 100},
      "tokens": {"input_tokens": 9, "output_tokens": 100, "reasoning_tokens": 60}},
     {"input": 8, "output": 40, "reasoning": 60}),
    ({"tokens": {"input_tokens": 100, "output_tokens": 7}, "cached_tokens": 64},
     {"input": 36, "cache_read": 64, "output": 7}),
    ({"billed_units": {"input_tokens": 1, "output_tokens": 1, "search_units": 2}},
     {"input": 1, "output": 1, "search": 2}),
    ({"billed_units": {"input_tokens": -1}}, None),
    ({"billed_units": {"output_tokens": 0.5}}, None),
    ({"tokens": {}}, None),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "expected"), USAGES)
def test_billed_units_are_what_is_counted(raw: Any, expected: Any) -> None:
    body = {"finish_reason": "COMPLETE", "message": {"content": []}, "usage": raw}
    generation = COHERE.decode_answer(orjson.dumps(body), TARGET)
    assert generation.raw_usage == raw
    usage = generation.usage
    assert (None if usage is None else dict(usage.units)) == expected


STEADY = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_parts = st.tuples(
    st.lists(st.builds(Thinking, words, origin=st.just("cohere")), max_size=1),
    st.lists(st.builds(Text, words), max_size=2),
    st.lists(st.builds(ToolCall, names, names, plain_arguments), max_size=2),
).map(lambda found: tuple(part for parts in found for part in parts))


def _events(index: int, part: Part, cut: int) -> bytes:
    match part:
        case ToolCall(call_id, name, arguments):
            function = {"name": name, "arguments": ""}
            call = {"id": call_id, "type": "function", "function": function}
            out = _said("tool-call-start", index, tool_calls=call)
            for piece in (arguments[:cut], arguments[cut:]):
                called = {"function": {"arguments": piece}}
                out += _said("tool-call-delta", index, tool_calls=called)
            return out + event("tool-call-end", index=index)
        case Text(text) | Thinking(text):
            kind = "text" if isinstance(part, Text) else "thinking"
            out = _said("content-start", index, content={"type": kind, kind: ""})
            for piece in (text[:cut], text[cut:]):
                out += _said("content-delta", index, content={kind: piece})
            return out + event("content-end", index=index)
    raise AssertionError(part)


@STEADY
@given(parts=_parts, cut=st.integers(0, 20), cuts=st.lists(st.integers(0, 3000), max_size=6))
def test_a_whole_answer_and_its_stream_give_the_parts_that_were_written(
    parts: tuple[Part, ...], cut: int, cuts: list[int]
) -> None:
    content: list[Any] = []
    calls: list[Any] = []
    for part in parts:
        match part:
            case ToolCall(call_id, name, arguments):
                function = {"name": name, "arguments": arguments}
                calls.append({"id": call_id, "type": "function", "function": function})
            case Text(text):
                content.append({"type": "text", "text": text})
            case Thinking(text):
                content.append({"type": "thinking", "thinking": text})
    reason = "TOOL_CALL" if calls else "COMPLETE"
    body = {
        "id": "m1",
        "finish_reason": reason,
        "message": {"content": content, "tool_calls": calls},
    }
    whole = COHERE.decode_answer(orjson.dumps(body), TARGET).choices[0]
    assert whole.parts == parts
    raw = START + b"".join(_events(i, part, cut) for i, part in enumerate(parts)) + end(reason)
    read = gather(decode(pieces(raw, [c for c in cuts if c < len(raw)])))[0]
    assert tuple(read.parts) == parts
    assert read.finish == whole.finish


def test_a_row_may_name_failures_its_own_way() -> None:
    row = Target("m", errors={"INVALID_TOOL_GENERATION": "Rejected"})
    body = {"finish_reason": "ERROR", "error": "x", "error_type": "INVALID_TOOL_GENERATION"}
    with pytest.raises(UpstreamRejected):
        COHERE.decode_answer(orjson.dumps(body), row)
