"""A raw upstream: writes exactly the bytes it is told to, where the sandbox is too well behaved.

One TCP server in a thread; `play` decides, from the request, what is written and when it breaks.
"""

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Any


class Act(Enum):
    """What a raw upstream may do besides writing bytes."""

    CUT = "cut"  # reset the connection
    HANG = "hang"  # say nothing more until the caller goes


# Bytes to write, an act, or so many seconds of silence.
Step = bytes | Act | float


@dataclass(frozen=True)
class RawRequest:
    """A request as it came over the wire; header names in lower case, repeated ones joined."""

    line: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Play = Callable[[RawRequest], Sequence[Step]]


def answer(body: bytes, *, kind: str = "application/json", status: str = "200 OK") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def event_stream(*, chunked: bool = False) -> bytes:
    """The head of a streamed answer, which ends with its connection unless it is chunked."""
    framing = "transfer-encoding: chunked" if chunked else "connection: close"
    return f"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n{framing}\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    """`data` as one chunk of a chunked body; none ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class RawUpstream:
    """`requests` holds what came; `play` is set by the test."""

    def __init__(self) -> None:
        self.play: Play = lambda request: [answer(b"{}")]
        self.requests: list[RawRequest] = []
        self.connections = 0
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._server = self._run(self._listen())

    def stop(self) -> None:
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(5)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._serve, sock=self._socket, backlog=1024)

    async def _end(self) -> None:
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self.connections += 1
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            request = await _read(reader)
            self.requests.append(request)
            for step in self.play(request):
                if step is Act.CUT:
                    writer.transport.abort()
                elif step is Act.HANG:
                    await reader.read()
                elif isinstance(step, float):
                    await asyncio.sleep(step)
                else:
                    assert isinstance(step, bytes)
                    writer.write(step)
                    await writer.drain()
        writer.close()


async def _read(reader: asyncio.StreamReader) -> RawRequest:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head.rstrip("\r\n").split("\r\n")
    headers: dict[str, str] = {}
    for header in rest:
        name, _, value = header.partition(":")
        known = headers.get(name.lower())
        headers[name.lower()] = value.strip() if known is None else f"{known}, {value.strip()}"
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return RawRequest(line, headers, await _read_chunks(reader))
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return RawRequest(line, headers, body)


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readuntil(b"\r\n")
    await reader.readuntil(b"\r\n")
    return body
