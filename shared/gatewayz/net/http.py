"""The data plane's HTTP client, and the only importer of its library.

Guarantees: no redirects, cookies or environment proxies; every wait has a limit and its own error;
a body that ends early is ConnectionBroken, never a clean end; memory is bounded; closing a stream
drops its connection unless the body was read to the end. Never retries, never logs.
"""

import asyncio
import math
import zlib
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import NamedTuple, TypeVar

from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import (
    DetailedPyreqwestError,
    PyreqwestError,
    RequestTimeoutError,
)
from pyreqwest.request import StreamRequest
from pyreqwest.response import Response

T = TypeVar("T")

# An answer up to this size is read while its head is awaited: one wait instead of three.
WHOLE_BUFFER_BYTES = 64 * 1024

USER_AGENT = "gatewayz"
# Far more than any body has; a number of any length is not read.
MAX_LENGTH_DIGITS = 18
# Shorter than the idle limits of common servers and load balancers, so that a reused connection
# is rarely one that its server is just closing.
IDLE_CONNECTION_S = 50.0
# One read of a compressed stream may not grow beyond this (F35: gzip bomb).
MAX_INFLATED_READ_BYTES = 4 * 1024 * 1024
# The library goes on waiting for a response head after its caller has given up; this ends it.
LONGEST_EXCHANGE_S = 900.0
LAST_RESULTS_S = 0.02
# Enough for a hundred fast streams over one HTTP/2 connection.
H2_STREAM_WINDOW_BYTES = 1024 * 1024
H2_CONNECTION_WINDOW_BYTES = 16 * 1024 * 1024
FAILED_WHILE_CONNECTING = "client error (Connect)"


class NetError(Exception):
    """A call that got no whole answer. The message never contains headers or bodies."""


class ConnectFailed(NetError):
    """No connection: refused, unknown host, TLS, unusable address. Nothing was sent."""


class ConnectTimeout(NetError):
    """No connection within the limit. Nothing was sent."""


class HeadTimeout(NetError):
    """The request may have been received; no response head came in time."""


class ReadTimeout(NetError):
    """No byte of the body came in time. The stream stays usable: read again or close it."""


class ConnectionBroken(NetError):
    """Reset, cut or malformed after the request may have been sent."""


class BodyTooLarge(NetError):
    """The answer exceeds its cap."""


