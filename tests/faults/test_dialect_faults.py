"""F33–F39, F44 and F45 for every client dialect at every upstream dialect: what a provider gets
wrong never reaches a caller as an answer, and what it says never steers one.
"""

import json
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from gatewayz.core.errors import UpstreamAuth, UpstreamError, UpstreamThrottled, final_failure
from gatewayz.dialects.exchange import Exchange
from gatewayz.dialects.form import Target
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.registry import CALLS, CLIENTS
from gatewayz.pricing.usage import Usage
from tests.fakes import agent
from tests.fakes.agent import DIALECTS, Say
from tests.unit.dialects.exchanges import REPORT, reply, run
from tests.unit.dialects.test_bedrock_recordings import frame
from tests.unit.dialects.test_cross_product import CLIENT_ERRORS, READ_STREAM, READ_WHOLE

HELLO = [{"role": "user", "content": "hello"}]
PATH = {":path": "/v1beta/models/m:streamGenerateContent", ":query": "alt=sse"}
BODIES: dict[str, dict[str, Any]] = {
    "openai_chat": {"model": "m", "messages": HELLO, "stream_options": {"include_usage": True}},
    "openai_responses": {"model": "m", "input": "hello"},
    "anthropic": {"model": "m", "max_tokens": 9, "messages": HELLO},
    "google": {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]},
}
TARGET = Target("native", provider="provider")
SECRET = "sk-live-zq9X8w7V6u5T4s3R2q1P0o9N8m7L"


def exchange_of(client: str, upstream: str, *, stream: bool = True) -> Exchange:
    body = {**BODIES[client], "stream": stream}
    path = PATH if stream else {**PATH, ":path": "/v1beta/models/m:generateContent"}
    if client == "google":
        del body["stream"]
    return CALLS[client](body, path).exchange(upstream, TARGET, reply(), None)


def stream_of(upstream: str, text: str) -> list[bytes]:
    return list(agent._STREAM[upstream](Say(text)))


# ---------------------------------------------------------------- F33, F34

NONSENSE = [b"", b"<html><body>502</body></html>", b"[]", b"{", b"\xff\xfe\x00"]


@pytest.mark.parametrize("raw", NONSENSE)
@pytest.mark.parametrize("client", BODIES)
@pytest.mark.parametrize("upstream", DIALECTS)
def test_F33_nonsense_is_never_an_answer(client: str, upstream: str, raw: bytes) -> None:
    with pytest.raises(UpstreamError):
        exchange_of(client, upstream, stream=False).read_answer(raw)
    stream = exchange_of(client, upstream).open_stream()
    out = stream.feed(raw) + stream.end()
    assert out == b""
    assert stream.error is not None
    with pytest.raises(CLIENT_ERRORS):
        READ_STREAM[client](stream.fail(stream.error))


@pytest.mark.parametrize("client", BODIES)
@pytest.mark.parametrize("upstream", DIALECTS)
def test_F34_a_stream_that_stops_before_its_end_ends_in_an_error(
    client: str, upstream: str
) -> None:
    blocks = stream_of(upstream, "half of what was to be said")
    kept = blocks[: len(blocks) - 2] if upstream != "openai_chat" else blocks[:3]
    if upstream == "google":
        kept = blocks[:2]
    stream = exchange_of(client, upstream).open_stream()
    out = b"".join(map(stream.feed, kept)) + stream.end()
    if stream.error is None:
        pytest.skip("what is cut off is nothing that a client needs")
    assert out != b""
    with pytest.raises(CLIENT_ERRORS):
        READ_STREAM[client](out + stream.fail(stream.error))


# ---------------------------------------------------------------- F36


def _with_counts(upstream: str, value: Any) -> bytes:
    """A whole answer all of whose counts are `value`."""

    def changed(node: Any) -> Any:
        if isinstance(node, dict):
            return {name: changed(inner) for name, inner in node.items()}
        return value if type(node) is int else node

    body = agent._WHOLE[upstream](Say("hi"))
    for name in ("usage", "usageMetadata"):
        if name in body:
            body[name] = changed(body[name])
    return json.dumps(body).encode()


@pytest.mark.parametrize("value", [-5, 1e308, "12", None, 0])
@pytest.mark.parametrize("client", BODIES)
@pytest.mark.parametrize("upstream", DIALECTS)
def test_F36_counts_that_cannot_be_true_are_no_usage(
    client: str, upstream: str, value: Any
) -> None:
    exchange = exchange_of(client, upstream, stream=False)
    try:
        answer = exchange.read_answer(_with_counts(upstream, value))
        counted = answer.counted()
    except (InvalidUsage, UpstreamError):
        return
    assert counted is None or isinstance(counted, Usage)
    if counted is not None:
        assert all(type(n) is int and 0 <= n < 2**53 for n in counted.units.values())
        assert value in (0, None) or counted.units == {}, counted.units
    exchange.render_answer(answer, REPORT)


