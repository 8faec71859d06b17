"""What our writer writes, read by the official client of this protocol: every recorded answer of
every upstream dialect; and this protocol's answers read by the other official clients.
"""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors, types

from gatewayz.core.errors import (
    InsufficientCredits,
    InvalidRequest,
    NotFound,
    Overloaded,
    RateLimited,
    Unauthorized,
    UpstreamBroken,
)
from gatewayz.dialects.anthropic.codec import ANTHROPIC
from gatewayz.dialects.google.array import ArrayStream
from gatewayz.dialects.google.codec import GOOGLE
from gatewayz.dialects.google.count import encode_count
from gatewayz.dialects.google.wire import KEEPALIVE, read_path
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.parts import Refusal
from gatewayz.dialects.translated import TranslatedStream, read_answer
from tests.unit.dialects import exchanges
from tests.unit.dialects.exchanges import MODEL, REPORT, TARGET, Plain, plain, reply, run
from tests.unit.dialects.test_google_recordings import ANSWERS, KEPT_STREAMS, STREAMS
from tests.unit.dialects.test_google_recordings import Exchange as Recorded
from tests.unit.dialects.test_google_recordings import plain as plain_google

JSON, EVENTS = "application/json; charset=UTF-8", "text/event-stream"
DIALECTS: dict[str, Any] = {"openai_chat": OPENAI_CHAT, "anthropic": ANTHROPIC, "google": GOOGLE}
OTHERS = [e for e in exchanges.exchanges() if e.dialect in DIALECTS and e.dialect != "google"]
OTHER_ANSWERS = [e for e in OTHERS if e.status < 300 and not e.is_stream]
OTHER_STREAMS = [e for e in OTHERS if e.is_stream]
QUESTION: Any = [{"role": "user", "content": "?"}]


