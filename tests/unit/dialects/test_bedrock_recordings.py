"""Every recorded Converse exchange: what it says, however it was cut, and when it is damaged.

The plain reading of a stream takes its frames apart with botocore's own parser.
"""

import base64
import json
import random
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import orjson
import pytest
from botocore.eventstream import EventStreamBuffer

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
from gatewayz.dialects.bedrock.codec import BEDROCK
from gatewayz.dialects.bedrock.frames import FrameDamaged, FrameParser
from gatewayz.dialects.events import Begin, Done, Ended, Event, Failed, UsageSeen
from gatewayz.dialects.form import Target
from gatewayz.dialects.parts import Image, Opaque, RedactedThinking, Text, Thinking
from gatewayz.dialects.protocol import NO_NOTES, Notes
from gatewayz.dialects.registry import CLIENTS
from gatewayz.dialects.translated import TranslatedStream
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import gather, pieces, reply, run, said, shown

KEPT = recorded.ROOT / "tests" / "recordings" / "bedrock"
CLAUDE = Target("us.anthropic.claude-sonnet-4-v1:0", provider="provider")
PLAIN = Target("maker.model-v1:0", provider="provider")


@dataclass(frozen=True)
class Exchange:
    name: str
    status: int
    headers: dict[str, str]
    raw: bytes
    is_stream: bool

    def __str__(self) -> str:
        return self.name


def exchanges() -> Iterator[Exchange]:
    """Those kept here, then those of a larger collection that may stand beside the repository."""
    paths = sorted(KEPT.glob("*.json"))
    if recorded.BESIDE.is_dir():
        paths += sorted(recorded.BESIDE.glob("*/bedrock-converse__*.json"))
    for path in paths:
        response = json.loads(path.read_text("utf-8"))["response"]
        is_stream = "body_base64" in response
        yield Exchange(
            f"{path.parent.name}/{path.stem}",
            response["status"],
            {key.lower(): value for key, value in response["headers"].items()},
            base64.b64decode(response["body_base64"])
            if is_stream
            else orjson.dumps(response["body"]),
            is_stream,
        )


ALL = list(exchanges())
ANSWERS = [e for e in ALL if e.status == 200 and not e.is_stream]
STREAMS = [e for e in ALL if e.is_stream]
KEPT_STREAMS = [e for e in STREAMS if e.name.startswith("bedrock/")]
ERRORS = [e for e in ALL if e.status >= 300]


@dataclass
class Plain:
    text: str = ""
    thought: str = ""
    redacted: list[str] = field(default_factory=list)
    calls: list[list[Any]] = field(default_factory=list)
    urls: list[str] = field(default_factory=list)
    finish: str = ""
    usage: Any = None


def plain(raw: bytes) -> Plain:
    body = json.loads(raw)
    read = Plain(finish=body["stopReason"], usage=body.get("usage"))
    for block in body["output"]["message"]["content"]:
        read.text += block.get("text", "")
        thought = block.get("reasoningContent", {})
        read.thought += thought.get("reasoningText", {}).get("text", "")
        if "redactedContent" in thought:
            read.redacted.append(base64.b64decode(thought["redactedContent"]).decode())
        call = block.get("toolUse")
        if call and call.get("type") != "server_tool_use":
            read.calls.append([call["name"], call["input"]])
        for cited in block.get("citationsContent", {}).get("citations", ()):
            read.urls.append(cited["location"]["web"]["url"])
    return read


def plain_stream(raw: bytes) -> Plain:
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    read = Plain()
    for event in buffer:
        data = json.loads(event.payload)
        match event.headers[":event-type"]:
            case "contentBlockStart":
                read.calls.append([data["start"]["toolUse"]["name"], ""])
            case "contentBlockDelta":
                delta = data["delta"]
                read.text += delta.get("text", "")
                read.thought += delta.get("reasoningContent", {}).get("text", "")
                if "toolUse" in delta:
                    read.calls[-1][1] += delta["toolUse"]["input"]
            case "messageStop":
                read.finish = data["stopReason"]
            case "metadata":
                read.usage = data["usage"]
    return read


