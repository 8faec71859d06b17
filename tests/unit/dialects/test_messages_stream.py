"""Messages passed through to a client of messages, and the surface that all streams share."""

import json
import random
from typing import Any

import orjson
import pytest

from gatewayz.core.errors import (
    Overloaded,
    UpstreamAuth,
    UpstreamBroken,
    UpstreamModelMissing,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gatewayz.dialects.anthropic.answer import decode_answer, encode_answer
from gatewayz.dialects.anthropic.stream import MessagesStream
from gatewayz.dialects.anthropic.usage import read_usage, write_usage
from gatewayz.dialects.anthropic.wire import event
from gatewayz.dialects.form import Target, UsageReport
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from gatewayz.pricing.usage import Usage
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import (
    MODEL,
    REPORT,
    TARGET,
    Exchange,
    answers,
    pieces,
    plain,
    plain_bytes,
    reply,
    run,
    streams,
    through,
)

STREAMS = [e for e in streams() if e.dialect == "anthropic"]
ANSWERS = [e for e in answers() if e.dialect == "anthropic"]
START = event(
    "message_start",
    {"message": {"id": "msg_1", "model": "n", "usage": {"input_tokens": 5, "output_tokens": 1}}},
)
OPEN = event("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}})
TEXT = event("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": "Hi"}})
CLOSE = event("content_block_stop", {"index": 0})
END = event("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}})
STOP = event("message_stop", {})
ERROR = event("error", {"error": {"type": "overloaded_error", "message": "busy"}})


def passed() -> MessagesStream:
    return MessagesStream(reply(), TARGET)


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
def test_a_passed_stream_is_the_providers_but_for_id_model_and_usage(exchange: Exchange) -> None:
    reader = passed()
    out = run(reader, [exchange.raw])
    got, sent = plain_bytes("anthropic", out, is_stream=True), plain(exchange)
    assert got.usage.pop("cost") == 0.00123
    assert got == sent
    theirs = [e for e in recorded.events(exchange.raw) if e["type"] != "ping"]
    ours = [e for e in recorded.events(out) if e["type"] != "ping"]
    assert [e["type"] for e in ours] == [e["type"] for e in theirs]
    assert ours[1:-2] == theirs[1:-2]
    message = ours[0]["message"]
    assert (message["id"], message["model"]) == ("msg_01ARZ3NDEKTSV4RRFFQ69G5FAV", MODEL)
    assert reader.native_id == theirs[0]["message"]["id"]


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
def test_F34_random_cuts_change_nothing_of_a_passed_stream(exchange: Exchange) -> None:
    dice = random.Random(exchange.name)
    whole = run(passed(), [exchange.raw])
    for _ in range(20):
        edges = [dice.randrange(len(exchange.raw)) for _ in range(10)]
        assert run(passed(), pieces(exchange.raw, edges)) == whole


@pytest.mark.parametrize("exchange", ANSWERS, ids=str)
def test_a_passed_answer_is_the_providers_but_for_id_model_and_usage(exchange: Exchange) -> None:
    answer = decode_answer(exchange.raw, TARGET)
    body = json.loads(encode_answer(answer, reply(), REPORT))
    theirs = json.loads(exchange.raw)
    assert body["usage"].pop("cost") == 0.00123
    assert body == {**theirs, "id": "msg_01ARZ3NDEKTSV4RRFFQ69G5FAV", "model": MODEL}
    counted = answer.counted()
    assert counted is not None
    assert counted.output_tokens == theirs["usage"]["output_tokens"]
    assert answer.finish is not None
    assert not answer.empty


def both() -> list[Any]:
    """A passed and a translated stream of messages: what is asked of one is asked of the other."""
    return [passed(), through("anthropic", "anthropic"), through("anthropic", "openai_chat")]


def test_nothing_goes_out_before_the_first_content() -> None:
    for reader in both():
        assert reader.feed(START + event("ping", {}) + OPEN) == b""
        assert not reader.started
        assert b"Hi" in reader.feed(TEXT)
        assert reader.started


def test_the_end_waits_for_the_charge() -> None:
    for reader in both():
        reader.feed(START + OPEN + TEXT)
        assert b"stop_reason" not in reader.feed(END)
        assert reader.finished
        assert reader.clean_end
        reader.feed(STOP)
        assert reader.done
        assert reader.finish == "stop"
        assert reader.output_tokens_estimate == 1
        assert reader.usage["output_tokens"] == 3
        assert reader.counted() == Usage({"input": 5, "output": 3})
        assert b'"cost":0.00123' in reader.close(REPORT)


def test_F32_a_failure_never_looks_like_an_end() -> None:
    for reader in both():
        out = reader.feed(START + OPEN + TEXT) + reader.end()
        assert isinstance(reader.error, UpstreamBroken)
        out += reader.fail(reader.error)
        assert b"message_stop" not in out
        assert b"[DONE]" not in out
        assert b"error" in out


def test_an_error_event_becomes_our_error_and_later_ones_are_ignored_after_the_end() -> None:
    for reader in both():
        assert reader.feed(START + ERROR) == b""
        assert isinstance(reader.error, UpstreamUnavailable)
    for reader in both():
        reader.feed(START + OPEN + TEXT + CLOSE + END + ERROR)
        reader.end()
        assert reader.error is None
        assert reader.clean_end


def test_a_stream_cut_for_want_of_credit_closes_its_block_and_says_length() -> None:
    for reader in both()[:2]:
        reader.feed(START + OPEN + TEXT)
        last = reader.close(REPORT, finish="length")
        kinds = [e["type"] for e in recorded.events(last)]
        assert kinds == ["content_block_stop", "message_delta", "message_stop"]
        assert b'"stop_reason":"max_tokens"' in last
    chat = both()[2]
    chat.feed(START + OPEN + TEXT)
    assert b'"finish_reason":"length"' in chat.close(REPORT, finish="length")


@pytest.mark.parametrize(
    "junk",
    [
        b"<html>no</html>\n\n",
        b"data: {not json}\n\n",
        b"data: 5\n\n",
        b'data: {"type":"content_block_delta"}\n\n',
        b'data: {"type":"content_block_start","content_block":7}\n\n',
        b'data: {"type":"message_start","message":null}\n\n',
    ],
)
def test_F33_what_is_no_stream_fails_and_never_raises(junk: bytes) -> None:
    for reader in both():
        out = reader.feed(junk) + reader.end()
        assert out == b""
        assert isinstance(reader.error, UpstreamBroken)
        assert reader.empty


# ---------------------------------------------------------------- usage


def test_cache_counts_stand_beside_the_input_and_thinking_within_the_output() -> None:
    raw = {
        "input_tokens": 10,
        "cache_read_input_tokens": 200,
        "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
        "output_tokens": 9,
        "output_tokens_details": {"thinking_tokens": 4},
        "server_tool_use": {"web_search_requests": 2},
    }
    usage = read_usage(raw)
    assert usage == Usage(
        {
            "input": 10,
            "cache_read": 200,
            "cache_write_5m": 20,
            "cache_write_1h": 30,
            "output": 5,
            "reasoning": 4,
            "search": 2,
        }
    )
    written = write_usage(usage, REPORT)
    assert {k: written[k] for k in raw if k != "server_tool_use"} == {
        k: v for k, v in raw.items() if k != "server_tool_use"
    }


@pytest.mark.parametrize(
    "raw",
    [{"input_tokens": -1}, {"output_tokens": "5"}, {"output_tokens": 1.5}, {"other": 1}],
)
def test_F36_a_count_that_cannot_be_true_is_no_usage(raw: dict[str, Any]) -> None:
    with pytest.raises(InvalidUsage):
        read_usage(raw)
    body = {"type": "message", "content": [{"type": "text", "text": "x"}], "usage": raw}
    generation = UPSTREAMS["anthropic"].decode_answer(orjson.dumps(body), TARGET)
    assert generation.usage is None
    assert generation.raw_usage == raw


def test_an_estimate_is_shown_when_the_provider_stated_nothing() -> None:
    assert read_usage(None) is None
    report = UsageReport(cost_nanos=5, prompt_tokens=3, completion_tokens=2, estimated=True)
    written = write_usage(None, report, {"output_tokens": 77})
    assert (written["input_tokens"], written["output_tokens"]) == (3, 2)


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (400, "invalid_request_error", UpstreamRejected),
        (401, "authentication_error", UpstreamAuth),
        (403, "permission_error", UpstreamAuth),
        (404, "not_found_error", UpstreamModelMissing),
        (413, "request_too_large", UpstreamRejected),
        (429, "rate_limit_error", UpstreamThrottled),
        (500, "api_error", UpstreamUnavailable),
        (504, "timeout_error", UpstreamTimeout),
        (529, "overloaded_error", UpstreamUnavailable),
    ],
)
def test_each_error_of_the_protocol_has_its_class(
    status: int, kind: str, expected: type[Exception]
) -> None:
    body = orjson.dumps({"type": "error", "error": {"type": kind, "message": "m"}})
    error = UPSTREAMS["anthropic"].decode_error(TARGET, status, {"retry-after": "7"}, body)
    assert type(error) is expected
    if expected is UpstreamThrottled:
        assert error.retry_after_s == 7
    # The same, when it comes in the midst of a stream.
    reader = passed()
    reader.feed(START + event("error", {"error": {"type": kind, "message": "m"}}))
    assert type(reader.error) is expected


def test_an_account_of_ours_without_money_is_not_the_callers_fault() -> None:
    body = b'{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the API."}}'  # noqa: E501
    error = UPSTREAMS["anthropic"].decode_error(Target("n"), 400, {}, body)
    assert isinstance(error, UpstreamAuth)
    assert "balance" not in error.message


def test_overload_is_529_and_a_refused_credential_of_ours_is_no_401() -> None:
    client = CLIENTS["anthropic"]
    for error in (Overloaded(), UpstreamUnavailable("down"), UpstreamAuth("no")):
        status, body, _ = client.encode_error(error, style="openai", request_id="req_1")
        assert status == 529
        assert json.loads(body)["error"]["type"] == "overloaded_error"
        assert json.loads(body)["request_id"] == "req_1"
    status, body, _ = client.encode_error(UpstreamBroken("x"), style="openai", request_id=None)
    assert (status, json.loads(body)["error"]["type"]) == (502, "api_error")
