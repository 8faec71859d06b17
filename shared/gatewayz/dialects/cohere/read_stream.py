"""A provider's stream of Cohere chat events → events of the internal form.

A plan before calls is a thought. Sources come while their text is still growing or behind it.
"""

from typing import Any

from gatewayz.dialects.blocks import Blocks
from gatewayz.dialects.cohere.citations import is_in_text, read_citation
from gatewayz.dialects.cohere.errors import decode_error_object, decode_failed_finish
from gatewayz.dialects.cohere.read_answer import read_call, words
from gatewayz.dialects.cohere.usage import read_counts
from gatewayz.dialects.cohere.wire import FAILED_FINISHES, NAME, read_finish, read_logprobs
from gatewayz.dialects.event_decoder import EventDecoder
from gatewayz.dialects.events import Begin, Done, Ended, Event, UsageSeen
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.protocol import Notes
from gatewayz.dialects.sse import ENDED_EARLY

UNKNOWN_FORM = "The provider sent an event of an unknown form."
_PLAN = "plan"
_DONE = b"[DONE]"


class CohereDecoder(EventDecoder):
    """feed() every block, end() at the end of input."""

    def __init__(self, target: Target, notes: Notes) -> None:
        super().__init__(target)
        self._notes = notes
        self._blocks = Blocks()
        self._ended = False

    @property
    def _complete(self) -> bool:
        return self._ended

    def _say_done(self, out: list[Event]) -> None:
        if self._ended:
            self._over = True
            out.append(Done())
        else:
            self._broke(ENDED_EARLY, out)

    def _read(self, data: JsonObject, name: str | None, out: list[Event]) -> None:
        match data.get("type") or name:
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


def _only(value: Any) -> JsonObject:
    """Some events hold an object where whole answers have a list."""
    found = value[0] if type(value) is list else value
    if type(found) is not dict:
        raise TypeError
    return found
