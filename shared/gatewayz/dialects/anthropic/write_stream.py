"""Events of the internal form → a stream of messages for a client, in the exact order (§13.2).

message_start, ping, blocks one after another, message_delta with the usage, message_stop. Every
thought ends in a signature, since clients demand one. Never writes message_stop after a failure.
"""

import orjson

from gatewayz.core.errors import GatewayError
from gatewayz.core.ids import public_id
from gatewayz.dialects.anthropic import write_blocks as blocks
from gatewayz.dialects.anthropic.errors import error_object
from gatewayz.dialects.anthropic.promised import full_block, full_message, full_usage
from gatewayz.dialects.anthropic.usage import write_usage
from gatewayz.dialects.anthropic.wire import (
    ID_PREFIX,
    MESSAGE_STOP,
    NAME,
    PING,
    write_stop,
)
from gatewayz.dialects.anthropic.wire import (
    event as frame,
)
from gatewayz.dialects.anthropic.write_answer import write_part
from gatewayz.dialects.envelope import Sealed, seal
from gatewayz.dialects.events import (
    ArgumentsDelta,
    Begin,
    BlockStart,
    BlockStop,
    CitationDelta,
    Ended,
    Event,
    Pinged,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
)
from gatewayz.dialects.form import JsonObject, UsageReport
from gatewayz.dialects.generation import Finish
from gatewayz.dialects.names import safe_id
from gatewayz.dialects.parts import Part, Refusal, Text, Thinking, ToolCall
from gatewayz.dialects.protocol import Reply
from gatewayz.pricing.usage import Usage

_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":'
_FINISHES = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


class MessagesEncoder:
    keepalive = PING

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._style = reply.style
        self._index = -1
        self._part: Part | None = None  # the open block
        self._signature: list[str] = []
        self._origin = ""
        self._identity: str | None = None
        self._finish: Finish | None = None
        self._called = self._refused = self._begun = self._pinged = self._own = False

    # ------------------------------------------------------------------ events

    def encode(self, event: Event) -> bytes:
        if getattr(event, "choice", 0):
            return b""  # this dialect has one answer only
        match event:
            case TextDelta():
                if not event.text or self._part is None:
                    return b""
                return self._delta(b'"text_delta","text":', event.text)
            case ArgumentsDelta():
                if self._part is None:
                    return b""
                return self._delta(b'"input_json_delta","partial_json":', event.text)
            case ThinkingDelta():
                if self._part is None:
                    return b""
                return self._delta(b'"thinking_delta","thinking":', event.text)
            case BlockStart():
                return self._start(event.part)
            case BlockStop():
                return self._stop()
            case SignatureDelta():
                self._signature.append(event.signature)
                self._origin, self._identity = event.origin, event.id
            case CitationDelta():
                return self._citation(event)
            case Begin():
                self._own = event.dialect == NAME
                return self._begin(event.usage)
            case Ended():
                self._finish = event.finish
            case Pinged():
                return PING
        return b""

    def _delta(self, kind: bytes, text: str) -> bytes:
        head = b'%s%d,"delta":{"type":' % (_DELTA, self._index)
        return head + kind + orjson.dumps(text) + b"}}\n\n"

    def _begin(self, usage: Usage | None) -> bytes:
        self._begun = True
        message: JsonObject = {
            "id": public_id(self._reply.request_id, ID_PREFIX),
            "type": "message",
            "role": "assistant",
            "model": self._reply.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": full_usage({**_first_usage(usage), "output_tokens": 1}, self._style),
        }
        return frame("message_start", {"message": full_message(message, self._style)})

    def _start(self, part: Part) -> bytes:
        """A block opens; what cannot grow is written whole when it closes."""
        out = b"" if self._begun else self._begin(None)
        match part:
            case Text() | Refusal():
                self._refused = self._refused or isinstance(part, Refusal)
                out += self._open({"type": "text", "text": ""}, part)
                if part.text:
                    out += self._delta(b'"text_delta","text":', part.text)
            case Thinking():
                out += self._open({"type": "thinking", "thinking": "", "signature": ""}, part)
                if part.text:
                    out += self._delta(b'"thinking_delta","thinking":', part.text)
                if part.signature is not None:
                    self._signature, self._origin = [part.signature], part.origin
            case ToolCall():
                self._called = True
                if part.signature is not None:
                    out += self._whole(blocks.write_call_signature(part))
                call_id = safe_id(part.id, limit=512, prefix="toolu_")
                named = {"type": "tool_use", "id": call_id, "name": part.name, "input": {}}
                out += self._open({**named, **(part.extras if self._own else {})}, part)
                out += self._delta(b'"input_json_delta","partial_json":', part.arguments)
            case _:
                self._part = None
                for block in write_part(part, own=self._own):
                    out += self._whole(block)
        return out

    def _open(self, block: JsonObject, part: Part) -> bytes:
        self._index += 1
        self._part = part
        self._signature, self._origin, self._identity = [], "", None
        shown = full_block(block, self._style)
        out = frame("content_block_start", {"index": self._index, "content_block": shown})
        if not self._pinged:
            self._pinged = True
            out += PING
        return out

    def _whole(self, block: JsonObject) -> bytes:
        self._index += 1
        shown = full_block(block, self._style)
        start = frame("content_block_start", {"index": self._index, "content_block": shown})
        return start + frame("content_block_stop", {"index": self._index})

    def _stop(self) -> bytes:
        part, self._part = self._part, None
        if part is None:
            return b""
        out = b""
        if isinstance(part, Thinking):
            origin = self._origin or part.origin
            given = "".join(self._signature) or None
            signature = blocks.sealed_signature(origin, given, self._identity or part.id)
            delta = {"type": "signature_delta", "signature": signature}
            out = frame("content_block_delta", {"index": self._index, "delta": delta})
        out += frame("content_block_stop", {"index": self._index})
        if isinstance(part, ToolCall) and self._signature and part.signature is None:
            sealed = Sealed(self._origin, "".join(self._signature), None, part.id)
            out += self._whole({"type": "redacted_thinking", "data": seal(sealed)})
        self._signature = []
        return out

    def _citation(self, event: CitationDelta) -> bytes:
        written = blocks.write_citation(event.citation)
        if written is None or not isinstance(self._part, Text):
            return b""
        delta = {"type": "citations_delta", "citation": written}
        return frame("content_block_delta", {"index": self._index, "delta": delta})

    # ------------------------------------------------------------------ ends

    def close(
        self, report: UsageReport, *, usage: Usage | None = None, finish: str | None = None
    ) -> bytes:
        out = b"" if self._begun else self._begin(usage)
        out += self._stop()
        reason = write_stop(self._finish, called_tools=self._called, refused=self._refused)
        if self._finish is None and finish is not None:
            reason = _FINISHES.get(finish, reason)
        stop = self._finish.stop if self._finish else None
        fields = {
            "delta": full_message({"stop_reason": reason, "stop_sequence": stop}, self._style),
            "usage": full_usage(write_usage(usage, report), self._style, report),
        }
        return out + frame("message_delta", fields) + MESSAGE_STOP

    def fail(self, error: GatewayError) -> bytes:
        return frame("error", {"error": error_object(error)})


def _first_usage(usage: Usage | None) -> JsonObject:
    """What is known of the prompt when an answer begins; the end says it again, in full."""
    units = usage.units if usage is not None else {}
    written = units.get("cache_write_5m", 0) + units.get("cache_write_1h", 0)
    return {
        "input_tokens": units.get("input", 0),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": units.get("cache_read", 0),
    }
