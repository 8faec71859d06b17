"""Are the arguments of an answer's tool calls JSON? Read from what the caller is sent, afterwards.

Collects nothing of a stream that calls no tool; bounded. Part of what an offer's health shows.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

MAX_KEPT_BYTES = 512 * 1024
# One of these stands in every block that carries a call or a piece of one.
MARKS = (b"tool_calls", b"partial_json", b"function_call", b"tool_use", b"functionCall")


class Calls(NamedTuple):
    made: int
    valid: int


NO_CALLS = Calls(0, 0)


class ToolWatch:
    """Takes the blocks of one answer in the caller's dialect."""

    __slots__ = ("_blocks", "_bytes")

    def __init__(self) -> None:
        self._blocks: list[bytes] = []
        self._bytes = 0

    def see(self, block: bytes) -> None:
        """Keep a block if it may be part of a call."""
        if self._bytes < MAX_KEPT_BYTES and any(mark in block for mark in MARKS):
            self._blocks.append(block)
            self._bytes += len(block)

    def verdict(self) -> Calls:
        """What was called, and how often with arguments that are JSON; none when too much came."""
        if not self._blocks or self._bytes >= MAX_KEPT_BYTES:
            return Calls(0, 0)
        return check(_frames(b"".join(self._blocks)))


def check_answer(body: bytes) -> Calls:
    """The same of a whole answer."""
    if b"tool_" not in body and b"function" not in body:
        return NO_CALLS
    return check(iter([_load(body)]))


def check(frames: Iterator[Any]) -> Calls:
    pieces: dict[Any, list[str]] = {}
    for frame in frames:
        if type(frame) is dict:
            for key, text in _pieces(frame):
                pieces.setdefault(key, []).append(text)
    valid = sum(_is_json("".join(parts)) for parts in pieces.values())
    return Calls(len(pieces), valid)


def _frames(text: bytes) -> Iterator[Any]:
    for line in text.splitlines():
        if line.startswith(b"data:"):
            yield _load(line[5:])


def _load(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def _is_json(text: str) -> bool:
    # A call without arguments is written as nothing at all by some.
    return not text or _load(text.encode()) is not None


def _pieces(frame: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """(which call, a piece of its arguments) in a frame or whole answer of any client dialect."""
    for choice in _dicts(frame.get("choices")):
        message = choice.get("delta") or choice.get("message")
        calls = _dicts(message.get("tool_calls")) if type(message) is dict else []
        for place, call in enumerate(calls):
            function = call.get("function")
            text = function.get("arguments") if type(function) is dict else None
            if type(text) is str:
                yield (choice.get("index"), call.get("index", place)), text
    match frame.get("type"):
        case "response.function_call_arguments.delta":
            yield frame.get("item_id"), str(frame.get("delta"))
        case "content_block_delta":
            delta = frame.get("delta")
            if type(delta) is dict and delta.get("type") == "input_json_delta":
                yield frame.get("index"), str(delta.get("partial_json"))
        case "message":
            for block in _dicts(frame.get("content")):
                if block.get("type") == "tool_use":
                    yield block.get("id"), ""
    for item in _dicts(frame.get("output")):
        if item.get("type") == "function_call":
            yield item.get("call_id"), str(item.get("arguments"))
    for candidate in _dicts(frame.get("candidates")):
        content = candidate.get("content")
        for place, part in enumerate(_dicts(content.get("parts")) if type(content) is dict else []):
            if "functionCall" in part:
                yield ("google", place), ""


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if type(each) is dict] if type(value) is list else []
