"""A provider's stream of chunks → events of the internal form.

Texts grow; calls, images and whatever else come whole. Thoughts and texts of one kind that follow
each other are one block. The end is known by the finish reasons alone: this protocol has no mark.
"""

from typing import Any

import orjson

from gatewayz.core.errors import InvalidRequest, UpstreamBroken
from gatewayz.dialects.custom_tools import Restorer
from gatewayz.dialects.events import (
    ArgumentsDelta,
    Begin,
    BlockStart,
    BlockStop,
    CitationDelta,
    Ended,
    Event,
    Failed,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UsageSeen,
)
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.google.citations import cite_text, says_sources
from gatewayz.dialects.google.errors import decode_error_object
from gatewayz.dialects.google.frames import ChunkParser
from gatewayz.dialects.google.logprobs import read_logprobs
from gatewayz.dialects.google.read_answer import (
    FAILED,
    blocked,
    finish_details,
    id_prefix,
    read_counts,
    restored,
)
from gatewayz.dialects.google.read_parts import read_part
from gatewayz.dialects.google.wire import FAILED_FINISHES, FAMILY, NAME, items, read_finish
from gatewayz.dialects.parts import Part, Text, Thinking, ToolCall
from gatewayz.dialects.protocol import Notes
from gatewayz.dialects.sse import UNKNOWN_FORM, EventTooLarge


class _Choice:
    """The open block of one candidate, and what its end needs."""

    __slots__ = ("_choice", "_index", "_kind", "_said", "_signed", "called", "calls", "spoke")

    def __init__(self, choice: int) -> None:
        self.called = self.spoke = False
        self.calls = 0
        self._choice = choice
        self._index = -1
        self._kind = ""
        self._signed = False  # the open block has its signature: it cannot grow
        self._said: list[str] = []  # the open text, for the places of its citations

    def add(self, part: Part, logprobs: Any, out: list[Event]) -> None:
        match part:
            case Text():
                self._grow("text", part, Text("", extras=part.extras), out)
                if part.text:
                    self._said.append(part.text)
                    out.append(TextDelta(self._index, part.text, self._choice, logprobs))
                self._sign(part, out)
            case Thinking():
                empty = Thinking("", origin=part.origin, id=part.id, extras=part.extras)
                self._grow("thinking", part, empty, out)
                if part.text:
                    out.append(ThinkingDelta(self._index, part.text, self._choice))
                self._sign(part, out)
            case ToolCall():
                self.called = True
                self._start("call", _opening(part), out)
                out.append(ArgumentsDelta(self._index, part.arguments, self._choice))
                self.stop(out)
            case _:
                self._start("whole", part, out)
                self.stop(out)

    def _grow(self, kind: str, part: Text | Thinking, empty: Part, out: list[Event]) -> None:
        """Open a block unless this goes on with the open one; what says nothing opens none."""
        if not part.text and part.signature is None:
            return
        self.spoke = self.spoke or bool(part.text)
        if self._kind != kind or self._signed:
            self._start(kind, empty, out)

    def _sign(self, part: Text | Thinking, out: list[Event]) -> None:
        if part.signature is not None:
            self._signed = True
            known = part.id if isinstance(part, Thinking) else None
            signed = SignatureDelta(self._index, part.signature, part.origin, self._choice, known)
            out.append(signed)

    def _start(self, kind: str, part: Part, out: list[Event]) -> None:
        self.stop(out)
        self._index += 1
        self._kind = kind
        self.spoke = self.spoke or kind in ("call", "whole")
        out.append(BlockStart(self._index, part, self._choice))

    def stop(self, out: list[Event]) -> None:
        if self._kind:
            out.append(BlockStop(self._index, self._choice))
        self._kind, self._signed = "", False
        self._said.clear()

    def cite(self, candidate: JsonObject, out: list[Event]) -> None:
        """The sources of the open text. They come with its end or not at all."""
        if self._kind == "text" and says_sources(candidate):
            for citation in cite_text(candidate, "".join(self._said)):
                out.append(CitationDelta(self._index, citation, self._choice))


def _opening(call: ToolCall) -> ToolCall:
    return ToolCall(
        call.id,
        call.name,
        "",
        signature=call.signature,
        origin=call.origin,
        extras=call.extras,
    )


