"""The chunks of a streamed answer: server-sent events or, unasked, a JSON array or bare objects.

Guarantees the same chunks however the bytes were split, in memory bounded by one chunk. Never
interprets them.
"""

import re

from gatewayz.dialects.sse import MAX_EVENT_BYTES, EventTooLarge, SseParser

_BLANK = b" \t\r\n\xef\xbb\xbf"
_MARKS = re.compile(rb'["\\{}]')


class ChunkParser:
    """feed(bytes) → the JSON text of complete chunks; close() → what the end of input completes."""

    __slots__ = ("_events", "_json", "_lead")

    def __init__(self, max_chunk_bytes: int = MAX_EVENT_BYTES) -> None:
        self._events = SseParser(max_chunk_bytes)
        self._json: _JsonParser | None = None
        self._lead: bytes | None = b""  # None once it is known what this is

    def feed(self, block: bytes) -> list[bytes]:
        if self._lead is not None:
            block = self._lead + block
            rest = block.lstrip(_BLANK)
            if not rest:
                self._lead = block[-8:]  # all of it blanks, perhaps half a byte order mark
                return []
            self._lead = None
            if rest[:1] in (b"[", b"{"):
                self._json = _JsonParser()
        if self._json is not None:
            return self._json.feed(block)
        return [event.data for event in self._events.feed(block)]

    def close(self) -> list[bytes]:
        """The unfinished event at the end of input, if it has data."""
        return [] if self._json is not None else [event.data for event in self._events.close()]


class _JsonParser:
    """Objects out of an array or a sequence of objects."""

    __slots__ = ("_depth", "_escaped", "_pieces", "_size", "_string")

    def __init__(self) -> None:
        self._depth = 0
        self._string = self._escaped = False
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, block: bytes) -> list[bytes]:
        out: list[bytes] = []
        begin = 0
        skip = -1  # the character after a backslash
        if self._escaped and block:
            skip, self._escaped = 0, False
        for found in _MARKS.finditer(block):
            at, mark = found.start(), found[0]
            if at == skip:
                continue
            if mark == b"\\":
                if self._string:
                    skip = at + 1
                    self._escaped = skip == len(block)
            elif mark == b'"':
                self._string = not self._string and self._depth > 0
            elif self._string:
                continue
            elif mark == b"{":
                if self._depth == 0:
                    begin = at
                self._depth += 1
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    out.append(b"".join([*self._pieces, block[begin : at + 1]]))
                    self._pieces, self._size = [], 0
        if self._depth:
            self._pieces.append(block[begin:])
            self._size += len(block) - begin
            if self._size > MAX_EVENT_BYTES:
                raise EventTooLarge
        return out
