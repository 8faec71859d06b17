"""A streamed chat completion on its way through: bytes in, bytes out (D27, D28).

Holds back lifecycle frames until the first content and the finish until close(), so that failures
before a token stay failures and the charge is known before the last frame. Parses every event
once; rewrites id and model as byte patterns. Never ends cleanly what did not end cleanly.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.core.errors import GatewayError
from gatewayz.dialects.form import JsonObject, Style, UsageReport
from gatewayz.dialects.openai_chat.errors import decode_error_object, error_object, refuses
from gatewayz.dialects.openai_chat.frames import DONE, KEEPALIVE, created_s, frame
from gatewayz.dialects.openai_chat.labels import LABELS, Labels
from gatewayz.dialects.openai_chat.mend import (
    FAILED_REASONS,
    ToolCalls,
    mend_content,
    mend_finish,
    mend_reasoning,
)
from gatewayz.dialects.openai_chat.usage import encode_usage, find_cost, find_usage, read_usage
from gatewayz.dialects.passthrough import PassedStream
from gatewayz.dialects.sse import UNKNOWN_FORM, SseEvent
from gatewayz.pricing.usage import Usage

__all__ = ["DONE", "KEEPALIVE", "ChatStream"]

# What may be held back in all. Lifecycle frames say nothing new after the first few, and an
# upstream may send them for ever.
MAX_HELD_BYTES = 256 * 1024
_EMPTY: Mapping[str, str] = {}


class _Choice:
    """What one choice has shown so far."""

    __slots__ = ("finish", "native_finish", "tools")

    def __init__(self, prefix: str) -> None:
        self.tools = ToolCalls(prefix)
        self.finish: str | None = None
        self.native_finish: Any = None


class ChatStream(PassedStream):
    """feed() every block, end() at the end of input, then close() or fail(), whichever is true."""

    def __init__(
        self,
        *,
        chat_id: str,
        model: str,
        provider: str,
        style: Style,
        include_usage: bool,
        n: int = 1,
        usage_paths: Mapping[str, str] = _EMPTY,
        error_map: Mapping[str, str] = _EMPTY,
    ) -> None:
        super().__init__(provider)
        self._style: Style = style
        self._include_usage = include_usage
        self._n = n
        self._paths = usage_paths
        self._error_map = error_map
        self._choices: dict[int, _Choice] = {}
        self._unfinished = n
        self._tail: list[JsonObject] = []  # from the last finish on
        self._carried: JsonObject = {}  # fields of chunks without choices, for the next chunk
        self._spare_bytes = MAX_HELD_BYTES
        self._ours: JsonObject = {
            "id": chat_id,
            "object": "chat.completion.chunk",
            "created": created_s(chat_id),
            "model": model,
        }
        if style == "openrouter":
            self._ours["provider"] = provider
        self._labels = Labels(self._ours, keep_null_usage=include_usage and style == "openai")

    # ------------------------------------------------------------------ what was seen

    @property
    def native_id(self) -> str | None:
        return self._labels.native_id

    @property
    def finish(self) -> str | None:
        """The finish reason of the first choice that has one."""
        return next((c.finish for c in self._choices.values() if c.finish), None)

    def counted(self) -> Usage | None:
        """What the provider stated, None if nothing; InvalidUsage when it cannot be true."""
        return read_usage(self.usage, self._paths)

    @property
    def finished(self) -> bool:
        """Every choice has a finish reason: only usage and [DONE] may follow."""
        return self._unfinished <= 0

    # ------------------------------------------------------------------ input

    def _say_done(self) -> None:
        self.done = True

    def _relay(self, item: SseEvent, data: JsonObject) -> bytes:
        failed = item.event == "error" or data.get("error") or data.get("object") == "error"
        # A complete answer stays complete whatever is said after it.
        if failed and not self.finished:
            self.error = decode_error_object(self._provider, data, self._error_map)
            return b""
        return self._relay_chunk(data, item.data)

    def _relay_chunk(self, chunk: JsonObject, data: bytes) -> bytes:
        changed = False
        if "usage" in chunk or "x_groq" in chunk:
            changed = self._read_usage(chunk)
        choices = chunk.get("choices")
        if not choices:
            if not self.finished and refuses(chunk):
                self.error = decode_error_object(self._provider, chunk, self._error_map)
                return b""
            if choices == [] and self._may_hold(data):
                self._carry(chunk)
            return b""
        if type(choices) is not list:
            self._break(UNKNOWN_FORM)
            return b""
        was_finished = self._unfinished <= 0
        content = False
        for choice in choices:
            if type(choice) is not dict:
                self._break(UNKNOWN_FORM)
                return b""
            delta = choice.get("delta")
            if type(delta) is dict:
                changed = self._mend(choice, delta) or changed
                content = self._meter.add_message(delta) or content
            if choice.get("finish_reason"):
                changed = self._finish(choice, chunk) or changed
                if self.error is not None:
                    return b""
        if self._carried:
            chunk = {**self._carried, **chunk}
            self._carried = {}
            changed = True
        if content:
            self.started = True
        if self._unfinished <= 0:
            if not self._may_hold(data) and was_finished:
                self._break("The provider did not stop after the end of its answer.")
                return b""
            self._hold_tail(chunk, was_finished=was_finished, content=content)
            return b""
        out = self._labels.rewrite(chunk, data, changed=changed)
        if not self.started:
            if self._may_hold(data):
                self._held.append(out)
            return b""
        if self._held:
            self._held.append(out)
            out = b"".join(self._held)
            self._held, self._spare_bytes = [], MAX_HELD_BYTES
        return out

    def _may_hold(self, data: bytes) -> bool:
        self._spare_bytes -= len(data)
        return self._spare_bytes >= 0

    def _read_usage(self, chunk: JsonObject) -> bool:
        """Take the usage out of a chunk; whether the chunk was changed."""
        usage = find_usage(chunk)
        if usage is not None:
            self.usage = usage
            cost = find_cost(chunk, self._paths)
            self.stated_cost = self.stated_cost if cost is None else cost
        changed = chunk.get("usage") is not None
        if changed:
            del chunk["usage"]
        groq = chunk.get("x_groq")
        if type(groq) is dict and "usage" in groq:
            del groq["usage"]
            return True
        return changed

    def _mend(self, choice: JsonObject, delta: JsonObject) -> bool:
        changed = type(delta.get("content")) in (list, dict) and mend_content(delta)
        if "reasoning_content" in delta and self._style == "openrouter":
            changed = mend_reasoning(delta) or changed
        calls = delta.get("tool_calls")
        if type(calls) is list and calls:
            changed = self._choice(choice).tools.mend(calls) or changed
        return changed

    def _choice(self, choice: JsonObject) -> _Choice:
        index = choice.get("index")
        if type(index) is not int:
            index = choice["index"] = 0
        known = self._choices.get(index)
        if known is None:
            prefix = f"{self._ours['id'][-12:].lower()}_{index}"
            known = self._choices[index] = _Choice(prefix)
        return known

    def _finish(self, choice: JsonObject, chunk: JsonObject) -> bool:
        """Note a finish reason; whether the choice was changed."""
        native = choice["finish_reason"]
        known = self._choice(choice)
        if (native in FAILED_REASONS or choice.get("error")) and known.finish is None:
            self.error = decode_error_object(self._provider, {**chunk, **choice}, self._error_map)
            return False
        if type(choice.get("usage")) is dict:
            self.usage = choice.pop("usage")
        reason = mend_finish(native, known.tools.seen)
        if reason is None:
            return False
        if known.finish is None:
            known.finish, known.native_finish = reason, native
            self._unfinished -= 1
        choice["finish_reason"] = known.finish
        if self._style == "openrouter":
            choice.setdefault("native_finish_reason", native)
            return True
        return bool(reason != native)

    def _carry(self, chunk: JsonObject) -> None:
        """Keep what a chunk without choices says (filters, citations) for one that has some."""
        extra = {name: v for name, v in chunk.items() if name not in LABELS and name != "choices"}
        extra = {name: v for name, v in extra.items() if v is not None and name != "cost"}
        if self._tail:
            self._tail[-1] = {**extra, **self._tail[-1]}
        else:
            self._carried.update(extra)
        self._labels.note(chunk)

    def _hold_tail(self, chunk: JsonObject, *, was_finished: bool, content: bool) -> None:
        self._labels.note(chunk)
        if was_finished and not content:
            self._carry(chunk)  # the finish said again
            return
        chunk.pop("cost", None)
        self._tail.append(chunk)

    # ------------------------------------------------------------------ output

    def close(self, report: UsageReport, *, finish: str | None = None) -> bytes:
        """The end of a complete answer: finish, usage with the charge, [DONE].

        `finish` ends choices that have no reason yet ("length" when the credit is used up, D9).
        """
        out = self._held
        self._held = []
        self._end_choices(finish)
        out += [self._labels.encode(chunk) for chunk in self._tail]
        usage = encode_usage(self.usage, report, self._style)
        if self._style == "openrouter":
            out.append(frame({**self._ours, "choices": self._last_choices(), "usage": usage}))
        elif self._include_usage:
            out.append(frame({**self._ours, "choices": [], "usage": usage}))
        out.append(DONE)
        return b"".join(out)

    def _end_choices(self, finish: str | None) -> None:
        missing = [i for i in range(self._n) if not (c := self._choices.get(i)) or not c.finish]
        for index in missing if self._unfinished > 0 else ():
            choice = self._choice({"index": index})
            choice.finish = mend_finish(finish or "stop", choice.tools.seen)
            delta: JsonObject = {"index": index, "delta": {}, "finish_reason": choice.finish}
            if self._style == "openrouter":
                delta["native_finish_reason"] = None
            self._tail.append({"choices": [delta]})
        self._unfinished = 0

    def _last_choices(self) -> list[JsonObject]:
        """Clients of this style read choices[0] of every frame, so the finish is said again."""
        return [
            {
                "index": index,
                "delta": {"role": "assistant", "content": ""},
                "finish_reason": choice.finish,
                "native_finish_reason": choice.native_finish,
            }
            for index, choice in sorted(self._choices.items())
        ]

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that failed (D27): never one a client takes for complete."""
        self._held, self._tail = [], []
        if self._style == "openai":
            return frame({"error": error_object(error, "openai")})
        choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
        failed = {**self._ours, "error": error_object(error, "openrouter"), "choices": [choice]}
        return frame(failed) + DONE
