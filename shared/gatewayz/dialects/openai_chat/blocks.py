"""The deltas of one choice → blocks one after another, as the internal form has them.

Tool calls whose pieces arrive mixed are set one behind the other: a call opens when the one before
it is complete JSON or nothing else can come. Never reorders the pieces of one call.
"""

from collections.abc import Iterable
from typing import Any

import orjson

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
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.media import read_source
from gatewayz.dialects.openai_chat.mend import ToolCalls, mend_content
from gatewayz.dialects.openai_chat.read_message import read_citation, read_signature
from gatewayz.dialects.openai_chat.think_tags import for_quirks
from gatewayz.dialects.openai_chat.thoughts import read_numbered
from gatewayz.dialects.parts import (
    Audio,
    Image,
    RedactedThinking,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
)
from gatewayz.dialects.speech import MIME, SAMPLES


class _Call:
    __slots__ = ("custom", "id", "name", "pieces", "signature", "state")

    def __init__(self, call_id: str) -> None:
        self.id = call_id
        self.custom = False
        self.name = ""
        self.pieces: list[str] = []
        self.signature: str | None = None
        self.state = "waiting"  # then "open", then "closed"


class Blocks:
    """`prefix` makes the ids of calls that came without one."""

    __slots__ = (
        "_calls",
        "_choice",
        "_family",
        "_index",
        "_latest",
        "_open",
        "_out",
        "_tags",
        "_thought",
        "broken",
        "tools",
    )

    def __init__(self, choice: int, prefix: str, target: Target) -> None:
        self.tools = ToolCalls(prefix)
        self._tags = for_quirks(target.quirks)
        self.broken = False  # a call went on after something else had begun
        self._choice = choice
        self._family = target.family
        self._index = -1
        self._thought = 0  # the number of the last thought
        self._open = ""  # the kind of the open block
        self._calls: list[_Call] = []
        self._latest: dict[int, _Call] = {}  # by the provider's index
        self._out: list[Event] = []

    def add(self, delta: JsonObject, logprobs: Any = None) -> list[Event]:
        """The events of a delta."""
        out = self._out = []
        content = delta.get("content")
        if type(content) in (list, dict):
            mend_content(delta)
            content = delta.get("content")
        if "reasoning_content" in delta or "reasoning" in delta or "reasoning_details" in delta:
            self._think(delta)
        if content and type(content) is str:
            if self._tags is None:
                self._text(content, logprobs)
            else:
                self._untag(self._tags.feed(content))
        if len(delta) > 1 or "content" not in delta:
            self._rest(delta)
        return out

    def _text(self, text: str, logprobs: Any = None) -> None:
        if self._open != "text":
            self._start("text", Text(""))
        self._out.append(TextDelta(self._index, text, self._choice, logprobs))

    def _untag(self, pieces: Iterable[tuple[bool, str]]) -> None:
        for is_thought, piece in pieces:
            if is_thought:
                self._think({"reasoning_content": piece})
            else:
                self._text(piece)

    def _rest(self, delta: JsonObject) -> None:
        refusal = delta.get("refusal")
        if refusal and type(refusal) is str:
            if self._open != "refusal":
                self._start("refusal", Refusal(""))
            self._out.append(TextDelta(self._index, refusal, self._choice))
        calls = delta.get("tool_calls")
        if type(calls) is list and calls:
            if self._tags is not None:
                self._untag(self._tags.close())
            self._call(calls)
        function = delta.get("function_call")
        if type(function) is dict and any(function.values()):
            self._call([{"index": 0, "function": function}])
        for item in _list(delta.get("annotations")):
            if (citation := read_citation(item)) and self._open == "text":
                self._out.append(CitationDelta(self._index, citation, self._choice))
        sound = delta.get("audio")
        if type(sound) is dict:
            self._sound(sound)
        for item in _list(delta.get("images")):
            held = item.get("image_url") if type(item) is dict else None
            if type(held) is dict and type(held.get("url")) is str:
                self._start("image", Image(read_source(held["url"])))
                self._stop()

    def _sound(self, sound: JsonObject) -> None:
        """A piece of what is spoken, or of its text; in streams there are only raw samples."""
        data, told = sound.get("data"), sound.get("transcript")
        if told and type(told) is str:
            self._text(told, None)
        if data and type(data) is str:
            self._start("audio", Audio(Source("data", data, MIME), SAMPLES))
            self._stop()

    def _think(self, delta: JsonObject) -> None:
        for number, part in read_numbered(delta, self._family):
            if isinstance(part, RedactedThinking):
                self._start("redacted", part)
                self._stop()
                continue
            if self._open != "thinking" or number != self._thought:
                self._thought = number
                self._start("thinking", Thinking("", origin=part.origin, id=part.id))
            if part.text:
                self._out.append(ThinkingDelta(self._index, part.text, self._choice))
            if part.signature:
                event = SignatureDelta(self._index, part.signature, part.origin, self._choice)
                self._out.append(event)

    def _call(self, deltas: list[Any]) -> None:
        self.tools.mend(deltas)
        for delta in deltas:
            if type(delta) is not dict:
                continue
            function = delta.get("function")
            call = self._find(delta)
            call.custom = call.custom or delta.get("type") == "custom"
            held = function if type(function) is dict else delta.get("custom")
            name = held.get("name") if type(held) is dict else None
            if type(name) is str and name and not call.name:
                call.name = name
            call.signature = call.signature or read_signature(delta)
            piece = held.get("arguments") or held.get("input") if type(held) is dict else None
            self._piece(call, piece if type(piece) is str else "")

    def _find(self, delta: JsonObject) -> _Call:
        """The call a delta belongs to. Some providers number all calls 0: another id is another
        call, whatever its number."""
        index, call_id = delta["index"], delta.get("id")
        if type(call_id) is not str:
            call_id = ""
        call = self._latest.get(index)
        if call is None or (call_id and call_id != call.id):
            call = self._latest[index] = _Call(call_id or f"call_{index}")
            self._calls.append(call)
        return call

    def _piece(self, call: _Call, piece: str) -> None:
        if piece:
            call.pieces.append(piece)
        if call.state == "open":
            if piece:
                self._out.append(ArgumentsDelta(self._index, piece, self._choice))
        elif call.state == "closed":
            self.broken = self.broken or (not piece.isspace() and piece != "")
        elif call.state == "waiting" and call.name and self._may_open(call):
            self._open_call(call)

    def _may_open(self, call: _Call) -> bool:
        """Whether every call before this one is complete."""
        for other in self._calls:
            if other is call:
                return True
            if other.state == "waiting" or not (other.state == "closed" or _is_json(other)):
                return False
        return True

    def _open_call(self, call: _Call) -> None:
        origin = "google" if call.signature else ""
        part = ToolCall(call.id, call.name, "", call.custom, call.signature, origin)
        self._start("call", part)
        call.state = "open"
        if call.pieces:
            self._out.append(ArgumentsDelta(self._index, "".join(call.pieces), self._choice))

    def _start(self, kind: str, part: Any) -> None:
        self._stop()
        self._index += 1
        self._open = kind
        self._out.append(BlockStart(self._index, part, self._choice))

    def _stop(self) -> None:
        if self._open:
            self._out.append(BlockStop(self._index, self._choice))
        if self._open == "call":
            for call in self._calls:
                if call.state == "open":
                    call.state = "closed"
        self._open = ""

    def close(self) -> list[Event]:
        """The choice is over: what waited goes out, and the open block is closed."""
        self._out = []
        if self._tags is not None:
            self._untag(self._tags.close())
        for call in self._calls:
            if call.state == "waiting" and (call.name or call.pieces):
                self._open_call(call)
        self._stop()
        return self._out


def _is_json(call: _Call) -> bool:
    try:
        orjson.loads("".join(call.pieces))
    except orjson.JSONDecodeError:
        return False
    return True


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []
