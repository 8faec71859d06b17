"""A provider's completion → the internal form, whole and streamed."""

from typing import Any

import orjson

from gatewayz.core.errors import UpstreamBroken
from gatewayz.dialects.event_decoder import EventDecoder
from gatewayz.dialects.events import (
    Begin,
    BlockStart,
    BlockStop,
    Done,
    Ended,
    Event,
    TextDelta,
    UsageSeen,
)
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import Choice, Generation
from gatewayz.dialects.openai_chat.errors import decode_error_object, refuses
from gatewayz.dialects.openai_chat.finishes import read_finish
from gatewayz.dialects.openai_chat.mend import FAILED_REASONS
from gatewayz.dialects.openai_chat.usage import InvalidUsage, find_cost, find_usage, read_usage
from gatewayz.dialects.openai_completions.wire import NAME, read_logprobs
from gatewayz.dialects.parts import Text
from gatewayz.dialects.sse import UNKNOWN_FORM
from gatewayz.pricing.usage import Usage

NO_COMPLETION = "The provider's answer is no completion."
_READ = frozenset({"id", "object", "created", "model", "choices", "usage", "error"})
_CHOICE_READ = frozenset({"text", "index", "finish_reason", "logprobs"})


def _counts(body: JsonObject, target: Target) -> tuple[Usage | None, JsonObject | None]:
    raw = find_usage(body)
    try:
        return read_usage(raw, target.usage), raw
    except InvalidUsage:
        return None, raw


def read_generation(raw: bytes, target: Target) -> Generation:
    """UpstreamBroken for what is no completion; an error object raises its own class."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    if type(body) is not dict:
        raise UpstreamBroken(NO_COMPLETION, provider=target.provider)
    if refuses(body):
        raise decode_error_object(target.provider, body, target.errors)
    choices = body.get("choices")
    if type(choices) is not list or not choices:
        raise UpstreamBroken(NO_COMPLETION, provider=target.provider)
    usage, counts = _counts(body, target)
    native, model, created = body.get("id"), body.get("model"), body.get("created")
    return Generation(
        dialect=NAME,
        choices=tuple(_choice(choice, target) for choice in sorted(choices, key=_index)),
        id=native if type(native) is str else None,
        model=model if type(model) is str else None,
        created_s=created if type(created) is int else None,
        usage=usage,
        raw_usage=counts,
        stated_cost=find_cost(body, target.usage),
        extras={k: v for k, v in body.items() if k not in _READ and v is not None},
    )


def _index(choice: Any) -> int:
    index = choice.get("index") if type(choice) is dict else None
    return index if type(index) is int else 0


def _finish(choice: JsonObject) -> str | None:
    native = choice.get("finish_reason")
    return native if type(native) is str else None


def _choice(choice: Any, target: Target) -> Choice:
    text = choice.get("text") if type(choice) is dict else None
    if type(text) is not str:
        raise UpstreamBroken(NO_COMPLETION, provider=target.provider)
    native = _finish(choice)
    if choice.get("error") or native in FAILED_REASONS:
        raise decode_error_object(target.provider, choice, target.errors)
    logprobs = read_logprobs(choice.get("logprobs"))
    return Choice(
        parts=(Text(text),) if text else (),
        finish=read_finish(native or "stop", choice, False),
        logprobs=None if logprobs is None else {"content": logprobs},
        extras={k: v for k, v in choice.items() if k not in _CHOICE_READ and v is not None},
    )


class CompletionsDecoder(EventDecoder):
    """feed() every block, end() at the end of input."""

    def __init__(self, target: Target, *, n: int = 1) -> None:
        super().__init__(target)
        self._open: set[int] = set()
        self._ended: set[int] = set()
        self._n = n

    @property
    def _complete(self) -> bool:
        return len(self._ended) >= self._n

    def _say_done(self, out: list[Event]) -> None:
        self._over = True
        out += [BlockStop(0, index) for index in sorted(self._open)]
        out.append(Done())

    def _read(self, chunk: JsonObject, name: str | None, out: list[Event]) -> None:
        if name == "error" or refuses(chunk):
            return self._refused(chunk, out)
        if not self._begun:
            self._begun = True
            native, model, created = chunk.get("id"), chunk.get("model"), chunk.get("created")
            begin = Begin(
                NAME,
                id=native if type(native) is str else None,
                model=model if type(model) is str else None,
                created_s=created if type(created) is int else None,
            )
            out.append(begin)
        usage, counts = _counts(chunk, self._target)
        if counts is not None:
            out.append(UsageSeen(usage, counts, find_cost(chunk, self._target.usage)))
        choices = chunk.get("choices") or ()
        for choice in choices if type(choices) is list else ():
            if type(choice) is not dict:
                self._broke(UNKNOWN_FORM, out)
            if self._over:
                return
            self._choice(choice, out)

    def _choice(self, choice: JsonObject, out: list[Event]) -> None:
        index = choice.get("index")
        index = index if type(index) is int else 0
        if index in self._ended:
            return
        text = choice.get("text")
        if type(text) is str and text:
            if index not in self._open:
                self._open.add(index)
                out.append(BlockStart(0, Text(""), index))
            logprobs = read_logprobs(choice.get("logprobs"))
            out.append(TextDelta(0, text, index, logprobs))
        native = _finish(choice)
        if not native:
            return
        if native in FAILED_REASONS or choice.get("error"):
            return self._refused(choice, out)
        finish = read_finish(native, choice, False)
        if finish is None:
            return
        if index in self._open:
            self._open.discard(index)
            out.append(BlockStop(0, index))
        out.append(Ended(finish, index))
        self._ended.add(index)

    def _refused(self, chunk: JsonObject, out: list[Event]) -> None:
        target = self._target
        self._failed(decode_error_object(target.provider, chunk, target.errors), out)
