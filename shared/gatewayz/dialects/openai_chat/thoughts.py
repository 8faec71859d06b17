"""Thoughts in chat completions: `reasoning_details` with signatures, or a plain text field."""

from collections.abc import Iterator, Mapping
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.parts import RedactedThinking, Thinking

FORMATS: Mapping[str, str] = {
    "anthropic": "anthropic-claude-v1",
    "google": "google-gemini-v1",
    "openai": "openai-responses-v1",
    "xai": "xai-responses-v1",
    "": "unknown",
}
_ORIGINS = {name: origin for origin, name in FORMATS.items()}
TEXT_FIELDS = ("reasoning_content", "reasoning")


def read_thoughts(
    message: Mapping[str, Any], family: str = ""
) -> list[Thinking | RedactedThinking]:
    """The thoughts of a message; details first, since only they can be sent back."""
    return [part for _, part in read_numbered(message, family)]


def read_numbered(
    message: Mapping[str, Any], family: str = ""
) -> list[tuple[int, Thinking | RedactedThinking]]:
    """The same, or pieces of them in a delta, with the number of the thought each belongs to."""
    details = message.get("reasoning_details")
    if type(details) is list and details:
        found = [
            (_number(detail), part)
            for detail in details
            if (part := _read_detail(detail, family)) is not None
        ]
        if found:
            return found
    for name in TEXT_FIELDS:
        value = message.get(name)
        if type(value) is str and value:
            return [(0, Thinking(value))]
    return []


def _number(detail: JsonObject) -> int:
    index = detail.get("index")
    return index if type(index) is int else 0


def _read_detail(detail: Any, family: str) -> Thinking | RedactedThinking | None:
    if type(detail) is not dict:
        return None
    words = detail.get("format")
    origin = _ORIGINS.get(words, words) if type(words) is str else ""
    origin = origin or _text(detail, "origin") or ""
    identity = _text(detail, "id")
    kind = detail.get("type")
    if kind == "reasoning.encrypted":
        data = _text(detail, "data")
        return RedactedThinking(data, origin or family, identity) if data else None
    text = _text(detail, "text") or _text(detail, "summary") or ""
    signature = _text(detail, "signature")
    if not text and not signature:
        return None
    return Thinking(text, signature, (origin or family) if signature or origin else "", identity)


def _text(holder: JsonObject, name: str) -> str | None:
    value = holder.get(name)
    return value if type(value) is str and value else None


def write_detail(part: Thinking | RedactedThinking, index: int) -> JsonObject:
    # Readers know these formats only; a family beside them stands where nobody minds it.
    words = FORMATS.get(part.origin, FORMATS[""])
    named = {} if part.origin in FORMATS else {"origin": part.origin}
    if isinstance(part, RedactedThinking):
        detail = {"type": "reasoning.encrypted", "data": part.data}
    else:
        detail = {"type": "reasoning.text", "text": part.text}
        if part.signature is not None:
            detail["signature"] = part.signature
    if part.id is not None:
        detail["id"] = part.id
    return {**detail, "format": words, **named, "index": index}


def can_return(parts: list[Thinking | RedactedThinking]) -> bool:
    """Whether details say more than the text: something that must come back unchanged."""
    return any(isinstance(p, RedactedThinking) or p.signature or p.id for p in parts)


def details(parts: list[Thinking | RedactedThinking]) -> list[JsonObject]:
    return [write_detail(part, index) for index, part in enumerate(parts)]


def texts(parts: list[Thinking | RedactedThinking]) -> Iterator[str]:
    return (part.text for part in parts if isinstance(part, Thinking) and part.text)