# ---------------------------------------------------------------- F37


def _failure(upstream: str) -> bytes:
    """An error within a stream, as each protocol says it, with a secret in it."""
    words = f"overloaded, your key is {SECRET}"
    match upstream:
        case "openai_chat":
            return agent._data({"error": {"message": words, "type": "server_error", "code": 503}})
        case "openai_responses":
            error = {"code": "server_error", "message": words}
            fields = {"type": "response.failed", "sequence_number": 9}
            return agent._data(
                {**fields, "response": {"status": "failed", "error": error, "output": []}},
                "response.failed",
            )
        case "anthropic":
            return agent._data(
                {"type": "error", "error": {"type": "overloaded_error", "message": words}}, "error"
            )
        case "google":
            told = {"code": 503, "message": words, "status": "UNAVAILABLE"}
            return agent._data({"error": told})
        case "bedrock":
            return frame("serviceUnavailableException", {"message": words}, sort="exception")
    delta = {"finish_reason": "ERROR", "error": words}
    return agent._data({"type": "message-end", "delta": delta}, "message-end")


def _begun(upstream: str) -> Iterator[bytes]:
    """A stream up to the middle of its text."""
    for block in stream_of(upstream, "half of what was to be said"):
        yield block
        if b"half of" in block:
            return


@pytest.mark.parametrize("client", BODIES)
@pytest.mark.parametrize("upstream", DIALECTS)
def test_F37_an_error_within_a_stream_is_one_to_the_caller_and_tells_no_secret(
    client: str, upstream: str
) -> None:
    early = exchange_of(client, upstream).open_stream()
    assert early.feed(_failure(upstream)) == b""
    assert early.error is not None
    assert not early.started
    late = exchange_of(client, upstream).open_stream()
    out = b"".join(map(late.feed, _begun(upstream)))
    assert late.started
    out += late.feed(_failure(upstream))
    assert late.error is not None
    out += late.fail(late.error)
    assert SECRET.encode() not in out
    assert b"half of" in out
    with pytest.raises(CLIENT_ERRORS):
        READ_STREAM[client](out)


# ---------------------------------------------------------------- F38, F39, F44


@pytest.mark.parametrize("after", ["1", "3600", "NaN", "-5", "Thu, 01 Jan 1970 00:00:00 GMT", "∞"])
@pytest.mark.parametrize("upstream", DIALECTS)
def test_F38_a_wish_to_wait_is_bounded_whoever_utters_it(upstream: str, after: str) -> None:
    exchange = exchange_of("openai_chat", upstream)
    error = exchange.decode_error(429, {"retry-after": after}, b'{"message":"slow down"}')
    assert isinstance(error, UpstreamThrottled)
    assert error.retry_after_s is None or 0 <= error.retry_after_s <= 3600


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("client", BODIES)
@pytest.mark.parametrize("upstream", DIALECTS)
def test_F39_F44_a_refusal_of_our_credential_is_not_the_callers_and_shows_nothing_of_it(
    client: str, upstream: str, status: int
) -> None:
    words = f"Incorrect API key provided: {SECRET}. Authorization: Bearer {SECRET}"
    told = {"message": words, "error": {"message": words, "type": "authentication_error"}}
    exchange = exchange_of(client, upstream)
    error = exchange.decode_error(status, {}, orjson.dumps(told))
    assert isinstance(error, UpstreamAuth)
    shown, body, _ = CLIENTS[client].encode_error(
        final_failure([error]), style="openai", request_id="req_x"
    )
    assert shown in (503, 529)
    assert SECRET.encode() not in body
    assert b"Incorrect" not in body


# ---------------------------------------------------------------- F45

FRAMES = (
    'a\n\ndata: [DONE]\n\ndata: {"error":{"message":"x","code":"y"}}\n\nevent: error\ndata: {}\n\n'
    'event: message_stop\ndata: {"type":"message_stop"}\n\n\r\n\r\n"id":"c-1","model":"m" \u2028 b'
)


@pytest.mark.parametrize("client", BODIES)
@pytest.mark.parametrize("upstream", DIALECTS)
def test_F45_text_that_looks_like_framing_stays_text(client: str, upstream: str) -> None:
    whole = exchange_of(client, upstream, stream=False)
    raw = json.dumps(agent._WHOLE[upstream](Say(FRAMES))).encode()
    body = whole.render_answer(whole.read_answer(raw), REPORT)
    assert READ_WHOLE[client](body).text == FRAMES
    stream = exchange_of(client, upstream).open_stream()
    out = run(stream, stream_of(upstream, FRAMES))
    assert READ_STREAM[client](out).text == FRAMES
