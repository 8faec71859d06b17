"""A conversation of two turns across dialects: what a model thought comes back to it unchanged.

The client is played as its documentation says: it keeps what it got and sends it back.
"""

from typing import Any

import orjson
import pytest

from gatewayz.dialects.anthropic.exchange import MessagesCall
from gatewayz.dialects.anthropic.read_request import decode_request
from gatewayz.dialects.anthropic.request import forward_count, forward_request
from gatewayz.dialects.exchange import PATH_HEADER
from gatewayz.dialects.form import JsonObject, Style, Target
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from gatewayz.dialects.translated import read_answer
from tests.unit.dialects import recorded
from tests.unit.dialects.exchanges import (
    REPORT,
    TARGET,
    Exchange,
    answers,
    exchanges,
    plain,
    reply,
    run,
    through,
)

USER = {"role": "user", "content": "?"}
TOOLS = [{"type": "function", "function": {"name": "fixed_version"}}]
THINKING = [
    e
    for e in exchanges(beside=False)
    if e.dialect == "anthropic" and e.status == 200 and plain(e).signatures and plain(e).calls
]


def _chat_message(exchange: Exchange, style: Style) -> JsonObject:
    """The assistant's message as a chat client would keep it."""
    if not exchange.is_stream:
        answer = read_answer(UPSTREAMS["anthropic"], exchange.raw, TARGET)
        body = CLIENTS["openai_chat"].encode_answer(answer.generation, reply(style), REPORT)
        message: JsonObject = orjson.loads(body)["choices"][0]["message"]
        return message
    calls: dict[int, Any] = {}
    details: dict[int, Any] = {}
    content = ""
    out = run(through("anthropic", "openai_chat", style), [exchange.raw])
    for chunk in recorded.events(out):
        for choice in chunk["choices"]:
            delta = choice["delta"]
            content += delta.get("content") or ""
            for detail in delta.get("reasoning_details") or ():
                kept = details.setdefault(detail["index"], {"text": ""})
                kept.update(detail, text=kept["text"] + detail["text"])
            for call in delta.get("tool_calls") or ():
                kept = calls.setdefault(call["index"], {**call, "function": {"arguments": ""}})
                kept["function"]["name"] = call["function"].get("name") or kept["function"]["name"]
                kept["function"]["arguments"] += call["function"]["arguments"]
    for call in calls.values():
        del call["index"]
    return {
        "role": "assistant",
        "content": content or None,
        "reasoning_details": list(details.values()),
        "tool_calls": list(calls.values()),
    }


def test_there_are_recordings_of_thoughts_before_calls() -> None:
    assert any(e.is_stream for e in THINKING)
    assert any(not e.is_stream for e in THINKING)


@pytest.mark.parametrize("exchange", THINKING, ids=str)
@pytest.mark.parametrize("style", ["openai", "openrouter"])
def test_signatures_survive_a_chat_client_and_go_to_no_other_family(
    exchange: Exchange, style: Style
) -> None:
    message = _chat_message(exchange, style)
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "1.0"}
        for call in message["tool_calls"]
    ]
    body = {"model": "m", "messages": [USER, message, *results], "tools": TOOLS}
    body["reasoning_effort"] = "low"
    request = CLIENTS["openai_chat"].decode_request(body)
    sent = UPSTREAMS["anthropic"].encode_request(request, Target("native"))
    assert sent.dropped == ()
    back = orjson.loads(sent.body)
    assert back["thinking"]["type"] == "enabled"
    first = back["messages"][1]["content"][0]
    said = plain(exchange)
    assert first == {
        "type": "thinking",
        "thinking": said.thought,
        "signature": said.signatures[0],
    }
    elsewhere = UPSTREAMS["anthropic"].encode_request(request, Target("native", family="clone"))
    assert "messages.reasoning" in elsewhere.dropped
    assert said.signatures[0].encode() not in elsewhere.body


def test_thoughts_without_a_signature_come_back_as_the_text_they_were() -> None:
    """A chat provider's thoughts, shown to a client of messages, return to the provider."""
    exchange = next(
        e
        for e in answers(beside=False)
        if e.dialect == "openai_chat" and plain(e).thought and plain(e).calls
    )
    answer = read_answer(UPSTREAMS["openai_chat"], exchange.raw, TARGET)
    kept = orjson.loads(CLIENTS["anthropic"].encode_answer(answer.generation, reply(), REPORT))
    assert kept["content"][0]["signature"]
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [USER, {"role": "assistant", "content": kept["content"]}, USER],
    }
    request = CLIENTS["anthropic"].decode_request(body)
    wanted = Target("native", quirks=frozenset({"reasoning_content_back"}))
    sent = orjson.loads(UPSTREAMS["openai_chat"].encode_request(request, wanted).body)
    assert sent["messages"][1]["reasoning_content"] == plain(exchange).thought
    other = UPSTREAMS["openai_chat"].encode_request(request, Target("native"))
    assert other.dropped == ("messages.thinking",)
    passed = forward_request(body, request, Target("native"))
    assert passed.dropped == ("messages.thinking",)
    assert plain(exchange).thought.encode() not in passed.body


def test_another_host_of_the_dialect_gets_model_and_version_where_it_wants_them() -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [USER], "stream": True}
    request = CLIENTS["anthropic"].decode_request(body)
    target = Target("claude@1", quirks=frozenset({"vertex"}))
    for sent in (
        forward_request(body, request, target),
        UPSTREAMS["anthropic"].encode_request(request, target),
    ):
        assert sent.path == "/publishers/anthropic/models/claude@1:streamRawPredict"
        written = orjson.loads(sent.body)
        assert written["anthropic_version"] == "vertex-2023-10-16"
        assert "model" not in written
        assert "anthropic-version" not in sent.headers


def test_tokens_can_be_counted_without_a_limit() -> None:
    body = {"model": "m", "messages": [USER]}
    request = decode_request(body, {}, counting=True)
    sent = forward_count(body, request, Target("native"))
    assert sent.path == "/messages/count_tokens"
    assert orjson.loads(sent.body) == {"model": "native", "messages": [USER]}
    call = MessagesCall(body, {PATH_HEADER: "/v1/messages/count_tokens"})
    assert (call.counts, call.encode_count(7)) == (True, b'{"input_tokens":7}')
