"""Words and frames of the Messages protocol."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.dialects.generation import Finish, FinishReason

NAME = "anthropic"
FAMILY = "anthropic"
PATH = "/messages"
COUNT_PATH = "/messages/count_tokens"
VERSION = "2023-06-01"
ID_PREFIX = "msg_"
PING = b'event: ping\ndata: {"type":"ping"}\n\n'
MESSAGE_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
# Of the caller's headers, those that a provider of this dialect may get.
CALLER_HEADERS = ("anthropic-beta", "anthropic-version")
_HEADER_VALUE = re.compile(r"[A-Za-z0-9_.,:;= -]{1,1000}")

_READ_STOP: Mapping[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "tool_use": "tool_calls",
    "pause_turn": "pause",
    "refusal": "content_filter",
    "model_context_window_exceeded": "context",
}
_WRITE_STOP: Mapping[FinishReason, str] = {
    **{reason: word for word, reason in _READ_STOP.items()},
    "error": "end_turn",
}


def read_stop(reason: Any, stop: Any = None, details: Any = None) -> Finish | None:
    """None while nothing was said."""
    if type(reason) is not str or not reason:
        return None
    sequence = stop if type(stop) is str else None
    return Finish(_READ_STOP.get(reason, "stop"), reason, sequence, details)


def write_stop(finish: Finish | None, *, called_tools: bool, refused: bool) -> str:
    if refused:
        return "refusal"
    reason: FinishReason = "stop" if finish is None else finish.reason
    return _WRITE_STOP["tool_calls" if called_tools and reason == "stop" else reason]


def event(kind: str, fields: Mapping[str, Any]) -> bytes:
    """One frame; `fields` without the type."""
    data = orjson.dumps({"type": kind, **fields}, default=str)
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def caller_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name in CALLER_HEADERS
        if (value := headers.get(name)) and _HEADER_VALUE.fullmatch(value)
    }
