"""Redis scripts over Upstash's REST interface, for the data plane: a thin client on `net/http`.

One command is one POST. Never retries: a script the server does not know was not run, so sending
its text is no retry; everything else that fails is told as "not run" or "unknown".
"""

from collections.abc import Sequence
from typing import Any

import orjson

from gatewayz.core import clock
from gatewayz.core.errors import StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.net.http import (
    ConnectFailed,
    ConnectTimeout,
    HeadTimeout,
    HttpAnswer,
    HttpClient,
    NetError,
    ReadTimeout,
)
from gatewayz.stores.redis import DOWN_S, load_script

log = get_log(__name__)

MAX_ANSWER_BYTES = 16 * 1024 * 1024
# Connecting may take most of a call's time: so a call that fails there is known not to have run.
CONNECT_SHARE = 0.8
FORGOTTEN = "NOSCRIPT"


def open_http(timeout_s: float) -> HttpClient:
    """The HTTP client for calls with this time limit."""
    return HttpClient(connect_timeout_s=timeout_s * CONNECT_SHARE)


def command_of(
    verb: str, script: str, keys: Sequence[str], args: Sequence[str | int]
) -> list[str | int]:
    """EVAL or EVALSHA as a list. Arguments are text: a JSON number may lose digits on its way."""
    return [verb, script, len(keys), *keys, *map(str, args)]


class UpstashRedis:
    """One process's calls over connections of its own."""

    def __init__(self, url: str, token: str, *, timeout_s: float) -> None:
        self._url = url.rstrip("/") + "/"
        self._headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
        self._timeout_s = timeout_s
        self._http = open_http(timeout_s)
        self._scripts: dict[str, tuple[str, str]] = {}
        self._down_until_s = 0.0

    async def script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        known = self._scripts.get(name)
        if known is None:
            known = self._scripts[name] = load_script(name)
        source, sha = known
        reply = await self._call(command_of("EVALSHA", sha, keys, args))
        if str(reply.get("error", "")).startswith(FORGOTTEN):
            reply = await self._call(command_of("EVAL", source, keys, args))
        if "error" in reply:
            log.error("redis_refused", script=name, error=reply["error"])
            raise StoreUnavailable("Redis refuses the call.")
        return reply["result"]

    async def _call(self, command: list[str | int]) -> dict[str, Any]:
        if clock.monotonic_s() < self._down_until_s:
            raise StoreUnavailable("Redis did not answer a moment ago.")
        try:
            answer = await self._http.request(
                "POST",
                self._url,
                headers=self._headers,
                body=orjson.dumps(command),
                timeout_s=self._timeout_s,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except ConnectTimeout as error:
            self._stay_down()
            raise StoreUnavailable("Redis does not take connections.") from error
        except ConnectFailed as error:
            raise StoreUnavailable("Redis cannot be reached.") from error
        except (HeadTimeout, ReadTimeout) as error:
            self._stay_down()
            raise StoreTimeout("Redis is too slow.") from error
        except NetError as error:
            raise StoreTimeout("The connection to Redis broke.") from error
        return _read(answer)

    def _stay_down(self) -> None:
        self._down_until_s = clock.monotonic_s() + DOWN_S

    async def close(self) -> None:
        await self._http.aclose()


def _read(answer: HttpAnswer) -> dict[str, Any]:
    """{"result": …} or {"error": text}; StoreTimeout when the answer is neither."""
    try:
        reply = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        reply = None
    told = isinstance(reply, dict) and ("result" in reply or "error" in reply)
    if told and answer.status < 500:
        return {str(name): value for name, value in reply.items()}
    log.error("redis_refused", status=answer.status)
    raise StoreTimeout("Redis did not answer.")