FINISHES = {
    "end_turn": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "guardrail_intervened": "content_filter",
}


def _check_usage(usage: Any, raw: Any, read: Plain) -> None:
    assert raw == read.usage
    if raw is None:
        assert usage is None
        return
    assert usage.input_tokens + usage.output_tokens == raw["totalTokens"]
    assert usage.output_tokens == raw["outputTokens"]


def decode(blocks: Iterable[bytes], target: Target = PLAIN, notes: Notes = NO_NOTES) -> list[Event]:
    decoder = BEDROCK.stream_decoder(target, notes)
    events = [event for block in blocks for event in decoder.feed(block)]
    return events + decoder.end()


# ---------------------------------------------------------------- frames of our own


def frame(kind: str, data: Any, *, sort: str = "event") -> bytes:
    """One frame as the service writes it; every kind of header stands in it."""
    texts = {f":{sort}-type": kind, ":content-type": "application/json", ":message-type": sort}
    headers = b"".join(
        bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(text)) + text.encode()
        for name, text in texts.items()
    )
    headers += b"\x01t\x00" + b"\x01f\x01" + b"\x01b\x02\x05" + b"\x01s\x03\x00\x05"
    headers += b"\x01i\x04\x00\x00\x00\x05" + b"\x01l\x05" + bytes(8) + b"\x01r\x06\x00\x02ab"
    headers += b"\x01w\x08" + bytes(8) + b"\x01u\x09" + bytes(16)
    payload = data if isinstance(data, bytes) else orjson.dumps(data)
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def delta(index: int, **said: Any) -> bytes:
    return frame("contentBlockDelta", {"contentBlockIndex": index, "delta": said, "p": "abc"})


def start(index: int, **said: Any) -> bytes:
    return frame("contentBlockStart", {"contentBlockIndex": index, "start": said})


def stop(index: int) -> bytes:
    return frame("contentBlockStop", {"contentBlockIndex": index})


START = frame("messageStart", {"role": "assistant"})


def end(reason: str = "end_turn", **more: Any) -> bytes:
    usage = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
    metadata = {"usage": usage, "metrics": {"latencyMs": 5}}
    return frame("messageStop", {"stopReason": reason, **more}) + frame("metadata", metadata)


# ---------------------------------------------------------------- recordings


def test_the_project_keeps_recordings_of_this_dialect() -> None:
    assert len([e for e in ALL if e.name.startswith("bedrock/")]) >= 14
    assert len(KEPT_STREAMS) >= 6


@pytest.mark.parametrize("exchange", ANSWERS, ids=str)
def test_a_whole_answer_says_what_a_plain_reading_says(exchange: Exchange) -> None:
    read = plain(exchange.raw)
    generation = BEDROCK.decode_answer(exchange.raw, CLAUDE)
    choice = generation.choices[0]
    found = said(choice.parts)
    assert (found.text, found.thought) == (read.text, read.thought)
    assert [[name, json.loads(text)] for name, text in found.calls] == read.calls
    redacted = [p.data for p in choice.parts if isinstance(p, RedactedThinking)]
    assert redacted == read.redacted
    citations = [c for p in choice.parts if isinstance(p, Text) for c in p.citations]
    assert [c.url for c in citations] == read.urls
    assert choice.finish is not None
    assert choice.finish.reason == FINISHES[read.finish]
    assert choice.finish.native == read.finish
    _check_usage(generation.usage, generation.raw_usage, read)


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
def test_a_stream_says_what_a_plain_reading_says(exchange: Exchange) -> None:
    read = plain_stream(exchange.raw)
    events = decode([exchange.raw])
    assert isinstance(events[0], Begin)
    assert isinstance(events[-1], Done)
    choice = gather(events)[0]
    found = said(choice.parts)
    assert (found.text, found.thought, found.calls) == (read.text, read.thought, read.calls)
    assert choice.finish is not None
    assert choice.finish.reason == FINISHES[read.finish]
    [seen] = [event for event in events if isinstance(event, UsageSeen)]
    _check_usage(seen.usage, seen.raw, read)


