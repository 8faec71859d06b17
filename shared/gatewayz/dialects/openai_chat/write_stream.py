"""Events of the internal form → a stream of chat completion chunks for a client (D25, D27).

The frames of text are put together from bytes made once. close() writes what a client takes for a
complete answer, fail() never does.
"""

from typing import Any

import orjson

from gatewayz.core.errors import GatewayError
from gatewayz.core.ids import public_id
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
from gatewayz.dialects.openai_chat.errors import error_object
from gatewayz.dialects.openai_chat.finishes import write_finish
from gatewayz.dialects.openai_chat.frames import DONE, KEEPALIVE, created_s, frame
from gatewayz.dialects.openai_chat.layout import usage_object
from gatewayz.dialects.openai_chat.read_message import NAME
from gatewayz.dialects.openai_chat.thoughts import write_detail
from gatewayz.dialects.openai_chat.usage import encode_usage
from gatewayz.dialects.openai_chat.write_answer import ID_PREFIXES, sound_id
from gatewayz.dialects.openai_chat.write_message import write_call, write_citation, write_part
from gatewayz.dialects.parts import (
    Audio,
    Image,
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)
from gatewayz.dialects.protocol import Reply
from gatewayz.pricing.usage import Usage


class _Choice:
    """What a choice has shown so far. `part` is its open block."""

    __slots__ = ("calls", "chars", "finish", "part", "thoughts")

    def __init__(self) -> None:
        self.part: Part | None = None
        self.calls = 0
        self.chars = 0
        self.thoughts = -1
        self.finish: Finish | None = None


