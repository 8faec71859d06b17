"""The blocks of a stream's only choice, one after another, as the internal form has them.

A block opens with its first content and closes when another begins. Texts stay open after their
end, since their sources may follow it. Never opens a block for what says nothing.
"""

from typing import Any

from gatewayz.dialects.events import (
    ArgumentsDelta,
    BlockStart,
    BlockStop,
    CitationDelta,
    Event,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from gatewayz.dialects.parts import Citation, Part, Text, Thinking, ToolCall


class Blocks:
    """`place` is the provider's number of a block: another number is another block."""

    __slots__ = ("_cited", "_cited_place", "_index", "_kind", "_place", "called", "spoke")

    def __init__(self) -> None:
        self.called = self.spoke = False
        self._index = -1
        self._kind = ""  # of the open block
        self._place: Any = None
        self._cited: list[Citation] = []  # sources of a text that may still come
        self._cited_place: Any = None

    @property
    def in_text(self) -> bool:
        return self._kind == "text"

    def text(self, place: Any, text: str, out: list[Event], *, logprobs: Any = None) -> None:
        if text:
            self._grow("text", place, Text(""), out)
            self._cite(out)
            out.append(TextDelta(self._index, text, logprobs=logprobs))

    def think(self, place: Any, text: str, origin: str, out: list[Event]) -> None:
        if text:
            self._grow("thinking", place, Thinking("", origin=origin), out)
            out.append(ThinkingDelta(self._index, text))

    def sign(self, place: Any, signature: str, origin: str, out: list[Event]) -> None:
        if signature:
            self._grow("thinking", place, Thinking("", origin=origin), out)
            out.append(SignatureDelta(self._index, signature, origin))

    def call(self, place: Any, call: ToolCall, out: list[Event]) -> None:
        self._start("call", place, call, out)
        self.called = True

    def arguments(self, piece: str, out: list[Event]) -> None:
        """More of the open call; without one there is nothing to which it could belong."""
        if piece and self._kind == "call":
            out.append(ArgumentsDelta(self._index, piece))

    def cite(self, place: Any, citation: Citation, out: list[Event]) -> None:
        """A source of the text at `place`, which may come later or have come before."""
        self._cited.append(citation)
        self._cited_place = place
        if self.in_text and place == self._place:
            self._cite(out)

    def cite_text(self, citation: Citation, out: list[Event]) -> None:
        """A source of the open text, wherever it stands; nothing where none is open."""
        if self.in_text:
            out.append(CitationDelta(self._index, citation))

    def whole(self, part: Part, out: list[Event]) -> None:
        self._start("whole", None, part, out)
        self.close(out)

    def end(self, out: list[Event]) -> None:
        """The provider ended the open block."""
        self._cite_before(out)
        if self.in_text:
            self._place = _NOWHERE
        else:
            self.close(out)

    def close(self, out: list[Event]) -> None:
        self._cite_before(out)
        if self._kind:
            out.append(BlockStop(self._index))
        self._kind = ""

    def _grow(self, kind: str, place: Any, part: Part, out: list[Event]) -> None:
        if self._kind != kind or self._place != place:
            self._start(kind, place, part, out)

    def _start(self, kind: str, place: Any, part: Part, out: list[Event]) -> None:
        coming = kind == "text" and place == self._cited_place
        cited, self._cited = (self._cited, []) if coming else ([], self._cited)
        self.close(out)
        self._cited = cited
        self.spoke = True
        self._index += 1
        self._kind, self._place = kind, place
        out.append(BlockStart(self._index, part))

    def _cite_before(self, out: list[Event]) -> None:
        """Sources without a text of their own belong to the text before them."""
        if not self._cited:
            return
        if not self.in_text:
            cited, self._cited = self._cited, []
            self._start("text", None, Text(""), out)
            self._cited = cited
        self._cite(out)

    def _cite(self, out: list[Event]) -> None:
        out += [CitationDelta(self._index, citation) for citation in self._cited]
        self._cited = []


_NOWHERE = object()
