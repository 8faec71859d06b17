"""The `ledger` fixture: one database with migrations, its functions, and rows to break.

Speaks to the functions of schema api the way the stores do: one jsonb in, json out.
"""

import asyncio
import hashlib
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

USD = 10**9
# 2026-11-25T00:00:00Z as the first ten characters of a ULID, so that rows fall into a month
ULID_TIME = "01M8801200"


class Ledger:
    """Calls over one connection; `pool` gives more of them to tests of concurrency."""

    def __init__(self, connection: "asyncpg.Connection[Any]", url: str) -> None:
        self.connection = connection
        self.url = url
        self.broken_by_hand = False
        self._numbers = itertools.count(1)

    async def rpc(
        self, name: str, /, connection: "asyncpg.Connection[Any] | None" = None, **params: Any
    ) -> Any:
        answer = await (connection or self.connection).fetchval(
            f"select api.{name}($1)", json.dumps(params)
        )
        return None if answer is None else json.loads(answer)

    async def open(self, account: str = "ann", credit_nanos: int = 10 * USD) -> str:
        await self.rpc("open_account", account=account, name=account, stage="test")
        if credit_nanos:
            await self.rpc(
                "post_top_up",
                payment=f"pay-{account}-{next(self._numbers)}",
                account=account,
                amount_nanos=credit_nanos,
            )
        return account

    async def reserve(self, account: str = "ann", need: int = 1000, **params: Any) -> Any:
        defaults: dict[str, Any] = {
            "op_id": f"op-{next(self._numbers)}",
            "want": need,
            "live_ms": 60_000,
            "ttl_ms": 2_400_000,
            "private": False,
        }
        return await self.rpc("reserve_credit", **(defaults | params), account=account, need=need)

    def request_id(self) -> str:
        return f"req_{ULID_TIME}{next(self._numbers):016d}"

    def message(self, charge_nanos: int = 0, **fields: Any) -> dict[str, Any]:
        """A charge message as inference builds it; one unit is one nano-USD here."""
        lines = [["output", charge_nanos, 1_000_000]] if charge_nanos else []
        made: dict[str, Any] = {
            "v": 1,
            "request_id": self.request_id(),
            "account": "ann",
            "key_id": "key_1",
            "team": None,
            "end_user": None,
            "session": None,
            "lease": None,
            "close": False,
            "scopes": [],
            "model": "meta-llama/llama-3.3-70b-instruct",
            "offer": "sandbox/llama",
            "provider": "sandbox",
            "price_version": "2026-11-01",
            "lines": lines,
            "charge_nanos": charge_nanos,
            "cap_nanos": None,
            "cost_nanos": charge_nanos,
            "cost_stated_nanos": None,
            "outcome": "completed",
            "estimated": False,
            "finish": "stop",
            "attempts": [{"offer": "sandbox/llama", "status": 200, "ms": 12}],
            "stream": True,
            "admitted_at_ms": 1_795_564_800_000,
            "first_token_ms": 7,
            "total_ms": 12,
            "client_request_id": None,
            "app": None,
            "reason": None,
            "writeoff_nanos": 0,
        } | fields
        money = [made[name] for name in ("request_id", "account", "lines", "charge_nanos")]
        made.setdefault("digest", hashlib.sha256(json.dumps(money).encode()).hexdigest())
        return made

    async def settle(self, *messages: Any) -> list[str]:
        """The status of each message, in order."""
        results = await self.rpc("settle_charges", messages=list(messages))
        return [result["status"] for result in results]

    async def balance(self, account: str = "ann") -> Any:
        return await self.rpc("get_balance", account=account)

    async def book(self, book: str) -> int:
        value: int = await self.connection.fetchval(
            "select balance from ledger.books where id = $1", book
        )
        return value

    async def violations(self, *, from_zero: bool = True) -> list[dict[str, str]]:
        found: list[dict[str, str]] = await self.rpc("check_violations", from_zero=from_zero)
        return found

    async def rules(self) -> set[str]:
        return {row["rule"] for row in await self.violations(from_zero=False)}

    @asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """What happens inside is rolled back: many cases on one database."""
        transaction = self.connection.transaction()
        await transaction.start()
        try:
            yield
        finally:
            await transaction.rollback()

    async def pool(self, size: int) -> "asyncpg.Pool[Any]":
        return await asyncpg.create_pool(self.url, min_size=size, max_size=size)

    async def together(
        self, calls: list[tuple[str, dict[str, Any]]], connections: int
    ) -> list[Any]:
        """All calls at once over many connections; answers, or the error of a refused call."""
        pool = await self.pool(connections)

        async def one(name: str, params: dict[str, Any]) -> Any:
            async with pool.acquire() as connection:
                try:
                    return await self.rpc(name, connection, **params)
                except asyncpg.PostgresError as error:
                    return error

        try:
            return await asyncio.gather(*[one(name, params) for name, params in calls])
        finally:
            await pool.close()


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    connection = await asyncpg.connect(database_url)
    try:
        made = Ledger(connection, database_url)
        yield made
        # whatever a test did, unless it broke rows by hand (and then says so), money came out even
        if not made.broken_by_hand:
            assert await made.violations() == []
    finally:
        await connection.close()


class PropertyLedger:
    """A ledger with a loop of its own: hypothesis calls plain functions, many times a test."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        self.ledger = Ledger(self._runner.run(asyncpg.connect(url)), url)

    def run(self, coroutine: Any) -> Any:
        return self._runner.run(coroutine)

    def close(self) -> None:
        self._runner.run(self.ledger.connection.close())
        self._runner.close()


@pytest.fixture
def property_ledger(database_url: str) -> Iterator[PropertyLedger]:
    made = PropertyLedger(database_url)
    try:
        yield made
    finally:
        made.close()
