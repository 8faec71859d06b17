"""A breakable TCP link between the gateway and a store, so that a shared server is never killed.

Modes: up, down (connections reset, new ones refused), hang (nothing moves). Rules act once, on the
first request that holds given bytes: its answer is lost, or request or answer waits for a release.
"""

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

READ_BYTES = 256 * 1024
Kind = Literal["lose_reply", "hold_reply", "hold_request"]


class Rule:
    """What happens to one request. `reached` is true once it passed by."""

    def __init__(self, loop: asyncio.AbstractEventLoop, kind: Kind, containing: bytes) -> None:
        self.kind = kind
        self.containing = containing
        self.reached = False
        self._loop = loop
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let go what was held."""
        self._loop.call_soon_threadsafe(self._released.set)

    async def wait(self) -> None:
        await self._released.wait()


class Proxy:
    """Runs in a thread of its own. Counts connections and the bytes that callers sent."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._loop = asyncio.new_event_loop()
        self._rules: list[Rule] = []
        self._links: set[asyncio.StreamWriter] = set()
        self._pumps: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._server: asyncio.Server | None = None
        self.connections = 0
        self.requests = 0
        self.bytes_sent = 0
        # Kept bound for ever, so that no other process takes the port while the link is down.
        self._reserved = _bound(0)
        self.port: int = self._reserved.getsockname()[1]
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.up()

    def address(self, url: str) -> str:
        """`url` with this link in place of its host and port."""
        parts = urlsplit(url)
        account, at, _ = parts.netloc.rpartition("@")
        return urlunsplit(parts._replace(netloc=f"{account}{at}127.0.0.1:{self.port}"))

    # ---------------------------------------------------------------- modes, from any thread

    def up(self) -> None:
        self._run(self._up)

    def down(self) -> None:
        """Cut what is open and refuse what comes."""
        self._run(self._down)

    def hang(self) -> None:
        """Take connections and bytes, answer nothing."""
        self._run(self._hang)

    def cut(self) -> None:
        """Cut what is open; new connections work."""
        self._run(self._cut)

    def lose_reply(self, containing: bytes) -> Rule:
        """Hand the request over, swallow its answer, cut the connection."""
        return self._rule("lose_reply", containing)

    def hold_reply(self, containing: bytes) -> Rule:
        """Hand the request over, keep its answer until it is released."""
        return self._rule("hold_reply", containing)

    def hold_request(self, containing: bytes) -> Rule:
        """Keep the request from the store until it is released."""
        return self._rule("hold_request", containing)

    def stop(self) -> None:
        self._run(self._end)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()
        self._reserved.close()

    def _rule(self, kind: Kind, containing: bytes) -> Rule:
        rule = Rule(self._loop, kind, containing)
        self._loop.call_soon_threadsafe(self._rules.append, rule)
        return rule

    def _run(self, work: Callable[[], "asyncio.Future[None] | object"]) -> None:
        async def call() -> None:
            done = work()
            if asyncio.iscoroutine(done):
                await done

        asyncio.run_coroutine_threadsafe(call(), self._loop).result(5)

    # ---------------------------------------------------------------- on the loop of the thread

    async def _up(self) -> None:
        if not self._flowing.is_set():
            self._cut()  # what hung is lost, not late
        self._flowing.set()
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, sock=_bound(self.port))

    async def _down(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._cut()

    def _hang(self) -> None:
        self._flowing.clear()

    def _cut(self) -> None:
        for writer in list(self._links):
            _reset(writer)
        self._links.clear()

    async def _end(self) -> None:
        await self._down()
        for task in list(self._pumps):
            task.cancel()
        await asyncio.gather(*self._pumps, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._pumps.add(task)
        task.add_done_callback(self._pumps.discard)
        self.connections += 1
        self._links.add(writer)
        far: asyncio.StreamWriter | None = None
        try:
            await self._flowing.wait()
            answers, far = await asyncio.open_connection(*self._target)
            self._links.add(far)
            state: list[Rule] = []
            back = asyncio.create_task(self._back(answers, writer, state))
            try:
                await self._forth(reader, far, state)
            finally:
                back.cancel()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            for end in (writer, far):
                if end is not None:
                    self._links.discard(end)
                    end.close()

    async def _forth(
        self, reader: asyncio.StreamReader, far: asyncio.StreamWriter, state: list[Rule]
    ) -> None:
        while data := await reader.read(READ_BYTES):
            self.requests += 1
            self.bytes_sent += len(data)
            if not self._flowing.is_set():
                await self._flowing.wait()
                if reader.at_eof() or reader.exception() is not None:
                    return
            rule = next((r for r in self._rules if r.containing in data), None)
            if rule is not None:
                self._rules.remove(rule)
                if rule.kind == "hold_request":
                    rule.reached = True
                    await rule.wait()
                else:
                    state.append(rule)
            far.write(data)
            await far.drain()

    async def _back(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, state: list[Rule]
    ) -> None:
        with suppress(OSError):
            while data := await answers.read(READ_BYTES):
                await self._flowing.wait()
                if state:
                    rule = state.pop()
                    rule.reached = True
                    if rule.kind == "lose_reply":
                        break
                    await rule.wait()
                writer.write(data)
                await writer.drain()
        _reset(writer)


def _bound(port: int) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind(("127.0.0.1", port))
    return made


def _reset(writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    if not transport.is_closing():
        transport.abort()
