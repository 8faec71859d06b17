"""A streamed response on its way through to a client of the same dialect: bytes in, bytes out.

The surface of ChatStream. Only id, model and usage of the events that carry the whole response are
touched; others travel as they came. Holds back what comes before the first content and the last
event; never ends cleanly what did not end cleanly (D27).
"""

from typing import Any

import orjson

from gatewayz.core.errors import GatewayError, UpstreamBroken, UpstreamError
from gatewayz.core.ids import public_id
from gatewayz.dialects.form import JsonObject, Target, UsageReport
from gatewayz.dialects.generation import Finish
from gatewayz.dialects.openai_chat.frames import KEEPALIVE
from gatewayz.dialects.openai_chat.meter import OutputMeter
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
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.sse import EventTooLarge, SseEvent, SseParser
from gatewayz.dialects.translated import openai_finish
from gatewayz.pricing.usage import Usage

MAX_HELD_FRAMES = 64
UNKNOWN_FORM = "The provider sent an event of an unknown form."
_COMPLETE = ("response.completed", "response.incomplete")


class ResponsesStream:
    """feed() every block, end() at the end of input, then close() or fail(), whichever is true."""

    keepalive = KEEPALIVE

    def __init__(self, reply: Reply, target: Target) -> None:
        self.started = False  # content was seen: the first token
        self.done = False  # the last event was seen
        self.error: UpstreamError | None = None
        self.stated_cost: float | None = None
        self.native_id: str | None = None
        self.usage: JsonObject | None = None  # the provider's, raw
        self._reply = reply
        self._target = target
        self._ours = {"id": public_id(reply.request_id, ID_PREFIX), "model": reply.model}
        self._parser = SseParser()
        self._meter = OutputMeter()
        self._held: list[bytes] = []
        self._response: JsonObject | None = None  # as it stands in the last event
        self._last = "response.completed"
        self._finish: Finish | None = None
        self._output: dict[int, JsonObject] = {}  # items as far as they are done
        self._called = False
        self._searches = 0
        self._events = self._sequence = 0

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

    @property
    def clean_end(self) -> bool:
        return self.error is None and self.finished

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
        if self.error is not None or self.done or item.data == b"[DONE]":
            return b""
        try:
            data = orjson.loads(item.data)
        except orjson.JSONDecodeError:
            if not last:  # half an event at the end of input is a cut, not nonsense
                self._break("The provider sent an event that is not JSON.")
            return b""
        try:
            kind = data.get("type") or item.event
            if type(kind) is not str:
                raise TypeError(kind)
            self._events += 1
            return self._relay(kind, data, item.data)
        except (KeyError, TypeError, AttributeError):
            self._break(UNKNOWN_FORM)
            return b""

    def _relay(self, kind: str, data: JsonObject, raw: bytes) -> bytes:
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
        if b"\n" in raw:
            raw = orjson.dumps(data)
        return self._hold(b"event: " + kind.encode() + b"\ndata: " + raw + b"\n\n")

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
        self.native_id = native if type(native) is str else self.native_id
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

    def _hold(self, item: bytes) -> bytes:
        if not self.started:
            if len(self._held) < MAX_HELD_FRAMES:
                self._held.append(item)
            return b""
        if self._held:
            item = b"".join([*self._held, item])
            self._held = []
        return item

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

    def _break(self, words: str) -> None:
        self.error = UpstreamBroken(words, provider=self._target.provider)
