"""The thin HTTP edge of the data plane: one request in (`Call`), one answer out.

Raw ASGI, because a framework costs more per request than all of our own work.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from gatewayz.core import clock

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
RawHeaders = list[tuple[bytes, bytes]]

OUTLIVES_CALLER = "gatewayz.outlives_caller"
_LABEL = re.compile(rb"[\x21-\x7e]{1,128}")


class Call:
    """One HTTP request and its answer. The status is sent once; `end` is idempotent.

    `cors`: headers that every answer to this caller carries; `notes`: those that say what was
    made of this request. `outlives_caller`: the server lets a request go on when its caller left
    (net/server.py).
    """

    __slots__ = (
        "_named",
        "_send",
        "begun_s",
        "bytes_sent",
        "client",
        "cors",
        "ended",
        "failed",
        "fault",
        "headers",
        "method",
        "notes",
        "outlives_caller",
        "path",
        "query",
        "receive",
        "started",
        "trace",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope.get("query_string", b"").decode("latin-1")
        self.headers: RawHeaders = scope["headers"]
        self.cors: RawHeaders = []
        self.notes: RawHeaders = []
        self.outlives_caller = OUTLIVES_CALLER in (scope.get("extensions") or ())
        self.client: tuple[str, int] | None = scope.get("client")
        self.receive = receive
        self._send = send
        # Backwards, so that the first of repeated headers stays.
        self._named = dict(reversed(self.headers))
        self.started = False
        self.ended = False
        self.failed = False  # it ends with an error before the first content
        # Whether it ends with a failure of our own; None as long as nobody known asks.
        self.fault: bool | None = None
        self.bytes_sent = 0
        # When it came, less the wait for its body: what our own time counts from.
        self.begun_s = clock.monotonic_s()
        # What telemetry keeps of this request; None where nothing is traced.
        self.trace: Any = None

    def header(self, name: bytes) -> bytes | None:
        """First value of a header; `name` in lower case."""
        return self._named.get(name)

    @property
    def client_request_id(self) -> str | None:
        """The caller's own label, when it is 1–128 visible ASCII characters (D1)."""
        label = self._named.get(b"x-request-id")
        return label.decode() if label and _LABEL.fullmatch(label) else None

    async def start(self, status: int, headers: RawHeaders) -> None:
        self.started = True
        if self.trace is not None:
            self.trace.status = status
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def write(self, data: bytes) -> None:
        self.bytes_sent += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        if self.ended:
            return
        self.ended = True
        self.bytes_sent += len(data)
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def answer(self, status: int, body: bytes, headers: RawHeaders) -> None:
        """A whole answer; `headers` without content-length."""
        self.started = self.ended = True
        if self.trace is not None:
            self.trace.status = status
        self.bytes_sent += len(body)
        headers = [*headers, (b"content-length", b"%d" % len(body))]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


def raw_headers(headers: Mapping[str, str]) -> RawHeaders:
    """Headers as ASGI wants them: lower-case bytes."""
    return [(k.lower().encode("latin-1"), v.encode("latin-1")) for k, v in headers.items()]
