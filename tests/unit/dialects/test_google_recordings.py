"""Every recorded exchange of this protocol: what it says, however it was cut."""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest

from gatewayz.core.errors import (
    InvalidRequest,
    UpstreamAuth,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamRejected,
    UpstreamThrottled,
)
from gatewayz.dialects.anthropic.codec import ANTHROPIC
from gatewayz.dialects.events import Begin, Event, SignatureDelta, UsageSeen
from gatewayz.dialects.google.codec import GOOGLE
from gatewayz.dialects.google.count import read_count
from gatewayz.dialects.google.wire import read_path
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.parts import Part, Text, ToolCall
from gatewayz.dialects.protocol import NO_NOTES
from gatewayz.dialects.translated import TranslatedStream
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import TARGET, gather, pieces, reply, run, said

KEPT = recorded.ROOT / "tests" / "recordings" / "google"
CLIENTS: dict[str, Any] = {"openai_chat": OPENAI_CHAT, "anthropic": ANTHROPIC, "google": GOOGLE}


@dataclass(frozen=True)
class Exchange:
    name: str
    status: int
    raw: bytes
    is_stream: bool
    request: Any

    def __str__(self) -> str:
        return self.name


def exchanges() -> Iterator[Exchange]:
    """Those kept here, then those of a larger collection that may stand beside the repository."""
    paths = sorted(KEPT.glob("*.json"))
    if recorded.BESIDE.is_dir():
        paths += sorted(recorded.BESIDE.glob("*/gemini-generatecontent__*.json"))
    for path in paths:
        stored = json.loads(path.read_text("utf-8"))
        response = stored["response"]
        body = response.get("sse", response.get("body"))
        raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
        is_stream = "sse" in response or type(body) is list
        name = f"{path.parent.name}/{path.stem}"
        yield Exchange(name, response["status"], raw, is_stream, stored.get("request"))


ALL = list(exchanges())
ANSWERS = [e for e in ALL if e.status == 200 and not e.is_stream]
STREAMS = [e for e in ALL if e.status == 200 and e.is_stream]
KEPT_STREAMS = [e for e in STREAMS if e.name.startswith("google/")]
ERRORS = [e for e in ALL if e.status >= 300]
REQUESTS = [e for e in ALL if e.request and isinstance(e.request.get("body"), dict)]


@dataclass
class Plain:
    text: str = ""
    thought: str = ""
    calls: list[list[Any]] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    finish: str | None = None
    usage: Any = None


def plain(raw: bytes) -> Plain:
    """A reading of all chunks that uses none of our code."""
    if raw.lstrip()[:1] in (b"[", b"{"):
        body = json.loads(raw)
        chunks = body if isinstance(body, list) else [body]
    else:
        chunks = list(recorded.events(raw))
    read = Plain()
    for chunk in chunks:
        read.usage = chunk.get("usageMetadata", read.usage)
        candidate = chunk["candidates"][0]
        read.finish = candidate.get("finishReason", read.finish)
        for part in candidate.get("content", {}).get("parts", ()):
            if part.get("thought"):
                read.thought += part["text"]
            else:
                read.text += part.get("text", "")
            if "functionCall" in part:
                read.calls.append([part["functionCall"]["name"], part["functionCall"]["args"]])
            if "thoughtSignature" in part:
                read.signatures.append(part["thoughtSignature"])
    return read


def gathered(events: Iterable[Event]) -> tuple[list[Part], Any]:
    """Parts and finish of the first choice, with the signatures of texts."""
    signed: dict[int, SignatureDelta] = {}
    parts: dict[int, Part] = {}
    rest: list[Event] = []
    for event in events:
        part = getattr(event, "part", None)
        if part is not None:
            parts[event.index] = part  # type: ignore[union-attr]
        if isinstance(event, SignatureDelta) and isinstance(parts[event.index], Text):
            signed[event.index] = event
        else:
            rest.append(event)
    choice = gather(rest)[0]
    for index, event in signed.items():
        text = choice.parts[index]
        assert isinstance(text, Text)
        choice.parts[index] = replace(text, signature=event.signature, origin=event.origin)
    return choice.parts, choice.finish


def _check(parts: Any, finish: Any, read: Plain) -> None:
    found = said(parts)
    assert (found.text, found.thought) == (read.text, read.thought)
    assert [[name, json.loads(text)] for name, text in found.calls] == read.calls
    calls = [part for part in parts if isinstance(part, ToolCall)]
    assert len({call.id for call in calls}) == len(calls)
    assert all(call.id for call in calls)
    signatures = [s for part in parts if (s := getattr(part, "signature", None))]
    assert signatures == read.signatures
    expected = {"STOP": "tool_calls" if calls else "stop", "MAX_TOKENS": "length"}
    assert finish.reason == expected[read.finish or ""]
    assert finish.native == read.finish


def _check_usage(usage: Any, raw: Any, read: Plain) -> None:
    assert raw == read.usage
    spent = read.usage
    assert usage.input_tokens == spent["promptTokenCount"]
    thoughts = spent.get("thoughtsTokenCount", 0)
    assert usage.output_tokens == spent.get("candidatesTokenCount", 0) + thoughts
    assert usage.units.get("reasoning", 0) == thoughts
    assert usage.input_tokens + usage.output_tokens == spent["totalTokenCount"]


def test_the_project_keeps_recordings_of_this_dialect() -> None:
    assert len([e for e in ALL if e.name.startswith("google/")]) >= 15
    assert len(KEPT_STREAMS) >= 4


