"""Redis as a set of named Lua scripts: `script(name, keys, args)` is one atomic call.

Owns the connection, joins the calls of one loop turn into one pipeline, and tells "not reached"
from "unknown". Redis is speed, never the book of record. Never retries a script blindly.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Protocol

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from gatewayz.core import clock
from gatewayz.core.errors import StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log

log = get_log(__name__)

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
    source = files("gatewayz.stores").joinpath("lua", f"{name}.lua").read_text()
    return source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()


Call = tuple[str, list[str], list[str | int], "asyncio.Future[Any]"]


class RespRedis:
    """RESP by redis-py on one connection per process."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        pool = ConnectionPool.from_url(
            url,
            max_connections=2,
            decode_responses=True,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
            client_name="gatewayz",
        )
        self._client: Redis = Redis(connection_pool=pool)
        self._scripts: dict[str, tuple[str, str]] = {}
        self._waiting: list[Call] = []
        self._flusher: asyncio.Task[None] | None = None
        self._down_until_s = 0.0

    async def script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        if clock.monotonic_s() < self._down_until_s:
            raise StoreUnavailable("Redis did not answer a moment ago.")
        if name not in self._scripts:
            self._scripts[name] = load_script(name)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((name, list(keys), list(args), future))
        if self._flusher is None:
            self._flusher = asyncio.create_task(self._flush())
        return await future

    async def _flush(self) -> None:
        """Send what waits, again and again, until nothing does."""
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                try:
                    async with asyncio.timeout(self._timeout_s):
                        replies = await self._send(batch)
                except TimeoutError:
                    self._down_until_s = clock.monotonic_s() + DOWN_S
                    self._fail([*batch, *self._waiting], StoreTimeout("Redis is too slow."))
                    self._waiting = []
                except (RedisError, OSError) as error:
                    log.warning("redis_unreachable", error=str(error))
                    self._fail(batch, _classify(error))
                else:
                    for (*_, future), reply in zip(batch, replies, strict=True):
                        _resolve(future, reply)
        finally:
            self._flusher = None

    async def _send(self, batch: list[Call]) -> list[Any]:
        replies = await self._pipeline(batch, "EVALSHA")
        unknown = [i for i, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            # A script the server does not know was not run, so sending its text is no retry.
            again = await self._pipeline([batch[i] for i in unknown], "EVAL")
            for i, reply in zip(unknown, again, strict=True):
                replies[i] = reply
        return replies

    async def _pipeline(self, batch: list[Call], command: str) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for name, keys, args, _ in batch:
            source, sha = self._scripts[name]
            pipeline.execute_command(
                command, sha if command == "EVALSHA" else source, len(keys), *keys, *args
            )
        return list(await pipeline.execute(raise_on_error=False))

    @staticmethod
    def _fail(batch: list[Call], error: Exception) -> None:
        for *_, future in batch:
            _resolve(future, error)

    async def close(self) -> None:
        if self._flusher is not None:
            self._flusher.cancel()
        await self._client.aclose()
        await self._client.connection_pool.disconnect()


def _classify(error: Exception) -> Exception:
    if isinstance(error, RedisConnectionError) and "Error while reading" in str(error):
        return StoreTimeout("The connection to Redis broke.")
    return StoreUnavailable("Redis cannot be reached.")


def _resolve(future: "asyncio.Future[Any]", reply: Any) -> None:
    if future.done():
        return
    if isinstance(reply, ResponseError):
        # OOM, READONLY, LOADING, MISCONF: Redis is there but takes no writes.
        log.error("redis_refused", error=str(reply))
        future.set_exception(StoreUnavailable("Redis refuses writes."))
    elif isinstance(reply, Exception):
        future.set_exception(reply)
    else:
        future.set_result(reply)


