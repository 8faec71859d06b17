"""Server-sent events from bytes cut anywhere: CR, LF, CRLF, BOM, comments, multi-line data (F34).

Guarantees the same events however the bytes were split, in memory bounded by `max_event_bytes`.
Never interprets data.
"""

from typing import NamedTuple

MAX_EVENT_BYTES = 16 * 1024 * 1024
# What is said of a provider's stream that is none.
TOO_LARGE = "The provider sent an event that is too large."
NO_JSON = "The provider sent an event that is not JSON."
UNKNOWN_FORM = "The provider sent an event of an unknown form."
ENDED_EARLY = "The provider ended the stream early."
NO_STREAM = "The provider's answer is no event stream."
_BOM = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """One event exceeds the cap (F35)."""


class SseEvent(NamedTuple):
    event: str | None
    data: bytes


class SseParser:
    """feed(bytes) → complete events; close() → what a missing last blank line left behind."""

    __slots__ = ("_begun", "_data", "_event", "_max_bytes", "_size", "_skip_lf", "_tail")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._max_bytes = max_event_bytes
        self._begun = False
        self._skip_lf = False
        self._tail: list[bytes] = []  # pieces of the line not yet ended
        self._data: list[bytes] = []
        self._event: str | None = None
        self._size = 0  # bytes of the event not yet ended

    def feed(self, block: bytes) -> list[SseEvent]:
        # One whole event in one block is by far the most frequent case.
        if (
            self._begun
            and not self._size
            and block[:6] == b"data: "
            and block[-2:] == b"\n\n"
            and block.find(b"\n") == len(block) - 2
            and b"\r" not in block
        ):
            self._skip_lf = False
            if len(block) > self._max_bytes:
                raise EventTooLarge
            return [SseEvent(None, block[6:-2])]
        return self._feed_any(block)

    def _feed_any(self, block: bytes) -> list[SseEvent]:
        if not self._begun:
            block = b"".join(self._tail) + block
            if len(block) < len(_BOM) and _BOM.startswith(block):
                self._tail = [block]
                return []
            self._begun, self._tail = True, []
            block = block.removeprefix(_BOM)
        if self._skip_lf and block:
            self._skip_lf = False
            block = block.removeprefix(b"\n")
        if b"\r" in block:
            # The LF of this CRLF may stand at the head of the next block.
            self._skip_lf = block.endswith(b"\r")
            block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = block.split(b"\n")
        events: list[SseEvent] = []
        for line in lines:
            self._grow(len(line))
            if self._tail:
                self._tail.append(line)
                line = b"".join(self._tail)
                self._tail = []
            self._line(line, events)
        if rest:
            self._tail.append(rest)
            self._grow(len(rest))
        return events

    def close(self) -> list[SseEvent]:
        """The unfinished event at the end of input, if it has data."""
        events: list[SseEvent] = []
        if self._tail:
            line, self._tail = b"".join(self._tail), []
            self._line(line, events)
        self._line(b"", events)
        return events

    def _line(self, line: bytes, events: list[SseEvent]) -> None:
        if not line:
            if self._data:
                data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
                events.append(SseEvent(self._event, data))
                self._data = []
            self._event, self._size = None, 0
            return
        name, _, value = line.partition(b":")
        if name == b"data":
            self._data.append(value.removeprefix(b" "))
        elif name == b"event":
            self._event = value.removeprefix(b" ").decode("utf-8", "replace")

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > self._max_bytes:
            raise EventTooLarge
