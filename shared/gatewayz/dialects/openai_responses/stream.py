"""A streamed response on its way through to a client of the same dialect: bytes in, bytes out.

The surface of ChatStream. Only id, model and usage of the events that carry the whole response are
touched; others travel as they came. Holds back what comes before the first content and the last
event; never ends cleanly what did not end cleanly (D27).
"""

from typing import Any

from gatewayz.core.errors import GatewayError
from gatewayz.core.ids import public_id
from gatewayz.dialects.form import JsonObject, Target, UsageReport
from gatewayz.dialects.generation import Finish
from gatewayz.dialects.openai_chat.frames import KEEPALIVE
from gatewayz.dialects.openai_chat.usage import find_cost
from gatewayz.dialects.openai_responses.answer import CALLS, measure_call, measure_item
from gatewayz.dialects.openai_responses.errors import decode_failure, error_event, failed_error
from gatewayz.dialects.openai_responses.shell import shell
from gatewayz.dialects.openai_responses.usage import (
    count_searches,
    raw_usage,
    read_usage,
    write_usage,
)
from gatewayz.dialects.openai_responses.wire import ID_PREFIX, frame, read_status
from gatewayz.dialects.passthrough import PassedStream, event_frame
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.sse import SseEvent
from gatewayz.dialects.translated import openai_finish
from gatewayz.pricing.usage import Usage

_COMPLETE = ("response.completed", "response.incomplete")


class ResponsesStream(PassedStream):
    """feed() every block, end() at the end of input, then close() or fail(), whichever is true."""

    keepalive = KEEPALIVE

    def __init__(self, reply: Reply, target: Target) -> None:
        super().__init__(target.provider)
        self._reply = reply
        self._target = target
        self._ours = {"id": public_id(reply.request_id, ID_PREFIX), "model": reply.model}
        self._response: JsonObject | None = None  # as it stands in the last event
        self._last = "response.completed"
        self._finish: Finish | None = None
        self._output: dict[int, JsonObject] = {}  # items as far as they are done
        self._called = False
        self._searches = 0
        self._sequence = 0

    # ------------------------------------------------------------------ what was seen

    def counted(self) -> Usage | None:
        """What the provider stated, None if nothing; InvalidUsage when it cannot be true."""
        return read_usage(self.usage, self._target.usage, searches=self._searches)

    @property
    def finish(self) -> str | None:
        return openai_finish(self._finish)

    @property
    def finished(self) -> bool:
        return self._finish is not None

    # ------------------------------------------------------------------ input

    def _relay(self, item: SseEvent, data: JsonObject) -> bytes:
        kind = data.get("type") or item.event
        if type(kind) is not str:
            raise TypeError(kind)
        number = data.get("sequence_number")
        self._sequence = number if type(number) is int else self._sequence + 1
        if kind.endswith(".delta"):
            self._read_delta(data.get("delta"))
        elif kind in _COMPLETE:
            self._read_end(kind, data["response"])
            return b""
        elif kind in ("response.failed", "response.cancelled"):
            self.error = decode_failure(self._target, data["response"].get("error"))
            return b""
        elif kind == "error":
            self.error = decode_failure(self._target, data.get("error") or data)
            return b""
        elif type(data.get("response")) is dict:
            return self._hold(self._begin(kind, data))
        elif kind in ("response.output_item.added", "response.output_item.done"):
            self._read_item(kind, data["output_index"], data["item"])
        return self._hold(event_frame(kind, data, item.data))

    def _read_delta(self, delta: Any) -> None:
        if type(delta) is str and delta:
            self.started = True
            self._meter.add(delta)

    def _read_item(self, kind: str, index: Any, item: JsonObject) -> None:
        what = item["type"]
        if type(index) is not int or type(what) is not str:
            raise TypeError("an item without place or type")
        if kind.endswith(".done"):
            self._output[index] = item
        elif what in CALLS:
            self._called = True
            self.started = measure_call(self._meter, item.get("name"), None) or self.started
        elif what not in ("message", "reasoning"):
            self.started = True

    def _begin(self, kind: str, data: JsonObject) -> bytes:
        response = data["response"]
        native = response.get("id")
        self._native_id = native if type(native) is str else self._native_id
        self._response = response
        fields = {**data, "response": {**response, **self._ours, "store": False}}
        del fields["type"]
        number = fields.pop("sequence_number", self._sequence)
        return frame(kind, fields, number)

    def _read_end(self, kind: str, response: JsonObject) -> None:
        if not self.started:
            # A provider may tell everything at the end.
            for item in response.get("output") or ():
                self.started = measure_item(self._meter, item) or self.started
        self.done, self._last, self._response = True, kind, response
        self.usage = raw_usage(response)
        self._searches = count_searches(response)
        self.stated_cost = find_cost(response, self._target.usage)
        ended = {"status": kind.removeprefix("response."), **response}
        self._finish = read_status(ended, called_tools=self._called)

    # ------------------------------------------------------------------ output

    def close(self, report: UsageReport, *, finish: str | None = None) -> bytes:
        """The end of a complete answer, with what it cost."""
        out, self._held = self._held, []
        response = {**(self._response or shell(self._reply)), **self._ours, "store": False}
        kind = self._last
        if self._finish is None:
            # What was delivered ends here by our own decision: nothing more was paid for.
            kind = "response.incomplete" if finish == "length" else "response.completed"
            response["status"] = kind.removeprefix("response.")
            if finish == "length":
                response["incomplete_details"] = {"reason": "max_output_tokens"}
            response["output"] = [item for _, item in sorted(self._output.items())]
        response["usage"] = write_usage(None, report, self.usage)
        out.append(frame(kind, {"response": response}, self._number()))
        return b"".join(out)

    def _number(self) -> int:
        return self._sequence if self.done else self._sequence + 1

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that failed."""
        self._held = []
        shown = self.started
        base = {**(self._response or shell(self._reply)), **self._ours, "store": False}
        number = self._sequence + 1 if shown else 0
        out = b""
        if not shown:
            # What was held back never got to the client.
            out = frame("response.created", {"response": base}, number)
            number += 1
        out += frame("error", error_event(error), number)
        output = [item for _, item in sorted(self._output.items())] if shown else []
        ended = {"status": "failed", "error": failed_error(error), "output": output}
        return out + frame("response.failed", {"response": {**base, **ended}}, number + 1)
