"""A deterministic OpenAI-compatible upstream of our own, reached over HTTP like any other (D47).

`echo` and `story` answer kindly, so that a first request works without any key; `mock-…` models
misbehave exactly as their name says, for tests and demos. Every text says that it is a sandbox.
Never calls anything, never needs a credential, never leaves the machine.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any

import orjson

from gatewayz.core import clock
from gatewayz.local.sandbox_behaviour import (
    MODELS,
    WHOLE_MODELS,
    Behaviour,
    JsonObject,
    answer,
    behaviour_of,
    choices_of,
    chunk,
    last_chunks,
    pieces_of,
    usage_of,
)
from gatewayz.local.sandbox_kinds import ANSWERS, Refused

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = (b"content-type", b"application/json")
EVENT_STREAM = (b"content-type", b"text/event-stream; charset=utf-8")
HTML = b"<!doctype html><title>Gatewayz sandbox</title><p>This is no completion."
MAX_BODY_BYTES = 64 * 1024 * 1024


class _Left(Exception):
    """The caller closed the connection."""


class _Drop(Exception):
    """The connection is to be cut without a word."""


class Sandbox:
    """The ASGI app and its memory. One instance is one upstream."""

    def __init__(self) -> None:
        self.requests = self.streams = self.chunks = self.left = 0
        self.behaviours: dict[str, int] = {}
        self.models: dict[str, int] = {}
        self.last_body: dict[str, JsonObject] = {}
        self.last_headers: dict[str, dict[str, str]] = {}
        self._locks: dict[str, asyncio.Semaphore] = {}
        self._locked_sent: dict[str, int] = {}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            return
        try:
            await self._route(scope, receive, send)
        except _Left:
            self.left += 1
        except _Drop:
            _abort(send)

    async def _route(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path, method = scope["path"], scope["method"]
        if method == "POST" and path == "/v1/chat/completions":
            await self._chat(scope, receive, send)
        elif method == "POST" and path in ANSWERS:
            await self._whole(scope, receive, send)
        elif method == "POST" and path.startswith("/lockstep/") and path.endswith("/release"):
            self._lock(path.split("/")[2]).release()
            await _reply(send, 200, {"released": True})
        elif path.startswith("/lockstep/"):
            await _reply(send, 200, {"sent": self._locked_sent.get(path.split("/")[2], 0)})
        elif path == "/v1/models":
            data = [
                {"id": name, "object": "model", "created": 1_760_000_000, "owned_by": "sandbox"}
                for name in MODELS + WHOLE_MODELS
            ]
            await _reply(send, 200, {"object": "list", "data": data})
        elif path == "/stats":
            await _reply(send, 200, self.stats())
        elif path == "/healthz":
            await _reply(send, 200, {"status": "ok", "sandbox": True})
        else:
            await _reply(send, 404, _error("No such path in the sandbox.", "not_found"))

    def stats(self) -> JsonObject:
        return {
            "requests": self.requests,
            "streams": self.streams,
            "chunks": self.chunks,
            "left": self.left,
            "behaviours": self.behaviours,
            "models": self.models,
            "last_body": self.last_body,
            "last_headers": self.last_headers,
        }

    def _lock(self, name: str) -> asyncio.Semaphore:
        return self._locks.setdefault(name, asyncio.Semaphore(0))

    async def _chat(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        asked = await self._asked(scope, receive, send)
        if asked is None:
            return
        behaviour, body = asked
        if body.get("stream"):
            self.streams += 1
            await self._stream(behaviour, body, receive, send)
        else:
            await self._answer(behaviour, answer(behaviour, body), send)

    async def _whole(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        asked = await self._asked(scope, receive, send)
        if asked is None:
            return
        try:
            value = ANSWERS[scope["path"]](*asked)
        except Refused as error:
            await _reply(send, 400, _error(str(error), "invalid_request_error"))
        else:
            await self._answer(asked[0], value, send)

    async def _answer(self, behaviour: Behaviour, value: JsonObject, send: Send) -> None:
        raw = orjson.dumps(value)
        await _reply_raw(send, 200, raw[: len(raw) // 2] if behaviour.half else raw, JSON)

    async def _asked(
        self, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> tuple[Behaviour, JsonObject] | None:
        """The model's behaviour and the body; None when that was all, and it was answered."""
        body = await _read(receive)
        if body is None:
            await _reply(send, 400, _error("The body is no JSON object.", "invalid_json"))
            return None
        model = str(body.get("model", ""))
        self.requests += 1
        self.models[model] = self.models.get(model, 0) + 1
        self.last_body[model] = body
        self.last_headers[model] = {
            name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]
        }
        behaviour = behaviour_of(model)
        if behaviour is None:
            text = f"The model '{model[:64]}' does not exist in the sandbox."
            await _reply(send, 404, _error(text, "model_not_found"))
            return None
        for name in behaviour.names:
            self.behaviours[name] = self.behaviours.get(name, 0) + 1
        if await self._misbehave(behaviour, model, receive, send):
            return None
        return behaviour, body

    async def _misbehave(
        self, behaviour: Behaviour, model: str, receive: Receive, send: Send
    ) -> bool:
        """Do what the model's name asks for before any answer; whether that was all."""
        if behaviour.hang:
            await _until_left(receive)
        if behaviour.wait_ms:
            await clock.sleep(behaviour.wait_ms / 1000)
        if behaviour.reset:
            raise _Drop
        if behaviour.html:
            await _reply_raw(send, 200, HTML, (b"content-type", b"text/html"))
            return True
        # Of every hundred requests of a model the first `percent` fail: no chance involved.
        turn = (self.models[model] - 1) % 100
        if behaviour.status and turn < behaviour.percent:
            extra = ((b"retry-after", b"1"),) if behaviour.status == 429 else ()
            kind = "rate_limit_exceeded" if behaviour.status == 429 else "server_error"
            text = f"Sandbox error {behaviour.status}, as the model's name asks."
            await _reply(send, behaviour.status, _error(text, kind), *extra)
            return True
        return False

    async def _stream(
        self, behaviour: Behaviour, body: JsonObject, receive: Receive, send: Send
    ) -> None:
        leaving = asyncio.ensure_future(_until_left(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [EVENT_STREAM]})
            async for block in self._blocks(behaviour, body, leaving):
                if leaving.done():
                    raise _Left
                await send({"type": "http.response.body", "body": block, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()

    async def _blocks(
        self, behaviour: Behaviour, body: JsonObject, leaving: "asyncio.Future[None]"
    ) -> AsyncIterator[bytes]:
        """The stream's bytes, one write each."""
        pieces = pieces_of(behaviour, body)
        end = b"\r\n\r\n" if behaviour.crlf else b"\n\n"
        if behaviour.comments:
            yield b": SANDBOX PROCESSING" + end
        yield _event(chunk(behaviour, {"role": "assistant", "content": ""}), end)
        pending: list[bytes] = []
        for position, piece in enumerate(pieces):
            trouble = behaviour.trouble_at(position)
            if trouble and pending:
                yield b"".join(pending)
                pending = []
            if trouble == "cut":
                raise _Drop
            if trouble == "stall":
                await leaving
            if trouble == "badjson":
                yield b'data: {"id":"sandbox","choices":[{"delta":{"content' + end
            if trouble == "errin":
                text = "Sandbox error inside the stream, as the model's name asks."
                yield _event(_error(text, "server_error"), end)
                return
            if behaviour.lock:
                await _first(self._lock(behaviour.lock).acquire(), leaving)
                self._locked_sent[behaviour.lock] = position + 1
            self.chunks += 1
            usage = usage_of(behaviour, body, position + 1) if behaviour.usage == "cum" else None
            for index in range(choices_of(body)):
                pending.append(_event(chunk(behaviour, piece, index=index, usage=usage), end))
            if len(pending) >= behaviour.batch or position == 0:
                yield b"".join(pending)
                pending = []
                if behaviour.gap_ms and position < len(pieces) - 1:
                    await _first(clock.sleep(behaviour.gap_ms / 1000), leaving)
        for last in last_chunks(behaviour, body, len(pieces)):
            pending.append(_event(last, end))
        if not behaviour.nodone:
            pending.append(b"data: [DONE]" + end)
        yield b"".join(pending)


def _event(value: JsonObject, end: bytes) -> bytes:
    return b"data: " + orjson.dumps(value) + end


def _error(message: str, code: str) -> JsonObject:
    return {"error": {"message": message, "type": code, "param": None, "code": code}}


async def _first(wanted: Awaitable[Any], leaving: "asyncio.Future[None]") -> None:
    """Wait for `wanted`; _Left when the caller goes first."""
    waiting = asyncio.ensure_future(wanted)
    done, _ = await asyncio.wait({waiting, leaving}, return_when=asyncio.FIRST_COMPLETED)
    if waiting not in done:
        waiting.cancel()
        raise _Left


async def _until_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    raise _Left


async def _read(receive: Receive) -> JsonObject | None:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise _Left
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            return None
        if not message.get("more_body"):
            break
    try:
        body = orjson.loads(b"".join(parts))
    except orjson.JSONDecodeError:
        return None
    return body if type(body) is dict else None


async def _reply(send: Send, status: int, value: JsonObject, *headers: tuple[bytes, bytes]) -> None:
    await _reply_raw(send, status, orjson.dumps(value), JSON, *headers)


async def _reply_raw(send: Send, status: int, body: bytes, *headers: tuple[bytes, bytes]) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _abort(send: Send) -> None:
    """Cut the connection: ASGI has no word for it, so this reaches for the server's transport."""
    transport = getattr(getattr(send, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionAbortedError("the sandbox cuts the connection, as the model's name asks")
    transport.abort()


app = Sandbox()
