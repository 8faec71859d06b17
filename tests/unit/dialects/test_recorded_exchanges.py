"""Every recorded exchange read into the internal form: what it says, however it was cut."""

import json
import random

import pytest

from gatewayz.core.errors import InvalidRequest, UpstreamError
from gatewayz.dialects.events import Failed, UsageSeen
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.parts import ToolCall
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from tests.unit.dialects.exchanges import (
    DIALECTS,
    TARGET,
    Exchange,
    Plain,
    answers,
    decode_stream,
    decoded,
    exchanges,
    gather,
    pieces,
    plain,
    run,
    said,
    shown,
    streams,
    through,
)

STREAMS, ANSWERS = streams(), answers()
KEPT_STREAMS = streams(beside=False)
SMALL = [e for e in KEPT_STREAMS if len(e.raw) < 5000]
ERRORS = [e for e in exchanges() if e.status >= 300]
REQUESTS = [e for e in exchanges() if isinstance(e.request, dict) and e.request.get("messages")]
# Words of a provider → the form's reason; the rest is the same word.
REASONS = {
    "end_turn": "stop",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "tool_call": "tool_calls",
    "eos": "stop",
}


def _check_finish(found: str, read: Plain) -> None:
    expected = REASONS.get(read.finish or "", read.finish)
    if read.calls and expected == "stop":
        expected = "tool_calls"
    if expected:
        assert found == expected


def _check_usage(exchange: Exchange, raw: object, read: Plain) -> None:
    if exchange.dialect == "anthropic":
        assert raw == {k: v for k, v in read.usage.items() if v is not None or k in read.usage}
    elif read.usage:
        assert raw == read.usage


def test_the_project_keeps_recordings_of_each_dialect() -> None:
    for dialect in DIALECTS.values():
        kept = [e for e in exchanges(beside=False) if e.dialect == dialect]
        assert len(kept) >= 15
        assert any(e.is_stream for e in kept)
        assert any(e.status >= 400 for e in kept)
    assert len(SMALL) >= 5


@pytest.mark.parametrize("exchange", ANSWERS, ids=str)
def test_a_whole_answer_says_what_a_plain_reading_says(exchange: Exchange) -> None:
    read = plain(exchange)
    if read.failed:
        with pytest.raises(UpstreamError):
            decoded(exchange)
        return
    generation = decoded(exchange)
    choice = generation.choices[0]
    found = said(choice.parts)
    assert (found.text, found.thought) == (read.text, read.thought)
    assert found.signatures == [s for s in read.signatures if s]
    for [name, arguments], [their_name, theirs] in zip(found.calls, read.calls, strict=True):
        assert name == their_name
        assert (json.loads(arguments) if isinstance(theirs, dict) else arguments) == theirs
    assert choice.finish is not None
    _check_finish(choice.finish.reason, read)
    _check_usage(exchange, generation.raw_usage, read)


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
def test_a_stream_says_what_a_plain_reading_says(exchange: Exchange) -> None:
    read = plain(exchange)
    events = decode_stream(exchange, [exchange.raw])
    if isinstance(events[-1], Failed):
        assert read.failed
        return
    choice = gather(events)[0]
    found = said(choice.parts)
    assert (found.text, found.thought) == (read.text, read.thought)
    assert found.calls == read.calls
    assert found.signatures == read.signatures
    if choice.finish is not None:
        _check_finish(choice.finish.reason, read)
    seen = [e.raw for e in events if isinstance(e, UsageSeen)]
    _check_usage(exchange, seen[-1] if seen else None, read)


@pytest.mark.parametrize("exchange", SMALL, ids=str)
def test_F34_a_cut_at_any_offset_gives_the_same_events(exchange: Exchange) -> None:
    whole = shown(decode_stream(exchange, [exchange.raw]))
    for cut in range(1, len(exchange.raw)):
        assert shown(decode_stream(exchange, pieces(exchange.raw, [cut]))) == whole


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
def test_F34_one_byte_at_a_time_gives_the_same_events(exchange: Exchange) -> None:
    raw = exchange.raw[:20_000]
    whole = shown(decode_stream(exchange, [raw]))
    assert shown(decode_stream(exchange, [raw[i : i + 1] for i in range(len(raw))])) == whole


@pytest.mark.parametrize("exchange", KEPT_STREAMS, ids=str)
def test_F34_two_hundred_random_cuts_give_the_same_bytes_to_every_client(
    exchange: Exchange,
) -> None:
    dice = random.Random(exchange.name)
    edges = [dice.randrange(len(exchange.raw)) for _ in range(200)]
    for client in CLIENTS:
        whole = run(through(exchange.dialect, client), [exchange.raw])
        assert run(through(exchange.dialect, client), pieces(exchange.raw, edges)) == whole
        crlf = exchange.raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        assert run(through(exchange.dialect, client), [crlf]) == whole


@pytest.mark.parametrize("exchange", SMALL, ids=str)
@pytest.mark.parametrize("client", ["openai_chat", "anthropic"])
def test_F32_a_stream_that_ends_too_soon_never_ends_cleanly(
    exchange: Exchange, client: str
) -> None:
    ends = {"openai_chat": b"data: [DONE]", "anthropic": b'"message_stop"'}
    for cut in range(0, len(exchange.raw), 7):
        reader = through(exchange.dialect, client)
        out = run(reader, [exchange.raw[:cut]])
        assert reader.clean_end == (reader.error is None)
        assert (ends[client] in out) == reader.clean_end


@pytest.mark.parametrize("exchange", ERRORS, ids=str)
def test_an_error_answer_gives_an_error_of_ours(exchange: Exchange) -> None:
    upstream = UPSTREAMS[exchange.dialect]
    error = upstream.decode_error(TARGET, exchange.status, exchange.headers, exchange.raw)
    assert isinstance(error, UpstreamError)
    assert error.provider == "provider"
    for client in CLIENTS.values():
        status, body, _ = client.encode_error(error, style="openai", request_id="req_x")
        assert status >= 400
        assert json.loads(body)["error"]["message"]


@pytest.mark.parametrize("exchange", REQUESTS, ids=str)
@pytest.mark.parametrize("upstream", ["openai_chat", "anthropic"])
def test_a_recorded_request_is_translated_or_refused(exchange: Exchange, upstream: str) -> None:
    client = CLIENTS[exchange.dialect]
    try:
        request = client.decode_request(exchange.request)
        sent = UPSTREAMS[upstream].encode_request(request, TARGET)
    except InvalidRequest as error:
        assert error.param  # noqa: PT017
        return
    body = json.loads(sent.body)
    assert body["model"] == "native"
    again = CLIENTS[upstream].decode_request(body)
    assert [json.loads(a) for a in _arguments(again)] == [
        json.loads(a) for a in _arguments(request)
    ]
    for arguments in _arguments(request):
        text = arguments if upstream == "anthropic" else json.dumps(arguments, ensure_ascii=False)
        assert text.encode() in sent.body, "arguments are no longer the bytes that came"


def _arguments(request: GenerationRequest) -> list[str]:
    return [p.arguments for m in request.messages for p in m.parts if isinstance(p, ToolCall)]
