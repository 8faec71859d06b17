"""An answer of one dialect for a client of another, with the surface of a passed-through one.

TranslatedStream stands where ChatStream stands, TranslatedAnswer where its Answer does. Holds back
what comes before the first content, writes the end only when the charge is known, and never ends
cleanly what did not end cleanly (D27).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gatewayz.core.errors import GatewayError, UpstreamBroken, UpstreamError
from gatewayz.dialects.custom_tools import Restorer, restore
from gatewayz.dialects.events import (
    ArgumentsDelta,
    Begin,
    BlockStart,
    Done,
    Ended,
    Event,
    Failed,
    Pinged,
    TextDelta,
    ThinkingDelta,
    UsageSeen,
)
from gatewayz.dialects.form import Hides, JsonObject, Target, UsageReport
from gatewayz.dialects.generation import Finish, FinishReason, Generation
from gatewayz.dialects.hidden import Hider
from gatewayz.dialects.openai_chat.meter import OutputMeter
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.parts import Part, Refusal, Text, Thinking, ToolCall
from gatewayz.dialects.protocol import (
    NO_NOTES,
    Notes,
    StreamDecoder,
    StreamEncoder,
    Upstream,
)
from gatewayz.dialects.speech import spoken
from gatewayz.pricing.usage import Usage

# Frames before the first content say nothing new after the first few.
MAX_HELD_FRAMES = 64
_OPENAI_WORDS: Mapping[FinishReason, str] = {
    "stop_sequence": "stop",
    "context": "length",
    "pause": "stop",
}


def openai_finish(finish: Finish | None) -> str | None:
    """A finish reason in the words that charges and request logs use."""
    return None if finish is None else _OPENAI_WORDS.get(finish.reason, finish.reason)


def measure(meter: OutputMeter, part: Part) -> bool:
    """Count a part that came whole or opens; whether it is content at all."""
    match part:
        case Text() | Refusal() | Thinking():
            if part.text:
                meter.add(part.text)
            return bool(part.text)
        case ToolCall():
            function = {"name": part.name, "arguments": part.arguments}
            return meter.add_message({"tool_calls": [{"function": function}]})
    return True


class TranslatedStream:
    """feed() every block, end() at the end of input, then close() or fail(), whichever is true.

    `notes` are those of the request that is answered; `hides` is of its reply.
    """

    def __init__(
        self,
        decoder: StreamDecoder,
        encoder: StreamEncoder,
        *,
        n: int = 1,
        notes: Notes = NO_NOTES,
        hides: Hides = "",
    ) -> None:
        self.started = False  # content was seen: the first token
        self.done = False  # the provider said that nothing follows
        self.error: UpstreamError | None = None
        self.stated_cost: float | None = None  # in USD
        self.native_id: str | None = None
        self.usage: JsonObject | None = None  # the provider's last, raw: it is cumulative
        self._units: Usage | None = None
        self._decoder = decoder
        self._encoder = encoder
        self._restorer = Restorer(notes.custom) if notes.custom else None
        self._hider = Hider(hides) if hides else None
        self._meter = OutputMeter()
        self._finishes: dict[int, Finish] = {}
        self._unfinished = n
        self._held: list[bytes] = []

    # ------------------------------------------------------------------ what was seen

    def counted(self) -> Usage | None:
        """What the provider stated, None if nothing; InvalidUsage when it cannot be true."""
        if self._units is None and self.usage:
            raise InvalidUsage("the provider's counts cannot be true")
        return self._units

    @property
    def finish(self) -> str | None:
        return next(map(openai_finish, self._finishes.values()), None)

    @property
    def finished(self) -> bool:
        return self._unfinished <= 0

    @property
    def clean_end(self) -> bool:
        return self.error is None and (self.done or self.finished)

    @property
    def empty(self) -> bool:
        return not self.started and not self._finishes

    @property
    def output_bytes(self) -> int:
        return self._meter.bytes

    @property
    def output_tokens_estimate(self) -> int:
        return self._meter.tokens

    # ------------------------------------------------------------------ input

    def feed(self, block: bytes) -> bytes:
        """What may go to the client now; b"" while nothing may."""
        return self._take(self._decoder.feed(block))

    def end(self) -> bytes:
        """The input is over; `error` is set when it ended too soon."""
        return self._take(self._decoder.end())

    def _take(self, events: list[Event]) -> bytes:
        if self.error is not None:
            return b""
        if self._restorer is not None:
            events = self._restorer.take(events)
        out: list[bytes] = []
        for event in events:
            match event:
                case TextDelta() | ThinkingDelta() | ArgumentsDelta():
                    if event.text:
                        self.started = True
                        self._meter.add(event.text)
                case BlockStart():
                    self.started = measure(self._meter, event.part) or self.started
                case Failed():
                    # A complete answer stays complete whatever is said after it.
                    if not self.clean_end:
                        self.error = event.error
                        return b"".join(out)
                case Pinged() if not self.started:
                    continue
                case Begin() | Ended() | UsageSeen() | Done():
                    self._note(event)
            frame = self._encoder.encode(event) if self._hider is None else self._shown(event)
            if not frame:
                continue
            if self.started:
                if self._held:
                    out += self._held
                    self._held.clear()
                out.append(frame)
            elif len(self._held) < MAX_HELD_FRAMES:
                self._held.append(frame)
        return b"".join(out)

    def _shown(self, event: Event) -> bytes:
        assert self._hider is not None
        return b"".join([self._encoder.encode(shown) for shown in self._hider.take(event)])

    def _note(self, event: Begin | Ended | UsageSeen | Done) -> None:
        match event:
            case Begin():
                self.native_id = event.id or self.native_id
            case Ended():
                if event.choice not in self._finishes:
                    self._finishes[event.choice] = event.finish
                    self._unfinished -= 1
            case UsageSeen():
                self._units, self.usage = event.usage, event.raw
                if event.stated_cost is not None:
                    self.stated_cost = event.stated_cost
            case Done():
                self.done = True

    # ------------------------------------------------------------------ output

    def close(self, report: UsageReport, *, finish: str | None = None) -> bytes:
        """The end of a complete answer, with what it cost."""
        held, self._held = self._held, []
        usage = None if report.estimated else self._units
        return b"".join(held) + self._encoder.close(report, usage=usage, finish=finish)

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that failed."""
        self._held = []
        return self._encoder.fail(error)