class ChatEncoder:
    keepalive = KEEPALIVE

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._style = reply.style
        chat_id = public_id(reply.request_id, ID_PREFIXES[reply.style])
        self._ours: JsonObject = {
            "id": chat_id,
            "object": "chat.completion.chunk",
            "created": created_s(chat_id),
            "model": reply.model,
        }
        if reply.style == "openrouter":
            self._ours["provider"] = reply.provider
        self._own = False
        self._null_usage = reply.include_usage and reply.style == "openai"
        self._choices = {index: _Choice() for index in range(reply.n)}
        head = orjson.dumps(self._ours)[:-1]
        self._head = b"data: " + head + b',"choices":[{"index":0,"delta":{"content":'
        usage = b',"usage":null' if self._null_usage else b""
        self._tail = b'},"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"

    # ------------------------------------------------------------------ events

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self._text(event)
            case ArgumentsDelta():
                return self._arguments(event)
            case ThinkingDelta():
                return self._thought(event)
            case BlockStart():
                return self._start(event)
            case SignatureDelta():
                return self._signature(event)
            case CitationDelta():
                return self._citation(event)
            case Begin():
                self._own = event.dialect == NAME
                return b"".join(map(self._role, self._choices))
            case Ended():
                self._choice(event.choice).finish = event.finish
            case Pinged():
                return KEEPALIVE
        return b""

    def _role(self, index: int) -> bytes:
        return self._delta({"role": "assistant", "content": "", "refusal": None}, index)

    def _choice(self, index: int) -> _Choice:
        known = self._choices.get(index)
        if known is None:
            known = self._choices[index] = _Choice()
        return known

    def _delta(self, delta: JsonObject, index: int, logprobs: Any = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": None}
        chunk = {**self._ours, "choices": [choice]}
        if self._null_usage:
            chunk["usage"] = None
        return frame(chunk)

    def _text(self, event: TextDelta) -> bytes:
        choice = self._choice(event.choice)
        if isinstance(choice.part, Refusal):
            return self._delta({"refusal": event.text}, event.choice)
        choice.chars += len(event.text)
        if event.choice or event.logprobs is not None:
            logprobs = None if event.logprobs is None else {"content": event.logprobs}
            return self._delta({"content": event.text}, event.choice, logprobs)
        return self._head + orjson.dumps(event.text) + self._tail

    def _arguments(self, event: ArgumentsDelta) -> bytes:
        choice = self._choice(event.choice)
        custom = isinstance(choice.part, ToolCall) and choice.part.custom
        kind, field = ("custom", "input") if custom else ("function", "arguments")
        call = {"index": choice.calls - 1, kind: {field: event.text}}
        return self._delta({"tool_calls": [call]}, event.choice)

    def _thought(self, event: ThinkingDelta) -> bytes:
        choice = self._choice(event.choice)
        field = "reasoning" if self._style == "openrouter" else "reasoning_content"
        delta: JsonObject = {field: event.text}
        part = choice.part
        # Only with its text is a signature worth anything when the caller sends it back.
        if isinstance(part, Thinking) and (part.origin or self._style == "openrouter"):
            piece = Thinking(event.text, origin=part.origin, id=part.id)
            delta["reasoning_details"] = [write_detail(piece, choice.thoughts)]
        return self._delta(delta, event.choice)

    def _start(self, event: BlockStart) -> bytes:
        choice, part = self._choice(event.choice), event.part
        choice.part = part
        match part:
            case Text() | Refusal():
                if not part.text:
                    return b""
                return self._text(TextDelta(event.index, part.text, event.choice))
            case Thinking():
                choice.thoughts += 1
                return self._whole_thought(part, event)
            case RedactedThinking():
                choice.thoughts += 1
                detail = write_detail(part, choice.thoughts)
                return self._delta({"reasoning_details": [detail]}, event.choice)
            case ToolCall():
                choice.calls += 1
                call = {"index": choice.calls - 1, **write_call(part)}
                if self._own:
                    call.update(part.extras)
                return self._delta({"tool_calls": [call]}, event.choice)
            case Audio():
                sound = {"id": sound_id(self._ours["id"]), "data": part.source.value}
                return self._delta({"audio": sound}, event.choice)
            case Image():
                return self._delta({"images": [write_part(part)]}, event.choice)
        return b""

    def _whole_thought(self, part: Thinking, event: BlockStart) -> bytes:
        out = b""
        if part.text:
            out = self._thought(ThinkingDelta(event.index, part.text, event.choice))
        if part.signature:
            signed = SignatureDelta(event.index, part.signature, part.origin, event.choice)
            out += self._signature(signed)
        return out

    def _signature(self, event: SignatureDelta) -> bytes:
        choice = self._choice(event.choice)
        if isinstance(choice.part, ToolCall):
            extra = {"google": {"thought_signature": event.signature}}
            call = {"index": choice.calls - 1, "extra_content": extra}
            return self._delta({"tool_calls": [call]}, event.choice)
        if not isinstance(choice.part, Thinking):
            return b""
        signed = Thinking("", event.signature, event.origin, event.id or choice.part.id)
        detail = write_detail(signed, choice.thoughts)
        return self._delta({"reasoning_details": [detail]}, event.choice)

    def _citation(self, event: CitationDelta) -> bytes:
        chars = self._choice(event.choice).chars
        written = write_citation(event.citation, 0, chars)
        return self._delta({"annotations": [written]}, event.choice) if written else b""

    # ------------------------------------------------------------------ ends

    def close(
        self, report: UsageReport, *, usage: Usage | None = None, finish: str | None = None
    ) -> bytes:
        out: list[bytes] = []
        last: list[JsonObject] = []
        for index, choice in sorted(self._choices.items()):
            reason = write_finish(choice.finish, choice.calls > 0)
            if choice.finish is None and finish is not None:
                reason = finish
            native = choice.finish and choice.finish.native
            written: JsonObject = {
                "index": index,
                "delta": {},
                "logprobs": None,
                "finish_reason": reason,
            }
            if self._style == "openrouter":
                written["native_finish_reason"] = native
                # Clients of this style read choices[0] of every frame.
                last.append({**written, "delta": {"role": "assistant", "content": ""}})
            chunk = {**self._ours, "choices": [written]}
            if self._null_usage:
                chunk["usage"] = None
            out.append(frame(chunk))
        raw = None if usage is None else usage_object(usage)
        if self._style == "openrouter" or self._reply.include_usage:
            counted = encode_usage(raw, report, self._style)
            out.append(frame({**self._ours, "choices": last, "usage": counted}))
        out.append(DONE)
        return b"".join(out)

    def fail(self, error: GatewayError) -> bytes:
        if self._style == "openai":
            return frame({"error": error_object(error, "openai")})
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        failed = {**self._ours, "error": error_object(error, "openrouter"), "choices": [choice]}
        return frame(failed) + DONE
