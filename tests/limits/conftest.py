"""The admission script of one account, by its own calls and at a time that the test says."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from gatewayz.billing.slot import ADMIT, account_keys
from gatewayz.stores.redis import RespRedis
from tests.world import sandbox, tune, world

__all__ = ["sandbox", "tune", "world"]

A = "acct_a"
NOON_MS = 1_764_072_000_000  # 2025-11-25 12:00 UTC, a Tuesday


class Slot:
    """`now_ms` moves only when a test moves it."""

    def __init__(self, scripts: RespRedis, client: "redis.Redis[str]") -> None:
        self.scripts, self.client = scripts, client
        self.now_ms = NOON_MS

    async def call(self, operation: str, *rest: str | int) -> list[Any]:
        keys = account_keys(A)
        reply: list[Any] = await self.scripts.script(ADMIT, keys, (operation, self.now_ms, *rest))
        return reply

    async def open(self, *loaded: str | int, nanos: int = 10**15) -> None:
        await self.call("refill", "L1", "op1", nanos, 400 * 86_400_000)
        await self.call("load", *loaded)

    async def admit(
        self, request: str, lines: str, *, amount: int = 1, tokens: tuple[int, int] = (1, 1),
        live_ms: int = 60_000,
    ) -> list[Any]:  # fmt: skip
        return await self.call(
            "admit", request, amount, live_ms, 1, "{}", 0, "", "", "", "", *tokens, lines
        )

    async def end(self, request: str, charge: int = 0, tokens: int | str = "") -> None:
        await self.call("finish", request, charge, "", "", tokens)

    def used(self, field: str) -> int:
        return int(self.client.hget(account_keys(A)[3], field) or 0)


@pytest.fixture
async def slot(redis_url: str) -> AsyncIterator[Slot]:
    scripts = RespRedis(redis_url, timeout_s=10.0)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield Slot(scripts, client)
    await scripts.close()