@pytest.mark.parametrize("exchange", KEPT_STREAMS, ids=str)
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


def through(client: str, target: Target = PLAIN) -> TranslatedStream:
    decoder = BEDROCK.stream_decoder(target, NO_NOTES)
    return TranslatedStream(decoder, CLIENTS[client].stream_encoder(reply()))


@pytest.mark.parametrize("exchange", KEPT_STREAMS, ids=str)
def test_F32_a_stream_that_ends_too_soon_never_ends_cleanly(exchange: Exchange) -> None:
    ends = {"openai_chat": b"data: [DONE]", "anthropic": b'"message_stop"'}
    for client, ending in ends.items():
        for cut in range(0, len(exchange.raw), 7):
            reader = through(client)
            out = run(reader, [exchange.raw[:cut]])
            assert reader.clean_end == (reader.error is None)
            assert (ending in out) == reader.clean_end


@pytest.mark.parametrize("exchange", ERRORS, ids=str)
def test_an_error_answer_gives_an_error_of_ours(exchange: Exchange) -> None:
    error = BEDROCK.decode_error(PLAIN, exchange.status, exchange.headers, exchange.raw)
    assert type(error) is UpstreamModelMissing
    assert (error.provider, error.upstream_status) == ("provider", 404)


# ---------------------------------------------------------------- framing


@pytest.mark.parametrize("exchange", KEPT_STREAMS[:2], ids=str)
def test_F33_a_damaged_byte_anywhere_is_a_broken_stream(exchange: Exchange) -> None:
    raw = exchange.raw
    good = len(decode([raw]))
    for place in range(len(raw)):
        damaged = raw[:place] + bytes([raw[place] ^ 0x20]) + raw[place + 1 :]
        events = decode([damaged])
        assert len(events) <= good
        failed = events[-1]
        if isinstance(failed, Done):
            pytest.fail(f"the damage at {place} was not seen")
        if isinstance(failed, Failed):
            assert type(failed.error) is UpstreamBroken
        else:  # in the counts behind a message that had ended
            assert any(isinstance(event, Ended) for event in events)


def test_frames_before_a_damaged_one_are_read_however_they_are_cut() -> None:
    raw = START + delta(0, text="a") + delta(0, text="b")[:-1] + b"\x00" + end()
    whole = shown(decode([raw]))
    assert len(whole) == 4
    for cut in range(1, len(raw)):
        assert shown(decode(pieces(raw, [cut]))) == whole


@pytest.mark.parametrize("lengths", [(16, 1), (15, 0), (0, 0), (2**31, 4), (16, 2**31)])
def test_a_length_that_cannot_be_is_refused_before_it_is_waited_for(lengths: Any) -> None:
    prelude = struct.pack(">II", *lengths)
    with pytest.raises(FrameDamaged):
        list(FrameParser().feed(prelude + struct.pack(">I", crc32(prelude))))


@pytest.mark.parametrize(
    "headers", [b"\x05ab", b"\x01a\x07\x00\x09x", b"\x01a\x0a", b"\x01a\x02", b"\x02\xff\xff\x00"]
)
def test_headers_that_cannot_be_read_are_damage(headers: bytes) -> None:
    prelude = struct.pack(">II", 16 + len(headers), len(headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + headers
    with pytest.raises(FrameDamaged):
        list(FrameParser().feed(body + struct.pack(">I", crc32(body))))


@pytest.mark.parametrize("body", [b"<html>no</html> and more", b"data: {}\n\n" * 3, b"{}", b""])
def test_what_is_no_binary_stream_is_broken(body: bytes) -> None:
    [failed] = decode([body])
    assert isinstance(failed, Failed)
    assert type(failed.error) is UpstreamBroken


@pytest.mark.parametrize(
    "odd",
    [
        frame("contentBlockDelta", b"[1"),
        frame("contentBlockDelta", []),
        frame("contentBlockDelta", {"delta": {"text": "x"}}),
        frame("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": {"name": 1}}}),
        frame("contentBlockStart", {"contentBlockIndex": 0, "start": {"toolUse": []}}),
        frame("messageStop", {}),
        frame("metadata", 7),
    ],
)
def test_an_event_of_an_unknown_form_breaks_the_stream(odd: bytes) -> None:
    events = decode([START + odd + end()])
    assert type(events[-1]) is Failed
    assert type(events[-1].error) is UpstreamBroken


