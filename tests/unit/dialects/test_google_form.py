"""decode ∘ encode is the identity on what this protocol can say; what it cannot take is a 400."""

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayz.core.errors import InvalidRequest, UpstreamError
from gatewayz.dialects.anthropic.codec import ANTHROPIC
from gatewayz.dialects.events import (
    ArgumentsDelta,
    Begin,
    BlockStart,
    BlockStop,
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
    Reasoning,
    ResponseFormat,
    ToolChoice,
)
from gatewayz.dialects.google.codec import GOOGLE
from gatewayz.dialects.google.count import ask_count, decode_count
from gatewayz.dialects.google.wire import read_path
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.parts import (
    Audio,
    File,
    Image,
    Message,
    Opaque,
    Part,
    RedactedThinking,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)
from tests.unit.dialects import forms
from tests.unit.dialects.exchanges import REPORT, TARGET, reply
from tests.unit.dialects.forms import base64s, maybe, plain_arguments, schemas, words
from tests.unit.dialects.test_google_recordings import gathered

OTHERS: dict[str, Any] = {"openai_chat": OPENAI_CHAT, "anthropic": ANTHROPIC}
STEADY = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
BRIEF = settings(STEADY, max_examples=15)

names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}", fullmatch=True)
extras: Any = st.just({}) | st.just({"xUnknown": {"of_mine": ["a", 1]}})
signed = st.tuples(base64s, st.just("google"))
unsigned = st.just((None, ""))


def _data(*mimes: str) -> Any:
    return st.builds(Source, st.just("data"), base64s, st.sampled_from(mimes))


_own_files = st.builds(
    Source,
    st.just("id"),
    st.sampled_from(
        ["gs://bucket/a", "https://generativelanguage.googleapis.com/v1beta/files/abc"]
    ),
    st.just("image/png"),
)
media = st.one_of(
    st.builds(Image, _data("image/png", "image/webp") | _own_files, extras=extras),
    st.builds(File, _data("application/pdf", "text/plain"), maybe(words), extras=extras),
    st.builds(Audio, _data("audio/wav"), st.just("wav")),
    st.builds(
        Video,
        st.just(Source("url", "https://www.youtube.com/watch?v=x", "video/mp4")),
        extras=st.just({"videoMetadata": {"fps": 2}}),
    ),
)


@st.composite
def texts(draw: Any) -> Text:
    signature, origin = draw(signed | unsigned)
    return Text(draw(words), signature=signature, origin=origin, extras=draw(extras))


@st.composite
def calls(draw: Any) -> ToolCall:
    signature, origin = draw(signed | unsigned)
    return ToolCall(
        draw(words), draw(names), draw(plain_arguments), signature=signature, origin=origin
    )


opaque = st.just(Opaque("google", {"executableCode": {"language": "PYTHON", "code": "1"}}))
thoughts = st.lists(st.builds(Thinking, words, base64s, st.just("google")), max_size=2) | st.lists(
    st.builds(Thinking, words), max_size=1
)
_calls = st.lists(calls(), max_size=3, unique_by=lambda call: call.id)
_said = st.tuples(thoughts, st.lists(texts() | opaque, min_size=1, max_size=2), _calls)
assistant = _said.map(lambda said: tuple(part for some in said for part in some))


def _is_object(text: str) -> bool:
    return text.lstrip().startswith("{")


def results(call: ToolCall) -> Any:
    said = words.filter(lambda text: not _is_object(text))
    told = st.lists(said.map(Text), min_size=1, max_size=1)
    shown = st.lists(st.builds(Image, _data("image/png")), max_size=1)
    parts = st.tuples(told, shown).map(lambda both: tuple(p for some in both for p in some))
    return st.builds(
        ToolResult, st.just(call.id), parts, is_error=st.booleans(), name=st.just(call.name)
    )


@st.composite
def conversations(draw: Any) -> tuple[Message, ...]:
    user = st.lists(st.builds(Text, words) | media, min_size=1, max_size=3).map(tuple)
    out = [Message("user", draw(user))]
    system = st.lists(st.builds(Text, words), min_size=1, max_size=2).map(tuple)
    if draw(st.booleans()):
        out.insert(0, Message("system", draw(system)))
    for _ in range(draw(st.integers(0, 2))):
        said = draw(assistant)
        out.append(Message("assistant", said))
        called = [part for part in said if isinstance(part, ToolCall)]
        if called:
            out.append(Message("tool", tuple(draw(results(call)) for call in called)))
        if not called or draw(st.booleans()):
            out.append(Message("user", draw(user)))
    return tuple(out)


