"""A streamed answer on its way through to a client of the same dialect: bytes in, bytes out.

The surface of ChatStream. Only responseId, modelVersion and the last usageMetadata are touched.
Everything from the last finish reason on is held until the charge is known.
"""

from typing import Any

import orjson

from gatewayz.core.errors import GatewayError
from gatewayz.core.ids import public_id
from gatewayz.dialects.events import Event, Failed, Pinged
from gatewayz.dialects.form import JsonObject, Target, UsageReport
from gatewayz.dialects.google.array import ArrayStream
from gatewayz.dialects.google.errors import error_object
from gatewayz.dialects.google.frames import ChunkParser
from gatewayz.dialects.google.read_stream import ChunkReader, ended
from gatewayz.dialects.google.usage import write_usage
from gatewayz.dialects.google.wire import ID_PREFIX, KEEPALIVE
from gatewayz.dialects.google.write_stream import FINISHES, frame
from gatewayz.dialects.protocol import NO_NOTES, Reply
from gatewayz.dialects.sse import EventTooLarge
from gatewayz.dialects.translated import MAX_HELD_FRAMES, TranslatedStream
from gatewayz.pricing.usage import Usage


class Relay:
    """Decoder and encoder in one: it reads the events of a chunk and, with the last of them, gives
    out the chunk itself."""

    keepalive = KEEPALIVE

    def __init__(self, reply: Reply, target: Target) -> None:
        self._parser = ChunkParser()
        self._reader = ChunkReader(target, NO_NOTES, n=reply.n)
        self._n = reply.n
        self._frames: dict[int, tuple[Event, bytes]] = {}  # by the identity of their last event
        self._tail: list[JsonObject] = []  # from the last finish on
        self._raw_usage: JsonObject | None = None
        self._labels: JsonObject = {
            "modelVersion": reply.model,
            "responseId": public_id(reply.request_id, ID_PREFIX),
        }
        self._native: dict[str, tuple[Any, bytes, bytes]] | None = None

    # ------------------------------------------------------------------ as a decoder

    def feed(self, block: bytes) -> list[Event]:
        self._frames.clear()
        try:
            chunks = self._parser.feed(block)
        except EventTooLarge:
            return self._reader.fail("The provider sent an event that is too large.")
        out: list[Event] = []
        for data in chunks:
            out += self._take(data)
        return out

    def end(self) -> list[Event]:
        self._frames.clear()
        out: list[Event] = []
        for data in self._parser.close():
            out += self._take(data, last=True)
        return out + ended(self._reader)

    def _take(self, data: bytes, *, last: bool = False) -> list[Event]:
        chunk, events = self._reader.read(data, last=last)
        if chunk is None or any(isinstance(event, Failed) for event in events):
            return events
        usage = chunk.get("usageMetadata")
        if type(usage) is dict and usage:
            self._raw_usage = usage
        if self._reader.finished:
            if len(self._tail) < MAX_HELD_FRAMES:
                self._tail.append(chunk)
            return events
        events = events or [Pinged()]
        self._frames[id(events[-1])] = (events[-1], self._relabelled(chunk, data))
        return events

    def _relabelled(self, chunk: JsonObject, data: bytes) -> bytes:
        """Two replaced byte patterns where the provider's labels stand exactly once."""
        if self._native is None:
            self._native = {
                name: (chunk.get(name), orjson.dumps(chunk.get(name)), orjson.dumps(ours))
                for name, ours in self._labels.items()
            }
        if b"\n" not in data and b"\r" not in data:
            out = data
            for name, (native, theirs, ours) in self._native.items():
                if type(native) is not str or chunk.get(name) != native or data.count(theirs) != 1:
                    break
                out = out.replace(theirs, ours)
            else:
                return b"data: " + out + b"\n\n"
        return frame({**chunk, **self._labels})

    # ------------------------------------------------------------------ as an encoder

    def encode(self, event: Event) -> bytes:
        held = self._frames.pop(id(event), None)
        return b"" if held is None else held[1]

    def close(
        self, report: UsageReport, *, usage: Usage | None = None, finish: str | None = None
    ) -> bytes:
        counted = write_usage(usage, report, self._raw_usage)
        tail = self._tail or [self._cut(finish)]
        out = [frame({**chunk, **self._labels}) for chunk in tail[:-1]]
        out.append(frame({**tail[-1], "usageMetadata": counted, **self._labels}))
        return b"".join(out)

    def _cut(self, finish: str | None) -> JsonObject:
        """The last chunk of an answer that got none from its provider."""
        reason = FINISHES.get(finish or "", "STOP")
        content = {"parts": [{"text": ""}], "role": "model"}
        return {
            "candidates": [
                {"content": content, "finishReason": reason, "index": index}
                for index in range(self._n)
                if not self._reader.has_ended(index)
            ]
        }

    def fail(self, error: GatewayError) -> bytes:
        return frame({"error": error_object(error)})


class GoogleStream(TranslatedStream):
    """feed() every block, end() at the end of input, then close() or fail(), whichever is true."""

    def __init__(self, reply: Reply, target: Target) -> None:
        relay = Relay(reply, target)
        super().__init__(relay, relay, n=reply.n)


class GoogleArrayStream(ArrayStream):
    """The same for a client that did not ask for events."""

    def __init__(self, reply: Reply, target: Target) -> None:
        relay = Relay(reply, target)
        super().__init__(relay, relay, n=reply.n)