def test_events_nobody_knows_are_passed_over() -> None:
    odd = frame("initial-response", {}) + frame("later", {"a": 1}) + frame("x", {}, sort="other")
    odd += delta(0, later={"a": 1}) + delta(0, reasoningContent={"later": "x"})
    assert shown(decode([START + odd + end()])) == shown(decode([START + end()]))


# ---------------------------------------------------------------- failures

EXCEPTIONS = [
    ("throttlingException", "Too many tokens, please wait", UpstreamThrottled),
    ("modelStreamErrorException", "x", UpstreamUnavailable),
    ("internalServerException", "x", UpstreamUnavailable),
    ("serviceUnavailableException", "x", UpstreamUnavailable),
    ("validationException", "Malformed input request", UpstreamRejected),
    ("modelTimeoutException", "x", UpstreamTimeout),
    ("laterException", "x", UpstreamUnavailable),
]


@pytest.mark.parametrize(("name", "text", "expected"), EXCEPTIONS)
def test_F37_an_exception_in_a_stream_is_its_failure(
    name: str, text: str, expected: type[UpstreamError]
) -> None:
    raw = START + delta(0, text="Half") + frame(name, {"message": text}, sort="exception")
    events = decode([raw + end()])
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert type(failed.error) is expected
    assert failed.error.provider == "provider"
    for client in CLIENTS:
        reader = through(client)
        out = run(reader, [raw])
        assert b"Half" in out
        assert not reader.clean_end


def test_F37_an_error_of_the_framing_itself_is_a_failure() -> None:
    headers = b""
    for name, text in {":message-type": "error", ":error-code": "InternalFailure"}.items():
        headers += bytes([len(name)]) + name.encode() + b"\x07"
        headers += struct.pack(">H", len(text)) + text.encode()
    prelude = struct.pack(">II", 16 + len(headers), len(headers))
    body = prelude + struct.pack(">I", crc32(prelude)) + headers
    events = decode([START + body + struct.pack(">I", crc32(body))])
    assert isinstance(events[-1], Failed)
    assert type(events[-1].error) is UpstreamUnavailable


REFUSALS = [
    ("ValidationException:http://x/", 400, "Malformed input request: #: x", UpstreamRejected, ""),
    ("ValidationException", 400, "Input is too long for requested model.", UpstreamRejected,
     "context_length_exceeded"),
    ("ValidationException", 400, "input length and `max_tokens` exceed context limit: 9",
     UpstreamRejected, "context_length_exceeded"),
    ("ValidationException", 400, "The provided model identifier is invalid.",
     UpstreamModelMissing, ""),
    ("ValidationException", 400, "Invocation of model ID a.b-v1:0 with on-demand throughput isn’t"
     " supported. Retry with the ID or ARN of an inference profile", UpstreamModelMissing, ""),
    ("ValidationException", 400, "You said 'The provided model identifier is invalid'",
     UpstreamRejected, ""),
    ("ValidationException", 400, "Operation not allowed", UpstreamAuth, ""),
    ("UnrecognizedClientException", 403, "The security token is invalid.", UpstreamAuth, ""),
    ("ExpiredTokenException", 403, "The security token has expired", UpstreamAuth, ""),
    ("AccessDeniedException", 403, "User: arn:aws:iam::1:user/x is not authorized",
     UpstreamAuth, ""),
    ("ThrottlingException", 429, "Too many requests", UpstreamThrottled, ""),
    ("ModelNotReadyException", 429, "Not ready", UpstreamUnavailable, ""),
    ("ServiceQuotaExceededException", 400, "quota", UpstreamThrottled, ""),
    ("ModelTimeoutException", 408, "x", UpstreamTimeout, ""),
    ("ModelErrorException", 424, "x", UpstreamUnavailable, ""),
    ("InternalServerException", 500, "x", UpstreamUnavailable, ""),
    ("ServiceUnavailableException", 503, "x", UpstreamUnavailable, ""),
    (None, 502, "x", UpstreamUnavailable, ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "status", "text", "expected", "code"), REFUSALS)