@pytest.mark.parametrize("exchange", [*ANSWERS, *STREAMS], ids=str)
def test_a_whole_answer_says_what_a_plain_reading_says(exchange: Exchange) -> None:
    read = plain(exchange.raw)
    if exchange.is_stream and not exchange.raw.startswith(b"["):
        return
    generation = GOOGLE.decode_answer(exchange.raw, TARGET)
    choice = generation.choices[0]
    _check(choice.parts, choice.finish, read)
    _check_usage(generation.usage, generation.raw_usage, read)
    assert generation.id is not None
    assert generation.model is not None


@pytest.mark.parametrize("exchange", [*ANSWERS, *STREAMS], ids=str)
def test_a_stream_says_what_a_plain_reading_says(exchange: Exchange) -> None:
    decoder = GOOGLE.stream_decoder(TARGET)
    events = decoder.feed(exchange.raw) + decoder.end()
    assert isinstance(events[0], Begin)
    parts, finish = gathered(events)
    read = plain(exchange.raw)
    _check(parts, finish, read)
    last = [e for e in events if isinstance(e, UsageSeen)][-1]
    _check_usage(last.usage, last.raw, read)


def _events(raw_blocks: Any) -> list[str]:
    decoder = GOOGLE.stream_decoder(TARGET)
    events = [event for block in raw_blocks for event in decoder.feed(block)]
    return list(map(repr, events + decoder.end()))


@pytest.mark.parametrize("exchange", KEPT_STREAMS, ids=str)
def test_F34_a_cut_at_any_offset_gives_the_same_events(exchange: Exchange) -> None:
    whole = _events([exchange.raw])
    for cut in range(1, len(exchange.raw)):
        assert _events(pieces(exchange.raw, [cut])) == whole
    assert _events([exchange.raw[i : i + 1] for i in range(len(exchange.raw))]) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
def test_F34_two_hundred_random_cuts_give_the_same_bytes_to_every_client(
    exchange: Exchange,
) -> None:
    dice = random.Random(exchange.name)
    edges = [dice.randrange(len(exchange.raw)) for _ in range(200)]
    for client in CLIENTS.values():

        def through(client: Any = client) -> TranslatedStream:
            decoder = GOOGLE.stream_decoder(TARGET, NO_NOTES)
            return TranslatedStream(decoder, client.stream_encoder(reply()))

        whole = run(through(), [exchange.raw])
        assert run(through(), pieces(exchange.raw, edges)) == whole


@pytest.mark.parametrize("exchange", KEPT_STREAMS, ids=str)
def test_F32_a_stream_that_ends_too_soon_never_ends_cleanly(exchange: Exchange) -> None:
    for cut in range(0, len(exchange.raw), 7):
        decoder = GOOGLE.stream_decoder(TARGET)
        reader = TranslatedStream(decoder, GOOGLE.stream_encoder(reply()))
        out = run(reader, [exchange.raw[:cut]])
        assert reader.clean_end == (reader.error is None)
        assert (b'"finishReason"' in out) == reader.clean_end
        assert (b'"error"' in out) != reader.clean_end


EXPECTED: dict[int, Any] = {400: UpstreamRejected, 403: UpstreamAuth, 404: UpstreamModelMissing}
EXPECTED[429] = UpstreamThrottled


@pytest.mark.parametrize("exchange", ERRORS, ids=str)
def test_an_error_answer_gives_an_error_of_ours(exchange: Exchange) -> None:
    error = GOOGLE.decode_error(TARGET, exchange.status, {}, exchange.raw)
    assert isinstance(error, UpstreamError)
    assert type(error) is EXPECTED[exchange.status]
    assert error.provider == "provider"
    if exchange.status == 429:
        assert error.retry_after_s == 48.0
    for client in CLIENTS.values():
        status, body, _ = client.encode_error(error, style="openai", request_id="req_x")
        assert status >= 400
        assert json.loads(body)["error"]["message"]


def _path(request: Any) -> str:
    path = str(request.get("path") or request["url"])
    return path.partition("?")[0]


@pytest.mark.parametrize("exchange", REQUESTS, ids=str)
def test_a_recorded_request_reaches_every_provider(exchange: Exchange) -> None:
    call = read_path(_path(exchange.request))
    assert call is not None
    if exchange.status == 400 and "invalid_role" in str(exchange.request):
        return
    request = GOOGLE.decode_request(call.body(exchange.request["body"]))
    assert request.stream == ("stream" in call.method)
    for name, upstream in CLIENTS.items():
        if "file_data" in str(exchange.request) and name != "google":
            with pytest.raises(InvalidRequest):  # a file that only this provider has
                upstream.encode_request(request, TARGET)
            continue
        sent = upstream.encode_request(request, TARGET)
        body = json.loads(sent.body)
        if name == "google":
            again = read_path(sent.path.partition("?")[0])
            assert again is not None
            read = upstream.decode_request({**body, "model": request.model})
        else:
            read = upstream.decode_request({"max_tokens": 1, **body})
        theirs = [p for m in request.messages for p in m.parts if isinstance(p, ToolCall)]
        ours = [p for m in read.messages for p in m.parts if isinstance(p, ToolCall)]
        assert [c.arguments for c in ours] == [c.arguments for c in theirs]


def test_a_recorded_count_is_read() -> None:
    raw = b'{"totalTokens": 12, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}]}'
    assert read_count(raw, TARGET) == 12
