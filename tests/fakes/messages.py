"""A raw upstream's play of the Messages protocol: a short answer, whole or streamed, and a usage
that has every class of cached input.
"""

import json
from typing import Any

from tests.fakes.upstream import RawRequest, Step, answer, event_stream

WORDS = ("Good ", "morning ", "to you.")
TEXT = "".join(WORDS)
INPUT = {
    "input_tokens": 10,
    "cache_read_input_tokens": 2000,
    "cache_creation_input_tokens": 700,
    "cache_creation": {"ephemeral_5m_input_tokens": 300, "ephemeral_1h_input_tokens": 400},
}
USAGE = {**INPUT, "output_tokens": 20, "service_tier": "standard"}


def _message(model: str, content: list[Any], stop: str | None, usage: Any) -> dict[str, Any]:
    return {
        "id": "msg_upstream",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": usage,
    }


def _events(model: str) -> list[dict[str, Any]]:
    start = _message(model, [], None, {**INPUT, "output_tokens": 1})
    text = {"type": "text", "text": ""}
    deltas = [
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": word},
        }
        for word in WORDS
    ]
    return [
        {"type": "message_start", "message": start},
        {"type": "content_block_start", "index": 0, "content_block": text},
        {"type": "ping"},
        *deltas,
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": 20},
        },
        {"type": "message_stop"},
    ]


def play(request: RawRequest) -> list[Step]:
    """Models named `busy` are overloaded."""
    body = request.json
    model = body["model"]
    if model == "busy":
        error = {"type": "overloaded_error", "message": "Overloaded"}
        told = json.dumps({"type": "error", "error": error}).encode()
        return [answer(told, status="529 Overloaded")]
    if body.get("stream"):
        events = [
            f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode()
            for event in _events(model)
        ]
        return [event_stream(), *events]
    content = [{"type": "text", "text": TEXT}]
    return [answer(json.dumps(_message(model, content, "end_turn", USAGE)).encode())]
