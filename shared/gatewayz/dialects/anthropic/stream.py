"""A streamed message on its way through to a client of the same dialect: bytes in, bytes out.

The surface of ChatStream. Only id and model of message_start and the usage of message_delta are
touched; other events travel as they came. Holds back what comes before the first content and
everything from message_delta on; never ends cleanly what did not end cleanly (D27).
"""

from typing import Any

import orjson

from gatewayz.core.errors import GatewayError, UpstreamBroken, UpstreamError
from gatewayz.core.ids import public_id
from gatewayz.dialects.anthropic.answer import measure_block
from gatewayz.dialects.anthropic.errors import decode_error_event, error_object
from gatewayz.dialects.anthropic.usage import merge_usage, read_usage, write_usage
from gatewayz.dialects.anthropic.wire import (
    ID_PREFIX,
    MESSAGE_STOP,
    PING,
    event,
    read_stop,
)
from gatewayz.dialects.form import JsonObject, Target, UsageReport
from gatewayz.dialects.generation import Finish
from gatewayz.dialects.openai_chat.meter import OutputMeter
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.sse import EventTooLarge, SseEvent, SseParser
from gatewayz.dialects.translated import openai_finish
from gatewayz.pricing.usage import Usage

MAX_HELD_FRAMES = 64
_SAID = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_FINISHES = {"length": "max_tokens"}
UNKNOWN_FORM = "The provider sent an event of an unknown form."


class MessagesStream:
    """feed() every block, end() at the end of input, then close() or fail(), whichever is true."""

    keepalive = PING

    def __init__(self, reply: Reply, target: Target) -> None:
        self.started = False  # content was seen: the first token
        self.done = False  # message_stop was seen
        self.error: UpstreamError | None = None
        self.stated_cost: float | None = None
        self.native_id: str | None = None
        self.usage: JsonObject | None = None  # the provider's, raw
        self._reply = reply
        self._target = target
        self._parser = SseParser()
        self._meter = OutputMeter()
        self._finish: Finish | None = None
        self._open: int | None = None
        self._held: list[bytes] = []
        self._last: JsonObject | None = None  # message_delta
        self._events = 0

    # ------------------------------------------------------------------ what was seen

    def counted(self) -> Usage | None:
        """What the provider stated, None if nothing; InvalidUsage when it cannot be true."""
        return read_usage(self.usage)

    @property
    def finish(self) -> str | None:
        return openai_finish(self._finish)

    @property
    def finished(self) -> bool:
        return self._finish is not None

    @property
    def clean_end(self) -> bool:
        return self.error is None and (self.done or self.finished)

    @property
    def empty(self) -> bool:
        return not self.started and self._finish is None

    @property
    def output_bytes(self) -> int:
        return self._meter.bytes

    @property
    def output_tokens_estimate(self) -> int:
        return self._meter.tokens

    # ------------------------------------------------------------------ input

    def feed(self, block: bytes) -> bytes:
        """What may go to the client now; b"" while nothing may."""
        if self.error is not None or self.done:
            return b""
        try:
            events = self._parser.feed(block)
        except EventTooLarge:
            self._break("The provider sent an event that is too large.")
            return b""
        return b"".join([self._take(item) for item in events])

    def end(self) -> bytes:
        """The input has ended. Afterwards `error` is set unless the end was clean."""
        out = b""
        if self.error is None and not self.done:
            out = b"".join([self._take(item, last=True) for item in self._parser.close()])
        if self.error is None and not self.clean_end:
            self._break(
                "The provider ended the stream early."
                if self._events
                else "The provider's answer is no event stream."
            )
        return out

    def _take(self, item: SseEvent, *, last: bool = False) -> bytes:
        if self.error is not None or self.done:
            return b""
        try:
            data = orjson.loads(item.data)
        except orjson.JSONDecodeError:
            if not last:  # half an event at the end of input is a cut, not nonsense
                self._break("The provider sent an event that is not JSON.")
            return b""
        kind = data.get("type") if type(data) is dict else None
        if type(kind) is not str:
            self._break(UNKNOWN_FORM)
            return b""
        self._events += 1
        try:
            return self._relay(kind, data, item.data)
        except (KeyError, TypeError, AttributeError):
            self._break(UNKNOWN_FORM)
            return b""

    def _relay(self, kind: str, data: JsonObject, raw: bytes) -> bytes:
        match kind:
            case "content_block_delta":
                self._read_delta(data["delta"])
            case "content_block_start":
                self._open = data["index"]
                self.started = measure_block(self._meter, data["content_block"]) or self.started
            case "content_block_stop":
                self._open = None
            case "message_start":
                return self._hold(self._begin(data))
            case "message_delta":
                self._read_end(data)
                return b""
            case "message_stop":
                self.done = True
                return b""
            case "ping" if not self.started:
                return b""
            case "error":
                # A complete answer stays complete whatever is said after it.
                if not self.finished:
                    self.error = decode_error_event(self._target, data)
                return b""
        if self.finished:
            return b""
        if b"\n" in raw:
            raw = orjson.dumps(data)
        return self._hold(b"event: " + kind.encode() + b"\ndata: " + raw + b"\n\n")

    def _read_delta(self, delta: JsonObject) -> None:
        text = delta.get(_SAID.get(delta["type"], ""))
        if type(text) is str and text:
            self.started = True
            self._meter.add(text)

    def _begin(self, data: JsonObject) -> bytes:
        message = data["message"]
        native = message.get("id")
        self.native_id = native if type(native) is str else None
        usage = message.get("usage")
        self.usage = usage if type(usage) is dict and usage else None
        ours = {"id": public_id(self._reply.request_id, ID_PREFIX), "model": self._reply.model}
        return event("message_start", {"message": {**message, **ours}})

    def _read_end(self, data: JsonObject) -> None:
        usage = data.get("usage")
        if type(usage) is dict and usage:
            self.usage = merge_usage(self.usage or {}, usage)
        delta: Any = data["delta"]
        finish = read_stop(delta.get("stop_reason"), delta.get("stop_sequence"))
        self._finish = self._finish or finish
        self._last = {**(self._last or {}), **data}

    def _hold(self, frame: bytes) -> bytes:
        if not self.started:
            if len(self._held) < MAX_HELD_FRAMES:
                self._held.append(frame)
            return b""
        if self._held:
            frame = b"".join([*self._held, frame])
            self._held = []
        return frame

    # ------------------------------------------------------------------ output

    def close(self, report: UsageReport, *, finish: str | None = None) -> bytes:
        """The end of a complete answer, with what it cost."""
        out, self._held = self._held, []
        last = self._last
        if last is None or self._finish is None:
            if self._open is not None:
                out.append(event("content_block_stop", {"index": self._open}))
            reason = _FINISHES.get(finish or "", "end_turn")
            last = {"delta": {"stop_reason": reason, "stop_sequence": None}}
        usage = write_usage(None, report, self.usage)
        fields = {name: value for name, value in last.items() if name != "type"}
        out.append(event("message_delta", {**fields, "usage": usage}))
        out.append(MESSAGE_STOP)
        return b"".join(out)

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that failed."""
        self._held = []
        return event("error", {"error": error_object(error)})

    def _break(self, words: str) -> None:
        self.error = UpstreamBroken(words, provider=self._target.provider)
