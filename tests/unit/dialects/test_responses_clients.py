"""Responses as we write them, read by the official client and by its published schema: recorded
answers of every upstream dialect at hand, whole and streamed, over a fake wire.
"""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
import yaml
from jsonschema import Draft202012Validator

from gatewayz.core.errors import InsufficientCredits, RateLimited, UpstreamBroken
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.openai_responses.codec import OPENAI_RESPONSES as RESPONSES
from gatewayz.dialects.openai_responses.shell import with_echo
from gatewayz.dialects.openai_responses.stream import ResponsesStream
from gatewayz.dialects.protocol import Upstream
from gatewayz.dialects.registry import UPSTREAMS
from gatewayz.dialects.translated import TranslatedStream, read_answer
from tests.unit.dialects import exchanges, recorded
from tests.unit.dialects.exchanges import MODEL, REPORT, TARGET, Plain, reply, run
from tests.unit.dialects.test_responses_recordings import ANSWERS, STREAMS, plain

SCHEMAS = recorded.ROOT.parent / "shared" / "data" / "openapi" / "openai.yaml"
ASKED: dict[str, Any] = {
    "model": MODEL,
    "input": "?",
    "instructions": "Be brief.",
    "tools": [{"type": "function", "name": "f", "parameters": {"type": "object"}}],
    "tool_choice": "auto",
    "temperature": 0.5,
    "metadata": {"a": "b"},
    "text": {"verbosity": "low"},
}
JSON, EVENTS = "application/json", "text/event-stream"

Case = tuple[str, Upstream, bytes, Plain]


def _cases(*, is_stream: bool) -> list[Any]:
    """Recorded answers of other dialects and of our own, each with its plain reading."""
    found: list[Case] = []
    others = exchanges.streams() if is_stream else exchanges.answers()
    for other in others:
        read = exchanges.plain(other)
        if not read.failed and other.dialect in ("openai_chat", "anthropic"):
            found.append((other.name, UPSTREAMS[other.dialect], other.raw, read))
    for own in STREAMS if is_stream else ANSWERS:
        found.append((own.name, RESPONSES, own.raw, _as_plain(own.raw, is_stream=is_stream)))
    return [pytest.param(*case[1:], id=case[0]) for case in found]


def _as_plain(raw: bytes, *, is_stream: bool) -> Plain:
    read = plain(raw, is_stream=is_stream)
    calls = [list(call) for call in read.calls]
    return Plain(read.text, read.thought, refusal=read.refusal, calls=calls, finish=read.reason)


def _client(body: bytes, kind: str, status: int = 200) -> openai.OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=body, headers={"content-type": kind})

    wire = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="http://gw/v1", http_client=wire, max_retries=0)


def _check(response: Any, read: Plain) -> None:
    assert (response.model, response.object) == (MODEL, "response")
    assert response.id.startswith("resp_")
    assert response.output_text == read.text
    thought = "".join(
        part.text
        for item in response.output
        if item.type == "reasoning"
        for part in item.content or item.summary
    )
    assert thought.replace("\n", "") == read.thought.replace("\n", "")
    calls = [item for item in response.output if item.type == "function_call"]
    assert [call.name for call in calls] == [name for name, _ in read.calls]
    for call, [_, theirs] in zip(calls, read.calls, strict=True):
        assert call.call_id
        if read.finish not in ("length", "max_tokens"):
            assert _value(call.arguments) == _value(theirs)
    ids = [item.id for item in response.output]
    assert len(set(ids)) == len(ids)
    cut = read.finish in ("length", "max_tokens", "model_context_window_exceeded")
    if cut:
        assert response.incomplete_details.reason == "max_output_tokens"
    assert response.status in ("completed", "incomplete")
    assert response.store is False
    usage = response.usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert usage.cost == 0.00123


def _value(arguments: Any) -> Any:
    return json.loads(arguments or "{}") if isinstance(arguments, str) else arguments


@pytest.mark.parametrize(("upstream", "raw", "read"), _cases(is_stream=False))
def test_the_official_client_reads_a_whole_answer(
    upstream: Upstream, raw: bytes, read: Plain
) -> None:
    answer = read_answer(upstream, raw, TARGET)
    body = RESPONSES.encode_answer(answer.generation, with_echo(reply(), ASKED), REPORT)
    response = _client(body, JSON).responses.create(model=MODEL, input="?")
    _check(response, read)
    assert response.instructions == "Be brief."
    assert [tool.type for tool in response.tools] == ["function"]
    _validate("Response", json.loads(body))