_own_tools: Any = st.sampled_from([{"googleSearch": {}}, {"codeExecution": {}}])
tools: Any = st.lists(
    st.builds(
        FunctionTool,
        names,
        maybe(words),
        maybe(schemas),
        extras=st.just({}) | st.just({"behavior": "BLOCKING"}),
    ),
    max_size=3,
).flatmap(
    lambda functions: st.lists(_own_tools, max_size=2).map(
        lambda own: (*functions, *(Opaque("google", raw) for raw in own))
    )
)
choices = st.one_of(
    st.builds(ToolChoice, st.sampled_from(["auto", "none", "required"])),
    st.builds(
        ToolChoice, st.sampled_from(["auto", "required"]), st.just(("f",)) | st.just(("f", "g"))
    ),
)
reasonings = st.builds(
    Reasoning,
    maybe(st.sampled_from(["low", "high"])),
    maybe(st.integers(1, 30_000)),
    st.none(),
    maybe(st.sampled_from(["omitted", "auto"])),
).filter(lambda r: r != Reasoning()) | st.sampled_from(
    [Reasoning(mode="off"), Reasoning(mode="adaptive", show="auto")]
)
request_extras: Any = st.just({}) | st.just(
    {
        "safetySettings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        "cachedContent": "cachedContents/abc",
        "labels": {"team": "a"},
        "generationConfig.mediaResolution": "MEDIA_RESOLUTION_LOW",
        "generationConfig.responseModalities": ["TEXT", "IMAGE"],
        "toolConfig.retrievalConfig": {"languageCode": "de"},
    }
)
_floats = st.floats(0, 1)


@st.composite
def requests(draw: Any) -> GenerationRequest:
    return GenerationRequest(
        dialect="google",
        model=draw(st.sampled_from(["gemini-2.5-flash", "maker/model:free", "tunedModels/x"])),
        messages=draw(conversations()),
        tools=draw(tools),
        tool_choice=draw(maybe(choices)),
        max_output_tokens=draw(maybe(st.integers(1, 10**6))),
        temperature=draw(maybe(_floats)),
        top_p=draw(maybe(_floats)),
        top_k=draw(maybe(st.integers(0, 100))),
        stop=draw(st.lists(words, max_size=3).map(tuple)),
        seed=draw(maybe(st.integers(0, 2**31 - 1))),
        n=draw(st.integers(1, 3)),
        presence_penalty=draw(maybe(_floats)),
        frequency_penalty=draw(maybe(_floats)),
        logprobs=draw(maybe(st.booleans())),
        top_logprobs=draw(maybe(st.integers(0, 20))),
        response_format=draw(
            st.sampled_from([None, ResponseFormat("text"), ResponseFormat("json_object")])
            | st.builds(ResponseFormat, st.just("json_schema"), schemas)
        ),
        reasoning=draw(maybe(reasonings)),
        stream=draw(st.booleans()),
        include_usage=True,
        service_tier=draw(maybe(st.just("standard"))),
        extras=draw(request_extras),
    )


def _body(path: str, raw: bytes) -> Any:
    """What our own client side makes of a request that our provider side wrote."""
    call = read_path(path.partition("?")[0])
    assert call is not None
    return call.body(orjson.loads(raw))


@pytest.mark.parametrize("model", ["(£\n¼", "vendor/name\n", "a:b/c"])
def test_a_model_of_any_characters_is_read_from_its_path(model: str) -> None:
    call = read_path(f"/v1beta/models/{model}:countTokens")
    assert call is not None
    assert call.model == model


@STEADY
@given(requests())
def test_a_request_is_the_same_after_writing_and_reading(request: GenerationRequest) -> None:
    sent = GOOGLE.encode_request(request, Target(request.model))
    assert sent.dropped == ()
    assert sent.path.endswith("?alt=sse") == request.stream
    assert GOOGLE.decode_request(_body(sent.path, sent.body)) == request


