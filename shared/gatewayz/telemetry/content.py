"""Prompts and answers as the conventions of generative AI tell them; only where a setting asks.

Reads what clients of every dialect send and get. What cannot be read is left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import orjson

MAX_CONTENT_BYTES = 64 * 1024
FIELDS = ("messages", "input", "prompt", "contents", "query", "documents", "texts")


def input_of(body: Any) -> str | None:
    """What was asked, as JSON; cut where it is long."""
    if not isinstance(body, Mapping):
        return None
    asked = {name: body[name] for name in FIELDS if name in body}
    if not asked:
        return None
    value = asked["messages"] if set(asked) == {"messages"} else asked
    return orjson.dumps(value, default=str)[:MAX_CONTENT_BYTES].decode("utf-8", "ignore")


def output_of(raw: bytes) -> list[dict[str, Any]]:
    """The answer's text in one message; a whole body, or the frames of a stream."""
    text = "".join(_texts(raw))
    return [{"role": "assistant", "parts": [{"type": "text", "content": text}]}] if text else []


def _texts(raw: bytes) -> Iterator[str]:
    for document in _documents(raw):
        yield from _text_in(document)


def _documents(raw: bytes) -> Iterator[Any]:
    if raw.lstrip()[:1] in (b"{", b"["):
        yield from _read(raw)
        return
    for line in raw.split(b"\n"):
        if line.startswith(b"data:"):
            yield from _read(line[5:])


def _read(text: bytes) -> Iterator[Any]:
    try:
        yield orjson.loads(text)
    except orjson.JSONDecodeError:
        return


def _text_in(document: Any) -> Iterator[str]:
    """Where each dialect keeps its words."""
    if not isinstance(document, dict):
        return
    for choice in _rows(document.get("choices")):
        part = choice.get("delta") or choice.get("message") or choice
        yield from _strings(part, "content", "text")
    for block in _rows(document.get("content")):
        yield from _strings(block, "text")
    if document.get("type") == "response.output_text.delta":
        yield from _strings(document, "delta")
    elif isinstance(document.get("delta"), dict):
        yield from _strings(document["delta"], "text")
    for item in _rows(document.get("output")):
        for part in _rows(item.get("content")):
            yield from _strings(part, "text")
    for candidate in _rows(document.get("candidates")):
        for part in _rows((candidate.get("content") or {}).get("parts")):
            yield from _strings(part, "text")


def _rows(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        yield from (each for each in value if isinstance(each, dict))


def _strings(part: Any, *names: str) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (part[name] for name in names if isinstance(part.get(name), str))
