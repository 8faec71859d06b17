"""decode ∘ encode is the identity on the internal form, for whole answers, streams and requests."""

from typing import Any, TypeGuard

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.events import (
    ArgumentsDelta,
    Begin,
    BlockStart,
    BlockStop,
    CitationDelta,
    Ended,
    Event,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import Choice, Finish, Generation, GenerationRequest
from gatewayz.dialects.openai_chat import quirks, think_tags, write_request
from gatewayz.dialects.parts import Part, Refusal, Text, Thinking, ToolCall
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from tests.unit.dialects.exchanges import REPORT, gather, reply
from tests.unit.dialects.forms import parts_of, requests_of

# All that the plain protocol leaves out, so that everything can be said.
TARGET = Target(
    "native",
    quirks=write_request.QUIRKS - {write_request.TEXT_ONLY} - think_tags.QUIRKS - quirks.QUIRKS,
)
DIALECTS = ("openai_chat", "anthropic")
STEADY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.mark.parametrize("dialect", DIALECTS)
@STEADY
@given(data=st.data())
def test_a_request_is_the_same_after_writing_and_reading(dialect: str, data: Any) -> None:
    request: GenerationRequest = data.draw(requests_of(dialect))
    target = Target(request.model, quirks=TARGET.quirks)
    sent = UPSTREAMS[dialect].encode_request(request, target)
    assert sent.dropped == ()
    again = CLIENTS[dialect].decode_request(orjson.loads(sent.body), {**request.headers})
    assert again == request


@pytest.mark.parametrize("dialect", DIALECTS)
@STEADY
@given(data=st.data())
def test_a_request_reaches_every_other_dialect_or_is_refused(dialect: str, data: Any) -> None:
    request = data.draw(requests_of(dialect))
    for name in DIALECTS:
        if name == dialect:
            continue
        try:
            sent = UPSTREAMS[name].encode_request(request, Target("native"))
        except InvalidRequest as error:
            assert error.param  # noqa: PT017
            continue
        again = CLIENTS[name].decode_request(orjson.loads(sent.body))
        everything = _squeezed([p.text for m in again.messages for p in m.parts if _speaks(p)])
        for message in request.messages:
            for part in message.parts:
                if _speaks(part):
                    assert _squeezed([part.text]) in everything


def _speaks(part: Part) -> TypeGuard[Text | Refusal]:
    return isinstance(part, Text | Refusal)


def _squeezed(texts: list[str]) -> str:
    """What was said, without the blanks, which joining and cutting may change."""
    return "".join("".join(texts).split())


@pytest.mark.parametrize("dialect", DIALECTS)
@STEADY
@given(data=st.data())
def test_an_answer_is_the_same_after_writing_and_reading(dialect: str, data: Any) -> None:
    parts = data.draw(parts_of(dialect))
    called = any(isinstance(part, ToolCall) for part in parts)
    finish = Finish("tool_calls" if called else data.draw(st.sampled_from(["stop", "length"])))
    generation = Generation(dialect, (Choice(parts, finish),))
    raw = CLIENTS[dialect].encode_answer(generation, reply(), REPORT)
    again = UPSTREAMS[dialect].decode_answer(raw, TARGET)
    assert again.choices[0].parts == parts
    found = again.choices[0].finish
    assert found is not None
    assert found.reason == finish.reason


@pytest.mark.parametrize("dialect", DIALECTS)
@STEADY
@given(data=st.data())
def test_a_stream_is_the_same_after_writing_and_reading(dialect: str, data: Any) -> None:
    parts = data.draw(parts_of(dialect))
    encoder = CLIENTS[dialect].stream_encoder(reply())
    events = [Begin(dialect), *_events(parts, data), Ended(Finish("stop"))]
    raw = b"".join(map(encoder.encode, events)) + encoder.close(REPORT)
    decoder = UPSTREAMS[dialect].stream_decoder(TARGET)
    found = gather([*decoder.feed(raw), *decoder.end()])[0]
    assert tuple(found.parts) == _in_stream(parts, dialect)
    assert found.finish is not None
    called = any(isinstance(part, ToolCall) for part in parts)
    assert found.finish.reason == ("tool_calls" if called else "stop")


def _events(parts: tuple[Part, ...], data: Any) -> list[Event]:
    """The parts as a provider might stream them, in pieces cut anywhere."""
    out: list[Event] = []
    for index, part in enumerate(parts):
        match part:
            case Text(text, citations):
                out.append(BlockStart(index, Text("")))
                out += [TextDelta(index, piece) for piece in _cut(text, data)]
                out += [CitationDelta(index, citation) for citation in citations]
            case Thinking(text, signature, origin, identity):
                out.append(BlockStart(index, Thinking("", origin=origin, id=identity)))
                out += [ThinkingDelta(index, piece) for piece in _cut(text, data)]
                if signature is not None:
                    out.append(SignatureDelta(index, signature, origin))
            case ToolCall():
                opened = ToolCall(part.id, part.name, "", part.custom, part.signature, part.origin)
                out.append(BlockStart(index, opened))
                out += [ArgumentsDelta(index, piece) for piece in _cut(part.arguments, data)]
            case _:
                out.append(BlockStart(index, part))
        out.append(BlockStop(index))
    return out


def _cut(text: str, data: Any) -> list[str]:
    at = data.draw(st.integers(0, len(text)))
    return [piece for piece in (text[:at], text[at:]) if piece]


def _in_stream(parts: tuple[Part, ...], dialect: str) -> tuple[Part, ...]:
    return parts


@pytest.mark.parametrize("dialect", DIALECTS)
@STEADY
@given(data=st.data())
def test_any_object_gives_a_request_or_a_400_that_names_a_field(dialect: str, data: Any) -> None:
    """A good request in which one value, anywhere, is something else."""
    request = data.draw(requests_of(dialect))
    sent = UPSTREAMS[dialect].encode_request(request, Target("native", quirks=TARGET.quirks))
    body = orjson.loads(sent.body)
    places = list(_places(body))
    holder, key = places[data.draw(st.integers(0, len(places) - 1))]
    holder[key] = data.draw(st.sampled_from([None, 1, -1, "x", True, [], {}, [1], {"a": 1}, 0.5]))
    try:
        read = CLIENTS[dialect].decode_request(body)
        for upstream in UPSTREAMS.values():
            upstream.encode_request(read, Target("native"))
    except InvalidRequest as error:
        assert error.status == 400  # noqa: PT017


def _places(value: Any) -> Any:
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in items:
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
