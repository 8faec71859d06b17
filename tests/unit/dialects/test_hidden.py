"""Thoughts a caller asked not to see: hidden in every dialect, from every provider, and billed."""

from typing import Any

import orjson
import pytest

from gatewayz.dialects.events import Begin, BlockStart, BlockStop, SignatureDelta, ThinkingDelta
from gatewayz.dialects.events import Ended as E
from gatewayz.dialects.events import TextDelta as T
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import Choice, Finish, Generation
from gatewayz.dialects.hidden import Hider, hidden
from gatewayz.dialects.parts import RedactedThinking, Text, Thinking
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.registry import CALLS
from tests.unit.dialects.exchanges import REPORT, REQUEST_ID

SECRET = "a secret thought"
ASKED: dict[str, dict[str, Any]] = {
    "openai_chat": {
        "messages": [{"role": "user", "content": "?"}], "reasoning": {"exclude": True},
    },
    "openai_responses": {"input": "?", "reasoning": {"effort": "high", "exclude": True}},
    "anthropic": {
        "messages": [{"role": "user", "content": "?"}], "max_tokens": 2000,
        "thinking": {"type": "adaptive", "display": "omitted"},
    },
    "google": {
        "contents": [{"role": "user", "parts": [{"text": "?"}]}],
        "generationConfig": {"thinkingConfig": {"includeThoughts": False}},
    },
}  # fmt: skip
CHAT: Any = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m",
    "choices": [{
        "index": 0, "finish_reason": "stop",
        "message": {
            "role": "assistant", "content": "seen", "reasoning_content": SECRET,
            "reasoning": SECRET, "reasoning_details": [
                {"type": "reasoning.text", "text": SECRET, "index": 0, "format": "unknown"},
                {"type": "reasoning.encrypted", "data": "abc", "index": 1, "format": "unknown"},
            ],
        },
    }],
    "usage": {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12},
}  # fmt: skip
MESSAGE: Any = {
    "id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [
        {"type": "thinking", "thinking": SECRET, "signature": "proof"},
        {"type": "text", "text": "seen"},
    ],
    "usage": {"input_tokens": 3, "output_tokens": 9},
}  # fmt: skip
PARTS = [{"text": SECRET, "thought": True}, {"text": "seen"}]
GEMINI: Any = {
    "candidates": [{
        "content": {"role": "model", "parts": PARTS},
        "finishReason": "STOP", "index": 0,
    }],
    "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 9, "totalTokenCount": 12},
}  # fmt: skip
ANSWERS = {"openai_chat": CHAT, "anthropic": MESSAGE, "google": GEMINI}


def call_of(client: str, *, stream: bool = False) -> Any:
    body = {"model": "m", **ASKED[client]} | ({"stream": True} if stream else {})
    headers = {":path": "/v1beta/models/m:generateContent", ":query": ""}
    return CALLS[client](body, headers if client == "google" else {})


def exchange(client: str, upstream: str, style: Any = "openai") -> Any:
    call = call_of(client)
    reply = Reply(REQUEST_ID, "m", "P", style, hides=call.hides)
    return call.exchange(upstream, Target("x", reasons=True), reply, None)


def frames(upstream: str) -> bytes:
    if upstream == "openai_chat":
        deltas: list[Any] = [{"reasoning_content": SECRET}, {"content": "seen"}, {}]
        held = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        ends = (None, None, "stop")
        chunks = [
            {**held, "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}
            for delta, end in zip(deltas, ends, strict=True)
        ]
        lines = [b"data: " + orjson.dumps(chunk) for chunk in chunks] + [b"data: [DONE]"]
        return b"\n\n".join(lines) + b"\n\n"
    if upstream == "google":
        return b"data: " + orjson.dumps(GEMINI) + b"\n\n"
    events: list[Any] = [
        {"type": "message_start", "message": {**MESSAGE, "content": []}},
        {
            "type": "content_block_start", "index": 0,
            "content_block": {"type": "thinking", "thinking": "", "signature": ""},
        },
        {
            "type": "content_block_delta", "index": 0,
            "delta": {"type": "thinking_delta", "thinking": SECRET},
        },
        {
            "type": "content_block_delta", "index": 0,
            "delta": {"type": "signature_delta", "signature": "proof"},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta", "index": 1,
            "delta": {"type": "text_delta", "text": "seen"},
        },
        {"type": "content_block_stop", "index": 1},
        {
            "type": "message_delta", "delta": {"stop_reason": "end_turn"},
            "usage": {"output_tokens": 9},
        },
        {"type": "message_stop"},
    ]  # fmt: skip
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (event["type"].encode(), orjson.dumps(event))
        for event in events
    )


