"""Postgres as a set of named functions: `rpc(name, params)` is one call, one transaction.

Owns connections, time limits and failure classes. Every function of schema `api` takes one
unnamed jsonb argument, so PostgREST and a direct connection share one form.
"""

import asyncio
import random
import re
from typing import Any, Protocol

import asyncpg
import orjson

from gatewayz.core.errors import (
    Conflict,
    Forbidden,
    GatewayError,
    InsufficientCredits,
    InternalError,
    InvalidRequest,
    NotFound,
    StoreTimeout,
    StoreUnavailable,
)
from gatewayz.core.log import get_log

log = get_log(__name__)

CONNECT_TIMEOUT_S = 2.0
MAX_CONNECTIONS = 8
MAX_TRIES = 3
# Deadlock, serialisation failure, lock timeout: rolled back, so trying again is safe (F12).
RETRYABLE_SQLSTATES = frozenset({"40P01", "40001", "55P03"})
# The server refuses or ends connections: nothing of this call was applied.
UNAVAILABLE_SQLSTATES = frozenset({"57P01", "57P02", "57P03", "53300", "3D000", "28P01"})
QUERY_CANCELED = "57014"
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Postgres(Protocol):
    async def rpc(
        self, name: str, params: dict[str, Any], *, timeout_s: float | None = None
    ) -> Any:
        """Call `api.<name>` with one JSON object; its JSON answer.

        Business errors of the function (SQLSTATE PT4xx) arrive as RequestErrors,
        StoreUnavailable when nothing was applied, StoreTimeout when that is unknown.
        """
        ...

    async def close(self) -> None: ...


def business_error(sqlstate: str, code: str, detail: str | None) -> GatewayError | None:
    """The exception for a function's own SQLSTATE (`PT402` is HTTP 402); None for others."""
    match sqlstate:
        case "PT400":
            return InvalidRequest(code.replace("_", " "), code=code)
        case "PT402":
            return InsufficientCredits(
                "Not enough credits.", metadata={"available_nanos": int(detail or 0)}
            )
        case "PT403":
            return Forbidden(code.replace("_", " "), code=code)
        case "PT404":
            return NotFound(code.replace("_", " "), code=code)
        case "PT409":
            return Conflict(code.replace("_", " "), code=code)
    return None


class DirectPostgres:
    """asyncpg, one small set of connections per process; works behind a transaction pooler."""

    def __init__(
        self, url: str, *, timeout_s: float, pooled: bool, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        # A transaction pooler hands each transaction another server: no prepared statements.
        self._statement_cache = 0 if pooled else 100
        self._room = asyncio.Semaphore(max_connections)
        self._idle: list[asyncpg.Connection[Any]] = []
        self._statements: dict[str, str] = {}

    async def rpc(
        self, name: str, params: dict[str, Any], *, timeout_s: float | None = None
    ) -> Any:
        statement = self._statements.get(name) or self._statement(name)
        argument = orjson.dumps(params).decode()
        limit_s = self._timeout_s if timeout_s is None else timeout_s
        for attempt in range(1, MAX_TRIES + 1):
            try:
                async with asyncio.timeout(limit_s):
                    answer = await self._call(statement, argument)
                return None if answer is None else orjson.loads(answer)
            except asyncpg.PostgresError as error:
                failure = _failure(name, error)
                if failure is not None:
                    raise failure from error
                if attempt == MAX_TRIES:
                    raise StoreUnavailable("The database is busy.") from error
                await asyncio.sleep(random.uniform(0.005, 0.05) * attempt)
            except TimeoutError:
                raise StoreTimeout("The database did not answer in time.") from None
            except (OSError, asyncpg.InterfaceError) as error:
                raise StoreUnavailable("The database cannot be reached.") from error
        raise AssertionError("unreachable")

    def _statement(self, name: str) -> str:
        if not _NAME.fullmatch(name):
            raise InternalError(f"bad function name {name!r}")
        statement = self._statements[name] = "".join(("select api.", name, "($1)"))
        return statement

    async def _call(self, statement: str, argument: str) -> Any:
        async with self._room:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_closed():
                    continue
                try:
                    return await self._use(connection, statement, argument)
                except (asyncpg.ConnectionDoesNotExistError, ConnectionError):
                    # The server closed an idle connection; every function is idempotent.
                    continue
            connection = await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT_S,
                statement_cache_size=self._statement_cache,
                server_settings={"application_name": "gatewayz"},
            )
            return await self._use(connection, statement, argument)

    async def _use(
        self, connection: "asyncpg.Connection[Any]", statement: str, argument: str
    ) -> Any:
        reusable = False
        try:
            answer = await connection.fetchval(statement, argument)
            reusable = True
            return answer
        except asyncpg.PostgresError:
            reusable = not connection.is_closed()
            raise
        finally:
            if reusable:
                self._idle.append(connection)
            else:
                # After a time-out the protocol state is unknown: drop, never reuse.
                connection.terminate()

    async def close(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.terminate()


def _failure(name: str, error: asyncpg.PostgresError) -> GatewayError | None:
    """The class of a database error; None when the call may be tried again."""
    sqlstate = error.sqlstate or ""
    known = business_error(sqlstate, str(error).split("\n")[0], getattr(error, "detail", None))
    if known is not None:
        return known
    if sqlstate in RETRYABLE_SQLSTATES:
        return None
    if sqlstate == QUERY_CANCELED:
        return StoreTimeout("The database did not answer in time.")
    if sqlstate in UNAVAILABLE_SQLSTATES or sqlstate.startswith("08"):
        return StoreUnavailable("The database is not available.")
    log.error("rpc_failed", function=name, sqlstate=sqlstate, detail=str(error))
    return InternalError()