@BRIEF
@given(requests())
def test_a_count_is_asked_for_with_the_same_request(request: GenerationRequest) -> None:
    for quirks in (frozenset[str](), frozenset({"plain_count"})):
        sent = ask_count(request, Target(request.model, quirks=quirks))
        assert sent.path.endswith(":countTokens")
        assert decode_count(_body(sent.path, sent.body)).messages == request.messages


@BRIEF
@given(data=st.data())
def test_a_request_in_snake_case_is_the_same_request(data: Any) -> None:
    request = data.draw(requests())
    sent = GOOGLE.encode_request(request, Target(request.model))
    body = _snake(_body(sent.path, sent.body))
    assert GOOGLE.decode_request(body) == GOOGLE.decode_request(_body(sent.path, sent.body))


_FREE = {"args", "response", "parametersJsonSchema", "responseJsonSchema", "labels", "xUnknown"}


def _snake(value: Any) -> Any:
    """The names of the protocol, but not those of callers, as other clients write them."""
    if isinstance(value, list):
        return [_snake(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        "".join("_" + c.lower() if c.isupper() else c for c in name): (
            held if name in _FREE or name in KEPT else _snake(held)
        )
        for name, held in value.items()
    }


# Objects that travel as they came: whoever gets them knows both spellings.
KEPT = {"safetySettings", "retrievalConfig", "videoMetadata", "googleSearch", "codeExecution"}
KEPT |= {"executableCode"}


@STEADY
@given(data=st.data())
def test_a_request_reaches_every_other_dialect_or_is_refused(data: Any) -> None:
    request = data.draw(requests())
    for upstream in OTHERS.values():
        try:
            sent = upstream.encode_request(request, Target("native"))
        except InvalidRequest as error:
            assert error.param  # noqa: PT017
            continue
        again = upstream.decode_request(orjson.loads(sent.body))
        assert _says(again, request)


@STEADY
@given(data=st.data())
def test_a_request_of_another_dialect_reaches_this_one_or_is_refused(data: Any) -> None:
    name = data.draw(st.sampled_from(sorted(OTHERS)))
    request = data.draw(forms.requests_of(name))
    quirks = data.draw(st.sampled_from([(), ("openapi_schema", "no_call_ids", "result_parts")]))
    model = data.draw(st.sampled_from(["gemini-2.5-pro", "gemini-3-flash"]))
    try:
        sent = GOOGLE.encode_request(request, Target(model, quirks=frozenset(quirks)))
    except InvalidRequest as error:
        assert error.param  # noqa: PT017
        return
    again = GOOGLE.decode_request(_body(sent.path, sent.body))
    assert _says(again, request)
    arguments = [p.arguments for m in request.messages for p in m.parts if isinstance(p, ToolCall)]
    for text in arguments:
        if _is_object(text):
            assert text.encode() in sent.body, "arguments are no longer the bytes that came"


def _says(again: GenerationRequest, request: GenerationRequest) -> bool:
    """Whether every word of `request` is there: a target may join the texts of one message."""
    heard = "".join(_said(again))
    return all(word in heard for text in _said(request) for word in text.split())


def _said(request: GenerationRequest) -> list[str]:
    return [p.text for m in request.messages for p in m.parts if isinstance(p, Text)]


# ---------------------------------------------------------------------- answers

answer_thoughts = thoughts | st.lists(
    st.builds(Thinking, words, words, st.sampled_from(["anthropic", "openai"]), maybe(words))
    | st.builds(RedactedThinking, words, st.sampled_from(["anthropic", "google"]), maybe(words)),
    max_size=2,
)
answer_media = st.lists(
    st.builds(Image, _data("image/png"))
    | st.builds(Audio, _data("audio/L16;rate=1"), st.just("pcm16")),
    max_size=1,
)
answers = st.tuples(answer_thoughts, st.lists(texts(), max_size=1), answer_media, _calls).map(
    lambda said: tuple(part for some in said for part in some)
)


@STEADY
@given(answers, st.sampled_from(["stop", "length", "content_filter"]))
def test_an_answer_is_the_same_after_writing_and_reading(
    parts: tuple[Part, ...], reason: Any
) -> None:
    called = any(isinstance(part, ToolCall) for part in parts)
    finish = Finish("tool_calls" if called else reason)
    generation = Generation("google", (Choice(parts, finish),))
    raw = GOOGLE.encode_answer(generation, reply(), REPORT)
    [again] = GOOGLE.decode_answer(raw, TARGET).choices
    assert again.parts == parts
    assert again.finish is not None
    assert again.finish.reason == finish.reason


@STEADY
@given(answers, st.data())
def test_a_stream_is_the_same_after_writing_and_reading(parts: tuple[Part, ...], data: Any) -> None:
    encoder = GOOGLE.stream_encoder(reply())
    events = [Begin("google"), *_events(parts, data), Ended(Finish("stop"))]
    raw = b"".join(map(encoder.encode, events)) + encoder.close(REPORT)
    decoder = GOOGLE.stream_decoder(TARGET)
    found, finish = gathered([*decoder.feed(raw), *decoder.end()])
    # A text's extras come only with a part that came whole.
    plain = [_bare(part) for part in parts]
    assert [_bare(part) for part in found] == plain
    called = any(isinstance(part, ToolCall) for part in parts)
    assert finish.reason == ("tool_calls" if called else "stop")


def _bare(part: Part) -> Part:
    if isinstance(part, Text):
        return Text(part.text, signature=part.signature, origin=part.origin)
    return part


def _events(parts: tuple[Part, ...], data: Any) -> list[Event]:
    """The parts as a provider might stream them, in pieces cut anywhere."""
    out: list[Event] = []
    for index, part in enumerate(parts):
        match part:
            case Text(text):
                out.append(BlockStart(index, Text("")))
                out += [TextDelta(index, piece) for piece in _cut(text, data)]
            case Thinking(text, _, origin, identity):
                out.append(BlockStart(index, Thinking("", origin=origin, id=identity)))
                out += [ThinkingDelta(index, piece) for piece in _cut(text, data)]
            case ToolCall():
                out.append(BlockStart(index, ToolCall(part.id, part.name, "")))
                out += [ArgumentsDelta(index, piece) for piece in _cut(part.arguments, data)]
            case _:
                out.append(BlockStart(index, part))
        signature = getattr(part, "signature", None)
        if signature is not None:
            out += [
                SignatureDelta(index, piece, part.origin)  # type: ignore[union-attr]
                for piece in _cut(signature, data)
            ]
        out.append(BlockStop(index))
    return out


def _cut(text: str, data: Any) -> list[str]:
    at = data.draw(st.integers(0, len(text)))
    return [piece for piece in (text[:at], text[at:]) if piece]


# ---------------------------------------------------------------------- anything at all


@STEADY
@given(data=st.data())
def test_any_object_gives_a_request_or_a_400_that_names_a_field(data: Any) -> None:
    """A good request in which one value, anywhere, is something else."""
    request = data.draw(requests())
    sent = GOOGLE.encode_request(request, Target(request.model))
    body = _body(sent.path, sent.body)
    places = list(_places(body))
    holder, key = places[data.draw(st.integers(0, len(places) - 1))]
    holder[key] = data.draw(st.sampled_from([None, 1, -1, "x", True, [], {}, [1], {"a": 1}, 0.5]))
    try:
        read = GOOGLE.decode_request(body)
        for upstream in (GOOGLE, *OTHERS.values()):
            upstream.encode_request(read, Target("native"))
    except InvalidRequest as error:
        assert error.status == 400  # noqa: PT017


@STEADY
@given(answers, st.data())
def test_any_answer_is_read_or_is_a_failure_of_the_provider(
    parts: tuple[Part, ...], data: Any
) -> None:
    raw = GOOGLE.encode_answer(
        Generation("google", (Choice(parts, Finish("stop")),)), reply(), REPORT
    )
    body = orjson.loads(raw)
    places = list(_places(body))
    holder, key = places[data.draw(st.integers(0, len(places) - 1))]
    holder[key] = data.draw(st.sampled_from([None, 1, -1, "x", True, [], {}, [1], {"a": 1}, 0.5]))
    changed = orjson.dumps(body)
    decoder = GOOGLE.stream_decoder(TARGET)
    decoder.feed(b"data: " + changed + b"\n\n")
    decoder.end()
    try:
        GOOGLE.decode_answer(changed, TARGET)
    except UpstreamError as error:
        assert error.provider == "provider"  # noqa: PT017


def _places(value: Any) -> Any:
    held = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in held:
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)
