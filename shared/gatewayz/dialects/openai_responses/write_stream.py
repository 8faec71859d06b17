"""Events of the internal form → a stream of response events for a client, in the exact order.

Every item is added, grows and is done, with the number of each event in it; an item is done when
the next begins or the answer ends. Only close() writes an end that a client takes for complete.
"""

from typing import Any

import orjson

from gatewayz.core.errors import GatewayError
from gatewayz.dialects.events import (
    ArgumentsDelta,
    Begin,
    BlockStart,
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
from gatewayz.dialects.openai_chat.frames import KEEPALIVE
from gatewayz.dialects.openai_responses import write_answer as items
from gatewayz.dialects.openai_responses import write_parts as write
from gatewayz.dialects.openai_responses.errors import error_event, failed_error
from gatewayz.dialects.openai_responses.namespaces import spaces_of
from gatewayz.dialects.openai_responses.shell import shell
from gatewayz.dialects.openai_responses.usage import write_usage
from gatewayz.dialects.openai_responses.wire import NAME, ItemIds, frame, write_status
from gatewayz.dialects.parts import (
    Image,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gatewayz.dialects.protocol import Reply
from gatewayz.pricing.usage import Usage


class ResponsesEncoder:
    keepalive = KEEPALIVE

    def __init__(self, reply: Reply) -> None:
        self._ids = ItemIds(reply.request_id)
        self._spaces = spaces_of(reply)
        self._shell = shell(reply)
        self._sequence = 0
        self._output: list[JsonObject] = []  # items that are done
        self._item: JsonObject | None = None  # the one that is not
        self._part: JsonObject | None = None  # its open content part
        self._waiting: Part | None = None  # a block that has shown nothing yet
        self._pieces: list[str] = []
        self._signature: list[str] = []
        self._origin = ""
        self._identity: str | None = None  # of the thought, where it differs from its item's
        self._own = False  # the parts' extras are of this dialect
        self._head = self._tail = b""  # around the text of a delta
        self._finish: Finish | None = None
        self._begun = self._shown = self._refused = False

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._sequence += 1
        return frame(kind, fields, self._sequence - 1)

    # ------------------------------------------------------------------ events

    def encode(self, event: Event) -> bytes:
        if getattr(event, "choice", 0):
            return b""  # this dialect has one answer only
        match event:
            case TextDelta():
                return self._grow(event.text, event.logprobs)
            case ArgumentsDelta() | ThinkingDelta():
                return self._grow(event.text)
            case BlockStart():
                return self._start(event.part)
            case SignatureDelta():
                self._signature.append(event.signature)
                self._origin = event.origin
                self._identity = event.id or self._identity
            case CitationDelta():
                return self._cite(event)
            case Begin():
                self._own = event.dialect == NAME
                return self._begin()
            case Ended():
                self._finish = event.finish
            case Pinged():
                return KEEPALIVE
        return b""

    def _begin(self) -> bytes:
        self._begun = True
        created = self._event("response.created", response=self._shell)
        return created + self._event("response.in_progress", response=self._shell)

    def _start(self, part: Part) -> bytes:
        """A block begins; the item it belongs to is added with the first that it shows."""
        out = b"" if self._begun else self._begin()
        out += self._settle()
        match part:
            case Text() | Refusal() | Thinking():
                if isinstance(part, Thinking):
                    out += self._close_item()
                self._waiting = part
                if part.text:
                    out += self._grow(part.text)
                if isinstance(part, Thinking) and part.signature is not None:
                    self._signature, self._origin = [part.signature], part.origin
            case ToolCall():
                out += self._close_item() + self._open_call(part)
            case _:
                item = self._whole_item(part)
                if item is not None:
                    out += self._close_item() + self._whole(item)
        return out

    def _whole_item(self, part: Part) -> JsonObject | None:
        match part:
            case RedactedThinking():
                identity = part.id or self._ids.next("rs")
                return {"id": identity, **write.write_reasoning(part, own=self._own)}
            case Image():
                return items.write_picture_item(part, self._ids, own=self._own)
            case Opaque() if part.dialect == NAME:
                return part.raw
        return None

    def _grow(self, text: str, logprobs: Any = None) -> bytes:
        if not text:
            return b""
        out = b"" if self._waiting is None else self._open()
        if self._item is None:
            return out
        self._pieces.append(text)
        tail = self._tail
        if logprobs and self._part is not None:
            written = write.write_logprobs(logprobs)
            self._part["logprobs"] += written
            tail = tail.replace(b"[]", orjson.dumps(written), 1)
        self._sequence += 1
        return b"%b%b%b%b%d}\n\n" % (out, self._head, orjson.dumps(text), tail, self._sequence - 1)

    def _cite(self, event: CitationDelta) -> bytes:
        out = self._open() if isinstance(self._waiting, Text) else b""
        part = self._part
        if part is None or part["type"] != "output_text":
            return out
        written = write.write_citation(event.citation, sum(map(len, self._pieces)))
        if written is None:
            return out
        part["annotations"].append(written)
        return out + self._event(
            "response.output_text.annotation.added",
            **self._place(),
            annotation_index=len(part["annotations"]) - 1,
            annotation=written,
        )

    # ------------------------------------------------------------------ opening

    def _open(self) -> bytes:
        """What the waiting block needs before its first delta."""
        part, self._waiting = self._waiting, None
        if isinstance(part, Thinking):
            return self._close_item() + self._open_thought(part)
        phase = part.extras.get("phase") if self._own and isinstance(part, Text) else None
        item, out = self._item, b""
        same = item is not None and item["type"] == "message"
        if isinstance(part, Text):
            same = same and item is not None and item.get("phase") == phase
        if not same:
            out = self._close_item()
            out += self._add(items.message_item(self._ids, phase))
        self._refused = self._refused or isinstance(part, Refusal)
        return out + self._open_part(part)

    def _open_part(self, part: Part | None) -> bytes:
        kind = "refusal" if isinstance(part, Refusal) else "output_text"
        empty = Refusal("") if isinstance(part, Refusal) else Text("")
        self._part = write.write_output_part(empty)
        assert self._item is not None
        self._item["content"].append(self._part)
        added = self._event("response.content_part.added", **self._place(), part=self._part)
        self._prepare(f"response.{kind}.delta", logprobs=kind == "output_text")
        return added

    def _open_thought(self, part: Thinking) -> bytes:
        item = {"id": part.id or self._ids.next("rs"), "type": "reasoning", "summary": []}
        out = self._add(item)
        self._origin = self._origin or part.origin
        self._identity = self._identity or part.id
        added = self._event(
            "response.reasoning_summary_part.added",
            **self._place("summary_index"),
            part=write.summary("")[0],
        )
        self._prepare("response.reasoning_summary_text.delta", index="summary_index")
        return out + added

    def _open_call(self, part: ToolCall) -> bytes:
        out = b""
        if part.signature is not None:
            origin, signature = part.origin, part.signature
            out = self._whole(items.write_call_signature(origin, signature, part.id, self._ids))
        item = items.write_call_item(
            part, self._ids, own=self._own, spaces={} if self._own else self._spaces
        )
        kind = "custom_tool_call_input" if part.custom else "function_call_arguments"
        item["input" if part.custom else "arguments"] = ""
        out += self._add({**item, "status": "in_progress"})
        self._prepare(f"response.{kind}.delta", index="")
        return out + self._grow(part.arguments)

    def _add(self, item: JsonObject) -> bytes:
        self._item, self._shown = item, True
        added = {"output_index": len(self._output), "item": item}
        return self._event("response.output_item.added", **added)

    def _whole(self, item: JsonObject) -> bytes:
        """An item that is added and done at once."""
        self._shown = True
        place = {"output_index": len(self._output), "item": item}
        self._output.append(item)
        added = self._event("response.output_item.added", **place)
        return added + self._event("response.output_item.done", **place)

    def _place(self, index: str = "content_index") -> JsonObject:
        assert self._item is not None
        place = {"item_id": self._item["id"], "output_index": len(self._output)}
        if index == "content_index":
            place[index] = len(self._item["content"]) - 1
        elif index:
            place[index] = 0
        return place

    def _prepare(self, kind: str, *, index: str = "content_index", logprobs: bool = False) -> None:
        fields = orjson.dumps({"type": kind, **self._place(index)})[:-1]
        self._head = b"event: " + kind.encode() + b"\ndata: " + fields + b',"delta":'
        self._tail = (b',"logprobs":[]' if logprobs else b"") + b',"sequence_number":'
        self._pieces = []

    # ------------------------------------------------------------------ closing

    def _settle(self) -> bytes:
        """The block before is over: its part is done, its item may go on."""
        waiting, self._waiting = self._waiting, None
        if isinstance(waiting, Thinking) and self._signature:
            # A thought without words, whose signature is worth all the more.
            identity = self._identity or waiting.id
            signed = Thinking("", "".join(self._signature), self._origin, identity)
            item = write.write_reasoning(signed, own=False)
            self._signature, self._origin, self._identity = [], "", None
            before = self._close_item()
            return before + self._whole({"id": identity or self._ids.next("rs"), **item})
        return self._close_part()

    def _close_part(self) -> bytes:
        part, self._part = self._part, None
        if part is None:
            return b""
        text, place = "".join(self._pieces), self._place()
        if part["type"] == "refusal":
            part["refusal"] = text
            done = self._event("response.refusal.done", **place, refusal=text)
        else:
            part["text"] = text
            fields = {"text": text, "logprobs": part["logprobs"]}
            done = self._event("response.output_text.done", **place, **fields)
        return done + self._event("response.content_part.done", **place, part=part)

    def _close_item(self, status: str = "completed") -> bytes:
        out = self._close_part()
        item, self._item = self._item, None
        if item is None:
            return out
        self._item = item
        match item["type"]:
            case "reasoning":
                out += self._close_thought(item)
            case "function_call":
                out += self._close_call(item, "function_call_arguments", "arguments", status)
            case "custom_tool_call":
                out += self._close_call(item, "custom_tool_call_input", "input", status)
            case _:
                item["status"] = status
        done = {"output_index": len(self._output), "item": item}
        out += self._event("response.output_item.done", **done)
        self._output.append(item)
        self._item = None
        if item["type"] in ("function_call", "custom_tool_call") and self._signature:
            signature, self._signature = "".join(self._signature), []
            call_id = item["call_id"]
            signed = items.write_call_signature(self._origin, signature, call_id, self._ids)
            out += self._whole(signed)
        self._signature, self._origin, self._identity = [], "", None
        return out

    def _close_thought(self, item: JsonObject) -> bytes:
        text, place = "".join(self._pieces), self._place("summary_index")
        item["summary"] = write.summary(text)
        if self._signature:
            signature = "".join(self._signature)
            item["encrypted_content"] = write.proof(signature, self._origin, self._identity)
        done = self._event("response.reasoning_summary_text.done", **place, text=text)
        part = item["summary"][0]
        return done + self._event("response.reasoning_summary_part.done", **place, part=part)

    def _close_call(self, item: JsonObject, kind: str, field: str, status: str) -> bytes:
        item[field] = "".join(self._pieces)
        item["status"] = status
        fields = {**self._place(""), field: item[field]}
        if field == "arguments":
            fields["name"] = item["name"]
        return self._event(f"response.{kind}.done", **fields)

    # ------------------------------------------------------------------ ends

    def close(
        self, report: UsageReport, *, usage: Usage | None = None, finish: str | None = None
    ) -> bytes:
        out = b"" if self._begun else self._begin()
        out += self._settle()
        ended = self._finish
        if ended is None and finish in ("length", "content_filter"):
            ended = Finish("length" if finish == "length" else "content_filter")
        fields = write_status(ended, refused=self._refused)
        status = fields["status"]
        out += self._close_item(status)
        counts = write_usage(usage, report)
        response = {**self._shell, **fields, "output": self._output, "usage": counts}
        return out + self._event(f"response.{status}", response=response)

    def fail(self, error: GatewayError) -> bytes:
        # What was held back before the first content never got to the client.
        if not self._shown:
            self._sequence = 0
        out = b"" if self._shown else self._begin()
        out += self._event("error", **error_event(error))
        response = {**self._shell, "status": "failed", "error": failed_error(error)}
        response["output"] = self._output
        return out + self._event("response.failed", response=response)
