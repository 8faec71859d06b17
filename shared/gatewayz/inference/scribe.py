"""One client's stream over several legs: a writer that remembers what it wrote and takes up there.

Guarantees that a block which was cut stays open for the next leg, that its client sees one answer
with one beginning, and that nothing but plain text is ever taken up. Pure.
"""

from gatewayz.core.errors import GatewayError
from gatewayz.dialects.events import (
    Begin,
    BlockStart,
    BlockStop,
    CitationDelta,
    Ended,
    Event,
    TextDelta,
    ThinkingDelta,
)
from gatewayz.dialects.form import UsageReport
from gatewayz.dialects.google.array import ArrayStream
from gatewayz.dialects.parts import Part, RedactedThinking, Text, Thinking
from gatewayz.dialects.protocol import StreamEncoder
from gatewayz.dialects.translated import TranslatedStream
from gatewayz.pricing.usage import Usage

# Parts beside which an answer is still plain text: what was thought is not what was said.
ASIDE = (Thinking, RedactedThinking)


class Scribe:
    """A StreamEncoder around the client's own. `text` is what its client has read, `plain` whether
    that is all there was to read."""

    def __init__(self, encoder: StreamEncoder) -> None:
        self.keepalive = encoder.keepalive
        self.plain = True
        self._encoder = encoder
        self._said: list[str] = []
        self._open: Part | None = None  # the block that the client sees open
        self._stopped: BlockStop | None = None  # its end, held back: the next leg may go on in it
        self._starting: BlockStart | None = None  # a next leg's block that has said nothing yet
        self._aside = False  # within a block that a next leg does not show
        self._again = False

    @property
    def text(self) -> str:
        return "".join(self._said)

    def take_up(self, encoder: StreamEncoder | None = None) -> None:
        """Another leg begins; `encoder` stands in where a dialect's frames name the provider and
        depend on nothing that was written before."""
        self._encoder = encoder or self._encoder
        self._again = True
        self._stopped = self._starting = None
        self._aside = False

    def encode(self, event: Event) -> bytes:
        if self._again:
            return self._go_on(event)
        match event:
            case BlockStart():
                out = self._end_block()
                self._open = event.part
                self._note(event.part)
                return out + self._encoder.encode(event)
            case BlockStop():
                self._stopped = event
                return b""
            case TextDelta():
                self._said.append(event.text)
            case CitationDelta():
                self.plain = False
            case Ended():
                return self._end_block() + self._encoder.encode(event)
        return self._encoder.encode(event)

    def _go_on(self, event: Event) -> bytes:
        """What an answer's next leg adds: text alone, in the block that was left open."""
        match event:
            case Begin() | ThinkingDelta():
                return b""
            case BlockStart():
                self._aside = isinstance(event.part, ASIDE)
                if self._aside:
                    return b""
                self._starting = event
                if isinstance(event.part, Text) and event.part.text:
                    return self._say(TextDelta(event.index, event.part.text, event.choice))
                if isinstance(event.part, Text):
                    return b""
                self.plain = False
                return self._begin_block()
            case TextDelta():
                return self._say(event)
            case BlockStop():
                if not self._aside and self._starting is None:
                    self._stopped = event
                self._aside = False
                return b""
            case Ended():
                return self._end_block() + self._encoder.encode(event)
        return b"" if self._aside else self._encoder.encode(event)

    def _say(self, event: TextDelta) -> bytes:
        if not event.text:
            return b""
        self._said.append(event.text)
        return self._begin_block() + self._encoder.encode(event)

    def _begin_block(self) -> bytes:
        """The open block if it is text, else a new one: only now, when it has something to say."""
        starting, self._starting = self._starting, None
        if isinstance(self._open, Text) and (starting is None or isinstance(starting.part, Text)):
            self._stopped = None
            return b""
        out = self._end_block()
        if self._open is not None:  # it was cut, and what follows is of another kind
            out += self._encoder.encode(BlockStop(0))
        part = starting.part if starting is not None else Text("")
        self._open = Text("") if isinstance(part, Text) else part
        index = starting.index if starting is not None else 0
        return out + self._encoder.encode(BlockStart(index, self._open))

    def _note(self, part: Part) -> None:
        if isinstance(part, Text):
            self._said.append(part.text)
            self.plain = self.plain and not part.citations
        elif not isinstance(part, ASIDE):
            self.plain = False

    def _end_block(self) -> bytes:
        stopped, self._stopped = self._stopped, None
        if stopped is None:
            return b""
        self._open = None
        return self._encoder.encode(stopped)

    def close(
        self, report: UsageReport, *, usage: Usage | None = None, finish: str | None = None
    ) -> bytes:
        last = self._end_block()
        return last + self._encoder.close(report, usage=usage, finish=finish)

    def fail(self, error: GatewayError) -> bytes:
        return self._encoder.fail(error)


class _OpenArray(ArrayStream):
    """The array of which the client has had the beginning."""

    _opened = True


def stream_of(array: bool, *, again: bool) -> type[TranslatedStream]:
    """What reads a leg for a client that takes its stream as events, or as one JSON array."""
    if not array:
        return TranslatedStream
    return _OpenArray if again else ArrayStream
