"""A provider's stream of chat completion chunks → events of the internal form."""

from typing import Any

from gatewayz.dialects.event_decoder import EventDecoder
from gatewayz.dialects.events import Begin, Done, Ended, Event, UsageSeen
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.openai_chat.blocks import Blocks
from gatewayz.dialects.openai_chat.errors import decode_error_object, refuses
from gatewayz.dialects.openai_chat.finishes import read_finish
from gatewayz.dialects.openai_chat.mend import FAILED_REASONS
from gatewayz.dialects.openai_chat.read_message import NAME
from gatewayz.dialects.openai_chat.usage import InvalidUsage, find_cost, find_usage, read_usage
from gatewayz.dialects.sse import UNKNOWN_FORM


class ChatDecoder(EventDecoder):
    """feed() every block, end() at the end of input."""

    def __init__(self, target: Target, *, n: int = 1) -> None:
        super().__init__(target)
        self._choices: dict[int, Blocks] = {}
        self._ended: set[int] = set()
        self._n = n
        self._prefix = ""

    @property
    def _complete(self) -> bool:
        return len(self._ended) >= self._n

    def _say_done(self, out: list[Event]) -> None:
        for index, blocks in self._choices.items():
            if index not in self._ended:
                out += blocks.close()
        self._over = True
        out.append(Done())

    def _read(self, chunk: JsonObject, name: str | None, out: list[Event]) -> None:
        failed = name == "error" or refuses(chunk)
        # A complete answer stays complete whatever is said after it.
        if failed and len(self._ended) < self._n:
            return self._refused(chunk, out)
        if not self._begun:
            out.append(self._begin(chunk))
        if "usage" in chunk or "x_groq" in chunk:
            self._read_usage(chunk, out)
        for choice in chunk.get("choices") or ():
            if type(choice) is not dict:
                return self._broke(UNKNOWN_FORM, out)
            if not self._read_choice(choice, chunk, out):
                return

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
                self._broke("The provider mixed a tool call with what came after it.", out)
                return False
        native = choice.get("finish_reason")
        if not native:
            return True
        if index in self._ended:
            # Some providers finish with each of several tool calls.
            out += blocks.close()
            return True
        if native in FAILED_REASONS or choice.get("error"):
            self._refused({**chunk, **choice}, out)
            return False
        finish = read_finish(native, choice, blocks.tools.seen)
        if finish is not None:
            out += blocks.close()
            out.append(Ended(finish, index))
            self._ended.add(index)
        return True

    def _refused(self, chunk: JsonObject, out: list[Event]) -> None:
        target = self._target
        self._failed(decode_error_object(target.provider, chunk, target.errors), out)
