"""Recorded responses: read as a plain reading reads them, however cut, and for every client."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from gatewayz.core.errors import InvalidRequest, UpstreamError
from gatewayz.dialects.anthropic.codec import ANTHROPIC
from gatewayz.dialects.events import UsageSeen
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.openai_responses import answer as passed
from gatewayz.dialects.openai_responses.codec import OPENAI_RESPONSES as RESPONSES
from gatewayz.dialects.openai_responses.request import forward_request, passes
from gatewayz.dialects.openai_responses.stream import ResponsesStream
from gatewayz.dialects.parts import Opaque, RedactedThinking, Refusal
from gatewayz.dialects.protocol import Dialect
from gatewayz.dialects.translated import TranslatedStream
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import (
    MODEL,
    REPORT,
    TARGET,
    gather,
    pieces,
    reply,
    run,
    said,
    shown,
)

KEPT = recorded.ROOT / "tests" / "recordings" / "openai_responses"
CLIENTS: dict[str, Dialect] = {
    "openai_responses": RESPONSES,
    "openai_chat": OPENAI_CHAT,
    "anthropic": ANTHROPIC,
}
OUR_ID = "resp_01ARZ3NDEKTSV4RRFFQ69G5FAV"


@dataclass(frozen=True)
class Recording:
    name: str
    status: int
    raw: bytes
    is_stream: bool
    request: Any

    def __str__(self) -> str:
        return self.name


def _load(path: Path) -> Recording:
    stored = json.loads(path.read_text("utf-8"))
    response = stored["response"]
    body = response.get("sse", response.get("body"))
    return Recording(
        name=path.stem if path.parent == KEPT else f"{path.parent.name}/{path.stem}",
        status=response["status"],
        raw=body.encode() if isinstance(body, str) else orjson.dumps(body),
        is_stream="sse" in response,
        request=stored.get("request", {}).get("body"),
    )


OWN = [_load(path) for path in sorted(KEPT.glob("*.json"))]
# A larger collection may stand beside the repository; nothing depends on it.
BESIDE = [_load(path) for path in sorted(recorded.BESIDE.glob("*/openai-responses__*.json"))]
ALL = OWN + [r for r in BESIDE if r.raw not in {own.raw for own in OWN}]
STREAMS = [r for r in ALL if r.is_stream]
ANSWERS = [r for r in ALL if not r.is_stream and r.status < 300]
ERRORS = [r for r in ALL if r.status >= 300]
REQUESTS = [r for r in ALL if isinstance(r.request, dict)]
SMALL = [r for r in STREAMS if len(r.raw) < 9000]


# ---------------------------------------------------------------- a plain reading


@dataclass
class Plain:
    """What a response says, read without any of our code."""

    text: str = ""
    thought: str = ""
    signatures: list[str] = field(default_factory=list)
    calls: list[list[str]] = field(default_factory=list)
    refusal: str = ""
    kinds: list[str] = field(default_factory=list)
    reason: str = "stop"
    usage: Any = None


def plain(raw: bytes, *, is_stream: bool) -> Plain:
    if not is_stream:
        return _plain_body(json.loads(raw))
    events = list(recorded.events(raw))
    whole = _plain_body(events[-1]["response"])
    # The deltas say the same as the end.
    deltas = [e.get("delta", "") for e in events if e["type"] == "response.output_text.delta"]
    assert "".join(deltas) == whole.text
    return whole


def _plain_body(body: Any) -> Plain:
    read = Plain(usage=body["usage"])
    for item in body["output"]:
        match item["type"]:
            case "message":
                for part in item["content"]:
                    read.text += part.get("text", "")
                    read.refusal += part.get("refusal", "")
            case "reasoning":
                texts = item.get("content") or item.get("summary") or []
                read.thought += "\n\n".join(part["text"] for part in texts)
                if item.get("encrypted_content"):
                    read.signatures.append(item["encrypted_content"])
            case "function_call":
                read.calls.append([item["name"], item["arguments"]])
            case kind:
                read.kinds.append(kind)
    if body["status"] == "incomplete":
        known = {"max_output_tokens": "length", "content_filter": "content_filter"}
        read.reason = known[body["incomplete_details"]["reason"]]
    elif read.calls:
        read.reason = "tool_calls"
    return read


def _check(parts: Any, read: Plain) -> None:
    found = said(parts)
    hidden = [p.data for p in parts if isinstance(p, RedactedThinking)]
    assert (found.text, found.thought, found.calls) == (read.text, read.thought, read.calls)
    assert sorted(found.signatures + hidden) == sorted(read.signatures)
    assert "".join(p.text for p in parts if isinstance(p, Refusal)) == read.refusal
    assert [p.kind for p in parts if isinstance(p, Opaque)] == read.kinds


def test_the_project_keeps_responses_of_its_own() -> None:
    assert len(OWN) >= 15
    assert len([r for r in OWN if r.is_stream]) >= 5
    assert [r for r in OWN if r.status >= 400]


# ---------------------------------------------------------------- reading


@pytest.mark.parametrize("recording", ANSWERS, ids=str)
def test_a_whole_answer_says_what_a_plain_reading_says(recording: Recording) -> None:
    read = plain(recording.raw, is_stream=False)
    generation = RESPONSES.decode_answer(recording.raw, TARGET)
    choice = generation.choices[0]
    _check(choice.parts, read)
    assert choice.finish is not None
    assert choice.finish.reason == read.reason
    assert generation.raw_usage == read.usage
    _check_usage(generation.usage, read.usage)


def _check_usage(usage: Any, stated: Any) -> None:
    assert usage.input_tokens == stated["input_tokens"]
    assert usage.output_tokens == stated["output_tokens"]
    cached = stated["input_tokens_details"].get("cached_tokens", 0)
    assert usage.units.get("cache_read", 0) == cached
    reasoning = stated["output_tokens_details"]["reasoning_tokens"]
    assert usage.units.get("reasoning", 0) == reasoning


@pytest.mark.parametrize("recording", STREAMS, ids=str)
def test_a_stream_says_what_a_plain_reading_says(recording: Recording) -> None:
    read = plain(recording.raw, is_stream=True)
    events = _events(recording.raw, [recording.raw])
    found = gather(events).get(0)
    assert found is not None
    _check(tuple(found.parts), read)
    assert found.finish is not None
    assert found.finish.reason == read.reason
    [seen] = [event for event in events if isinstance(event, UsageSeen)]
    assert seen.raw == read.usage
    _check_usage(seen.usage, read.usage)


def _events(raw: bytes, blocks: Any) -> list[Any]:
    decoder = RESPONSES.stream_decoder(TARGET)
    events = [event for block in blocks for event in decoder.feed(block)]
    return events + decoder.end()


@pytest.mark.parametrize("recording", SMALL, ids=str)
def test_F34_a_cut_at_any_offset_gives_the_same_events(recording: Recording) -> None:
    raw = recording.raw
    whole = shown(_events(raw, [raw]))
    step = 1 if len(raw) < 5000 else 7
    for cut in range(1, len(raw), step):
        assert shown(_events(raw, [raw[:cut], raw[cut:]])) == whole


@pytest.mark.parametrize("recording", STREAMS, ids=str)
def test_F34_two_hundred_random_cuts_give_the_same_bytes_to_every_client(
    recording: Recording,
) -> None:
    dice = random.Random(recording.name)
    edges = [dice.randrange(len(recording.raw)) for _ in range(200)]
    for read in _ways():
        whole = run(read(), [recording.raw])
        assert run(read(), pieces(recording.raw, edges)) == whole
        crlf = recording.raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        assert run(read(), [crlf]) == whole


def _ways() -> list[Callable[[], Any]]:
    """Every way a stream goes: through the form to each client, and past it."""
    through: list[Callable[[], Any]] = [
        lambda client=client: TranslatedStream(  # type: ignore[misc]
            RESPONSES.stream_decoder(TARGET), client.stream_encoder(reply())
        )
        for client in CLIENTS.values()
    ]
    return [*through, lambda: ResponsesStream(reply(), TARGET)]


@pytest.mark.parametrize("recording", SMALL, ids=str)
def test_F32_a_stream_that_ends_too_soon_never_ends_cleanly(recording: Recording) -> None:
    for read in _ways():
        for cut in range(0, len(recording.raw), 37):
            reader = read()
            out = run(reader, [recording.raw[:cut]])
            assert reader.clean_end == (reader.error is None)
            if isinstance(reader, ResponsesStream):
                ended = b"event: response.completed" in out or b"event: response.incompl" in out
                assert ended == reader.clean_end


@pytest.mark.parametrize("recording", ERRORS, ids=str)
def test_an_error_answer_gives_an_error_of_ours(recording: Recording) -> None:
    error = RESPONSES.decode_error(TARGET, recording.status, {}, recording.raw)
    assert isinstance(error, UpstreamError)
    status, body, _ = RESPONSES.encode_error(error, style="openai", request_id="req_x")
    assert status >= 400
    assert json.loads(body)["error"].keys() == {"message", "type", "code", "param"}


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize("recording", REQUESTS, ids=str)
@pytest.mark.parametrize("upstream", CLIENTS)
def test_a_recorded_request_is_translated_or_refused(recording: Recording, upstream: str) -> None:
    try:
        request = RESPONSES.decode_request(recording.request)
        sent = CLIENTS[upstream].encode_request(request, TARGET)
    except InvalidRequest as error:
        assert error.param  # noqa: PT017
        return
    again = CLIENTS[upstream].decode_request(json.loads(sent.body))
    assert again.max_output_tokens in (request.max_output_tokens, 8192)
    if upstream == "openai_responses":
        assert (again.messages, again.tools) == (request.messages, request.tools)


@pytest.mark.parametrize("recording", REQUESTS, ids=str)
def test_a_recorded_request_passes_to_its_own_dialect_as_it_is(recording: Recording) -> None:
    assert passes(TARGET)
    try:
        request = RESPONSES.decode_request(recording.request)
    except InvalidRequest as error:
        assert error.param  # noqa: PT017
        return
    sent = forward_request(recording.request, request, TARGET)
    expected = {**recording.request, "model": "native", "store": False}
    assert json.loads(sent.body) == expected


# ---------------------------------------------------------------- past the form


@pytest.mark.parametrize("recording", STREAMS, ids=str)
def test_a_passed_stream_differs_only_in_id_model_usage_and_store(recording: Recording) -> None:
    reader = ResponsesStream(reply(), TARGET)
    out = run(reader, [recording.raw])
    sent, got = list(recorded.events(recording.raw)), list(recorded.events(out))
    assert len(got) == len(sent)
    for theirs, ours in zip(sent, got, strict=True):
        if "response" not in theirs:
            assert ours == theirs
            continue
        response = {**theirs["response"], "id": OUR_ID, "model": MODEL, "store": False}
        if ours["type"] in ("response.completed", "response.incomplete"):
            assert ours["response"]["usage"]["cost"] == 0.00123
            response["usage"] = ours["response"]["usage"]
        assert ours == {**theirs, "response": response}
    read = plain(recording.raw, is_stream=True)
    assert reader.finish == read.reason
    assert reader.usage == read.usage
    _check_usage(reader.counted(), read.usage)
    assert reader.started == bool(read.text or read.calls or read.thought)


@pytest.mark.parametrize("recording", ANSWERS, ids=str)
def test_a_passed_answer_differs_only_in_id_model_usage_and_store(recording: Recording) -> None:
    answer = passed.decode_answer(recording.raw, TARGET)
    body = json.loads(passed.encode_answer(answer, reply(), REPORT))
    theirs = json.loads(recording.raw)
    ours = {"id": OUR_ID, "model": MODEL, "store": False, "usage": body["usage"]}
    assert body == {**theirs, **ours}
    assert body["usage"]["cost"] == 0.00123
    assert body["usage"]["output_tokens"] == theirs["usage"]["output_tokens"]
    read = plain(recording.raw, is_stream=False)
    assert (answer.finish, answer.usage) == (read.reason, read.usage)
    assert answer.output_tokens_estimate > 0
    assert not answer.empty


# ---------------------------------------------------------------- nonsense

NONSENSE: Any = [None, 1, -1, "x", "", True, [], {}, [1], {"a": 1}, 0.5, [{}]]


def _spoil(value: Any, dice: random.Random) -> Any:
    """The same with one value, anywhere in it, that is something else."""
    places = list(_places(value))
    holder, key = dice.choice(places)
    holder[key] = dice.choice(NONSENSE)
    return value


def _places(value: Any) -> Any:
    for key, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


@pytest.mark.parametrize("recording", SMALL, ids=str)
def test_F33_nonsense_within_a_stream_never_raises(recording: Recording) -> None:
    dice = random.Random(recording.name)
    for _ in range(40):
        events = list(recorded.events(recording.raw))
        spoiled = dice.randrange(len(events))
        events[spoiled] = _spoil(events[spoiled], dice)
        raw = b"".join(b"data: " + orjson.dumps(event) + b"\n\n" for event in events)
        for read in _ways():
            reader = read()
            run(reader, [raw])
            assert reader.clean_end == (reader.error is None)


@pytest.mark.parametrize("recording", ANSWERS, ids=str)
def test_F33_nonsense_within_an_answer_is_read_or_raises_an_error_of_ours(
    recording: Recording,
) -> None:
    dice = random.Random(recording.name)
    for _ in range(40):
        raw = orjson.dumps(_spoil(json.loads(recording.raw), dice))
        try:
            generation = RESPONSES.decode_answer(raw, TARGET)
            passed.encode_answer(passed.decode_answer(raw, TARGET), reply(), REPORT)
        except UpstreamError:
            continue
        for client in CLIENTS.values():
            client.encode_answer(generation, reply(), REPORT)