@pytest.mark.parametrize(("upstream", "raw", "read"), _cases(is_stream=True))
def test_the_official_client_follows_a_stream(upstream: Upstream, raw: bytes, read: Plain) -> None:
    encoder = RESPONSES.stream_encoder(with_echo(reply(), ASKED))
    reader = TranslatedStream(upstream.stream_decoder(TARGET), encoder)
    _follow(run(reader, [raw]), read)


@pytest.mark.parametrize("recording", STREAMS, ids=str)
def test_the_official_client_follows_a_passed_stream(recording: Any) -> None:
    out = run(ResponsesStream(reply(), TARGET), [recording.raw])
    response = _final(out)
    assert response.output_text == plain(recording.raw, is_stream=True).text
    assert (response.model, response.usage.cost) == (MODEL, 0.00123)


def _follow(out: bytes, read: Plain) -> None:
    events = list(recorded.events(out))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    text = "".join(e["delta"] for e in events if e["type"] == "response.output_text.delta")
    assert text == read.text
    for event in events:
        _validate(event["type"], event)
    _check(_final(out), read)


def _final(out: bytes) -> Any:
    """What the client's own state machine makes of a stream; it raises where one event is amiss."""
    last = None
    with _client(out, EVENTS).responses.stream(model=MODEL, input="?") as stream:
        for event in stream:
            last = event
    assert last is not None
    assert last.type in ("response.completed", "response.incomplete")
    plainly = _client(out, EVENTS).responses.create(model=MODEL, input="?", stream=True)
    *_, end = plainly
    assert end.type == last.type
    return end.response


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (RateLimited("Slow down."), openai.RateLimitError),
        (InsufficientCredits("No credit."), openai.APIStatusError),
        (UpstreamBroken("No answer.", provider="p"), openai.InternalServerError),
    ],
    ids=["rate", "credit", "broken"],
)
def test_the_official_client_raises_the_error_it_means(error: Any, kind: Any) -> None:
    status, body, _ = RESPONSES.encode_error(error, style="openai", request_id="req_x")
    with pytest.raises(kind) as caught:
        _client(body, JSON, status).responses.create(model=MODEL, input="?")
    assert caught.value.code == error.code


@pytest.mark.parametrize("recording", [r for r in STREAMS if len(r.raw) > 5000], ids=str)
def test_the_official_client_sees_a_failure_within_a_stream(recording: Any) -> None:
    half = recording.raw[: len(recording.raw) * 3 // 5]
    through = TranslatedStream(RESPONSES.stream_decoder(TARGET), RESPONSES.stream_encoder(reply()))
    for reader in (through, ResponsesStream(reply(), TARGET)):
        out = run(reader, [half])
        for event in recorded.events(out) if reader is through else ():
            _validate(event["type"], event)
        with _client(out, EVENTS).responses.stream(model=MODEL, input="?") as stream:
            kinds = [event.type for event in stream]
        assert kinds[-2:] == ["error", "response.failed"]
        assert kinds[0] == "response.created"


def test_the_official_client_reads_a_chat_provider_as_a_responses_provider() -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "hi"}, "finish_reason": "stop"}]}
    raw = b"data: " + json.dumps(chunk).encode() + b"\n\ndata: [DONE]\n\n"
    encoder = RESPONSES.stream_encoder(reply())
    out = run(TranslatedStream(OPENAI_CHAT.stream_decoder(TARGET), encoder), [raw])
    assert _final(out).output_text == "hi"


# ---------------------------------------------------------------- the published schema


def _load() -> Any:
    if not SCHEMAS.is_file():
        return None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    schemas = yaml.load(SCHEMAS.read_text("utf-8"), Loader=loader)["components"]["schemas"]
    return {"components": {"schemas": schemas}}


DOCUMENT = _load()


def _names() -> Iterator[tuple[str, str]]:
    for name, schema in DOCUMENT["components"]["schemas"].items() if DOCUMENT else ():
        kinds = ((schema.get("properties") or {}).get("type") or {}).get("enum") or ()
        for kind in kinds:
            if isinstance(kind, str) and (kind == "error" or kind.startswith("response.")):
                yield kind, name


EVENT_SCHEMAS = {
    kind: name for kind, name in _names() if name.startswith("Response") and name.endswith("Event")
}
VALIDATORS: dict[str, Any] = {}


def _validate(kind: str, value: Any) -> None:
    """Against the schema of that name or of that event; nothing where there are no schemas."""
    if DOCUMENT is None:
        return
    name = EVENT_SCHEMAS.get(kind, kind)
    if name not in VALIDATORS:
        reference = {"$ref": f"#/components/schemas/{name}", **DOCUMENT}
        VALIDATORS[name] = Draft202012Validator(reference)
    problems = [f"{list(e.path)}: {e.message[:200]}" for e in VALIDATORS[name].iter_errors(value)]
    assert not problems, f"{name}: {problems[:3]}"
