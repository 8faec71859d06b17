"""This protocol passed through to a client of its own: only id, model and usage are ours."""

import json
import random
from typing import Any

import orjson
import pytest

from gatewayz.core.errors import InvalidRequest, RateLimited, UpstreamBroken, UpstreamThrottled
from gatewayz.dialects.envelope import Sealed, seal
from gatewayz.dialects.form import Target, UsageReport
from gatewayz.dialects.google.answer import decode_answer, encode_answer
from gatewayz.dialects.google.codec import GOOGLE
from gatewayz.dialects.google.exchange import GoogleCall
from gatewayz.dialects.google.request import passes
from gatewayz.dialects.google.stream import GoogleArrayStream, GoogleStream
from gatewayz.dialects.google.wire import read_path
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import MODEL, REPORT, TARGET, pieces, reply, run
from tests.unit.dialects.test_google_recordings import (
    ANSWERS,
    KEPT_STREAMS,
    REQUESTS,
    STREAMS,
    Exchange,
    plain,
)

ID = "gen-01ARZ3NDEKTSV4RRFFQ69G5FAV"
OURS = ("responseId", "modelVersion", "usageMetadata")


def passed(*, n: int = 1) -> GoogleStream:
    return GoogleStream(reply(n=n), TARGET)


def chunk(*parts: Any, **fields: Any) -> bytes:
    """One chunk as the provider sends it."""
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0, **fields}
    body: dict[str, Any] = {"candidates": [candidate], "responseId": "r1", "modelVersion": "m-1"}
    body["usageMetadata"] = {"promptTokenCount": 5, "totalTokenCount": 5}
    return b"data: " + json.dumps(body).encode() + b"\r\n\r\n"


def _chunks(raw: bytes) -> list[Any]:
    if raw.lstrip()[:1] == b"[":
        return list(json.loads(raw))
    return list(recorded.events(raw))


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
@pytest.mark.parametrize("kind", [GoogleStream, GoogleArrayStream])
def test_a_client_gets_every_chunk_with_our_labels(exchange: Exchange, kind: Any) -> None:
    reader = kind(reply(), TARGET)
    out = run(reader, [exchange.raw])
    got, sent = _chunks(out), _chunks(exchange.raw)
    assert len(got) == len(sent)
    for ours, theirs in zip(got, sent, strict=True):
        assert (ours["responseId"], ours["modelVersion"]) == (ID, MODEL)
        assert {k: v for k, v in ours.items() if k not in OURS} == {
            k: v for k, v in theirs.items() if k not in OURS
        }
    usage = got[-1]["usageMetadata"]
    assert usage.pop("cost") == 0.00123
    assert usage == sent[-1]["usageMetadata"]
    assert sent[0]["responseId"].encode() not in out
    read = plain(exchange.raw)
    assert reader.native_id == sent[0]["responseId"]
    assert reader.finish == ("tool_calls" if read.calls else "stop")
    counted = reader.counted()
    assert counted is not None
    assert counted.input_tokens == read.usage["promptTokenCount"]
    assert reader.output_tokens_estimate > 0


@pytest.mark.parametrize("exchange", KEPT_STREAMS, ids=str)
def test_F34_a_cut_anywhere_gives_the_same_bytes(exchange: Exchange) -> None:
    whole = run(passed(), [exchange.raw])
    for cut in range(1, len(exchange.raw), 3):
        assert run(passed(), pieces(exchange.raw, [cut])) == whole
    dice = random.Random(exchange.name)
    edges = [dice.randrange(len(exchange.raw)) for _ in range(200)]
    assert run(passed(), pieces(exchange.raw, edges)) == whole


@pytest.mark.parametrize("exchange", KEPT_STREAMS, ids=str)
@pytest.mark.parametrize("kind", [GoogleStream, GoogleArrayStream])
def test_F32_a_stream_that_ends_too_soon_never_ends_cleanly(exchange: Exchange, kind: Any) -> None:
    for cut in range(0, len(exchange.raw), 11):
        reader = kind(reply(), TARGET)
        out = run(reader, [exchange.raw[:cut]])
        assert reader.clean_end == (reader.error is None)
        assert ("error" in _chunks(out)[-1]) != reader.clean_end
        assert (b"finishReason" in out) == reader.clean_end


