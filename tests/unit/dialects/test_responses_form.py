"""The Responses protocol: decode ∘ encode is the identity on all of the form that it can say."""

from dataclasses import replace
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.anthropic.codec import ANTHROPIC
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
from gatewayz.dialects.generation import (
    Choice,
    Finish,
    FunctionTool,
    Generation,
    GenerationRequest,
    ResponseFormat,
    ToolChoice,
)
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.openai_responses.codec import OPENAI_RESPONSES as RESPONSES
from gatewayz.dialects.openai_responses.wire import NAME
from gatewayz.dialects.parts import (
    Audio,
    CacheMark,
    Citation,
    File,
    Image,
    Message,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from tests.unit.dialects import forms
from tests.unit.dialects.exchanges import REPORT, gather, reply
from tests.unit.dialects.forms import (
    arguments,
    base64s,
    choices,
    extras,
    maybe,
    names,
    schemas,
    web_addresses,
    words,
)

TARGET = Target("native")
STEADY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
marks = st.sampled_from([None, CacheMark()])

texts = st.builds(Text, words, cache=marks, extras=extras)
pictures = forms.pictures | names.map(lambda file_id: Source("id", file_id))
images = st.builds(Image, pictures, maybe(st.sampled_from(["low", "auto"])), marks)
files = st.builds(
    File,
    base64s.map(lambda data: Source("data", data, "application/pdf"))
    | names.map(lambda file_id: Source("id", file_id))
    | web_addresses.map(lambda url: Source("url", url)),
    maybe(words),
    marks,
)
sounds = st.builds(Audio, base64s.map(lambda b: Source("data", b, "audio/wav")), st.just("wav"))
user = st.lists(texts | images | files | sounds, min_size=1, max_size=3).map(tuple)

_spans = st.builds(
    lambda url, start: {
        "type": "url_citation",
        "url": url,
        "title": "t",
        "start_index": start,
        "end_index": start + 3,
    },
    web_addresses,
    st.integers(0, 9),
)
citations = st.lists(
    _spans.map(
        lambda raw: Citation(raw["url"], "t", None, raw["start_index"], raw["end_index"], NAME, raw)
    ),
    max_size=2,
).map(tuple)
phases = st.just({}) | st.just({"phase": "commentary"})
spoken = st.builds(Text, words, citations, extras=phases) | st.builds(Refusal, words)
calls = (
    st.builds(ToolCall, names, words, arguments)
    | st.builds(ToolCall, names, words, words, custom=st.just(True))
    | st.builds(ToolCall, names, words, st.just(""), extras=st.just({"namespace": "n"}))
)
thoughts = st.builds(Thinking, words, words, st.just("openai"), maybe(names)) | st.builds(
    RedactedThinking, words, st.just("openai"), maybe(names)
)
searches = st.just(Opaque(NAME, {"type": "web_search_call", "id": "ws_1", "status": "completed"}))
assistant = st.lists(spoken | calls | thoughts | searches, min_size=1, max_size=5).map(tuple)


def result(call_id: str) -> Any:
    shown = st.builds(Text, words) | st.builds(Image, forms.pictures) | files
    parts = st.lists(shown, max_size=2).map(tuple)
    return st.builds(ToolResult, st.just(call_id), parts, name=maybe(names))


tools = st.lists(
    st.builds(FunctionTool, words, maybe(words), maybe(schemas), maybe(st.booleans()))
    | st.builds(FunctionTool, words, maybe(words), custom=st.just(True))
    | st.just(Opaque(NAME, {"type": "web_search", "search_context_size": "low"})),
    max_size=3,
).map(tuple)
systems = st.lists(
    st.builds(
        Message, st.sampled_from(["system", "developer"]), st.lists(texts, min_size=1).map(tuple)
    ),
    max_size=2,
).map(tuple)
reasonings = st.builds(
    forms.Reasoning,
    maybe(st.sampled_from(["low", "xhigh", "none"])),
    maybe(st.integers(1, 10**5)),
    st.sampled_from([None, "on", "off"]),
    maybe(st.sampled_from(["auto", "detailed"])),
).filter(lambda reasoning: reasoning != forms.Reasoning())
formats = st.sampled_from([None, ResponseFormat("text"), ResponseFormat("json_object")])
schema_formats = st.builds(
    ResponseFormat,
    st.just("json_schema"),
    maybe(schemas),
    words,
    maybe(words),
    maybe(st.booleans()),
)
more = st.fixed_dictionaries(
    {},
    optional={
        "truncation": st.just("auto"),
        "include": st.just(["reasoning.encrypted_content"]),
        "text": st.just({"x_unknown": 1}),
        "reasoning": st.just({"context": "all_turns"}),
        "safety_identifier": words,
    },
)


@st.composite
def requests(draw: Any) -> GenerationRequest:
    return GenerationRequest(
        dialect=NAME,
        model="native",
        messages=(*draw(systems), *draw(forms._turns(user, assistant, result))),
        tools=draw(tools),
        tool_choice=draw(maybe(choices | st.just(ToolChoice("auto", ("f", "g"))))),
        parallel_tools=draw(maybe(st.booleans())),
        max_output_tokens=draw(maybe(st.integers(1, 10**6))),
        temperature=draw(maybe(st.floats(0, 2))),
        top_p=draw(maybe(st.floats(0, 1))),
        logprobs=draw(st.sampled_from([None, True])),
        top_logprobs=draw(maybe(st.integers(0, 20))),
        response_format=draw(formats | schema_formats),
        reasoning=draw(maybe(reasonings)),
        verbosity=draw(maybe(st.just("low"))),
        stream=draw(st.booleans()),
        include_usage=True,
        user=draw(maybe(words)),
        metadata=draw(maybe(st.just({"a": "b"}))),
        service_tier=draw(maybe(st.just("default"))),
        cache_key=draw(maybe(words)),
        extras=draw(more),
    )


@STEADY
@given(request=requests())
def test_a_request_is_the_same_after_writing_and_reading(request: GenerationRequest) -> None:
    sent = RESPONSES.encode_request(request, TARGET)
    assert sent.dropped == ()
    body = orjson.loads(sent.body)
    assert body["store"] is False
    assert RESPONSES.decode_request(body) == request


@STEADY
@given(request=requests())
def test_a_request_reaches_other_dialects_or_is_refused_by_a_place(
    request: GenerationRequest,
) -> None:
    for upstream in (OPENAI_CHAT, ANTHROPIC):
        try:
            sent = upstream.encode_request(request, Target("native"))
        except InvalidRequest as error:
            assert error.param  # noqa: PT017
            continue
        assert orjson.loads(sent.body)["model"] == "native"


@STEADY
@given(data=st.data())
def test_a_request_of_another_dialect_arrives_or_is_refused_by_a_place(data: Any) -> None:
    request = data.draw(forms.chat_requests() | forms.message_requests())
    try:
        sent = RESPONSES.encode_request(request, Target("native"))
    except InvalidRequest as error:
        assert error.param  # noqa: PT017
        return
    again = RESPONSES.decode_request(orjson.loads(sent.body))
    assert _arguments(again) == _arguments(request)
    assert _texts(request) <= _texts(again)


def _arguments(request: GenerationRequest) -> list[str]:
    return [p.arguments for m in request.messages for p in m.parts if isinstance(p, ToolCall)]


def _texts(request: GenerationRequest) -> set[str]:
    return {p.text for m in request.messages for p in m.parts if isinstance(p, Text)}


@STEADY
@given(data=st.data())
def test_any_object_gives_a_request_or_a_400_that_names_a_field(data: Any) -> None:
    """A good request in which one value, anywhere, is something else."""
    body = orjson.loads(RESPONSES.encode_request(data.draw(requests()), TARGET).body)
    places = list(_places(body))
    holder, key = places[data.draw(st.integers(0, len(places) - 1))]
    holder[key] = data.draw(st.sampled_from([None, 1, -1, "x", True, [], {}, [1], {"a": 1}, 0.5]))
    try:
        read = RESPONSES.decode_request(body)
        for upstream in (RESPONSES, OPENAI_CHAT, ANTHROPIC):
            upstream.encode_request(read, TARGET)
    except InvalidRequest as error:
        assert error.param  # noqa: PT017


def _places(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


# ---------------------------------------------------------------- answers

foreign = (
    st.builds(Thinking, words, words, st.sampled_from(["anthropic", "xai"]), maybe(names))
    | st.builds(Thinking, st.just(""), words, st.just("anthropic"))
    | st.builds(RedactedThinking, words, st.just("anthropic"), maybe(names))
    | st.builds(Thinking, words)
)
made = base64s.map(lambda data: Image(Source("data", data, "image/webp")))
signed_calls = st.builds(
    ToolCall, names, words, arguments, signature=words, origin=st.just("google")
)
answer_parts = st.lists(
    st.builds(Text, words, citations, extras=phases)
    | st.builds(Refusal, words)
    | calls
    | signed_calls
    | thoughts
    | foreign
    | made
    | searches,
    max_size=5,
    unique_by=lambda part: part.id if isinstance(part, ToolCall) else id(part),
).map(tuple)


@STEADY
@given(parts=answer_parts, cut=st.booleans())
def test_an_answer_is_the_same_after_writing_and_reading(
    parts: tuple[Part, ...], cut: bool
) -> None:
    called = any(isinstance(part, ToolCall) for part in parts)
    finish = Finish("length") if cut else Finish("tool_calls" if called else "stop")
    generation = Generation(NAME, (Choice(parts, finish),))
    raw = RESPONSES.encode_answer(generation, reply(), REPORT)
    again = RESPONSES.decode_answer(raw, TARGET)
    assert tuple(map(_bare, again.choices[0].parts)) == tuple(map(_bare, parts))
    assert again.choices[0].finish is not None
    assert again.choices[0].finish.reason == finish.reason


def _bare(part: Part) -> Part:
    """A picture's item has an id of ours."""
    return replace(part, extras={}) if isinstance(part, Image) else part


@STEADY
@given(parts=answer_parts, data=st.data())
def test_a_stream_is_the_same_after_writing_and_reading(parts: tuple[Part, ...], data: Any) -> None:
    encoder = RESPONSES.stream_encoder(reply())
    events = [Begin(NAME), *_events(parts, data), Ended(Finish("stop"))]
    raw = b"".join(map(encoder.encode, events)) + encoder.close(REPORT)
    decoder = RESPONSES.stream_decoder(TARGET)
    found = gather([*decoder.feed(raw), *decoder.end()])[0]
    assert tuple(map(_streamed, found.parts)) == tuple(map(_streamed, parts))
    whole = RESPONSES.decode_answer(_last(raw), TARGET)
    assert tuple(map(_streamed, whole.choices[0].parts)) == tuple(map(_streamed, parts))


def _last(raw: bytes) -> bytes:
    """The response that the last event carries."""
    data = raw.rstrip().rpartition(b"\ndata: ")[2]
    return orjson.dumps(orjson.loads(data)["response"])


def _streamed(part: Part) -> Part:
    if isinstance(part, Thinking) and part.signature is None:
        return replace(part, origin="")  # whose it is, is known before whether it is signed
    return _bare(part)


def _events(parts: tuple[Part, ...], data: Any) -> list[Event]:
    """The parts as a provider might stream them, in pieces cut anywhere."""
    out: list[Event] = []
    for index, part in enumerate(parts):
        match part:
            case Text(text, cited):
                out.append(BlockStart(index, Text("", extras=part.extras)))
                out += [TextDelta(index, piece) for piece in _cut(text, data)]
                out += [CitationDelta(index, citation) for citation in cited]
            case Refusal(text):
                out.append(BlockStart(index, Refusal("")))
                out += [TextDelta(index, piece) for piece in _cut(text, data)]
            case Thinking(text, signature, origin, identity):
                out.append(BlockStart(index, Thinking("", origin=origin, id=identity)))
                out += [ThinkingDelta(index, piece) for piece in _cut(text, data)]
                if signature is not None:
                    out.append(SignatureDelta(index, signature, origin))
            case ToolCall():
                out.append(BlockStart(index, replace(part, arguments="")))
                out += [ArgumentsDelta(index, piece) for piece in _cut(part.arguments, data)]
            case _:
                out.append(BlockStart(index, part))
        out.append(BlockStop(index))
    return out


def _cut(text: str, data: Any) -> list[str]:
    at = data.draw(st.integers(0, len(text)))
    return [piece for piece in (text[:at], text[at:]) if piece]
