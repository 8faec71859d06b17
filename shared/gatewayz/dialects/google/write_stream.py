"""Events of the internal form → a stream of chunks for a client.

Each chunk is a whole answer with a piece of the text; calls go out when they are complete, so do
signatures. close() writes the finish reasons, the sources and the usage; fail() an error.
"""

from dataclasses import replace
from typing import Any

import orjson

from gatewayz.core.errors import GatewayError
from gatewayz.core.ids import public_id
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
from gatewayz.dialects.google import write_parts as parts_of
from gatewayz.dialects.google.citations import write_grounding
from gatewayz.dialects.google.errors import error_object
from gatewayz.dialects.google.logprobs import write_logprobs
from gatewayz.dialects.google.usage import write_usage
from gatewayz.dialects.google.wire import ID_PREFIX, KEEPALIVE, NAME, write_finish
from gatewayz.dialects.parts import Citation, Extras, Part, Refusal, Text, Thinking, ToolCall
from gatewayz.dialects.protocol import Reply
from gatewayz.pricing.usage import Usage

NO_EXTRAS: Extras = {}
FINISHES = {"length": "MAX_TOKENS", "content_filter": "SAFETY"}


def frame(chunk: JsonObject) -> bytes:
    return b"data: " + orjson.dumps(chunk, default=str) + b"\n\n"


class _Choice:
    """The open block of one choice, and what its end needs."""

    __slots__ = (
        "arguments",
        "base",
        "cited",
        "finish",
        "identity",
        "origin",
        "part",
        "refused",
        "said",
        "signature",
    )

    def __init__(self) -> None:
        self.part: Part | None = None
        self.arguments: list[str] = []
        self.signature: list[str] = []
        self.origin = ""
        self.identity: str | None = None  # of the thought, where its signature names it
        self.said: list[str] = []
        self.base = 0  # characters said before the open text
        self.cited: list[Citation] = []
        self.refused = False
        self.finish: Finish | None = None

    def cite(self, citation: Citation) -> None:
        """Its place within all that was said; a source without one stands for the open text."""
        start, end = citation.start, citation.end
        if start is None or end is None:
            start, end = 0, sum(map(len, self.said)) - self.base
        moved = replace(citation, start=self.base + start, end=self.base + end)
        self.cited.append(moved)


