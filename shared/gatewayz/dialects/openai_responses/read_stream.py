"""A provider's stream of response events → events of the internal form.

Items may come mixed: one is read to its end before the next one begins.
"""

import orjson

from gatewayz.core.errors import InvalidRequest, UpstreamBroken
from gatewayz.dialects.events import Begin, Done, Ended, Event, Failed, UsageSeen
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.openai_chat.usage import find_cost
from gatewayz.dialects.openai_responses.blocks import Blocks
from gatewayz.dialects.openai_responses.errors import decode_failure
from gatewayz.dialects.openai_responses.read_answer import read_counts
from gatewayz.dialects.openai_responses.wire import FAMILY, NAME, read_status, read_time
from gatewayz.dialects.protocol import Notes
from gatewayz.dialects.sse import EventTooLarge, SseEvent, SseParser

UNKNOWN_FORM = "The provider sent an event of an unknown form."
ITEM_DONE = "response.output_item.done"


class ResponsesDecoder:
    """feed() every block, end() at the end of input."""

    def __init__(self, target: Target, notes: Notes) -> None:
        self._target = target
        self._parser = SseParser()
        self._blocks = Blocks(target.family or FAMILY, notes)
        self._current: int | None = None  # the item that is being read
        self._waiting: dict[int, list[tuple[str, JsonObject]]] = {}
        self._finished: set[int] = set()
        self._begun = self._over = False

    def feed(self, block: bytes) -> list[Event]:
        if self._over:
            return []
        try:
            events = self._parser.feed(block)
        except EventTooLarge:
            return self._fail("The provider sent an event that is too large.")
        out: list[Event] = []
        for event in events:
            self._take(event, out)
        return out

    def end(self) -> list[Event]:
        out: list[Event] = []
        for event in () if self._over else self._parser.close():
            self._take(event, out, last=True)
        if not self._over:
            out += self._fail(
                "The provider ended the stream early."
                if self._begun
                else "The provider's answer is no event stream."
            )
        return out

    def _take(self, event: SseEvent, out: list[Event], *, last: bool = False) -> None:
        if self._over or event.data == b"[DONE]":
            return
        try:
            data = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            if not last:  # half an event at the end of input is a cut, not nonsense
                out += self._fail("The provider sent an event that is not JSON.")
            return
        try:
            self._read(data, event.event, out)
        except (InvalidRequest, KeyError, TypeError, AttributeError):
            out += self._fail(UNKNOWN_FORM)

    def _read(self, data: JsonObject, name: str | None, out: list[Event]) -> None:
        kind = data.get("type") or name
        match kind:
            case "response.created" | "response.in_progress" | "response.queued":
                self._begin(data["response"], out)
            case "response.completed" | "response.incomplete" | "response.done":
                self._begin(data["response"], out)
                self._complete(data["response"], out)
            case "response.failed" | "response.cancelled":
                self._over = True
                out.append(Failed(decode_failure(self._target, data["response"].get("error"))))
            case "error":
                self._over = True
                out.append(Failed(decode_failure(self._target, data.get("error") or data)))
            case str() if type(data.get("output_index")) is int:
                self._item_event(data["output_index"], kind, data, out)
            case None if data.get("error"):
                self._over = True
                out.append(Failed(decode_failure(self._target, data["error"])))

    def _begin(self, response: JsonObject, out: list[Event]) -> None:
        if self._begun:
            return
        self._begun = True
        native, model = response.get("id"), response.get("model")
        out.append(
            Begin(
                NAME,
                id=native if type(native) is str else None,
                model=model if type(model) is str else None,
                created_s=read_time(response.get("created_at")),
            )
        )

    def _item_event(self, index: int, kind: str, data: JsonObject, out: list[Event]) -> None:
        if index in self._finished:
            return
        if self._current is None:
            self._current = index
        if index != self._current:
            self._waiting.setdefault(index, []).append((kind, data))
            return
        self._apply(index, kind, data, out)
        while self._current is None and self._waiting:
            self._replay(min(self._waiting), out)

    def _replay(self, index: int, out: list[Event]) -> None:
        self._current = index
        for kind, data in self._waiting.pop(index):
            if index not in self._finished:
                self._apply(index, kind, data, out)

    def _apply(self, index: int, kind: str, data: JsonObject, out: list[Event]) -> None:
        out += self._blocks.take(kind, data)
        if kind == ITEM_DONE:
            self._finished.add(index)
            self._current = None

    def _complete(self, response: JsonObject, out: list[Event]) -> None:
        for index, item in enumerate(response.get("output") or ()):
            if index in self._finished:
                continue
            if self._current is not None and self._current < index:
                out += self._blocks.close()
            if index != self._current and index in self._waiting:
                self._replay(index, out)
            if index not in self._finished:
                out += self._blocks.finish(item)
            self._current = None
        while self._waiting:
            out += self._blocks.close()
            self._replay(min(self._waiting), out)
        out += self._blocks.close()
        usage, raw = read_counts(response, self._target)
        if raw is not None:
            out.append(UsageSeen(usage, raw, find_cost(response, self._target.usage)))
        out.append(Ended(read_status(response, called_tools=self._blocks.called)))
        out.append(Done())
        self._over = True

    def _fail(self, words: str) -> list[Event]:
        self._over = True
        return [Failed(UpstreamBroken(words, provider=self._target.provider))]
