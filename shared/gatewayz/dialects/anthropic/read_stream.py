"""A provider's stream of messages → events of the internal form."""

from contextlib import suppress
from typing import Any

import orjson

from gatewayz.dialects.anthropic.errors import decode_error_event
from gatewayz.dialects.anthropic.read_answer import restore_finish
from gatewayz.dialects.anthropic.read_blocks import Signatures, read_block, read_citation
from gatewayz.dialects.anthropic.usage import merge_usage, read_usage
from gatewayz.dialects.anthropic.wire import FAMILY, NAME, read_stop
from gatewayz.dialects.envelope import unseal
from gatewayz.dialects.event_decoder import EventDecoder
from gatewayz.dialects.events import (
    ArgumentsDelta,
    Begin,
    BlockStart,
    BlockStop,
    CitationDelta,
    Done,
    Ended,
    Event,
    Pinged,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UsageSeen,
)
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.openai_chat.errors import refuses
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.parts import Opaque, Text, Thinking, ToolCall
from gatewayz.dialects.protocol import Notes


class MessagesDecoder(EventDecoder):
    """feed() every block, end() at the end of input."""

    def __init__(self, target: Target, notes: Notes) -> None:
        super().__init__(target)
        self._notes = notes
        self._family = target.family or FAMILY
        self._index = -1
        self._kind = ""  # of the open block
        self._opaque: JsonObject | None = None  # a server tool's call, until its input is whole
        self._input: list[str] = []
        self._signatures: Signatures = {}
        self._usage: JsonObject = {}
        self._ended = False

    @property
    def _complete(self) -> bool:
        return self._ended

    def _read(self, data: JsonObject, name: str | None, out: list[Event]) -> None:
        match data.get("type"):
            case "content_block_delta":
                self._delta(data["delta"], out)
            case "content_block_start":
                self._start(data["content_block"], out)
            case "content_block_stop":
                self._stop(out)
            case "message_start":
                self._begin(data["message"], out)
            case "message_delta":
                self._message_delta(data, out)
            case "message_stop":
                self._over = True
                out.append(Done())
            case "ping":
                out.append(Pinged())
            case "error":
                self._failed(decode_error_event(self._target, data), out)
            case _ if refuses(data):
                self._failed(decode_error_event(self._target, data), out)

    def _begin(self, message: JsonObject, out: list[Event]) -> None:
        self._begun = True
        usage = message.get("usage")
        self._usage = usage if type(usage) is dict else {}
        begin = Begin(NAME, id=message.get("id"), model=message.get("model"))
        out.append(begin)
        if self._usage:
            counted = self._count(out)
            begin.usage = counted

    def _count(self, out: list[Event]) -> Any:
        try:
            usage = read_usage(self._usage)
        except InvalidUsage:
            usage = None
        out.append(UsageSeen(usage, self._usage))
        return usage

    def _message_delta(self, data: JsonObject, out: list[Event]) -> None:
        usage = data.get("usage")
        if type(usage) is dict and usage:
            self._usage = merge_usage(self._usage, usage)
            self._count(out)
        delta = data["delta"]
        finish = read_stop(
            delta.get("stop_reason"), delta.get("stop_sequence"), delta.get("stop_details")
        )
        finish = restore_finish(finish, self._notes)
        if finish is not None and not self._ended:
            self._stop(out)
            self._ended = True
            out.append(Ended(finish))

    # ------------------------------------------------------------------ blocks

    def _start(self, block: JsonObject, out: list[Event]) -> None:
        self._stop(out)
        kind = self._kind = block["type"]
        self._index += 1
        match kind:
            case "tool_use":
                self._start_call(block, out)
            case "text":
                out.append(BlockStart(self._index, Text("")))
                if block.get("text"):
                    out.append(TextDelta(self._index, _text(block["text"])))
                for item in block.get("citations") or ():
                    self._cite(item, out)
            case "thinking":
                out.append(BlockStart(self._index, Thinking("", origin=self._family)))
                if block.get("thinking"):
                    out.append(ThinkingDelta(self._index, _text(block["thinking"])))
                if block.get("signature"):
                    self._sign(block["signature"], out)
            case _ if type(block.get("input")) is dict:
                self._opaque, self._input = block, []
            case _:
                signatures = self._signatures
                part = read_block(
                    block, "content_block", family=self._family, signatures=signatures
                )
                if part is None:  # a signature for the call that follows
                    self._kind = ""
                    self._index -= 1
                else:
                    out.append(BlockStart(self._index, part))

    def _sign(self, signature: str, out: list[Event]) -> None:
        """A signature of this family, or one that a gateway like us sealed for its caller."""
        sealed = unseal(signature)
        if sealed is None:
            out.append(SignatureDelta(self._index, signature, self._family))
            return
        given = sealed.signature or ""
        out.append(SignatureDelta(self._index, given, sealed.origin, id=sealed.id))

    def _start_call(self, block: JsonObject, out: list[Event]) -> None:
        name = _text(block["name"])
        given = block.get("input")
        text = orjson.dumps(given).decode() if given else ""
        if name == self._notes.json_tool:
            self._kind = "json"
            out.append(BlockStart(self._index, Text("")))
            if text:
                out.append(TextDelta(self._index, text))
            return
        known = ("type", "id", "name", "input")
        extras = {k: v for k, v in block.items() if k not in known}
        call_id = _text(block["id"])
        origin, signature = self._signatures.pop(call_id, ("", None))
        call = ToolCall(
            call_id,
            self._notes.names.get(name, name),
            "",
            signature=signature,
            origin=origin,
            extras=extras,
        )
        out.append(BlockStart(self._index, call))
        if text:
            out.append(ArgumentsDelta(self._index, text))

    def _delta(self, delta: JsonObject, out: list[Event]) -> None:
        match delta["type"]:
            case "text_delta":
                if text := _text(delta["text"]):
                    out.append(TextDelta(self._index, text))
            case "thinking_delta":
                if text := _text(delta["thinking"]):
                    out.append(ThinkingDelta(self._index, text))
            case "input_json_delta":
                self._json(_text(delta["partial_json"]), out)
            case "signature_delta":
                self._sign(delta["signature"], out)
            case "citations_delta":
                self._cite(delta["citation"], out)

    def _json(self, piece: str, out: list[Event]) -> None:
        if not piece:
            return
        if self._opaque is not None:
            self._input.append(piece)
        elif self._kind == "json":
            out.append(TextDelta(self._index, piece))
        else:
            out.append(ArgumentsDelta(self._index, piece))

    def _cite(self, item: Any, out: list[Event]) -> None:
        citation = read_citation(item)
        if citation is not None:
            out.append(CitationDelta(self._index, citation))

    def _stop(self, out: list[Event]) -> None:
        if not self._kind:
            return
        if self._opaque is not None:
            block = self._opaque
            if self._input:
                # A call that was cut keeps the input it had at its start.
                with suppress(orjson.JSONDecodeError):
                    block = {**block, "input": orjson.loads("".join(self._input))}
            out.append(BlockStart(self._index, Opaque(NAME, block)))
            self._opaque = None
        self._kind = ""
        out.append(BlockStop(self._index))


def _text(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value
