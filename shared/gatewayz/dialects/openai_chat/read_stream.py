"""A provider's stream of chat completion chunks → events of the internal form."""

from typing import Any

import orjson

from gatewayz.core.errors import UpstreamBroken, UpstreamError
from gatewayz.dialects.events import Begin, Done, Ended, Event, Failed, UsageSeen
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.openai_chat.blocks import Blocks
from gatewayz.dialects.openai_chat.errors import decode_error_object
from gatewayz.dialects.openai_chat.finishes import read_finish
from gatewayz.dialects.openai_chat.mend import FAILED_REASONS
from gatewayz.dialects.openai_chat.read_message import NAME
from gatewayz.dialects.openai_chat.usage import InvalidUsage, find_cost, find_usage, read_usage
from gatewayz.dialects.sse import EventTooLarge, SseEvent, SseParser

UNKNOWN_FORM = "The provider sent an event of an unknown form."


class ChatDecoder:
    """feed() every block, end() at the end of input."""

    def __init__(self, target: Target, *, n: int = 1) -> None:
        self._target = target
        self._parser = SseParser()
        self._choices: dict[int, Blocks] = {}
        self._ended: set[int] = set()
        self._n = n
        self._begun = self._over = False
        self._prefix = ""

    def feed(self, block: bytes) -> list[Event]:
        if self._over:
            return []
        try:
            events = self._parser.feed(block)
        except EventTooLarge:
            return self._fail("The provider sent an event that is too large.")
        if len(events) == 1:
            return self._take(events[0])
        out: list[Event] = []
        for event in events:
            out += self._take(event)
        return out

    def end(self) -> list[Event]:
        out: list[Event] = []
        for event in () if self._over else self._parser.close():
            out += self._take(event, last=True)
        if not self._over and len(self._ended) < self._n:
            words = (
                "The provider ended the stream early."
                if self._begun
                else "The provider's answer is no event stream."
            )
            out += self._fail(words)
        self._over = True
        return out

    def _take(self, event: SseEvent, *, last: bool = False) -> list[Event]:
        if self._over:
            return []
        if event.data == b"[DONE]":
            return self._done()
        try:
            chunk = orjson.loads(event.data)
        except orjson.JSONDecodeError:
            # Half an event at the end of input is a cut, not nonsense.
            return [] if last else self._fail("The provider sent an event that is not JSON.")
        try:
            return self._read(chunk, event.event)
        except (TypeError, AttributeError, KeyError):
            return self._fail(UNKNOWN_FORM)

    def _read(self, chunk: JsonObject, kind: str | None) -> list[Event]:
        failed = kind == "error" or chunk.get("error") or chunk.get("object") == "error"
        # A complete answer stays complete whatever is said after it.
        if failed and len(self._ended) < self._n:
            return self._failed(chunk)
        out: list[Event] = []
        if not self._begun:
            out.append(self._begin(chunk))
        if "usage" in chunk or "x_groq" in chunk:
            self._read_usage(chunk, out)
        for choice in chunk.get("choices") or ():
            if type(choice) is not dict:
                return out + self._fail(UNKNOWN_FORM)
            if not self._read_choice(choice, chunk, out):
                break
        return out

    def _begin(self, chunk: JsonObject) -> Begin:
        self._begun = True
        native, model, created = chunk.get("id"), chunk.get("model"), chunk.get("created")
        self._prefix = "".join(filter(str.isalnum, str(native or "")))[-12:].lower()
        return Begin(
            NAME,
            id=native if type(native) is str else None,
            model=model if type(model) is str else None,
            created_s=created if type(created) is int else None,
        )

    def _read_usage(self, chunk: JsonObject, out: list[Event]) -> None:
        raw = find_usage(chunk)
        if raw is None:
            return
        try:
            usage = read_usage(raw, self._target.usage)
        except InvalidUsage:
            usage = None
        out.append(UsageSeen(usage, raw, find_cost(chunk, self._target.usage)))

    def _read_choice(self, choice: JsonObject, chunk: JsonObject, out: list[Event]) -> bool:
        """Whether the stream goes on."""
        index = choice.get("index")
        if type(index) is not int:
            index = 0
        blocks = self._choices.get(index)
        if blocks is None:
            prefix = f"{self._prefix}_{index}"
            blocks = self._choices[index] = Blocks(index, prefix, self._target)
        delta = choice.get("delta")
        if type(delta) is dict and delta:
            logprobs: Any = choice.get("logprobs")
            held = logprobs.get("content") if type(logprobs) is dict else None
            out += blocks.add(delta, held)
            if blocks.broken:
                out += self._fail("The provider mixed a tool call with what came after it.")
                return False
        native = choice.get("finish_reason")
        if not native:
            return True
        if index in self._ended:
            # Some providers finish with each of several tool calls.
            out += blocks.close()
            return True
        if native in FAILED_REASONS or choice.get("error"):
            out += self._failed({**chunk, **choice})
            return False
        finish = read_finish(native, choice, blocks.tools.seen)
        if finish is not None:
            out += blocks.close()
            out.append(Ended(finish, index))
            self._ended.add(index)
        return True

    def _done(self) -> list[Event]:
        out: list[Event] = []
        for index, blocks in self._choices.items():
            if index not in self._ended:
                out += blocks.close()
        self._over = True
        return [*out, Done()]

    def _failed(self, chunk: JsonObject) -> list[Event]:
        error: UpstreamError = decode_error_object(
            self._target.provider, chunk, self._target.errors
        )
        self._over = True
        return [Failed(error)]

    def _fail(self, words: str) -> list[Event]:
        self._over = True
        return [Failed(UpstreamBroken(words, provider=self._target.provider))]
