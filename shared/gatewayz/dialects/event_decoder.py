"""The frame of a reader of event streams: what is no event of its dialect ends the stream.

Implements protocol.StreamDecoder for dialects that give `_read` and say what complete is. Never
raises for what a provider sends.
"""

import orjson

from gatewayz.core.errors import InvalidRequest, UpstreamBroken, UpstreamError
from gatewayz.dialects.events import Event, Failed
from gatewayz.dialects.form import JsonObject, Target
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


class EventDecoder:
    """feed() every block, end() at the end of input. `_over`: nothing more can come."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._parser = SseParser()
        self._begun = self._over = False

    # ------------------------------------------------------------------ a dialect's own

    @property
    def _complete(self) -> bool:
        """Whether the input may end here."""
        raise NotImplementedError

    def _read(self, data: JsonObject, name: str | None, out: list[Event]) -> None:
        """What one event says. InvalidRequest, KeyError, IndexError, TypeError or AttributeError:
        it is of no known form."""
        raise NotImplementedError

    def _say_done(self, out: list[Event]) -> None:
        """[DONE] came: a word of some dialects, noise in others."""

    # ------------------------------------------------------------------ input

    def feed(self, block: bytes) -> list[Event]:
        out: list[Event] = []
        if self._over:
            return out
        try:
            events = self._parser.feed(block)
        except EventTooLarge:
            self._broke(TOO_LARGE, out)
            return out
        for event in events:
            self._take(event, out)
        return out

    def end(self) -> list[Event]:
        out: list[Event] = []
        for event in () if self._over else self._parser.close():
            self._take(event, out, last=True)
        if not self._over and not self._complete:
            self._broke(ENDED_EARLY if self._begun else NO_STREAM, out)
        self._over = True
        return out

    def _take(self, event: SseEvent, out: list[Event], *, last: bool = False) -> None:
        if self._over:
            return
        if event.data == b"[DONE]":
            return self._say_done(out)
        try:
            data = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            if not last:  # half an event at the end of input is a cut, not nonsense
                self._broke(NO_JSON, out)
            return
        if type(data) is not dict:
            return self._broke(UNKNOWN_FORM, out)
        try:
            self._read(data, event.event, out)
        except (InvalidRequest, KeyError, IndexError, TypeError, AttributeError):
            # A value of another kind where text, a number or an object belongs.
            self._broke(UNKNOWN_FORM, out)

    # ------------------------------------------------------------------ ends

    def _failed(self, error: UpstreamError, out: list[Event]) -> None:
        self._over = True
        out.append(Failed(error))

    def _broke(self, words: str, out: list[Event]) -> None:
        self._failed(UpstreamBroken(words, provider=self._target.provider), out)
