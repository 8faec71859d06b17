"""The server's protocol on a real socket: framing, connections that stay, callers who leave."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvicorn

from gatewayz.net.asgi import OUTLIVES_CALLER, Call
from gatewayz.net.server import Http

App = Callable[[Any, Any, Any], Awaitable[None]]
JSON = (b"content-type", b"application/json")


class Served:
    def __init__(self, port: int) -> None:
        self.port = port

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, raw: bytes) -> bytes:
        """Everything the server sends until it closes."""
        reader, writer = await self.open()
        writer.write(raw)
        async with asyncio.timeout(10):
            answer = await reader.read()
        writer.close()
        return answer


@contextlib.asynccontextmanager
async def serving(app: App, *, idle_s: float = 5) -> AsyncIterator[Served]:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http=Http,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=idle_s,  # type: ignore[arg-type]
    )
    server = uvicorn.Server(config)
    with contextlib.suppress(AttributeError):
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    task = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0)
    try:
        yield Served(listener.getsockname()[1])
    finally:
        server.should_exit = True
        await task
        listener.close()


async def answers(scope: Any, receive: Any, send: Any) -> None:
    call = Call(scope, receive, send)
    body = (await receive())["body"]
    await call.answer(200, b"%s %s %s" % (call.path.encode(), call.query.encode(), body), [JSON])


async def streams(scope: Any, receive: Any, send: Any) -> None:
    call = Call(scope, receive, send)
    await call.start(200, [JSON])
    for part in (b"one", b"", b"two"):
        await call.write(part)
    await call.end(b"three")


def post(path: bytes = b"/", body: bytes = b"", *headers: bytes) -> bytes:
    head = [b"POST %s HTTP/1.1" % path, b"Host: x", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


async def test_only_an_idle_connection_is_closed_after_its_time() -> None:
    """Neither while a request is worked on, nor while one is still arriving."""
    release = asyncio.Event()

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await answers(scope, receive, send)

    async with serving(slow, idle_s=0.2) as served:
        reader, writer = await served.open()
        for body in (b"first", b"second"):
            release.clear()
            request = post(b"/", body)
            writer.write(request[:9])
            await asyncio.sleep(0.3)
            writer.write(request[9:])
            await asyncio.sleep(0.3)
            release.set()
            head = await reader.readuntil(b"\r\n\r\n")
            assert b"connection: close" not in head
            assert await reader.readexactly(len(body) + 3) == b"/  " + body
        async with asyncio.timeout(10):
            assert await reader.read() == b""
        writer.close()


async def test_a_whole_answer_has_its_length_and_leaves_the_connection_open() -> None:
    async with serving(answers) as served:
        reader, writer = await served.open()
        for body in (b"first", b"second"):
            writer.write(post(b"/a%20b?q=1", body))
            head = await reader.readuntil(b"\r\n\r\n")
            wanted = b"/a b q=1 " + body
            assert head.startswith(b"HTTP/1.1 200 OK\r\n") and b"\r\ndate: " in head
            assert b"\r\ncontent-length: %d\r\n" % len(wanted) in head
            assert b"chunked" not in head and b"connection: close" not in head
            assert await reader.readexactly(len(wanted)) == wanted
        writer.close()


async def test_a_stream_is_chunked_and_its_head_does_not_wait_for_its_body() -> None:
    go_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        call = Call(scope, receive, send)
        await call.start(200, [JSON])
        await go_on.wait()
        await call.write(b"one")
        await call.end(b"")

    async with serving(app) as served:
        reader, writer = await served.open()
        writer.write(post())
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"transfer-encoding: chunked" in head and b"content-length" not in head
        go_on.set()
        assert await reader.readexactly(13) == b"3\r\none\r\n0\r\n\r\n"
        writer.close()


async def test_empty_parts_of_a_stream_do_not_end_it() -> None:
    async with serving(streams) as served:
        answer = await served.ask(post(b"/", b"", b"Connection: close"))
    assert answer.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n5\r\nthree\r\n0\r\n\r\n")
    assert b"connection: close\r\n" in answer


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_the_connection_closes_when_the_caller_asks_or_cannot_do_otherwise(
    version: bytes,
) -> None:
    raw = post(b"/", b"x", b"Connection: close").replace(b"HTTP/1.1", version)
    async with serving(answers) as served:
        answer = await served.ask(raw)
    assert answer.endswith(b"/  x") and b"connection: close\r\n" in answer


async def test_pipelined_requests_are_answered_in_their_order() -> None:
    async with serving(answers) as served:
        answer = await served.ask(
            post(b"/1", b"a") + post(b"/2", b"b") + post(b"/3", b"c", b"Connection: close")
        )
    bodies = [part.rpartition(b"\r\n\r\n")[2] for part in answer.split(b"HTTP/1.1 200")[1:]]
    assert bodies == [b"/1  a", b"/2  b", b"/3  c"]


async def test_a_body_that_is_expected_is_asked_for() -> None:
    async with serving(answers) as served:
        reader, writer = await served.open()
        writer.write(post(b"/", b"abc", b"Expect: 100-continue", b"Connection: close")[:-3])
        assert await reader.readexactly(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"abc")
        assert (await reader.read()).endswith(b"/  abc")
        writer.close()


@pytest.mark.parametrize("status", [204, 304])
async def test_an_answer_without_a_body_has_no_chunks(status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status})
        await send({"type": "http.response.body"})

    async with serving(app) as served:
        answer = await served.ask(post(b"/", b"", b"Connection: close"))
    assert answer.endswith(b"\r\n\r\n") and b"chunked" not in answer


@pytest.mark.parametrize("value", [b"a\r\nx-evil: 1", b"a\nb", b"a\rb"])
async def test_a_line_break_in_a_header_never_gets_out(value: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Call(scope, receive, send).answer(200, b"", [(b"x-label", value)])

    async with serving(app) as served:
        answer = await served.ask(post(b"/", b"", b"Connection: close"))
    assert b"evil" not in answer and b"x-label" not in answer


@pytest.mark.parametrize("body", [b"four", b"longer"])
async def test_a_body_unlike_its_stated_length_ends_the_connection(body: bytes) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        start = {"type": "http.response.start", "status": 200}
        await send(start | {"headers": [(b"content-length", b"5")]})
        await send({"type": "http.response.body", "body": body, "more_body": False})

    async with serving(app) as served:
        answer = await served.ask(post())
    assert body not in answer


async def test_a_request_outlives_its_caller_and_says_so() -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert OUTLIVES_CALLER in scope["extensions"]
        assert Call(scope, receive, send).outlives_caller
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await asyncio.sleep(0)  # it would end here if it had been cancelled
        ended.set()

    async with serving(app) as served:
        _, writer = await served.open()
        writer.write(post())
        await writer.drain()
        writer.close()
        async with asyncio.timeout(10):
            await ended.wait()