PAIRS = [
    (client, upstream, style)
    for client in ASKED
    for upstream in ANSWERS
    for style in ("openai", "openrouter")
    # Who speaks its caller's own protocol hides them itself, but for a word of other gateways.
    if client != upstream or client == "openai_chat"
]


@pytest.mark.parametrize(("client", "upstream", "style"), PAIRS)
def test_a_whole_answer_has_none_and_its_tokens_are_counted(
    client: str, upstream: str, style: str
) -> None:
    made = exchange(client, upstream, style)
    answer = made.read_answer(orjson.dumps(ANSWERS[upstream]))
    body = made.render_answer(answer, REPORT)
    assert b"seen" in body
    assert SECRET.encode() not in body
    assert answer.counted().output_tokens == 9
    assert answer.output_bytes >= len(SECRET)
    if client == "openai_chat":
        assert b"reasoning_details" not in body and b'"reasoning"' not in body


@pytest.mark.parametrize(("client", "upstream", "style"), PAIRS)
def test_neither_has_a_stream(client: str, upstream: str, style: str) -> None:
    stream = exchange(client, upstream, style).open_stream()
    body = stream.feed(frames(upstream)) + stream.end() + stream.close(REPORT)
    assert stream.error is None
    assert b"seen" in body
    assert SECRET.encode() not in body
    assert stream.output_bytes >= len(SECRET)


@pytest.mark.parametrize("client", ASKED)
def test_without_a_word_of_it_they_are_shown(client: str) -> None:
    body = {k: v for k, v in ASKED[client].items() if k not in ("reasoning", "generationConfig")}
    body |= {"thinking": {"type": "adaptive"}} if client == "anthropic" else {}
    headers = {":path": "/v1beta/models/m:generateContent", ":query": ""}
    call = CALLS[client]({"model": "m", **body}, headers if client == "google" else {})
    assert call.hides == ""


def test_a_proof_that_the_next_turn_needs_stays_where_a_dialect_has_a_place_for_it() -> None:
    made = exchange("anthropic", "google")
    parts = (Thinking(SECRET, "proof", "google"), RedactedThinking("data", "google"), Text("seen"))
    generation = Generation("google", (Choice(parts, Finish("stop")),))
    kept = hidden(generation, made.reply.hides).choices[0].parts
    assert kept == (Thinking("", "proof", "google"), parts[1], parts[2])
    assert hidden(generation, "all").choices[0].parts == (Text("seen"),)
    unproven = Generation("google", (Choice((Thinking(SECRET), Text("seen"))),))
    assert hidden(unproven, "text").choices[0].parts == (Text("seen"),)


def test_blocks_of_a_stream_keep_their_numbers_without_gaps_in_every_choice() -> None:
    def thought(choice: int, *, proof: bool) -> list[Any]:
        signed = [SignatureDelta(0, "proof", "x", choice)] if proof else []
        return [
            BlockStart(0, Thinking(""), choice), ThinkingDelta(0, SECRET, choice), *signed,
            BlockStop(0, choice), BlockStart(1, Text(""), choice), T(1, "seen", choice),
            BlockStop(1, choice),
        ]  # fmt: skip

    def shown(hides: Any, events: list[Any]) -> list[tuple[str, int, int]]:
        hider = Hider(hides)
        return [
            (type(e).__name__, e.index, e.choice)  # type: ignore[union-attr]
            for event in events
            for e in hider.take(event)
            if not isinstance(e, Begin | E)
        ]

    text = [("BlockStart", 0), ("TextDelta", 0), ("BlockStop", 0)]
    for choice in (0, 1):
        without = [(*each, choice) for each in text]
        assert shown("all", thought(choice, proof=True)) == without
        assert shown("text", thought(choice, proof=False)) == without
        kept = shown("text", thought(choice, proof=True))
        assert kept[:3] == [
            ("BlockStart", 0, choice), ("SignatureDelta", 0, choice), ("BlockStop", 0, choice),
        ]  # fmt: skip
        assert [index for _, index, _ in kept[3:]] == [1, 1, 1]
