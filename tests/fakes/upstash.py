"""Upstash's REST interface over a real Redis, by the rules of its documentation.

POST / is a command, /pipeline and /multi-exec lists of them. A bearer token on every path;
`Upstash-Encoding: base64` encodes every string but OK. `calls` are the commands that came.
"""

import base64
import json
from typing import Any

import redis.asyncio as redis
from redis import exceptions

TOKEN = "test-upstash-token"
CONNECTIONS = 50
# The client takes a code off the text; Upstash sends it as Redis does.
CODES = {
    exceptions.NoScriptError: "NOSCRIPT ",
    exceptions.ReadOnlyError: "READONLY ",
    exceptions.BusyLoadingError: "LOADING ",
}


class UpstashShim:
    """An ASGI application over the Redis at `url`."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis: redis.Redis[Any] | None = None
        self.calls: list[list[Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        if headers.get("authorization") != f"Bearer {TOKEN}":
            return await _answer(send, 401, {"error": "Unauthorized"})
        encode = headers.get("upstash-encoding") == "base64"
        try:
            asked = json.loads(body)
        except ValueError:
            return await _answer(send, 400, {"error": "ERR failed to parse command"})
        if scope["path"] in ("/pipeline", "/multi-exec"):
            replies = [await self._run(command, encode) for command in asked]
            return await _answer(send, 200, replies)
        reply = await self._run(asked, encode)
        return await _answer(send, 400 if "error" in reply else 200, reply)

    async def _run(self, command: list[Any], encode: bool) -> dict[str, Any]:
        if self._redis is None:
            pool = redis.BlockingConnectionPool.from_url(
                self._url, max_connections=CONNECTIONS, protocol=2
            )
            self._redis = redis.Redis(connection_pool=pool)
            self._redis.response_callbacks.clear()
        self.calls.append(command)
        try:
            return {"result": _shown(await self._redis.execute_command(*command), encode)}
        except exceptions.ResponseError as error:
            code = next((c for kind, c in CODES.items() if isinstance(error, kind)), "ERR ")
            return {"error": f"{code}{error}, command was: {str(command)[:100]}"}

    async def _lifespan(self, receive: Any, send: Any) -> None:
        while True:
            message = await receive()
            stopping = message["type"] == "lifespan.shutdown"
            if stopping and self._redis is not None:
                await self._redis.aclose()
                await self._redis.connection_pool.disconnect()
            await send({"type": f"{message['type']}.complete"})
            if stopping:
                return


def _shown(value: Any, encode: bool) -> Any:
    if isinstance(value, list):
        return [_shown(item, encode) for item in value]
    if isinstance(value, bytes):
        if value == b"OK" or not encode:
            return value.decode(errors="replace")
        return base64.b64encode(value).decode()
    return value


async def _answer(send: Any, status: int, body: Any) -> None:
    headers = [(b"content-type", b"application/json"), (b"upstash-sync-token", b"t=1")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})