def test_bytes_that_are_not_ours_are_not_touched() -> None:
    reader = passed()
    reader.feed(chunk({"text": "a"}))
    odd = b'{"candidates": [ {"content":{"parts":[{"text":"b\\u00e9"}]}}],"zz":1.0e3,'
    odd += b'"responseId":"r1","modelVersion" : "m-1"}'
    expected = odd.replace(b'"r1"', b'"%s"' % ID.encode()).replace(b'"m-1"', b'"maker/model"')
    assert reader.feed(b"data: " + odd + b"\n\n") == b"data: " + expected + b"\n\n"


def test_labels_that_stand_twice_are_only_changed_where_they_are_labels() -> None:
    reader = passed()
    args = {"functionCall": {"name": "f", "args": {"model": "m-1", "id": "r1"}}}
    [got] = recorded.events(reader.feed(chunk(args)))
    assert got["candidates"][0]["content"]["parts"][0] == args
    assert (got["responseId"], got["modelVersion"]) == (ID, MODEL)


def test_nothing_goes_out_before_the_first_content() -> None:
    reader = passed()
    assert reader.feed(chunk({"text": ""})) == b""
    assert not reader.started
    assert len(list(recorded.events(reader.feed(chunk({"text": "a"}))))) == 2
    assert reader.started


def test_everything_from_the_finish_on_waits_for_the_charge() -> None:
    reader = passed()
    assert reader.feed(chunk({"text": "a"}))
    assert reader.feed(chunk({"text": "b"}, finishReason="STOP")) == b""
    assert reader.feed(chunk(groundingMetadata={"webSearchQueries": ["q"]})) == b""
    assert reader.end() == b""
    last = list(recorded.events(reader.close(REPORT)))
    assert last[0]["candidates"][0]["content"]["parts"] == [{"text": "b"}]
    assert last[1]["candidates"][0]["groundingMetadata"] == {"webSearchQueries": ["q"]}
    assert [("cost" in c.get("usageMetadata", {})) for c in last] == [False, True]


def test_used_up_credit_ends_the_answer_as_cut_by_length() -> None:
    reader = passed()
    reader.feed(chunk({"text": "a"}))
    report = UsageReport(5, 10, 3, estimated=True)
    [last] = recorded.events(reader.close(report, finish="length"))
    [candidate] = last["candidates"]
    assert (candidate["finishReason"], candidate["index"]) == ("MAX_TOKENS", 0)
    assert last["usageMetadata"]["candidatesTokenCount"] == 3
    assert last["usageMetadata"]["estimated"] is True


def test_an_error_in_the_stream_is_an_error_of_ours() -> None:
    reader = passed()
    reader.feed(chunk({"text": "a"}))
    body = {"error": {"code": 429, "message": "Quota of us", "status": "RESOURCE_EXHAUSTED"}}
    reader.feed(b"data: " + json.dumps(body).encode() + b"\n\n")
    assert isinstance(reader.error, UpstreamThrottled)
    assert b"Quota of us" not in reader.fail(reader.error)


