"""Bytes through, where client and provider speak one dialect: one exchange and one stream for all.

`PassedStream` holds back what comes before the first content, bounded, and whatever its dialect
says is the end; it never ends cleanly what did not end cleanly (D27). What a dialect touches on
the way stands in its own `stream.py` and `answer.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from gatewayz.core.errors import UpstreamBroken, UpstreamError
from gatewayz.dialects.exchange import Delivered, Stream
from gatewayz.dialects.form import JsonObject, Target, UsageReport
from gatewayz.dialects.openai_chat.meter import OutputMeter
from gatewayz.dialects.protocol import Headers, HttpRequest, Reply
from gatewayz.dialects.sse import (
    ENDED_EARLY,
    NO_JSON,
    NO_STREAM,
    TOO_LARGE,
    UNKNOWN_FORM,
    EventTooLarge,
    SseEvent,
    SseParser,
)

MAX_HELD_FRAMES = 64


@dataclass(frozen=True, slots=True)
class Passing:
    """How one dialect passes its own answers on: only id, model, usage and the like are ours."""

    decode_answer: Callable[[bytes, Target], Delivered]
    encode_answer: Callable[[Any, Reply, UsageReport], bytes]
    open_stream: Callable[[Reply, Target], Stream]
    decode_error: Callable[[Target, int, Headers, bytes], UpstreamError]


@dataclass(slots=True)
class PassedExchange:
    """One attempt whose answer travels as it came."""

    passing: Passing
    request: HttpRequest
    target: Target
    reply: Reply

    def read_answer(self, raw: bytes) -> Delivered:
        return self.passing.decode_answer(raw, self.target)

    def render_answer(self, answer: Any, report: UsageReport) -> bytes:
        return self.passing.encode_answer(answer, self.reply, report)

    def open_stream(self) -> Stream:
        return self.passing.open_stream(self.reply, self.target)

    def decode_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        return self.passing.decode_error(self.target, status, headers, body)


class PassedStream:
    """feed() every block, end() at the end of input, then close() or fail(), whichever is true.

    A dialect gives `finish`, `finished`, `_relay`, `close` and `fail`.
    """

    def __init__(self, provider: str) -> None:
        self.started = False  # content was seen: the first token
        self.done = False  # the provider said that nothing follows
        self.error: UpstreamError | None = None
        self.stated_cost: float | None = None  # in USD
        self.usage: JsonObject | None = None  # the provider's last, raw: it is cumulative
        self._provider = provider
        self._native_id: str | None = None
        self._parser = SseParser()
        self._meter = OutputMeter()
        self._held: list[bytes] = []  # before the first content
        self._events = 0
        self._ended = False

    # ------------------------------------------------------------------ what was seen

    @property
    def native_id(self) -> str | None:
        """The provider's own id of this answer."""
        return self._native_id

    @property
    def finish(self) -> str | None:
        """The finish reason in the words that charges use; None while there is none."""
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """Every choice has a finish reason: only what closes the stream may follow."""
        raise NotImplementedError

    @property
    def clean_end(self) -> bool:
        """Whether the input may end here."""
        return self.error is None and (self.done or self.finished)

    @property
    def empty(self) -> bool:
        """Neither content nor finish reason: nothing to charge (D20)."""
        return not self.started and self.finish is None

    @property
    def output_bytes(self) -> int:
        """Bytes of text delivered: content, reasoning, refusals, tool calls."""
        return self._meter.bytes

    @property
    def output_tokens_estimate(self) -> int:
        return self._meter.tokens

    # ------------------------------------------------------------------ input

    def feed(self, block: bytes) -> bytes:
        """What may go to the client now; b"" while nothing may."""
        if self.error is not None or self.done:
            return b""
        try:
            events = self._parser.feed(block)
        except EventTooLarge:
            self._break(TOO_LARGE)
            return b""
        if len(events) == 1:
            return self._take(events[0])
        return b"".join([self._take(item) for item in events])

    def end(self) -> bytes:
        """The input has ended. Afterwards `error` is set unless the end was clean."""
        out = b""
        if not self._ended and self.error is None and not self.done:
            out = b"".join([self._take(item, last=True) for item in self._parser.close()])
        self._ended = True
        if self.error is None and not self.clean_end:
            self._break(ENDED_EARLY if self._events else NO_STREAM)
        return out

    def _take(self, item: SseEvent, *, last: bool = False) -> bytes:
        if self.error is not None or self.done:
            return b""
        if item.data == b"[DONE]":
            self._say_done()
            return b""
        self._events += 1
        try:
            data = orjson.loads(item.data)
        except orjson.JSONDecodeError:
            if not last:  # half an event at the end of input is a cut, not nonsense
                self._break(NO_JSON)
            return b""
        if type(data) is not dict:
            self._break(UNKNOWN_FORM)
            return b""
        try:
            return self._relay(item, data)
        except (KeyError, TypeError, AttributeError):
            # A value of another kind where text, a number or an object belongs.
            self._break(UNKNOWN_FORM)
            return b""

    def _say_done(self) -> None:
        """[DONE] came: a word of some dialects, noise in others."""

    def _relay(self, item: SseEvent, data: JsonObject) -> bytes:
        """What of one event may go on. KeyError, TypeError or AttributeError: no known form."""
        raise NotImplementedError

    def _hold(self, frame: bytes) -> bytes:
        """The frame, with all that was held before it, once there is content."""
        if not self.started:
            if len(self._held) < MAX_HELD_FRAMES:
                self._held.append(frame)
            return b""
        if self._held:
            frame = b"".join([*self._held, frame])
            self._held = []
        return frame

    def _break(self, words: str) -> None:
        self.error = UpstreamBroken(words, provider=self._provider)


def event_frame(kind: str, data: JsonObject, raw: bytes) -> bytes:
    """A named event as it came; a line break inside it would make two events of it."""
    if b"\n" in raw:
        raw = orjson.dumps(data)
    return b"event: " + kind.encode() + b"\ndata: " + raw + b"\n\n"