def test_a_refusal_is_classified_by_its_name(
    name: str | None, status: int, text: str, expected: type[UpstreamError], code: str
) -> None:
    headers = {} if name is None else {"x-amzn-errortype": name}
    error = BEDROCK.decode_error(PLAIN, status, headers, orjson.dumps({"message": text}))
    assert type(error) is expected
    assert error.upstream_status == status
    assert "arn:aws" not in error.message
    if code:
        assert error.code == code


def test_a_refusal_without_a_header_or_without_json_is_classified_too() -> None:
    body = b'{"__type": "com.amazon.coral.service#ExpiredTokenException", "Message": "x"}'
    assert type(BEDROCK.decode_error(PLAIN, 400, {}, body)) is UpstreamAuth
    assert type(BEDROCK.decode_error(PLAIN, 503, {}, b"<html>")) is UpstreamUnavailable
    row = Target("m", errors={"ValidationException": "Unavailable"})
    header = {"x-amzn-errortype": "ValidationException"}
    assert type(BEDROCK.decode_error(row, 400, header, b"{}")) is UpstreamUnavailable


@pytest.mark.parametrize(
    "raw",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"output": {"message": {"content": "x"}}}',
     b'{"output": {"message": {"content": [7]}}}',
     b'{"output": {"message": {"content": [{"toolUse": {"name": 5}}]}}}',
     b'{"output": {"message": {"content": []}}, "stopReason": "malformed_model_output"}'],
)  # fmt: skip
def test_a_whole_answer_that_is_none_is_broken(raw: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        BEDROCK.decode_answer(raw, PLAIN)


# ---------------------------------------------------------------- what streams can hold


def test_a_stream_of_every_kind_of_block_is_read() -> None:
    redacted = base64.b64encode(b"EqQBopaque").decode()
    raw = START + b"".join(
        [
            delta(0, reasoningContent={"text": "Let me "}),
            delta(0, reasoningContent={"text": "think."}),
            delta(0, reasoningContent={"signature": "c2ln"}),
            stop(0),
            delta(1, reasoningContent={"redactedContent": redacted}),
            stop(1),
            delta(2, text="See "),
            delta(2, text="there."),
            stop(2),
            delta(3, citation={"location": {"web": {"url": "https://a.example"}}}),
            stop(3),
            delta(4, citation={"title": "t", "source": "s", "sourceContent": [{"text": "c"}]}),
            delta(4, text="Cited."),
            stop(4),
            start(5, toolUse={"toolUseId": "s1", "name": "search", "type": "server_tool_use"}),
            delta(5, toolUse={"input": '{"q": '}),
            delta(5, toolUse={"input": "1}"}),
            stop(5),
            start(6, toolResult={"toolUseId": "s1", "status": "success"}),
            delta(6, toolResult=[{"text": "found"}]),
            stop(6),
            start(7, image={"format": "png"}),
            delta(7, image={"source": {"bytes": base64.b64encode(b"12345").decode()}}),
            delta(7, image={"source": {"bytes": base64.b64encode(b"678").decode()}}),
            stop(7),
            start(8, toolUse={"toolUseId": "c1", "name": "f_tag"}),
            delta(8, toolUse={"input": '{"a" '}),
            delta(8, toolUse={"input": ": 1}"}),
            stop(8),
            end("end_turn"),
        ]
    )
    events = decode([raw], CLAUDE, Notes({"f_tag": "f.original"}))
    choice = gather(events)[0]
    assert [type(part).__name__ for part in choice.parts] == [
        "Thinking", "RedactedThinking", "Text", "Text", "Opaque", "Opaque", "Image", "ToolCall",
    ]  # fmt: skip
    thought, hidden, see, cited, call, result, image, last = choice.parts
    assert thought == Thinking("Let me think.", "c2ln", "anthropic")
    assert hidden == RedactedThinking("EqQBopaque", "anthropic")
    assert isinstance(see, Text)
    assert isinstance(cited, Text)
    assert (see.text, [c.url for c in see.citations]) == ("See there.", ["https://a.example"])
    assert (cited.text, [c.cited for c in cited.citations]) == ("Cited.", ["c"])
    assert isinstance(call, Opaque)
    assert call.raw["toolUse"]["input"] == {"q": 1}
    assert isinstance(result, Opaque)
    assert result.raw["toolResult"]["content"] == [{"text": "found"}]
    assert isinstance(image, Image)
    assert base64.b64decode(image.source.value) == b"12345678"
    assert said([last]).calls == [["f.original", '{"a" : 1}']]
    assert choice.finish is not None
    assert choice.finish.reason == "tool_calls"


def test_a_forced_tool_gives_the_text_it_stood_in_for() -> None:
    notes = Notes(json_tool="json_response")
    use = {"toolUseId": "c1", "name": "json_response"}
    raw = START + start(0, toolUse=use) + delta(0, toolUse={"input": '{"a"'})
    raw += delta(0, toolUse={"input": ":1}"}) + stop(0) + end("tool_use")
    choice = gather(decode([raw], PLAIN, notes))[0]
    assert choice.parts == [Text('{"a":1}')]
    assert choice.finish is not None
    assert choice.finish.reason == "stop"
    content = [{"toolUse": {**use, "input": {"a": 1}}}]
    body = {"output": {"message": {"content": content}}, "stopReason": "tool_use"}
    whole = BEDROCK.decode_answer(orjson.dumps(body), PLAIN, notes).choices[0]
    assert (list(whole.parts), whole.finish) == (choice.parts, choice.finish)


def test_the_sequence_that_ended_a_text_is_told() -> None:
    raw = START + delta(0, text="a")
    raw += end("stop_sequence", additionalModelResponseFields={"stop_sequence": "END"})
    finish = gather(decode([raw]))[0].finish
    assert finish is not None
    assert (finish.reason, finish.stop) == ("stop_sequence", "END")


def test_a_model_that_wrote_nothing_readable_has_failed() -> None:
    [_, failed] = decode([START + end("malformed_tool_use")])
    assert isinstance(failed, Failed)
    assert type(failed.error) is UpstreamBroken
    finish = gather(decode([START + delta(0, text="a") + end("malformed_tool_use")]))[0].finish
    assert finish is not None
    assert finish.reason == "error"


def test_counts_fall_into_disjoint_classes() -> None:
    raw = {
        "inputTokens": 10, "outputTokens": 5, "totalTokens": 65, "cacheReadInputTokens": 20,
        "cacheWriteInputTokens": 30,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 12}, {"ttl": "5m", "inputTokens": 18}],
    }  # fmt: skip
    body = {"output": {"message": {"content": []}}, "stopReason": "end_turn", "usage": raw}
    usage = BEDROCK.decode_answer(orjson.dumps(body), PLAIN).usage
    assert usage is not None
    assert usage.units == {
        "input": 10, "cache_read": 20, "cache_write_5m": 18, "cache_write_1h": 12, "output": 5,
    }  # fmt: skip
    assert usage.input_tokens + usage.output_tokens == 65
    bad: Any
    for bad in ({"inputTokens": -1}, {"inputTokens": 1.5}, {"outputTokens": "3"}, {"x": 1}):
        generation = BEDROCK.decode_answer(orjson.dumps({**body, "usage": bad}), PLAIN)
        assert (generation.usage, generation.raw_usage) == (None, bad)