class ChunkReader:
    """read() every chunk, as an object; `over` once nothing more can come."""

    def __init__(self, target: Target, notes: Notes, *, n: int = 1) -> None:
        self.over = self.begun = False
        self._target = target
        self._notes = notes
        self._family = target.family or FAMILY
        self._n = n
        self._choices: dict[int, _Choice] = {}
        self._ended: set[int] = set()
        self._counts: Any = None
        self._prefix = ""

    @property
    def finished(self) -> bool:
        return len(self._ended) >= self._n

    def has_ended(self, choice: int) -> bool:
        return choice in self._ended

    def read(self, data: bytes, *, last: bool = False) -> tuple[JsonObject | None, list[Event]]:
        """The chunk, None when it is none, and its events."""
        if self.over:
            return None, []
        try:
            chunk = orjson.loads(data)
        except orjson.JSONDecodeError:
            # Half an event at the end of input is a cut, not nonsense.
            words = "The provider sent an event that is not JSON."
            return None, [] if last else self.fail(words)
        if type(chunk) is not dict:
            return None, self.fail(UNKNOWN_FORM)
        if chunk.get("error"):
            self.over = True
            return chunk, [Failed(decode_error_object(self._target, chunk))]
        out: list[Event] = []
        try:
            self._read(chunk, data, out)
        except (InvalidRequest, TypeError, AttributeError):
            out += self.fail(UNKNOWN_FORM)
        return chunk, out

    def fail(self, words: str) -> list[Event]:
        self.over = True
        return [Failed(UpstreamBroken(words, provider=self._target.provider))]

    def _read(self, chunk: JsonObject, data: bytes, out: list[Event]) -> None:
        if not self.begun:
            self.begun = True
            self._prefix = id_prefix(chunk, data)
            native, model = chunk.get("responseId"), chunk.get("modelVersion")
            out.append(
                Begin(
                    NAME,
                    id=native if type(native) is str else None,
                    model=model if type(model) is str else None,
                )
            )
        counts = chunk.get("usageMetadata")
        if counts and counts != self._counts:
            self._counts = counts
            usage, raw = read_counts(counts)
            if raw is not None:
                out.append(UsageSeen(usage, raw))
        refused = blocked(chunk)
        if refused is not None:
            for index in range(self._n):
                if index not in self._ended:
                    self._ended.add(index)
                    out.append(Ended(refused, index))
            return
        for position, candidate in enumerate(chunk.get("candidates") or ()):
            index = candidate.get("index", position)
            self._candidate(candidate, index if type(index) is int else position, out)
            if self.over:
                return

    def _candidate(self, candidate: JsonObject, index: int, out: list[Event]) -> None:
        if index in self._ended:
            return
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = _Choice(index)
        content = candidate.get("content")
        held = items(content.get("parts")) if type(content) is dict else None
        logprobs = read_logprobs(candidate.get("logprobsResult"))
        for position, value in enumerate(held or ()):
            if value == {}:
                continue
            part = read_part(value, f"parts[{position}]", family=self._family)
            if isinstance(part, ToolCall):
                part = restored(part, f"{self._prefix}_{index}_{choice.calls}", self._notes)
                choice.calls += 1
            choice.add(part, logprobs, out)
            logprobs = None if isinstance(part, Text) and part.text else logprobs
        choice.cite(candidate, out)
        reason = candidate.get("finishReason")
        if reason in FAILED_FINISHES and not choice.spoke:
            out += self.fail(FAILED)
            return
        details = finish_details(candidate)
        finish = read_finish(reason, called_tools=choice.called, details=details)
        if finish is not None:
            choice.stop(out)
            self._ended.add(index)
            out.append(Ended(finish, index))


class ChunkDecoder:
    """feed() every block, end() at the end of input."""

    def __init__(self, target: Target, notes: Notes, *, n: int = 1) -> None:
        self._parser = ChunkParser()
        self._reader = ChunkReader(target, notes, n=n)
        self._restorer = Restorer(notes.custom) if notes.custom else None

    def feed(self, block: bytes) -> list[Event]:
        reader = self._reader
        if reader.over:
            return []
        try:
            chunks = self._parser.feed(block)
        except EventTooLarge:
            return reader.fail("The provider sent an event that is too large.")
        out: list[Event] = []
        for data in chunks:
            out += reader.read(data)[1]
        return out if self._restorer is None else self._restorer.take(out)

    def end(self) -> list[Event]:
        out: list[Event] = []
        reader = self._reader
        for data in () if reader.over else self._parser.close():
            out += reader.read(data, last=True)[1]
        out += ended(reader)
        return out if self._restorer is None else self._restorer.take(out)


def ended(reader: ChunkReader) -> list[Event]:
    """The input is over: a failure unless every choice had ended."""
    if reader.over:
        return []
    if reader.finished:
        reader.over = True
        return []
    return reader.fail(
        "The provider ended the stream early."
        if reader.begun
        else "The provider's answer is no event stream."
    )
