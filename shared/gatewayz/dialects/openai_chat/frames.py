"""The frames of an OpenAI event stream as bytes."""

from typing import Any

import orjson

DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": keepalive\n\n"
_CROCKFORD = {c: i for i, c in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}


def frame(value: Any) -> bytes:
    return b"data: " + orjson.dumps(value, default=str) + b"\n\n"


def created_s(chat_id: str) -> int:
    """Unix seconds from the time our ids carry: for upstreams that leave `created` out."""
    milliseconds = 0
    for character in chat_id[-26:-16]:
        milliseconds = milliseconds * 32 + _CROCKFORD.get(character, 0)
    return milliseconds // 1000