def _google(body: bytes, kind: str, status: int = 200, seen: list[Any] | None = None) -> Any:
    """The official client on a fake wire."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if seen is not None:
            seen.append(request)
        return httpx2.Response(status, content=body, headers={"content-type": kind})

    options = types.HttpOptions(
        base_url="http://gw", httpx_client=httpx2.Client(transport=httpx2.MockTransport(answer))
    )
    return genai.Client(api_key="k", http_options=options)


def _take(answer: types.GenerateContentResponse, read: Plain) -> None:
    assert answer.model_version == MODEL
    assert answer.response_id is not None
    assert answer.response_id.startswith("gen-")
    read.usage = answer.usage_metadata or read.usage
    for candidate in answer.candidates or ():
        if candidate.index:
            continue
        read.finish = candidate.finish_reason.value if candidate.finish_reason else read.finish
        for part in (candidate.content and candidate.content.parts) or ():
            if part.thought:
                read.thought += part.text or ""
            elif part.text:
                read.text += part.text
            if part.function_call is not None:
                assert part.function_call.id
                read.calls.append([part.function_call.name, part.function_call.args])


def _whole(body: bytes) -> Plain:
    read = Plain()
    _take(_google(body, JSON).models.generate_content(model="x", contents="?"), read)
    assert read.usage is not None
    return read


def _streamed(body: bytes) -> Plain:
    read = Plain()
    for chunk in _google(body, EVENTS).models.generate_content_stream(model="x", contents="?"):
        _take(chunk, read)
    assert read.usage is not None
    return read


FINISHES = {"STOP", "MAX_TOKENS", "SAFETY"}


def _object(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except json.JSONDecodeError:
        return {"_raw": value}


def _compare(got: Plain, sent: Plain) -> None:
    assert got.text == sent.text
    assert got.thought == sent.thought
    assert [[name, _object(a)] for name, a in got.calls] == [
        [name, _object(a)] for name, a in sent.calls
    ]
    assert got.finish in FINISHES
    if got.calls and sent.finish not in ("length", "max_tokens"):
        assert got.finish == "STOP"


@pytest.mark.parametrize("exchange", OTHER_ANSWERS, ids=str)
def test_the_official_client_reads_a_whole_answer_of_any_provider(
    exchange: exchanges.Exchange,
) -> None:
    sent = plain(exchange)
    if sent.failed:
        return
    answer = read_answer(DIALECTS[exchange.dialect], exchange.raw, TARGET)
    refused = [p.text for p in answer.generation.choices[0].parts if isinstance(p, Refusal)]
    sent.text += "".join(refused)
    _compare(_whole(GOOGLE.encode_answer(answer.generation, reply(), REPORT)), sent)


def _through(exchange: exchanges.Exchange, kind: type[TranslatedStream]) -> TranslatedStream:
    decoder = DIALECTS[exchange.dialect].stream_decoder(TARGET)
    return kind(decoder, GOOGLE.stream_encoder(reply()))


@pytest.mark.parametrize("exchange", OTHER_STREAMS, ids=str)
def test_the_official_client_reads_a_stream_of_any_provider(exchange: exchanges.Exchange) -> None:
    reader = _through(exchange, TranslatedStream)
    body = run(reader, [exchange.raw])
    if reader.error is not None:
        with pytest.raises(errors.APIError):
            _streamed(body)
        return
    sent = plain(exchange)
    _compare(_streamed(body), sent)
    # What comes while nothing is said does no harm between any two chunks.
    _compare(_streamed(body.replace(b"\n\n", b"\n\n" + KEEPALIVE)), sent)


@pytest.mark.parametrize("exchange", OTHER_STREAMS, ids=str)
def test_a_client_without_events_gets_one_array(exchange: exchanges.Exchange) -> None:
    reader = _through(exchange, ArrayStream)
    body = b"\n" + run(reader, [exchange.raw])
    chunks = json.loads(body)
    if reader.error is not None:
        assert chunks[-1]["error"]["code"] == reader.error.status
        return
    read = Plain()
    for chunk in chunks:
        _take(types.GenerateContentResponse._from_response(response=chunk, kwargs={}), read)
    _compare(read, plain(exchange))


# ------------------------------------------------------- this protocol for other clients


def _wire(body: bytes, kind: str) -> httpx2.Client:
    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, content=body, headers={"content-type": kind})

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def _chat(body: bytes) -> Plain:
    client = openai.OpenAI(api_key="k", base_url="http://gw", http_client=_wire(body, JSON))
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION)
    message = answer.choices[0].message
    assert answer.usage is not None
    calls: Any = message.tool_calls or ()
    return Plain(
        message.content or "",
        getattr(message, "reasoning_content", None) or "",
        calls=[[c.function.name, json.loads(c.function.arguments)] for c in calls],
        finish=answer.choices[0].finish_reason,
    )


def _chat_streamed(body: bytes) -> Plain:
    client = openai.OpenAI(api_key="k", base_url="http://gw", http_client=_wire(body, EVENTS))
    read = Plain()
    pieces: dict[int, str] = {}
    for chunk in client.chat.completions.create(model=MODEL, messages=QUESTION, stream=True):
        for choice in chunk.choices:
            read.finish = choice.finish_reason or read.finish
            read.text += choice.delta.content or ""
            read.thought += getattr(choice.delta, "reasoning_content", None) or ""
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                if call.id:
                    read.calls.append([call.function.name, None])
                more = call.function.arguments or ""
                pieces[call.index] = pieces.get(call.index, "") + more
    for index, text in pieces.items():
        read.calls[index][1] = json.loads(text)
    return read


def _message(message: anthropic.types.Message) -> Plain:
    read = Plain(finish=message.stop_reason)
    for block in message.content:
        match block:
            case anthropic.types.TextBlock():
                read.text += block.text
            case anthropic.types.ThinkingBlock():
                read.thought += block.thinking
            case anthropic.types.ToolUseBlock():
                read.calls.append([block.name, block.input])
    return read


def _messages(body: bytes) -> Plain:
    client = anthropic.Anthropic(api_key="k", base_url="http://gw", http_client=_wire(body, JSON))
    return _message(client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION))


def _messages_streamed(body: bytes) -> Plain:
    client = anthropic.Anthropic(api_key="k", base_url="http://gw", http_client=_wire(body, EVENTS))
    with client.messages.stream(model=MODEL, max_tokens=9, messages=QUESTION) as stream:
        return _message(stream.get_final_message())


Reader = Callable[[bytes], Plain]
WHOLE: dict[str, Reader] = {"openai_chat": _chat, "anthropic": _messages, "google": _whole}
STREAMED: dict[str, Reader] = {
    "openai_chat": _chat_streamed,
    "anthropic": _messages_streamed,
    "google": _streamed,
}
ENDS = {
    "openai_chat": {"STOP": "stop", "MAX_TOKENS": "length", "call": "tool_calls"},
    "anthropic": {"STOP": "end_turn", "MAX_TOKENS": "max_tokens", "call": "tool_use"},
    "google": {"STOP": "STOP", "MAX_TOKENS": "MAX_TOKENS", "call": "STOP"},
}


def _compare_with(client: str, got: Plain, sent: Any) -> None:
    assert (got.text, got.thought) == (sent.text, sent.thought)
    assert got.calls == sent.calls
    assert got.finish == ENDS[client]["call" if sent.calls else sent.finish]


@pytest.mark.parametrize("exchange", ANSWERS, ids=str)
@pytest.mark.parametrize("client", DIALECTS)
def test_every_official_client_reads_a_whole_answer(exchange: Recorded, client: str) -> None:
    generation = GOOGLE.decode_answer(exchange.raw, TARGET)
    body = DIALECTS[client].encode_answer(generation, reply(), REPORT)
    _compare_with(client, WHOLE[client](body), plain_google(exchange.raw))


@pytest.mark.parametrize("exchange", STREAMS, ids=str)
@pytest.mark.parametrize("client", DIALECTS)
def test_every_official_client_reads_a_stream(exchange: Recorded, client: str) -> None:
    decoder = GOOGLE.stream_decoder(TARGET)
    reader = TranslatedStream(decoder, DIALECTS[client].stream_encoder(reply()))
    body = run(reader, [exchange.raw])
    assert reader.error is None
    _compare_with(client, STREAMED[client](body), plain_google(exchange.raw))


# ------------------------------------------------------- what the client sends and keeps


@pytest.mark.parametrize("exchange", KEPT_STREAMS, ids=str)
def test_what_a_client_keeps_of_a_stream_comes_back_with_its_signatures(
    exchange: Recorded,
) -> None:
    decoder = GOOGLE.stream_decoder(TARGET)
    body = run(TranslatedStream(decoder, GOOGLE.stream_encoder(reply())), [exchange.raw])
    seen: list[Any] = []
    client = _google(body, EVENTS, seen=seen)
    chat = client.chats.create(model="maker/model")
    list(chat.send_message_stream("?"))
    list(chat.send_message_stream("go on"))
    call = read_path(seen[1].url.path)
    assert call is not None
    assert call == ("maker/model", "streamGenerateContent")
    request = GOOGLE.decode_request(call.body(json.loads(seen[1].content)))
    answered = request.messages[1]
    assert answered.role == "assistant"
    standard = str.maketrans("-_", "+/")
    found = [s for p in answered.parts if (s := getattr(p, "signature", None))]
    expected = plain_google(exchange.raw).signatures
    assert [s.translate(standard) for s in found] == expected
    assert (
        "".join(getattr(p, "text", "") for p in answered.parts) == plain_google(exchange.raw).text
    )


def test_a_foreign_thought_comes_back_from_the_official_client_as_it_was() -> None:
    exchange = next(e for e in OTHER_STREAMS if "anthropic__thinking_stream" in e.name)
    decoder = ANTHROPIC.stream_decoder(TARGET)
    body = run(TranslatedStream(decoder, GOOGLE.stream_encoder(reply())), [exchange.raw])
    seen: list[Any] = []
    chat = _google(body, EVENTS, seen=seen).chats.create(model="x")
    list(chat.send_message_stream("?"))
    list(chat.send_message_stream("go on"))
    request = GOOGLE.decode_request({**json.loads(seen[1].content), "model": "x"})
    sent = ANTHROPIC.encode_request(request, TARGET)
    turn = next(m for m in json.loads(sent.body)["messages"] if m["role"] == "assistant")
    said = plain(exchange)
    blocks = [b for b in turn["content"] if b["type"] == "thinking"]
    assert "".join(b["thinking"] for b in blocks) == said.thought
    assert [b["signature"] for b in blocks] == said.signatures
    # The provider of this protocol itself must not see it.
    assert b"thoughtSignature" not in GOOGLE.encode_request(request, TARGET).body


def test_a_request_of_the_official_client_is_read_whole() -> None:
    seen: list[Any] = []
    config = types.GenerateContentConfig(
        system_instruction="Be brief.",
        temperature=0.5,
        top_k=40,
        max_output_tokens=100,
        stop_sequences=["END"],
        thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level="low"),  # type: ignore[arg-type]
        response_mime_type="application/json",
        response_schema={"type": "OBJECT", "properties": {"a_b": {"type": "STRING"}}},
        tools=[
            types.Tool(
                function_declarations=[
                    types.FunctionDeclaration(
                        name="f",
                        parameters=types.Schema(
                            type=types.Type.OBJECT,
                            properties={"some_text": types.Schema(type=types.Type.STRING)},
                        ),
                    )
                ]
            )
        ],
        tool_config=types.ToolConfig(
            function_calling_config=types.FunctionCallingConfig(
                mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["f"]
            )
        ),
        automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
    )
    body = run(TranslatedStream(GOOGLE.stream_decoder(TARGET), GOOGLE.stream_encoder(reply())), [])
    with pytest.raises(errors.APIError):
        _google(body, JSON, 502, seen).models.generate_content(
            model="maker/model",
            contents=["hi", types.Part.from_bytes(data=b"x", mime_type="image/png")],
            config=config,
        )
    call = read_path(seen[0].url.path)
    assert call is not None
    request = GOOGLE.decode_request(call.body(json.loads(seen[0].content)))
    assert (request.model, request.stream) == ("maker/model", False)
    assert request.messages[0].role == "system"
    assert (request.temperature, request.top_k, request.max_output_tokens) == (0.5, 40, 100)
    assert request.tool_choice is not None
    assert request.tool_choice.names == ("f",)
    [tool] = request.tools
    assert tool.parameters == {  # type: ignore[union-attr]
        "type": "object",
        "properties": {"some_text": {"type": "string"}},
    }
    assert request.response_format is not None
    assert request.response_format.schema == {
        "type": "object",
        "properties": {"a_b": {"type": "string"}},
    }
    assert request.reasoning is not None
    assert (request.reasoning.effort, request.reasoning.show) == ("low", "auto")
    assert request.extras == {}


def test_the_official_client_reads_a_count() -> None:
    answer = _google(encode_count(12), JSON).models.count_tokens(model="x", contents="?")
    assert answer.total_tokens == 12


@pytest.mark.parametrize(
    ("error", "expected", "status"),
    [
        (InvalidRequest("bad", param="contents"), errors.ClientError, "INVALID_ARGUMENT"),
        (Unauthorized(), errors.ClientError, "UNAUTHENTICATED"),
        (InsufficientCredits("no money"), errors.ClientError, "FAILED_PRECONDITION"),
        (NotFound("no such model"), errors.ClientError, "NOT_FOUND"),
        (
            RateLimited("slow down", headers={"Retry-After": "7"}),
            errors.ClientError,
            "RESOURCE_EXHAUSTED",
        ),
        (Overloaded(), errors.ServerError, "UNAVAILABLE"),
        (UpstreamBroken("bad"), errors.ServerError, "INTERNAL"),
    ],
)
def test_the_official_client_raises_the_class_that_belongs_to_an_error(
    error: Any, expected: type[errors.APIError], status: str
) -> None:
    code, body, _ = GOOGLE.encode_error(error, style="openai", request_id=exchanges.REQUEST_ID)
    with pytest.raises(expected) as raised:
        _google(body, JSON, code).models.generate_content(model="x", contents="?")
    assert (raised.value.code, raised.value.status) == (error.status, status)
    assert raised.value.message == error.message
    details = raised.value.details["error"]["details"]
    delays = [d["retryDelay"] for d in details if "retryDelay" in d]
    assert delays == [f"{s}s" for s in [error.headers.get("Retry-After")] if s]
    # In a stream the client raises the same class.
    frame = GOOGLE.stream_encoder(reply()).fail(error)
    with pytest.raises(expected):
        list(_google(frame, EVENTS).models.generate_content_stream(model="x", contents="?"))
