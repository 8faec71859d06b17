"""Redis as a set of named Lua scripts: `script(name, keys, args)` is one atomic call.

Redis is speed, never the book of record: a failure tells "not run" from "unknown", and no script
is ever retried blindly. Written on hiredis alone, because the full client costs more to import
than all of the data plane and a call of ours needs only EVALSHA.
"""

import asyncio
import hashlib
import ssl
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast
from urllib.parse import unquote, urlsplit

import hiredis

from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.core.settings import SettingsError

log = get_log(__name__)

LUA = Path(__file__).with_name("lua")
DEFAULT_PORT = 6379
# After a time-out every call fails at once for this long, so that a hanging Redis
# costs each request nothing but its first one.
DOWN_S = 1.0


class RedisScripts(Protocol):
    async def script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        """Run `lua/<name>.lua`. Strings come back as str, integers as int.

        StoreUnavailable when it was not run, StoreTimeout when that is unknown.
        """
        ...

    async def close(self) -> None: ...


def load_script(name: str) -> tuple[str, str]:
    """(source, sha1) of a script that ships with the package."""
    source = LUA.joinpath(f"{name}.lua").read_text()
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


class RespRedis:
    """One pipelined connection per process: the calls of one loop turn leave in one write."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._address = _Address.parse(url)
        self._timeout_s = timeout_s
        self._scripts: dict[str, tuple[str, str]] = {}
        self._connection: _Connection | None = None
        self._connecting = asyncio.Lock()
        self._down_until_s = 0.0

    async def script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        known = self._scripts.get(name)
        if known is None:
            known = self._scripts[name] = load_script(name)
        connection = self._connection
        if connection is None or connection.lost:
            connection = await self._connect()
        reply = await connection.call(("EVALSHA", known[1], len(keys), *keys, *args))
        if type(reply) is not hiredis.ReplyError:
            return reply
        return await self._run_unknown(name, known[0], reply, keys, args)

    async def _run_unknown(
        self,
        name: str,
        source: str,
        reply: hiredis.ReplyError,
        keys: Sequence[str],
        args: Sequence[str | int],
    ) -> Any:
        """Send the text of a script that the server does not know: it was not run, so that this
        is no retry. Any other refusal is an error."""
        answer: Any = reply
        if str(reply).startswith("NOSCRIPT"):
            connection = await self._connect()
            answer = await connection.call(("EVAL", source, len(keys), *keys, *args))
        if isinstance(answer, hiredis.ReplyError):
            # OOM, READONLY, LOADING, MISCONF: Redis is there but runs no scripts.
            log.error("redis_refused", script=name, error=str(answer))
            raise StoreUnavailable("Redis refuses the call.")
        return answer

    async def _connect(self) -> "_Connection":
        async with self._connecting:
            if self._connection is not None and not self._connection.lost:
                return self._connection
            if clock.monotonic_s() < self._down_until_s:
                raise StoreUnavailable("Redis did not answer a moment ago.")
            try:
                async with asyncio.timeout(self._timeout_s):
                    self._connection = await self._open()
            except TimeoutError:
                self._stay_down()
                raise StoreUnavailable("Redis does not take connections.") from None
            except OSError as error:
                raise StoreUnavailable("Redis cannot be reached.") from error
            return self._connection

    async def _open(self) -> "_Connection":
        address, loop = self._address, asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self._timeout_s, self._stay_down),
            address.host,
            address.port,
            ssl=ssl.create_default_context() if address.tls else None,
        )
        for command in address.greeting():
            reply = await connection.call(command)
            if isinstance(reply, hiredis.ReplyError):
                connection.drop(StoreUnavailable("Redis refuses our sign-in."))
                log.error("redis_refused", command=command[0], error=str(reply))
                raise StoreUnavailable("Redis refuses our sign-in.")
        return connection

    def _stay_down(self) -> None:
        self._down_until_s = clock.monotonic_s() + DOWN_S

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.drop(StoreUnavailable("The client is closed."))
            await asyncio.sleep(0)  # the transport closes in the next turn


class _Address:
    """redis://[user:password@]host[:port][/database]; rediss:// is the same over TLS."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("redis", "rediss") or not parts.hostname:
            raise SettingsError("REDIS_URL must look like redis://host:6379/0 or rediss://…")
        self.tls = parts.scheme == "rediss"
        self.host: str = parts.hostname
        self.port = parts.port or DEFAULT_PORT
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        self._database = parts.path.strip("/") or "0"

    @classmethod
    def parse(cls, url: str) -> "_Address":
        return cls(url)

    def greeting(self) -> list[tuple[str, ...]]:
        """Commands that a fresh connection starts with."""
        commands: list[tuple[str, ...]] = []
        if self._password:
            commands.append(
                ("AUTH", self._user, self._password) if self._user else ("AUTH", self._password)
            )
        if self._database != "0":
            commands.append(("SELECT", self._database))
        return commands


class _Connection(asyncio.Protocol):
    """RESP on one socket: replies come in the order of the calls."""

    def __init__(self, timeout_s: float, on_timeout: Any) -> None:
        self._loop = asyncio.get_running_loop()
        self._timeout_s = timeout_s
        self._on_timeout = on_timeout
        self._reader = hiredis.Reader(encoding="utf-8", errors="replace")
        self._transport: asyncio.Transport | None = None
        self._outgoing: list[bytes] = []
        self._waiting: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.lost = False

    def call(self, command: tuple[Any, ...]) -> "asyncio.Future[Any]":
        """The reply, once it is there; a ReplyError is a reply too."""
        future: asyncio.Future[Any] = self._loop.create_future()
        if self.lost:
            future.set_exception(StoreUnavailable("The connection to Redis is gone."))
            return future
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(hiredis.pack_command(command))
        self._waiting.append((future, clock.monotonic_s()))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._check_time)
        return future

    def _flush(self) -> None:
        if self._transport is not None and self._outgoing:
            self._transport.write(b"".join(self._outgoing))
        self._outgoing.clear()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not asyncio.Transport in uvloop, but one in all but its base class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                future, _ = self._waiting.popleft()
                if not future.done():
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError):
            self.drop(StoreTimeout("Redis sent nonsense."))

    def connection_lost(self, exc: Exception | None) -> None:
        self.drop(StoreTimeout("The connection to Redis broke."))

    def drop(self, error: DependencyError) -> None:
        """Close and fail what waits: whether it was run is unknown."""
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()
        while self._waiting:
            future, _ = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)

    def _check_time(self) -> None:
        """One timer for all calls: the oldest decides."""
        self._timer = None
        if not self._waiting:
            return
        left_s = self._waiting[0][1] + self._timeout_s - clock.monotonic_s()
        if left_s <= 0:
            self._on_timeout()
            self.drop(StoreTimeout("Redis is too slow."))
        else:
            self._timer = self._loop.call_later(left_s, self._check_time)
