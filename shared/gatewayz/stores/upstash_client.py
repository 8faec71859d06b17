"""The genuine `upstash-redis` client as adapter of the control plane.

Its traps are closed: no retries (it sends any failed command again, applied or not), a time limit
for every call (it has none), no base64, no telemetry. Never imported by the data plane.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import httpx
from upstash_redis.asyncio import Redis
from upstash_redis.errors import UpstashError

from gatewayz.core import clock
from gatewayz.core.errors import StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.stores.redis import DOWN_S, load_script
from gatewayz.stores.upstash import CONNECT_SHARE, FORGOTTEN, command_of

log = get_log(__name__)


class UpstashClientRedis:
    """`script` by the genuine client; the same answers and errors as every other backend."""

    def __init__(self, url: str, token: str, *, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._down_until_s = 0.0
        self._client = Redis(url, token, rest_encoding=None, rest_retries=0, allow_telemetry=False)
        limits = httpx.Timeout(timeout_s, connect=timeout_s * CONNECT_SHARE)
        # The client takes no HTTP client of ours, and its own never gives up. Nothing is open yet.
        self._client._http._client = httpx.AsyncClient(timeout=limits, trust_env=False)

    async def script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        source, sha = load_script(name)
        try:
            return await self._call(command_of("EVALSHA", sha, keys, args))
        except UpstashError as error:
            if not str(error).startswith(FORGOTTEN):
                raise _refused(name, error) from error
        try:
            return await self._call(command_of("EVAL", source, keys, args))
        except UpstashError as error:
            raise _refused(name, error) from error

    async def _call(self, command: list[str | int]) -> Any:
        if clock.monotonic_s() < self._down_until_s:
            raise StoreUnavailable("Redis did not answer a moment ago.")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._client.execute(command)
        except httpx.ConnectTimeout as error:
            self._stay_down()
            raise StoreUnavailable("Redis does not take connections.") from error
        except httpx.ConnectError as error:
            raise StoreUnavailable("Redis cannot be reached.") from error
        except (TimeoutError, httpx.TimeoutException) as error:
            self._stay_down()
            raise StoreTimeout("Redis is too slow.") from error
        except (httpx.HTTPError, ValueError, AttributeError, KeyError, TypeError) as error:
            # Not what a Redis says: the client reads a gateway's error page as an answer.
            raise StoreTimeout("The connection to Redis broke.") from error

    def _stay_down(self) -> None:
        self._down_until_s = clock.monotonic_s() + DOWN_S

    async def close(self) -> None:
        await self._client.close()


def _refused(name: str, error: UpstashError) -> StoreUnavailable:
    log.error("redis_refused", script=name, error=str(error))
    return StoreUnavailable("Redis refuses the call.")
