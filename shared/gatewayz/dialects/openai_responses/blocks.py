"""One output item of a provider's stream after another → blocks of the internal form.

Whatever a provider left out of its deltas is taken from the event that closes an item. Nothing is
opened for what stays empty.
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
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_responses.read_answer import restore
from gatewayz.dialects.openai_responses.read_items import read_call, read_item
from gatewayz.dialects.openai_responses.read_parts import (
    Signatures,
    read_citation,
    read_part,
    read_reasoning,
    thought_texts,
)
from gatewayz.dialects.openai_responses.wire import own_id
from gatewayz.dialects.parts import (
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gatewayz.dialects.protocol import Notes


class Blocks:
    """take() the events of one item up to and with its end, then those of the next."""

    def __init__(self, family: str, notes: Notes) -> None:
        self.called = False
        self._family = family
        self._notes = notes
        self._index = -1
        self._open = ""  # the kind of the open block
        self._item: JsonObject = {}  # as its beginning said it
        self._place: Any = None  # of the open text in its item
        self._shown: set[Any] = set()
        self._cited = 0  # citations of the open text
        self._arguments: list[str] = []
        self._signatures: Signatures = {}
        self._out: list[Event] = []

    def take(self, kind: str, data: JsonObject) -> list[Event]:
        out = self._out = []
        match kind:
            case "response.output_text.delta":
                self._text("text", data, _delta(data))
            case "response.refusal.delta":
                self._text("refusal", data, _delta(data))
            case "response.reasoning_summary_text.delta":
                self._think(("summary", data.get("summary_index", 0)), _delta(data))
            case "response.reasoning_text.delta":
                self._think(("content", data.get("content_index", 0)), _delta(data))
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._argue(_delta(data))
            case "response.output_text.annotation.added":
                self._cite(data.get("annotation"))
            case "response.output_item.added":
                self._begin(data["item"])
            case "response.output_item.done":
                self._end(data["item"])
        return out

    def finish(self, item: JsonObject) -> list[Event]:
        """An item that only the end of the response tells of, or tells the rest of."""
        out = self._out = []
        self._end(item)
        return out

    def close(self) -> list[Event]:
        out = self._out = []
        self._stop()
        return out

    # ------------------------------------------------------------------ growing

    def _begin(self, item: JsonObject) -> None:
        self._stop()
        self._item, self._shown, self._arguments = item, set(), []
        if item.get("type") in ("function_call", "custom_tool_call"):
            call = read_call({**item, "arguments": "", "input": ""}, "item.")
            self._open_call(call)

    def _open_call(self, call: ToolCall) -> None:
        self.called = True
        origin, signature = self._signatures.get(call.id, ("", None))
        restored = restore(call, self._notes)
        if isinstance(restored, ToolCall) and signature is not None:
            restored = ToolCall(
                restored.id,
                restored.name,
                "",
                restored.custom,
                signature,
                origin,
                extras=restored.extras,
            )
        self._start("call", restored)

    def _text(self, kind: str, data: JsonObject, text: str) -> None:
        if not text:
            return
        place = data.get("content_index", 0)
        if self._open != kind or self._place != place:
            phase = self._item.get("phase")
            extras = {} if phase is None else {"phase": phase}
            self._start(kind, Refusal("") if kind == "refusal" else Text("", extras=extras))
            self._place = place
            self._shown.add(place)
        logprobs = data.get("logprobs") or None
        self._out.append(TextDelta(self._index, text, logprobs=logprobs))

    def _think(self, place: tuple[str, int], text: str) -> None:
        """A summary and the thought itself are the same thought twice: the first to come counts."""
        if not text or (self._place and self._open == "thinking" and self._place[0] != place[0]):
            return
        if self._open != "thinking":
            identity = self._item.get("id")
            identity = own_id(identity) if type(identity) is str else None
            part = Thinking("", origin=self._family, id=identity)
            self._start("thinking", part)
            self._shown.add("thought")
        elif self._place != place:
            text = "\n\n" + text
        self._place = place
        self._out.append(ThinkingDelta(self._index, text))

    def _argue(self, piece: str) -> None:
        if not piece or self._open != "call":
            return
        self._arguments.append(piece)
        self._out.append(ArgumentsDelta(self._index, piece))

    def _cite(self, item: Any) -> None:
        citation = read_citation(item)
        if citation is not None and self._open == "text":
            self._cited += 1
            self._out.append(CitationDelta(self._index, citation))

    # ------------------------------------------------------------------ ends

    def _end(self, item: JsonObject) -> None:
        match item.get("type"):
            case "message":
                self._end_message(item)
            case "reasoning":
                self._end_reasoning(item)
            case "function_call" | "custom_tool_call":
                self._end_call(item)
            case _:
                self._stop()
                for part in read_item(item, "item", signatures={}, family=self._family):
                    self._whole(part)
        self._stop()
        self._item, self._shown = {}, set()

    def _end_message(self, item: JsonObject) -> None:
        self._item = self._item or item
        for place, value in enumerate(item.get("content") or ()):
            part = read_part(value, "item.content")
            if not isinstance(part, Text | Refusal):
                continue
            kind = "text" if isinstance(part, Text) else "refusal"
            if place not in self._shown:
                self._text(kind, {**value, "content_index": place}, part.text)
            if isinstance(part, Text) and (self._open, self._place) == ("text", place):
                for citation in part.citations[self._cited :]:
                    self._out.append(CitationDelta(self._index, citation))

    def _end_reasoning(self, item: JsonObject) -> None:
        self._item = self._item or item
        part = read_reasoning(item, "item.", family=self._family, signatures=self._signatures)
        if part is None:
            return
        if isinstance(part, RedactedThinking) and self._open != "thinking":
            self._whole(part)
            return
        if "thought" not in self._shown:
            for index, text in enumerate(thought_texts(item)):
                self._think(("", index), text)
        signature = part.data if isinstance(part, RedactedThinking) else part.signature
        if signature is None:
            return
        if self._open != "thinking":
            self._start("thinking", Thinking("", origin=part.origin, id=part.id))
        self._out.append(SignatureDelta(self._index, signature, part.origin, id=part.id))

    def _end_call(self, item: JsonObject) -> None:
        call = read_call(item, "item.")
        if self._open != "call":
            self._arguments = []
            self._open_call(ToolCall(call.id, call.name, "", call.custom, extras=call.extras))
        sent = "".join(self._arguments)
        if len(call.arguments) > len(sent) and call.arguments.startswith(sent):
            self._argue(call.arguments[len(sent) :])

    def _whole(self, part: Part) -> None:
        self._start("whole", part)
        self._stop()

    def _start(self, kind: str, part: Part) -> None:
        self._stop()
        self._index += 1
        self._open, self._place, self._cited = kind, None, 0
        self._out.append(BlockStart(self._index, part))

    def _stop(self) -> None:
        if self._open:
            self._out.append(BlockStop(self._index))
        self._open, self._place = "", None


def _delta(data: JsonObject) -> str:
    delta = data["delta"]
    if type(delta) is not str:
        raise TypeError("a delta that is no text")
    return delta