class HttpAnswer(NamedTuple):
    """A whole answer; header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Limit:
    """Limits awaits in time with one lazily moved timer: far cheaper than a timer per chunk.

    As asyncio.timeout does, it cancels the waiting task and takes that cancellation back.
    """

    __slots__ = ("_deadline_s", "_expired", "_handle", "_loop", "_task")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[object] | None = None
        self._deadline_s = 0.0
        self._expired = False

    async def run(self, start: Callable[[], Awaitable[T]], timeout_s: float) -> T:
        """The result of start(); TimeoutError after `timeout_s`."""
        self._deadline_s = deadline_s = self._loop.time() + timeout_s
        handle = self._handle
        if handle is None or handle.when() > deadline_s:
            if handle is not None:
                handle.cancel()
            self._handle = self._loop.call_at(deadline_s, self._ring)
        self._task = task = asyncio.current_task()
        assert task is not None
        before = task.cancelling()
        try:
            return await start()
        except asyncio.CancelledError:
            if self._expired and task.uncancel() <= before:
                raise TimeoutError from None
            raise
        finally:
            self._task, self._expired = None, False

    def _ring(self) -> None:
        self._handle = None
        if self._task is None:
            return
        if self._loop.time() + 0.001 < self._deadline_s:
            self._handle = self._loop.call_at(self._deadline_s, self._ring)
            return
        self._expired = True
        self._task.cancel()

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class HttpStream:
    """A response whose body is read as it comes. Must be closed; use from one task at a time."""

    __slots__ = (
        "_closed",
        "_ended",
        "_headers",
        "_inflate",
        "_limit",
        "_read_chunk",
        "_request",
        "_response",
        "status",
    )

    def __init__(self, request: StreamRequest, response: Response, limit: _Limit) -> None:
        self._request = request
        self._response = response
        self._limit = limit
        self._headers: dict[str, str] | None = None
        self._closed = self._ended = False
        self._read_chunk = response.body_reader.read_chunk
        self.status = response.status
        encoding = (response.get_header("content-encoding") or "").strip().lower()
        self._inflate = zlib.decompressobj(31) if encoding == "gzip" else None
        if encoding not in ("", "identity", "gzip"):
            # Nobody asked for it, and what is not capped is not decoded.
            raise ConnectionBroken("the answer has an unknown content encoding")

    @property
    def headers(self) -> Mapping[str, str]:
        """Response headers by lower-case name; the last of repeated ones."""
        if self._headers is None:
            self._headers = dict(self._response.headers.items())
        return self._headers

    async def read(self, timeout_s: float | None = None) -> bytes:
        """The next bytes, b"" at the end of the body. ReadTimeout, ConnectionBroken, BodyTooLarge.

        After ReadTimeout nothing is lost: the next call goes on waiting for the same bytes. None
        leaves the limit to the whole exchange, or to the caller's own interruption.
        """
        while not self._ended:
            try:
                if timeout_s is None:
                    chunk = await self._read_chunk()
                else:
                    chunk = await self._limit.run(self._read_chunk, timeout_s)
            except TimeoutError:
                raise ReadTimeout("no data from the server in time") from None
            except PyreqwestError as error:
                self._ended = True
                raise _failure(error, ReadTimeout) from None
            if chunk is None:
                self._ended = True
                if self._inflate is not None and not self._inflate.eof:
                    raise ConnectionBroken("the compressed body ended early")
                return b""
            data = bytes(chunk)
            if self._inflate is not None:
                data = self._expand(self._inflate, data)
            if data:
                return data
        return b""

    def _expand(self, stream: "zlib._Decompress", data: bytes) -> bytes:
        try:
            plain = stream.decompress(data, MAX_INFLATED_READ_BYTES)
        except zlib.error:
            raise ConnectionBroken("the compressed body is damaged") from None
        if stream.unconsumed_tail:
            raise BodyTooLarge("the compressed body expands too much")
        return plain

    async def aclose(self) -> None:
        """Give the connection back when the body was read to its end, else drop it. Idempotent."""
        if self._closed:
            return
        self._closed = self._ended = True
        self._limit.stop()
        await self._request.__aexit__(None, None, None)


class HttpClient:
    """Pooled HTTP/1.1 and HTTP/2 over plain TCP or verified TLS. Usable from any event loop."""

    def __init__(
        self,
        *,
        connect_timeout_s: float = 2.0,
        max_idle_per_host: int = 256,
        extra_ca_pem: bytes | None = None,
        pinned: tuple[str, str, int] | None = None,
    ) -> None:
        builder = (
            ClientBuilder()
            .user_agent(USER_AGENT)
            .default_headers({"accept-encoding": "identity"})
            .no_proxy()
            .follow_redirects(False)
            .referer(False)
            .gzip(False).brotli(False).zstd(False).deflate(False)
            .connect_timeout(timedelta(seconds=connect_timeout_s))
            .pool_idle_timeout(timedelta(seconds=IDLE_CONNECTION_S))
            .pool_max_idle_per_host(max_idle_per_host)
            .tcp_nodelay(True)
            .tcp_keepalive(timedelta(seconds=30))
            .http2(True)
            .http2_initial_stream_window_size(H2_STREAM_WINDOW_BYTES)
            .http2_initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(timedelta(seconds=20))
            .http2_keep_alive_timeout(timedelta(seconds=10))
        )  # fmt: skip
        if extra_ca_pem is not None:
            builder = builder.add_root_certificate_pem(extra_ca_pem)
        if pinned is not None:
            builder = builder.resolve(*pinned)  # host, address, port: nobody resolves it again
        self._client: Client = builder.build()

    async def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeout_s: float,
        total_s: float = LONGEST_EXCHANGE_S,
    ) -> HttpStream:
        """Send and wait at most `timeout_s` for the response head.

        ConnectFailed, ConnectTimeout (nothing was sent), HeadTimeout, ConnectionBroken. The whole
        exchange is cut after `total_s`. When the head does not come in time or the caller is
        cancelled before it, the connection is dropped as soon as it comes, at the latest then.
        """
        request = self._build(method, url, headers, body, buffer_bytes=0, total_s=total_s)
        limit = _Limit()
        try:
            response = await limit.run(request.__aenter__, timeout_s)
        except PyreqwestError as error:
            raise _failure(error, HeadTimeout) from None
        except TimeoutError:
            raise HeadTimeout("no response head in time") from None
        finally:
            limit.stop()
        try:
            return HttpStream(request, response, limit)
        except ConnectionBroken:
            await request.__aexit__(None, None, None)
            raise

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None = None,
        timeout_s: float,
        max_bytes: int,
    ) -> HttpAnswer:
        """The whole answer within `timeout_s` in total and `max_bytes`.

        Errors as open and read; whichever part was late, it is a ReadTimeout.
        """
        request = self._build(
            method, url, headers, body, buffer_bytes=WHOLE_BUFFER_BYTES, total_s=timeout_s
        )
        try:
            response = await request.__aenter__()
        except PyreqwestError as error:
            raise _failure(error, ReadTimeout) from None
        try:
            if _stated_bytes(response) <= max_bytes:
                try:
                    whole = bytes(await response.bytes())
                except PyreqwestError as error:
                    raise _failure(error, ReadTimeout) from None
            else:
                whole = await _read_whole(HttpStream(request, response, _Limit()), max_bytes)
            return HttpAnswer(response.status, response.headers, whole)
        finally:
            await request.__aexit__(None, None, None)

    def _build(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | None,
        *,
        buffer_bytes: int,
        total_s: float,
    ) -> StreamRequest:
        try:
            builder = self._client.request(method, url).headers(headers)
            builder = builder.streamed_read_buffer_limit(buffer_bytes)
            builder = builder.timeout(timedelta(seconds=max(total_s, 0.0)))
            if body is not None:
                builder = builder.body_bytes(body)
            return builder.build_streamed()
        except (ValueError, PyreqwestError):
            # The library's text may hold header values, so it is not passed on.
            raise ConnectFailed("the address or a header cannot be used") from None

    async def aclose(self) -> None:
        """Close the pool; calls under way fail."""
        await self._client.close()
        # The library's thread is just handing over its last results: an interpreter that ends
        # while it does so aborts.
        await asyncio.sleep(LAST_RESULTS_S)


def _stated_bytes(response: Response) -> float:
    """The length of a plain body as its head states it, infinite when it does not.

    The library holds a body to its stated length, so such a body needs no counting of ours.
    """
    length = response.get_header("content-length")
    if length is None or not length.isdecimal() or response.get_header("content-encoding"):
        return math.inf
    return int(length[:MAX_LENGTH_DIGITS])


async def _read_whole(stream: HttpStream, max_bytes: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while part := await stream.read():
        size += len(part)
        if size > max_bytes:
            raise BodyTooLarge(f"the answer is larger than {max_bytes} bytes")
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _failure(error: PyreqwestError, timeout: type[NetError]) -> NetError:
    """Our class for an error of the library; `timeout` for its time limits after connecting."""
    causes = error.details.get("causes") if isinstance(error, DetailedPyreqwestError) else None
    connecting = any(cause["message"] == FAILED_WHILE_CONNECTING for cause in causes or ())
    if isinstance(error, RequestTimeoutError):
        return ConnectTimeout("no connection in time") if connecting else timeout("out of time")
    last = causes[-1]["message"] if causes else error.message
    if connecting:
        return ConnectFailed(f"no connection: {last}")
    return ConnectionBroken(f"the connection broke: {last}")
