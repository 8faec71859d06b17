"""The Upstash stand-in speaks what the genuine client expects, in both encodings."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from upstash_redis.asyncio import Redis
from upstash_redis.errors import UpstashError

from tests.fakes.upstash import TOKEN
from tests.managed import Upstash


@pytest.fixture(params=["base64", None])
async def client(request: pytest.FixtureRequest, upstash: Upstash) -> AsyncIterator[Redis]:
    encoding: Any = request.param
    made = Redis(upstash.url, TOKEN, rest_encoding=encoding, rest_retries=0)
    yield made
    await made.close()


async def test_commands_lists_and_nothing(client: Redis) -> None:
    assert await client.set("a", "ä OK") is True
    assert await client.get("a") == "ä OK"
    assert await client.get("nobody") is None
    assert await client.incrby("n", 2**53 - 1) == 2**53 - 1
    await client.rpush("l", "1", "2")
    assert await client.lrange("l", 0, -1) == ["1", "2"]


async def test_scripts(client: Redis) -> None:
    sha = await client.script_load("return {KEYS[1], {ARGV[1], 7}}")
    assert await client.evalsha(sha, keys=["k"], args=["v"]) == ["k", ["v", 7]]
    with pytest.raises(UpstashError, match=r"^NOSCRIPT"):
        await client.evalsha("0" * 40)
    with pytest.raises(UpstashError, match=r"^ERR|^WRONGTYPE"):
        await client.execute(["LPUSH", "only-a-key"])


async def test_pipelines_and_transactions(client: Redis) -> None:
    for batch in (client.pipeline(), client.multi()):
        batch.set("b", "1")
        batch.get("b")
        assert await batch.exec() == [True, "1"]


async def test_nobody_gets_in_without_the_token(upstash: Upstash) -> None:
    async with httpx.AsyncClient(base_url=upstash.url, trust_env=False) as client:
        for path in ("/", "/pipeline", "/multi-exec"):
            for headers in ({}, {"authorization": "Bearer wrong"}):
                answer = await client.post(path, json=["PING"], headers=headers)
                assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