def test_a_bare_error_where_events_were_asked_for_is_read_too() -> None:
    body = {"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}}
    for raw in (json.dumps(body, indent=1), json.dumps([body], indent=1)):
        reader = passed()
        reader.feed(raw.encode())
        assert reader.error is not None
        assert reader.error.status == 503


def test_a_call_that_could_not_be_read_is_a_failure_unless_something_was_said() -> None:
    reader = passed()
    reader.feed(chunk(finishReason="MALFORMED_FUNCTION_CALL"))
    assert isinstance(reader.error, UpstreamBroken)
    reader = passed()
    reader.feed(chunk({"text": "a"}))
    reader.feed(chunk(finishReason="MALFORMED_FUNCTION_CALL"))
    assert reader.error is None
    assert reader.finish == "stop"


def test_a_refused_prompt_is_a_complete_answer_without_candidates() -> None:
    body = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    reader = passed()
    out = run(reader, [b"data: " + json.dumps(body).encode() + b"\n\n"])
    assert reader.error is None
    assert reader.finish == "content_filter"
    [got] = recorded.events(out)
    assert got["promptFeedback"] == {"blockReason": "SAFETY"}
    assert "candidates" not in got


def test_every_candidate_of_several_must_end() -> None:
    reader = passed(n=2)
    reader.feed(chunk({"text": "a"}, finishReason="STOP"))
    reader.end()
    assert isinstance(reader.error, UpstreamBroken)
    reader = passed(n=2)
    reader.feed(chunk({"text": "a"}, finishReason="STOP"))
    reader.feed(chunk({"text": "b"}, finishReason="STOP", index=1))
    assert reader.clean_end


@pytest.mark.parametrize("raw", [b"data: [1]\n\n", b"data: {x\n\n", b"data: 7\n\n", b"<html>"])
def test_F33_what_is_no_answer_is_a_broken_answer(raw: bytes) -> None:
    reader = passed()
    run(reader, [raw])
    assert isinstance(reader.error, UpstreamBroken)


def test_an_array_that_fails_before_anything_was_said_is_still_an_array() -> None:
    reader = GoogleArrayStream(reply(), TARGET)
    reader.feed(chunk({"text": ""}))
    [only] = json.loads(reader.fail(RateLimited("slow down")))
    assert only["error"]["status"] == "RESOURCE_EXHAUSTED"


# ------------------------------------------------------------------ whole answers


@pytest.mark.parametrize("exchange", ANSWERS, ids=str)
def test_a_whole_answer_keeps_everything_but_our_labels(exchange: Exchange) -> None:
    answer = decode_answer(exchange.raw, TARGET)
    got, sent = orjson.loads(encode_answer(answer, reply(), REPORT)), orjson.loads(exchange.raw)
    assert {k: v for k, v in got.items() if k not in OURS} == {
        k: v for k, v in sent.items() if k not in OURS
    }
    assert (got["responseId"], got["modelVersion"]) == (ID, MODEL)
    assert got["usageMetadata"] == {**sent["usageMetadata"], "cost": 0.00123}
    assert answer.native_id == sent["responseId"]
    assert not answer.empty


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[]", b"{}", b'{"candidates":[]}', b"null"])
def test_F33_what_is_no_whole_answer_is_broken(raw: bytes) -> None:
    with pytest.raises(UpstreamBroken):
        decode_answer(raw, TARGET)


# ------------------------------------------------------------------ requests


@pytest.mark.parametrize("exchange", REQUESTS, ids=str)
def test_a_request_goes_on_as_it_came(exchange: Exchange) -> None:
    path = str(exchange.request.get("path") or exchange.request["url"]).partition("?")[0]
    call = read_path(path)
    assert call is not None
    body = exchange.request["body"]
    if "invalid_role" in str(body):
        return
    ours = GoogleCall(call.body(body), {})
    target = Target("models/native-1", provider="p", drop=frozenset({"safetySettings", "seed"}))
    sent = ours.exchange("google", target, reply(), 77).request
    method = "streamGenerateContent?alt=sse" if ours.stream else "generateContent"
    assert sent.path == f"/models/native-1:{method}"
    expected = {k: v for k, v in body.items() if k not in ("safetySettings", "model")}
    expected["generationConfig"] = {
        k: v for k, v in expected.get("generationConfig", {}).items() if k != "seed"
    }
    expected["generationConfig"]["maxOutputTokens"] = 77
    assert orjson.loads(sent.body) == expected
    assert ("safetySettings" in sent.dropped) == ("safetySettings" in body)


def test_a_request_that_carries_thoughts_of_others_is_written_anew() -> None:
    sealed = seal(Sealed("anthropic", "sig"))
    body = {
        "model": "m",
        "contents": [
            {"role": "user", "parts": [{"text": "a"}]},
            {
                "role": "model",
                "parts": [{"text": "t", "thought": True, "thoughtSignature": sealed}],
            },
            {"role": "user", "parts": [{"text": "b"}]},
        ],
    }
    sent = GoogleCall(body, {}).exchange("google", TARGET, reply(), None).request
    assert sealed.encode() not in sent.body
    assert sent.dropped == ("messages.reasoning",)


def test_only_a_provider_of_the_same_family_gets_the_bytes() -> None:
    assert passes(Target("m"))
    assert passes(Target("m", family="google"))
    assert not passes(Target("m", family="anthropic"))


def test_fields_that_belong_to_a_gateway_stay_here() -> None:
    body: dict[str, Any] = {"model": "m", "contents": [{"parts": [{"text": "a"}]}], "api_key": "k"}
    body |= {"vertex_project": "p", "base_url": "http://x", "labels": {"a": "b"}}
    sent = GoogleCall(body, {}).exchange("google", TARGET, reply(), None).request
    assert orjson.loads(sent.body).keys() == {"contents", "labels"}


@pytest.mark.parametrize(
    "more",
    [
        {"cachedContent": "cachedContents/abc"},
        {"generation_config": {"response_modalities": ["TEXT", "IMAGE"]}},
        {"generationConfig": {"responseMimeType": "text/x.enum"}},
    ],
)
@pytest.mark.parametrize("upstream", ["openai_chat", "anthropic"])
def test_what_only_this_dialect_can_keep_is_refused_for_others(more: Any, upstream: str) -> None:
    call = GoogleCall({"model": "m", "contents": [{"parts": [{"text": "a"}]}], **more}, {})
    with pytest.raises(InvalidRequest) as raised:
        call.exchange(upstream, TARGET, reply(), None)
    assert raised.value.param in {
        "cachedContent",
        "generationConfig.responseModalities",
        "generationConfig.responseMimeType",
    }
    assert call.exchange("google", TARGET, reply(), None).request.dropped == ()


def test_what_does_no_harm_is_dropped_for_others() -> None:
    body: dict[str, Any] = {"model": "m", "contents": [{"parts": [{"text": "a"}]}]}
    body |= {"safetySettings": [], "generationConfig": {"responseModalities": ["TEXT"]}}
    call = GoogleCall(body, {})
    sent = call.exchange("openai_chat", TARGET, reply(), None).request
    assert sent.dropped == ("safetySettings",)


def test_a_call_for_another_provider_comes_back_in_this_dialect() -> None:
    body: dict[str, Any] = {"model": "m", "stream": True, "contents": [{"parts": [{"text": "a"}]}]}
    raw = b'data: {"choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
    for array in (False, True):
        exchange = GoogleCall(body, {}, array=array).exchange("openai_chat", TARGET, reply(), None)
        stream: Any = exchange.open_stream()
        chunks = _chunks(run(stream, [raw]))
        assert chunks[0]["candidates"][0]["content"]["parts"] == [{"text": "Hi"}]
        assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
        assert chunks[-1]["usageMetadata"]["cost"] == 0.00123


def test_a_call_tells_what_admission_asks_of_it() -> None:
    body: dict[str, Any] = {
        "contents": [{"parts": [{"text": "a"}]}],
        "generation_config": {"max_output_tokens": 9, "candidate_count": 2},
        "session_id": "s",
    }
    path = read_path("/v1beta/models/maker/model:free:streamGenerateContent")
    assert path is not None
    call = GoogleCall(path.body(body), {}, array=True)
    assert (call.model, call.stream, call.choices) == ("maker/model:free", True, 2)
    assert (call.max_output_tokens, call.session, call.end_user) == (9, "s", None)
    assert call.prompt_tokens > 0
    assert call.keepalive == b"\n"
    assert json.loads(call.error_frame(RateLimited("x"), reply()))[0]["error"]["code"] == 429
    stream = call.exchange("google", TARGET, reply(), None).open_stream()
    assert isinstance(stream, GoogleArrayStream)


def test_the_dialect_says_what_it_is() -> None:
    assert GOOGLE.name == "google"
    assert "openapi_schema" in GOOGLE.quirks
