"""Postgres over PostgREST, for the data plane: a thin client on `net/http`.

`POST /rpc/<name>` with the body as the function's one unnamed jsonb argument. Judges errors by
the JSON code of PostgREST, never by the HTTP status alone. Uses what PostgREST 12 has.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.core.errors import InternalError, StoreTimeout, StoreUnavailable
from gatewayz.core.log import get_log
from gatewayz.net.http import ConnectFailed, ConnectTimeout, HttpAnswer, HttpClient, NetError
from gatewayz.stores.postgres import call_with_tries, checked_name, failure

log = get_log(__name__)

SCHEMA = "api"
RPC_PATH = "/rest/v1/rpc/"
MAX_ANSWER_BYTES = 32 * 1024 * 1024
# PostgREST had no connection to give (000, 002: no database; 003: its pool is exhausted).
NOT_CONNECTED = frozenset({"PGRST000", "PGRST002", "PGRST003"})
# The connection broke under the call.
CONNECTION_LOST = "PGRST001"
# Whoever stands before PostgREST refuses us: key, rate, a paused project.
REFUSED_STATUSES = frozenset({401, 403, 429, 540})


def rest_headers(key: str) -> dict[str, str]:
    """`apikey` is what the platform's gateway reads; PostgREST alone reads Authorization."""
    return {"apikey": key, "authorization": f"Bearer {key}"}


def rest_failure(
    function: str, status: int, code: str, message: str, detail: str | None
) -> Exception:
    """What an error answer is to the caller; an empty `code` is an answer that is no JSON.

    A code of PostgREST's own (PGRST…) means that the function was not run, but for one.
    """
    if code in NOT_CONNECTED:
        return StoreUnavailable("The database is not available.")
    if code == CONNECTION_LOST or code.startswith("08"):
        return StoreTimeout("The connection to the database broke.")
    if not code or (status in REFUSED_STATUSES and not code.startswith("PT")):
        log.error("rest_refused", function=function, status=status, code=code, detail=message)
        if status in REFUSED_STATUSES:
            return StoreUnavailable("The database refuses our calls.")
        return StoreTimeout("The database did not answer.")
    if code.startswith("PGRST"):
        log.error("rest_refused", function=function, status=status, code=code, detail=message)
        return InternalError()
    return failure(function, code, message, detail)


class RestPostgres:
    """One process's calls; connections are those of `http`, which the caller closes."""

    def __init__(self, http: HttpClient, url: str, key: str, *, timeout_s: float) -> None:
        self._http = http
        self._base = url.rstrip("/") + RPC_PATH
        self._timeout_s = timeout_s
        self._headers = {
            **rest_headers(key),
            "content-type": "application/json",
            "accept": "application/json",
            "content-profile": SCHEMA,
        }

    async def rpc(
        self, name: str, params: dict[str, Any], *, timeout_s: float | None = None
    ) -> Any:
        url = self._base + checked_name(name)
        body = orjson.dumps(params)
        limit_s = self._timeout_s if timeout_s is None else timeout_s

        async def call() -> Any:
            return _read(name, await self._post(url, body, limit_s))

        return await call_with_tries(call)

    async def _post(self, url: str, body: bytes, limit_s: float) -> HttpAnswer:
        try:
            return await self._http.request(
                "POST",
                url,
                headers=self._headers,
                body=body,
                timeout_s=limit_s,
                max_bytes=MAX_ANSWER_BYTES,
            )
        except (ConnectFailed, ConnectTimeout) as error:
            raise StoreUnavailable("The database cannot be reached.") from error
        except NetError as error:
            raise StoreTimeout("The database did not answer in time.") from error

    async def close(self) -> None:
        """Nothing of its own to close."""


def _read(name: str, answer: HttpAnswer) -> Any:
    try:
        value = orjson.loads(answer.body) if answer.body else None
    except orjson.JSONDecodeError:
        raise rest_failure(name, answer.status, "", "not JSON", None) from None
    if answer.status < 300:
        return value
    error: Mapping[str, Any] = value if isinstance(value, dict) else {}
    code = error.get("code")
    raise rest_failure(
        name,
        answer.status,
        code if isinstance(code, str) else "",
        str(error.get("message") or ""),
        error.get("details"),
    )
