"""The internal form → a completion for a client, whole and streamed, in both styles (D25, D27)."""

from typing import Any

import orjson

from gatewayz.core.errors import GatewayError
from gatewayz.core.ids import public_id
from gatewayz.dialects.events import (
    Begin,
    BlockStart,
    Ended,
    Event,
    Pinged,
    TextDelta,
    ThinkingDelta,
)
from gatewayz.dialects.form import JsonObject, UsageReport
from gatewayz.dialects.generation import Choice, Finish, Generation
from gatewayz.dialects.openai_chat.errors import error_object
from gatewayz.dialects.openai_chat.frames import DONE, KEEPALIVE, created_s, frame
from gatewayz.dialects.openai_chat.layout import usage_object
from gatewayz.dialects.openai_chat.usage import encode_usage
from gatewayz.dialects.openai_completions.wire import (
    ID_PREFIXES,
    NAME,
    write_finish,
    write_logprobs,
)
from gatewayz.dialects.parts import Refusal, Text, Thinking
from gatewayz.dialects.protocol import Reply
from gatewayz.pricing.usage import Usage


def _labels(reply: Reply, created: int | None = None) -> JsonObject:
    completion_id = public_id(reply.request_id, ID_PREFIXES[reply.style])
    ours: JsonObject = {
        "id": completion_id,
        "object": "text_completion",
        "created": created or created_s(completion_id),
        "model": reply.model,
    }
    return {**ours, "provider": reply.provider} if reply.style == "openrouter" else ours


def write_generation(generation: Generation, reply: Reply, report: UsageReport) -> bytes:
    body = _labels(reply, generation.created_s)
    own = generation.dialect == NAME
    body["choices"] = [
        _choice(choice, index, reply, own=own) for index, choice in enumerate(generation.choices)
    ]
    if own:
        body.update({k: v for k, v in generation.extras.items() if k not in body})
    raw = generation.raw_usage if own else None
    if raw is None and generation.usage is not None:
        raw = usage_object(generation.usage)
    body["usage"] = encode_usage(raw, report, reply.style)
    return orjson.dumps(body)


def _choice(choice: Choice, index: int, reply: Reply, *, own: bool) -> JsonObject:
    thoughts = "".join(p.text for p in choice.parts if isinstance(p, Thinking))
    logprobs = choice.logprobs.get("content") if choice.logprobs else None
    written: JsonObject = {
        "text": "".join(p.text for p in choice.parts if isinstance(p, Text | Refusal)),
        "index": index,
        "logprobs": write_logprobs(logprobs),
        "finish_reason": write_finish(choice.finish),
    }
    if reply.style == "openrouter":
        written["native_finish_reason"] = choice.finish and choice.finish.native
        if thoughts:
            written["reasoning"] = thoughts
    return {**choice.extras, **written} if own else written


class CompletionsEncoder:
    keepalive = KEEPALIVE

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._style = reply.style
        self._ours = _labels(reply)
        self._null_usage = reply.include_usage and reply.style == "openai"
        self._finishes: dict[int, Finish | None] = dict.fromkeys(range(reply.n))
        self._chars: dict[int, int] = {}
        head = orjson.dumps(self._ours)[:-1]
        self._head = b"data: " + head + b',"choices":[{"text":'
        usage = b',"usage":null' if self._null_usage else b""
        self._tail = b',"index":0,"logprobs":null,"finish_reason":null}]' + usage + b"}\n\n"

    def encode(self, event: Event) -> bytes:
        match event:
            case TextDelta():
                return self._text(event)
            case BlockStart(_, Text() | Refusal() as part) if part.text:
                return self._text(TextDelta(event.index, part.text, event.choice))
            case ThinkingDelta() if self._style == "openrouter":
                return self._chunk("", event.choice, reasoning=event.text)
            case Ended():
                self._finishes[event.choice] = event.finish
            case Begin():
                return b""
            case Pinged():
                return KEEPALIVE
        return b""

    def _text(self, event: TextDelta) -> bytes:
        if not event.choice and event.logprobs is None:
            return self._head + orjson.dumps(event.text) + self._tail
        before = self._chars.get(event.choice, 0)
        self._chars[event.choice] = before + len(event.text)
        logprobs = write_logprobs(event.logprobs, before)
        return self._chunk(event.text, event.choice, logprobs=logprobs)

    def _chunk(self, text: str, index: int, **more: Any) -> bytes:
        choice = {"text": text, "index": index, "logprobs": None, "finish_reason": None, **more}
        chunk = {**self._ours, "choices": [choice]}
        if self._null_usage:
            chunk["usage"] = None
        return frame(chunk)

    def close(
        self, report: UsageReport, *, usage: Usage | None = None, finish: str | None = None
    ) -> bytes:
        out: list[bytes] = []
        for index, ended in sorted(self._finishes.items()):
            reason = write_finish(ended)
            if ended is None and finish is not None:
                reason = finish
            more = {"finish_reason": reason}
            if self._style == "openrouter":
                more["native_finish_reason"] = (ended.native if ended else None) or reason
            out.append(self._chunk("", index, **more))
        raw = None if usage is None else usage_object(usage)
        if self._style == "openrouter" or self._reply.include_usage:
            counted = encode_usage(raw, report, self._style)
            out.append(frame({**self._ours, "choices": [], "usage": counted}))
        out.append(DONE)
        return b"".join(out)

    def fail(self, error: GatewayError) -> bytes:
        if self._style == "openai":
            return frame({"error": error_object(error, "openai")})
        choice = {"text": "", "index": 0, "logprobs": None, "finish_reason": "error"}
        failed = {**self._ours, "error": error_object(error, "openrouter"), "choices": [choice]}
        return frame(failed) + DONE
