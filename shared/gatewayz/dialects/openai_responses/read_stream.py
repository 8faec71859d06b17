"""A provider's stream of response events → events of the internal form.

Items may come mixed: one is read to its end before the next one begins.
"""

from gatewayz.dialects.event_decoder import EventDecoder
from gatewayz.dialects.events import Begin, Done, Ended, Event, UsageSeen
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.openai_chat.usage import find_cost
from gatewayz.dialects.openai_responses.blocks import Blocks
from gatewayz.dialects.openai_responses.errors import decode_failure
from gatewayz.dialects.openai_responses.read_answer import read_counts
from gatewayz.dialects.openai_responses.wire import FAMILY, NAME, read_status, read_time
from gatewayz.dialects.protocol import Notes

ITEM_DONE = "response.output_item.done"


class ResponsesDecoder(EventDecoder):
    """feed() every block, end() at the end of input."""

    def __init__(self, target: Target, notes: Notes) -> None:
        super().__init__(target)
        self._blocks = Blocks(target.family or FAMILY, notes)
        self._current: int | None = None  # the item that is being read
        self._waiting: dict[int, list[tuple[str, JsonObject]]] = {}
        self._finished: set[int] = set()

    @property
    def _complete(self) -> bool:
        return False  # an event says so, and then it is over

    def _read(self, data: JsonObject, name: str | None, out: list[Event]) -> None:
        kind = data.get("type") or name
        match kind:
            case "response.created" | "response.in_progress" | "response.queued":
                self._begin(data["response"], out)
            case "response.completed" | "response.incomplete" | "response.done":
                self._begin(data["response"], out)
                self._finish(data["response"], out)
            case "response.failed" | "response.cancelled":
                self._failed(decode_failure(self._target, data["response"].get("error")), out)
            case "error":
                self._failed(decode_failure(self._target, data.get("error") or data), out)
            case str() if type(data.get("output_index")) is int:
                self._item_event(data["output_index"], kind, data, out)
            case None if data.get("error"):
                self._failed(decode_failure(self._target, data["error"]), out)

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

    def _finish(self, response: JsonObject, out: list[Event]) -> None:
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