@dataclass(frozen=True, slots=True)
class TranslatedAnswer:
    """A whole answer, read; what the settlement asks of it."""

    generation: Generation
    output_tokens_estimate: int
    output_bytes: int
    empty: bool

    @property
    def usage(self) -> JsonObject | None:
        """The provider's own counts, raw."""
        return self.generation.raw_usage

    @property
    def stated_cost(self) -> float | None:
        return self.generation.stated_cost

    @property
    def native_id(self) -> str | None:
        return self.generation.id

    @property
    def finish(self) -> str | None:
        finishes = (openai_finish(choice.finish) for choice in self.generation.choices)
        return next((word for word in finishes if word), None)

    def counted(self) -> Usage | None:
        """What the provider stated, None if nothing; InvalidUsage when it cannot be true."""
        generation = self.generation
        if generation.usage is None and generation.raw_usage:
            raise InvalidUsage("the provider's counts cannot be true")
        return generation.usage


def read_answer(
    dialect: Upstream, raw: bytes, target: Target, notes: Notes = NO_NOTES
) -> TranslatedAnswer:
    """A provider's whole answer for a client of any dialect; raises as decode_answer does."""
    generation = restore(dialect.decode_answer(raw, target, notes), notes.custom)
    if notes.audio:
        try:
            generation = spoken(generation, notes.audio)
        except ValueError:
            raise UpstreamBroken(
                "The provider's sound cannot be read.", provider=target.provider
            ) from None
    meter = OutputMeter()
    spoke = False
    for choice in generation.choices:
        for part in choice.parts:
            spoke = measure(meter, part) or spoke
    units = generation.usage
    finished = any(choice.finish for choice in generation.choices)
    return TranslatedAnswer(
        generation=generation,
        output_tokens_estimate=meter.tokens,
        output_bytes=meter.bytes,
        empty=not spoke and not finished and not (units and units.output_tokens),
    )
