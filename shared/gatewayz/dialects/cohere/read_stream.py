"""A provider's stream of Cohere chat events → events of the internal form.

A plan before calls is a thought. Sources come while their text is still growing or behind it.
"""

from typing import Any

import orjson

from gatewayz.core.errors import UpstreamBroken, UpstreamError
from gatewayz.dialects.blocks import Blocks
from gatewayz.dialects.cohere.citations import is_in_text, read_citation
from gatewayz.dialects.cohere.errors import decode_error_object, decode_failed_finish
from gatewayz.dialects.cohere.read_answer import read_call, words
from gatewayz.dialects.cohere.usage import read_counts
from gatewayz.dialects.cohere.wire import FAILED_FINISHES, NAME, read_finish, read_logprobs
from gatewayz.dialects.events import Begin, Done, Ended, Event, Failed, UsageSeen
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.protocol import Notes
from gatewayz.dialects.sse import EventTooLarge, SseEvent, SseParser

UNKNOWN_FORM = "The provider sent an event of an unknown form."
_PLAN = "plan"
_DONE = b"[DONE]"


class CohereDecoder:
    """feed() every block, end() at the end of input."""

    def __init__(self, target: Target, notes: Notes) -> None:
        self._target = target
        self._notes = notes
        self._parser = SseParser()
        self._blocks = Blocks()
        self._begun = self._ended = self._over = False

    def feed(self, block: bytes) -> list[Event]:
        if self._over:
            return []
        out: list[Event] = []
        try:
            events = self._parser.feed(block)
        except EventTooLarge:
            self._fail("The provider sent an event that is too large.", out)
            return out
        for event in events:
            self._take(event, out)
        return out

    def end(self) -> list[Event]:
        out: list[Event] = []
        for event in () if self._over else self._parser.close():
            self._take(event, out, last=True)
        if not self._over and not self._ended:
            self._fail(
                "The provider ended the stream early."
                if self._begun
                else "The provider's answer is no event stream.",
                out,
            )
        self._over = True
        return out

    def _take(self, event: SseEvent, out: list[Event], *, last: bool = False) -> None:
        if self._over:
            return
        if event.data == _DONE:
            self._done(out)
            return
        try:
            data = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            if not last:  # half an event at the end of input is a cut, not nonsense
                self._fail("The provider sent an event that is not JSON.", out)
            return
        try:
            self._read(data.get("type") or event.event, data, out)
        except (KeyError, TypeError, AttributeError, IndexError):
            self._fail(UNKNOWN_FORM, out)

    def _done(self, out: list[Event]) -> None:
        if self._ended:
            self._over = True
            out.append(Done())
        else:
            self._fail("The provider ended the stream early.", out)

    def _read(self, kind: Any, data: JsonObject, out: list[Event]) -> None:
        match kind:
            case "content-start" | "content-delta":
                self._content(data, out)
            case "tool-call-delta":
                call = _only(data["delta"]["message"]["tool_calls"])
                self._blocks.arguments(words(call["function"].get("arguments") or ""), out)
            case "tool-call-start":
                self._start_call(_only(data["delta"]["message"]["tool_calls"]), data, out)
            case "tool-plan-delta":
                plan = data["delta"]["message"].get("tool_plan") or ""
                self._blocks.think(_PLAN, words(plan), NAME, out)
            case "content-end" | "tool-call-end":
                self._blocks.end(out)
            case "citation-start":
                item = _only(data["delta"]["message"]["citations"])
                if is_in_text(item):
                    self._blocks.cite_text(read_citation(item), out)
            case "message-start":
                self._begun = True
                native = data.get("id")
                out.append(Begin(NAME, id=native if type(native) is str else None))
            case "message-end":
                self._message_end(data["delta"], out)
            case None if data.get("message") or data.get("error"):
                self._failed(decode_error_object(self._target, data), out)

    def _content(self, data: JsonObject, out: list[Event]) -> None:
        content = data["delta"]["message"]["content"]
        place = data.get("index")
        match content:
            case {"text": str(text)}:
                found = read_logprobs(data.get("logprobs"))
                self._blocks.text(place, text, out, logprobs=None if found is None else [found])
            case {"thinking": str(text)}:
                self._blocks.think(place, text, NAME, out)

    def _start_call(self, call: JsonObject, data: JsonObject, out: list[Event]) -> None:
        self._blocks.call(data.get("index"), read_call(call, self._notes), out)
        self._blocks.arguments(words(call["function"].get("arguments") or ""), out)

    def _message_end(self, delta: JsonObject, out: list[Event]) -> None:
        usage, raw = read_counts(delta.get("usage"))
        if raw is not None:
            out.append(UsageSeen(usage, raw))
        reason = delta.get("finish_reason")
        if reason in FAILED_FINISHES:
            self._failed(decode_failed_finish(self._target, reason, delta), out)
            return
        finish = read_finish(reason, called_tools=self._blocks.called)
        if finish is not None and not self._ended:
            self._blocks.close(out)
            self._ended = True
            out.append(Ended(finish))

    def _failed(self, error: UpstreamError, out: list[Event]) -> None:
        self._over = True
        out.append(Failed(error))

    def _fail(self, text: str, out: list[Event]) -> None:
        self._failed(UpstreamBroken(text, provider=self._target.provider), out)


def _only(value: Any) -> JsonObject:
    """Some events hold an object where whole answers have a list."""
    found = value[0] if type(value) is list else value
    if type(found) is not dict:
        raise TypeError
    return found
