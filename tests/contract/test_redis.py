"""The script port on a real server, and what it says when that server fails."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import redis

from gatewayz.core.errors import StoreTimeout, StoreUnavailable
from gatewayz.core.settings import SettingsError
from gatewayz.stores.redis import RespRedis


@pytest.fixture
async def scripts(redis_url: str) -> AsyncIterator[RespRedis]:
    opened = RespRedis(redis_url, timeout_s=2.0)
    yield opened
    await opened.close()


async def test_a_script_the_server_forgot_is_sent_again(
    scripts: RespRedis, redis_url: str
) -> None:
    assert await scripts.script("ping_v1", ["k"], []) == "PONG"
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    assert await scripts.script("ping_v1", ["k"], []) == "PONG"


async def test_replies_find_their_callers_however_many_run_at_once(scripts: RespRedis) -> None:
    async def put_and_get(number: int) -> None:
        key = [f"principal:{{{number}}}"]
        await scripts.script("principal_v1", key, ["put", f"value {number} ä"])
        assert await scripts.script("principal_v1", key, ["get"]) == f"value {number} ä"

    await asyncio.gather(*[put_and_get(number) for number in range(500)])


async def test_a_script_error_is_an_outage_and_the_connection_goes_on(scripts: RespRedis) -> None:
    with pytest.raises(StoreUnavailable):
        await scripts.script("admit_v1", ["a", "b", "c", "d", "e"], ["nonsense", 0])
    assert await scripts.script("ping_v1", ["k"], []) == "PONG"


async def test_a_refused_connection_was_never_run() -> None:
    with pytest.raises(StoreUnavailable):
        await RespRedis("redis://127.0.0.1:1/0", timeout_s=1.0).script("ping_v1", ["k"], [])


async def test_a_wrong_password_is_an_outage_not_a_hang(redis_url: str) -> None:
    address = redis_url.rpartition("@")[2]
    with pytest.raises(StoreUnavailable):
        await RespRedis(f"redis://:wrong@{address}", timeout_s=2.0).script("ping_v1", ["k"], [])


async def test_a_server_that_never_answers_is_unknown_once_and_then_known_to_be_down() -> None:
    connections = []

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    scripts = RespRedis(f"redis://127.0.0.1:{port}/0", timeout_s=0.05)
    with pytest.raises(StoreTimeout):
        await scripts.script("ping_v1", ["k"], [])
    with pytest.raises(StoreUnavailable):
        await scripts.script("ping_v1", ["k"], [])
    assert len(connections) == 1
    await scripts.close()
    server.close()
    await server.wait_closed()


async def test_a_broken_connection_is_opened_again(scripts: RespRedis, redis_url: str) -> None:
    await scripts.script("ping_v1", ["k"], [])
    with redis.Redis.from_url(redis_url) as client:
        client.client_kill_filter(skipme=True, _type="normal")
    while scripts._connection is not None and not scripts._connection.lost:
        await asyncio.sleep(0.001)
    assert await scripts.script("ping_v1", ["k"], []) == "PONG"


@pytest.mark.parametrize("url", ["http://x", "redis://", "localhost:6379"])
def test_an_address_that_is_none_is_one_clear_line(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL"):
        RespRedis(url, timeout_s=1.0)