class ChunkEncoder:
    keepalive = KEEPALIVE

    def __init__(self, reply: Reply) -> None:
        self._own = False
        self._choices = {index: _Choice() for index in range(reply.n)}
        self._ours: JsonObject = {
            "modelVersion": reply.model,
            "responseId": public_id(reply.request_id, ID_PREFIX),
        }
        self._head = b'data: {"candidates":[{"content":{"parts":[{"text":'
        self._thought_head = self._head.replace(b'"text"', b'"thought":true,"text"')
        ours = orjson.dumps(self._ours)[1:]
        self._tail = b'}],"role":"model"},"index":0}],' + ours + b"\n\n"

    # ------------------------------------------------------------------ events

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self._text(event)
            case ThinkingDelta():
                return self._thought(event)
            case ArgumentsDelta():
                self._choice(event.choice).arguments.append(event.text)
            case BlockStart():
                return self._start(event)
            case BlockStop():
                return self._stop(event.choice)
            case SignatureDelta():
                choice = self._choice(event.choice)
                choice.signature.append(event.signature)
                choice.origin, choice.identity = event.origin, event.id
            case CitationDelta():
                self._choice(event.choice).cite(event.citation)
            case Ended():
                self._choice(event.choice).finish = event.finish
            case Begin():
                self._own = event.dialect == NAME
            case Pinged():
                return KEEPALIVE
        return b""

    def _choice(self, index: int) -> _Choice:
        known = self._choices.get(index)
        if known is None:
            known = self._choices[index] = _Choice()
        return known

    def _part(self, part: JsonObject, index: int, more: Extras = NO_EXTRAS) -> bytes:
        candidate = {"content": {"parts": [part], "role": "model"}, "index": index, **more}
        return frame({"candidates": [candidate], **self._ours})

    def _text(self, event: TextDelta) -> bytes:
        if not event.text:
            return b""
        choice = self._choice(event.choice)
        if isinstance(choice.part, Text):
            choice.said.append(event.text)
        if event.choice or event.logprobs is not None:
            more = write_logprobs(event.logprobs)
            return self._part({"text": event.text}, event.choice, more)
        return self._head + orjson.dumps(event.text) + self._tail

    def _thought(self, event: ThinkingDelta) -> bytes:
        if not event.text:
            return b""
        if event.choice:
            return self._part({"text": event.text, "thought": True}, event.choice)
        return self._thought_head + orjson.dumps(event.text) + self._tail

    def _start(self, event: BlockStart) -> bytes:
        out = self._stop(event.choice)
        choice, part = self._choice(event.choice), event.part
        match part:
            case Text() | Refusal():
                choice.part = part
                choice.base = sum(map(len, choice.said))
                choice.refused = choice.refused or isinstance(part, Refusal)
                out += self._text(TextDelta(event.index, part.text, event.choice))
            case Thinking():
                choice.part = part
                out += self._thought(ThinkingDelta(event.index, part.text, event.choice))
            case ToolCall():
                choice.part, choice.arguments = part, [part.arguments]
            case _:
                written = parts_of.write_answer_part(part, own=self._own)
                return out if written is None else out + self._part(written, event.choice)
        signature = getattr(part, "signature", None)
        if signature is not None:
            choice.signature, choice.origin = [signature], getattr(part, "origin", "")
        return out

    def _stop(self, index: int) -> bytes:
        """The rest of the open block: a whole call, or the signature of what was said."""
        choice = self._choice(index)
        part, choice.part = choice.part, None
        signature, choice.signature = "".join(choice.signature) or None, []
        identity, choice.identity = choice.identity, None
        match part:
            case ToolCall():
                field = parts_of.client_signature(choice.origin, signature)
                arguments = "".join(choice.arguments)
                if not part.custom and parts_of.as_object(arguments):
                    # A frame is one line; in JSON, line breaks are only ever blanks.
                    arguments = arguments.replace("\n", " ").replace("\r", " ")
                whole = ToolCall(part.id, part.name, arguments, part.custom)
                extras = part.extras if self._own else {}
                written = parts_of.write_call(
                    whole, field, name=part.name, with_id=True, extras=extras
                )
                return self._part(written, index)
            case Thinking():
                origin, identity = choice.origin or part.origin, identity or part.id
                field = parts_of.client_signature(origin, signature, identity)
                return self._part(parts_of.write_thought("", field), index) if field else b""
            case Text():
                field = parts_of.client_signature(choice.origin, signature)
                return self._part(parts_of.write_text("", field), index) if field else b""
        return b""

    # ------------------------------------------------------------------ ends

    def close(
        self, report: UsageReport, *, usage: Usage | None = None, finish: str | None = None
    ) -> bytes:
        out = [self._stop(index) for index in sorted(self._choices)]
        last = [
            self._last(index, choice, finish) for index, choice in sorted(self._choices.items())
        ]
        counted = write_usage(usage, report)
        out.append(frame({"candidates": last, "usageMetadata": counted, **self._ours}))
        return b"".join(out)

    def _last(self, index: int, choice: _Choice, finish: str | None) -> JsonObject:
        candidate: JsonObject = {"content": {"parts": [{"text": ""}], "role": "model"}}
        if choice.finish is None and finish is not None:
            candidate["finishReason"] = FINISHES.get(finish, "STOP")
        else:
            candidate |= write_finish(choice.finish, refused=choice.refused)
        candidate["index"] = index
        grounding: Any = write_grounding([(0, "".join(choice.said), choice.cited)])
        if grounding is not None:
            candidate["groundingMetadata"] = grounding
        return candidate

    def fail(self, error: GatewayError) -> bytes:
        return frame({"error": error_object(error)})
