"""The server's side of HTTP/1.1 for the data plane: uvicorn's protocol with a shorter way out.

Guarantees what uvicorn does, and besides that nobody cancels a request because its caller left:
`OUTLIVES_CALLER` in the scope's extensions says so. Use: uvicorn --http gatewayz.net.server:Http.
"""

import asyncio
import math
import urllib.parse
from collections.abc import MutableMapping
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from gatewayz.core import clock
from gatewayz.net.asgi import OUTLIVES_CALLER

_EXTENSIONS: dict[str, dict[object, object]] = {OUTLIVES_CALLER: {}}
# Headers that change how the answer is framed; uvicorn itself writes an answer that has one.
_FRAMING = frozenset({b"connection", b"transfer-encoding"})


class Http(HttpToolsProtocol):
    """One connection. One timer closes it when it was idle for long; uvicorn sets one for each
    answer, and takes it back at the next request."""

    _idle_at_s = math.inf
    _idle_timer: asyncio.TimerHandle | None = None

    def on_message_begin(self) -> None:
        self._idle_at_s = math.inf
        super().on_message_begin()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
            return
        self._idle_at_s = clock.monotonic_s()
        if self._idle_timer is None:
            self._idle_timer = self.loop.call_later(self.timeout_keep_alive, self._check_idle)

    def _check_idle(self) -> None:
        self._idle_timer = None
        if self._idle_at_s == math.inf or self.transport.is_closing():
            return  # the end of the answer sets another
        left_s = self._idle_at_s + self.timeout_keep_alive - clock.monotonic_s()
        if left_s > 0:
            self._idle_timer = self.loop.call_later(left_s, self._check_idle)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        parser, scope = self.parser, self.scope
        version = parser.get_http_version()
        if self.limit_concurrency is not None or self.root_path or version != "1.1":
            return super().on_headers_complete()
        if parser.should_upgrade() and self._should_upgrade():
            return None
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        fields: dict[str, Any] = {
            "method": parser.get_method().decode("ascii"),
            "path": urllib.parse.unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "extensions": _EXTENSIONS,
        }
        scope.update(fields)  # type: ignore[typeddict-item]
        before = self.cycle
        self.cycle = cycle = _Cycle(
            scope=scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        if before is None or before.response_complete:
            self._start_asgi_task(cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((cycle, self.app))
        return None


class _Cycle(RequestResponseCycle):
    """One request and its answer. The head of an answer of known length waits for the body that
    follows at once; that of a stream does not."""

    _head = b""

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if self.response_complete:
            raise RuntimeError("a message after the end of the answer")
        if self.response_started:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
            return
        headers = list(message.get("headers", ()))
        if self.access_log or any(name in _FRAMING for name, _ in headers):
            await super().send(message)  # type: ignore[arg-type]
        else:
            self._begin(message["status"], self.default_headers + headers)

    def _begin(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        self.response_started = True
        self.waiting_for_100_continue = False
        parts = [STATUS_LINE[status]]
        for name, value in headers:
            if name == b"content-length":
                self.expected_content_length, self.chunked_encoding = int(value), False
            parts += (name, b": ", value, b"\r\n")
        if not self.keep_alive:
            parts.append(b"connection: close\r\n")
        if self.chunked_encoding is None and status not in (204, 304):
            self.chunked_encoding = True
            parts.append(b"transfer-encoding: chunked\r\n")
        parts.append(b"\r\n")
        head = b"".join(parts)
        lines = len(headers) + 2 + (not self.keep_alive) + bool(self.chunked_encoding)
        if head.count(b"\n") != lines or head.count(b"\r") != lines:
            raise RuntimeError("a header holds a line break")
        if self.chunked_encoding:
            self.transport.write(head)
        else:
            self._head = head

    def _send_body(self, body: bytes, *, more: bool) -> None:
        if self.scope["method"] == "HEAD":
            self.expected_content_length, body = 0, b""
        elif self.chunked_encoding:
            framed = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = framed if more else framed + b"0\r\n\r\n"
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("the body differs from its content-length")
        if out := self._head + body:
            self._head = b""
            self.transport.write(out)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
