"""One server for all fault tests, so that each pays for its own gateway and not for a server."""

import asyncio
from collections.abc import Coroutine
from typing import Any

from tests.world import Server

PATIENCE_S = 20.0


class Stage:
    """An ASGI app that plays the app put on it, and runs its lifespan on the loop of the server."""

    def __init__(self) -> None:
        self._app: Any = None
        self._lifespan: asyncio.Task[None] | None = None
        self._server = Server(self)
        self.url = self._server.url

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            return await self._app(scope, receive, send)  # type: ignore[no-any-return]
        self.loop = asyncio.get_running_loop()
        while True:
            message = await receive()
            await send({"type": message["type"] + ".complete"})
            if message["type"] == "lifespan.shutdown":
                return None

    def put(self, app: Any) -> None:
        """Serve `app`; RuntimeError with its own words when it refuses to start."""
        self._app = app
        self._run(self._start(app))

    def clear(self) -> None:
        """End the app's lifespan: what it has under way is waited for."""
        self._run(self._end())

    def stop(self) -> None:
        self._server.stop()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self.loop).result(PATIENCE_S)

    async def _start(self, app: Any) -> None:
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        self._told: asyncio.Queue[Any] = asyncio.Queue()
        self._said.put_nowait({"type": "lifespan.startup"})
        self._lifespan = asyncio.create_task(
            app({"type": "lifespan"}, self._said.get, self._told.put)
        )
        answer = await self._told.get()
        if answer["type"] != "lifespan.startup.complete":
            raise RuntimeError(f"the gateway did not start: {answer.get('message')}")

    async def _end(self) -> None:
        if self._lifespan is not None:
            self._said.put_nowait({"type": "lifespan.shutdown"})
            await self._lifespan
            self._lifespan = None
