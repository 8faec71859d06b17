"""What our writers write, read by the official client of each dialect: every recorded answer of
every upstream dialect, whole and streamed. The client gets our bytes over a fake wire.
"""

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import openai
import pytest

from gatewayz.core.errors import InsufficientCredits, Overloaded, RateLimited, UpstreamBroken
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from gatewayz.dialects.translated import read_answer
from tests.unit.dialects.exchanges import (
    MODEL,
    REPORT,
    TARGET,
    Exchange,
    Plain,
    answers,
    plain,
    reply,
    run,
    streams,
    through,
)

JSON, EVENTS = "application/json", "text/event-stream"
QUESTION: Any = [{"role": "user", "content": "?"}]


def _wire(body: bytes, kind: str, status: int) -> httpx2.Client:
    """A client of the library that both SDKs are built on, with one answer to everything."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(status, content=body, headers={"content-type": kind})

    return httpx2.Client(transport=httpx2.MockTransport(answer))


def _openai(body: bytes, kind: str, status: int = 200) -> openai.OpenAI:
    wire = _wire(body, kind, status)
    return openai.OpenAI(api_key="k", base_url="http://gw/v1", http_client=wire, max_retries=0)


def _anthropic(body: bytes, kind: str, status: int = 200) -> anthropic.Anthropic:
    wire = _wire(body, kind, status)
    return anthropic.Anthropic(api_key="k", base_url="http://gw", http_client=wire, max_retries=0)


# ---------------------------------------------------------------- how each client reads


def _chat_whole(body: bytes) -> Plain:
    answer = _openai(body, JSON).chat.completions.create(model=MODEL, messages=QUESTION)
    assert (answer.model, answer.object) == (MODEL, "chat.completion")
    message, usage = answer.choices[0].message, answer.usage
    assert usage is not None
    return Plain(
        message.content or "",
        calls=[[c.function.name, c.function.arguments] for c in message.tool_calls or ()],  # type: ignore[union-attr]
        finish=answer.choices[0].finish_reason,
    )


def _chat_streamed(body: bytes) -> Plain:
    read = Plain()
    stream = _openai(body, EVENTS).chat.completions.create(
        model=MODEL, messages=QUESTION, stream=True, stream_options={"include_usage": True}
    )
    for chunk in stream:
        assert chunk.model == MODEL
        read.usage = chunk.usage or read.usage
        for choice in chunk.choices:
            if choice.index:
                continue
            read.finish = choice.finish_reason or read.finish
            read.text += choice.delta.content or ""
            for call in choice.delta.tool_calls or ():
                assert call.function is not None
                if call.id is not None:
                    assert call.index == len(read.calls)
                    read.calls.append([call.function.name, ""])
                read.calls[call.index][1] += call.function.arguments or ""
    assert read.usage is not None
    return read


def _message(message: anthropic.types.Message) -> Plain:
    assert (message.model, message.role) == (MODEL, "assistant")
    assert message.usage.output_tokens >= 0
    assert message.usage.cache_read_input_tokens is not None
    read = Plain(finish=message.stop_reason)
    for block in message.content:
        match block:
            case anthropic.types.TextBlock():
                read.text += block.text
            case anthropic.types.ThinkingBlock():
                assert block.signature
                read.thought += block.thinking
            case anthropic.types.ToolUseBlock():
                assert block.id
                read.calls.append([block.name, block.input])
    return read


def _messages_whole(body: bytes) -> Plain:
    client = _anthropic(body, JSON)
    return _message(client.messages.create(model=MODEL, max_tokens=9, messages=QUESTION))


def _messages_streamed(body: bytes) -> Plain:
    client = _anthropic(body, EVENTS)
    with client.messages.stream(model=MODEL, max_tokens=9, messages=QUESTION) as stream:
        kinds = [event.type for event in stream]
        read = _message(stream.get_final_message())
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"
    return read


Reader = Callable[[bytes], Plain]
WHOLE: dict[str, Reader] = {"openai_chat": _chat_whole, "anthropic": _messages_whole}
STREAMED: dict[str, Reader] = {"openai_chat": _chat_streamed, "anthropic": _messages_streamed}
FINISHES = {
    "openai_chat": {"stop", "length", "tool_calls", "content_filter"},
    "anthropic": {"end_turn", "stop_sequence", "max_tokens", "tool_use", "refusal", "pause_turn"},
}
CALLED = {"openai_chat": "tool_calls", "anthropic": "tool_use"}


def _compare(got: Plain, sent: Plain, client: str) -> None:
    assert got.text == sent.text + (sent.refusal if client == "anthropic" else "")
    if client == "anthropic":
        # Only this client is told of thoughts by a type of its own.
        assert got.thought == sent.thought
    assert [name for name, _ in got.calls] == [name for name, _ in sent.calls]
    for [_, arguments], [_, theirs] in zip(got.calls, sent.calls, strict=True):
        if isinstance(arguments, str) and isinstance(theirs, str):
            assert arguments == theirs
        else:
            assert _object(arguments) == _object(theirs)
    assert got.finish in FINISHES[client]
    if got.calls and sent.finish not in ("length", "max_tokens"):
        assert got.finish == CALLED[client]


def _object(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value or "{}")
    except json.JSONDecodeError:
        return {"_raw": value}


@pytest.mark.parametrize("exchange", answers(), ids=str)
@pytest.mark.parametrize("client", WHOLE)
def test_an_official_client_reads_a_whole_answer_of_any_provider(
    exchange: Exchange, client: str
) -> None:
    sent = plain(exchange)
    if sent.failed:
        return
    answer = read_answer(UPSTREAMS[exchange.dialect], exchange.raw, TARGET)
    body = CLIENTS[client].encode_answer(answer.generation, reply(), REPORT)
    _compare(WHOLE[client](body), sent, client)


@pytest.mark.parametrize("exchange", streams(), ids=str)
@pytest.mark.parametrize("client", WHOLE)
def test_an_official_client_reads_a_stream_of_any_provider(exchange: Exchange, client: str) -> None:
    reader = through(exchange.dialect, client)
    body = run(reader, [exchange.raw])
    if reader.error is not None:
        with pytest.raises((openai.APIError, anthropic.APIError)):
            STREAMED[client](body)
        return
    sent = plain(exchange)
    _compare(STREAMED[client](body), sent, client)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RateLimited("slow down"), anthropic.RateLimitError),
        (InsufficientCredits("no money"), anthropic.APIStatusError),
        (Overloaded(), anthropic.InternalServerError),
        (UpstreamBroken("bad"), anthropic.InternalServerError),
    ],
)
def test_the_anthropic_client_raises_the_class_that_belongs_to_an_error(
    error: Any, expected: type[Exception]
) -> None:
    status, body, _ = CLIENTS["anthropic"].encode_error(
        error, style="openai", request_id="req_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    )
    with pytest.raises(expected) as raised:
        _anthropic(body, JSON, status).messages.create(model=MODEL, max_tokens=9, messages=QUESTION)
    assert isinstance(raised.value, anthropic.APIStatusError)
    shown = raised.value.body
    assert isinstance(shown, dict)
    assert shown["type"] == "error"
    assert shown["error"]["message"] == error.message
