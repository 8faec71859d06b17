"""Postgres over a connection of its own: asyncpg, for self-hosted and embedded databases.

Owns a small set of connections per process; works behind a transaction-mode pooler.
"""

import asyncio
from typing import Any

import asyncpg
import orjson

from gatewayz.core.errors import StoreTimeout, StoreUnavailable
from gatewayz.stores.postgres import CONNECT_TIMEOUT_S, call_with_tries, checked_name, failure

MAX_CONNECTIONS = 8


class DirectPostgres:
    """`pooled`: the URL is a pooler that hands each transaction another server."""

    def __init__(
        self, url: str, *, timeout_s: float, pooled: bool, max_connections: int = MAX_CONNECTIONS
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        # A prepared statement stays with the server that made it, which a pooler takes away.
        self._statement_cache = 0 if pooled else 100
        self._room = asyncio.Semaphore(max_connections)
        self._idle: list[asyncpg.Connection[Any]] = []
        self._statements: dict[str, str] = {}

    async def rpc(
        self, name: str, params: dict[str, Any], *, timeout_s: float | None = None
    ) -> Any:
        statement = self._statements.get(name)
        if statement is None:
            parts = ("select api.", checked_name(name), "($1)")
            statement = self._statements[name] = "".join(parts)
        argument = orjson.dumps(params).decode()
        limit_s = self._timeout_s if timeout_s is None else timeout_s

        async def call() -> Any:
            try:
                async with asyncio.timeout(limit_s):
                    return await self._call(statement, argument)
            except TimeoutError:  # is an OSError
                raise StoreTimeout("The database did not answer in time.") from None
            except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError) as error:
                raise StoreTimeout("The connection to the database broke.") from error
            except asyncpg.PostgresError as error:
                text = str(error).split("\n")[0]
                detail = getattr(error, "detail", None)
                raise failure(name, error.sqlstate or "", text, detail) from error

        answer = await call_with_tries(call)
        return None if answer is None else orjson.loads(answer)

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
            return await self._use(await self._connect(), statement, argument)

    async def _connect(self) -> "asyncpg.Connection[Any]":
        try:
            return await asyncpg.connect(
                self._url,
                timeout=CONNECT_TIMEOUT_S,
                statement_cache_size=self._statement_cache,
                server_settings={"application_name": "gatewayz"},
            )
        except (
            asyncpg.PostgresConnectionError,
            asyncpg.InterfaceError,
            OSError,
            TimeoutError,
        ) as error:
            raise StoreUnavailable("The database cannot be reached.") from error

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
