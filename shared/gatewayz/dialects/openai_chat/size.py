"""How many tokens a chat request's prompt may have: an upper estimate, for the hold (F53, F55)."""

from typing import Any

import orjson

from gatewayz.dialects.form import JsonObject
from gatewayz.pricing.estimate import (
    AUDIO_BYTES_PER_TOKEN,
    FILE_BYTES_PER_TOKEN,
    FILE_MIN_TOKENS,
    IMAGE_TOKENS,
    MESSAGE_TOKENS,
    text_tokens,
)

REQUEST_TOKENS = 16
# Fields outside the messages that become part of the prompt.
PROMPT_FIELDS = ("tools", "functions", "response_format", "prediction")


def prompt_tokens(body: JsonObject) -> int:
    total = REQUEST_TOKENS
    for message in body["messages"]:
        total += MESSAGE_TOKENS
        for name, value in message.items():
            if name == "role":
                continue  # counted with the message
            if name == "content" and type(value) is list:
                total += sum(map(_part_tokens, value))
            elif type(value) is str:
                total += text_tokens(value)
            elif value:
                total += _json_tokens(value)
    for name in PROMPT_FIELDS:
        if value := body.get(name):
            total += _json_tokens(value)
    return total


def _json_tokens(value: Any) -> int:
    return text_tokens(orjson.dumps(value).decode())


def _part_tokens(part: JsonObject) -> int:
    kind = part["type"]
    if kind in ("image_url", "input_image", "image"):
        return IMAGE_TOKENS
    if kind == "input_audio":
        return _payload_bytes(part.get("input_audio"), "data") // AUDIO_BYTES_PER_TOKEN + 1
    if kind in ("file", "document_url", "video_url", "input_file"):
        size = _payload_bytes(part.get(kind), "file_data", "url")
        return max(FILE_MIN_TOKENS, size // FILE_BYTES_PER_TOKEN)
    text = part.get("text")
    return text_tokens(text) if type(text) is str else _json_tokens(part)


def _payload_bytes(holder: Any, *names: str) -> int:
    """Bytes behind a base64 payload."""
    if type(holder) is dict:
        holder = next((holder[name] for name in names if name in holder), None)
    return len(holder) * 3 // 4 if type(holder) is str else 0


def holds_more_than_text(body: JsonObject) -> bool:
    """Whether a message has a part that is no text, without reading what it is."""
    for message in body["messages"]:
        content = message.get("content")
        if type(content) is list and any(part["type"] != "text" for part in content):
            return True
    return False
