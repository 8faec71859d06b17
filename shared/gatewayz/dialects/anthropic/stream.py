"""A streamed message on its way through to a client of the same dialect: bytes in, bytes out.

The surface of ChatStream. Only id and model of message_start and the usage of message_delta are
touched; other events travel as they came. Holds back what comes before the first content and
everything from message_delta on; never ends cleanly what did not end cleanly (D27).
"""

from typing import Any

from gatewayz.core.errors import GatewayError
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
from gatewayz.dialects.openai_chat.errors import refuses
from gatewayz.dialects.passthrough import PassedStream, event_frame
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.sse import SseEvent
from gatewayz.dialects.translated import openai_finish
from gatewayz.pricing.usage import Usage

_SAID = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}
_FINISHES = {"length": "max_tokens"}


class MessagesStream(PassedStream):
    """feed() every block, end() at the end of input, then close() or fail(), whichever is true."""

    keepalive = PING

    def __init__(self, reply: Reply, target: Target) -> None:
        super().__init__(target.provider)
        self._reply = reply
        self._target = target
        self._finish: Finish | None = None
        self._open: int | None = None
        self._last: JsonObject | None = None  # message_delta

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

    # ------------------------------------------------------------------ input

    def _relay(self, item: SseEvent, data: JsonObject) -> bytes:
        kind = data.get("type") or ("error" if refuses(data) else data["type"])
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
        return self._hold(event_frame(kind, data, item.data))

    def _read_delta(self, delta: JsonObject) -> None:
        text = delta.get(_SAID.get(delta["type"], ""))
        if type(text) is str and text:
            self.started = True
            self._meter.add(text)

    def _begin(self, data: JsonObject) -> bytes:
        message = data["message"]
        native = message.get("id")
        self._native_id = native if type(native) is str else None
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
