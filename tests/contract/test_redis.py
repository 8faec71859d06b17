"""The script port: every backend runs the same scripts, and tells failures apart alike."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import redis

from gatewayz.core.errors import StoreTimeout, StoreUnavailable
from gatewayz.core.settings import SettingsError
from gatewayz.stores.redis import DOWN_S, RedisScripts, RespRedis
from tests.fakes.proxy import Proxy
from tests.managed import REDIS_KINDS, open_scripts, upstash

__all__ = ["upstash"]


@dataclass
class Backend:
    """`open(timeout_s)` makes a client over a link that a test may break."""

    link: Proxy
    open: Callable[..., RedisScripts]


@pytest.fixture(params=REDIS_KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def address(kind: str, redis_url: str, request: pytest.FixtureRequest) -> str:
    if kind == "RESP":
        return redis_url
    url: str = request.getfixturevalue("upstash").url
    return url


@pytest.fixture
def link(address: str) -> Iterator[Proxy]:
    parts = urlsplit(address)
    assert parts.hostname and parts.port
    made = Proxy(parts.hostname, parts.port)
    yield made
    made.stop()


@pytest.fixture
async def backend(kind: str, address: str, link: Proxy) -> AsyncIterator[Backend]:
    opened: list[RedisScripts] = []

    def make(timeout_s: float, **more: str) -> RedisScripts:
        opened.append(open_scripts(kind, link.address(address), timeout_s=timeout_s, **more))
        return opened[-1]

    yield Backend(link, make)
    for scripts in opened:
        await scripts.close()


@pytest.fixture
def scripts(backend: Backend) -> RedisScripts:
    return backend.open(10.0)


async def test_a_script_the_server_forgot_is_sent_again(
    scripts: RedisScripts, redis_url: str
) -> None:
    assert await scripts.script("ping_v1", ["k"], []) == "PONG"
    with redis.Redis.from_url(redis_url) as client:
        client.script_flush()
    assert await scripts.script("ping_v1", ["k"], []) == "PONG"


async def test_texts_come_back_as_they_were_sent(scripts: RedisScripts) -> None:
    for text in ("", "OK", "T0s=", "ä 語 \x1f \\ \" '", '{"a":[1,null]}', str(2**53 - 1)):
        key = ["principal:{a}"]
        await scripts.script("principal_v1", key, ["put", text])
        assert await scripts.script("principal_v1", key, ["get"]) == text


async def test_lists_numbers_and_nothing_have_one_form(scripts: RedisScripts) -> None:
    assert await scripts.script("principal_v1", ["principal:{b}"], ["get"]) == ""
    account = ["acct:{a}", "holds:{a}", "due:{a}", "budgets:{a}", "outbox:{a}"]
    step = ["refill", 0, "L1", "op1", 2**53 - 1, 600_000]
    assert await scripts.script("admit_v2", account, step) == ["OK", "", "0"]
    assert await scripts.script("admit_v2", account, ["outbox", 0, 10]) == []


async def test_replies_find_their_callers_however_many_run_at_once(scripts: RedisScripts) -> None:
    async def put_and_get(number: int) -> None:
        key = [f"principal:{{{number}}}"]
        await scripts.script("principal_v1", key, ["put", f"value {number} ä"])
        assert await scripts.script("principal_v1", key, ["get"]) == f"value {number} ä"

    await asyncio.gather(*[put_and_get(number) for number in range(60)])


async def test_a_script_error_is_an_outage_and_the_client_goes_on(scripts: RedisScripts) -> None:
    with pytest.raises(StoreUnavailable):
        await scripts.script("admit_v2", ["a", "b", "c", "d", "e"], ["nonsense", 0])
    assert await scripts.script("ping_v1", ["k"], []) == "PONG"


async def test_a_refused_connection_was_never_run(backend: Backend) -> None:
    scripts = backend.open(1.0)
    backend.link.down()
    with pytest.raises(StoreUnavailable):
        await scripts.script("ping_v1", ["k"], [])
    backend.link.up()
    assert await scripts.script("ping_v1", ["k"], []) == "PONG"


async def test_a_wrong_secret_is_an_outage_not_a_hang(
    kind: str, address: str, backend: Backend
) -> None:
    if kind == "RESP":
        host = address.rpartition("@")[2]
        scripts: RedisScripts = RespRedis(f"redis://:wrong@{host}", timeout_s=2.0)
    else:
        scripts = backend.open(2.0, token="wrong")
    with pytest.raises(StoreUnavailable):
        await scripts.script("ping_v1", ["k"], [])
    await scripts.close()


async def test_F03_a_server_that_never_answers_is_unknown_once_and_then_known_to_be_down(
    backend: Backend,
) -> None:
    scripts = backend.open(0.2)
    await scripts.script("ping_v1", ["k"], [])
    backend.link.hang()
    with pytest.raises(StoreTimeout):
        await scripts.script("ping_v1", ["k"], [])
    connections = backend.link.connections
    with pytest.raises(StoreUnavailable):
        await scripts.script("ping_v1", ["k"], [])
    assert backend.link.connections == connections
    backend.link.up()
    await asyncio.sleep(DOWN_S)
    assert await scripts.script("ping_v1", ["k"], []) == "PONG"


async def test_F05_a_lost_reply_is_unknown_and_the_script_was_run_once(
    backend: Backend, redis_url: str
) -> None:
    """A step that was added twice would be money from nowhere."""
    scripts = backend.open(2.0)
    assert await scripts.script("ping_v1", ["k"], []) == "PONG"
    account = ["acct:{a}", "holds:{a}", "due:{a}", "budgets:{a}", "outbox:{a}"]
    await scripts.script("admit_v2", account, ["refill", 0, "L1", "op1", 1000, 600_000])
    with redis.Redis.from_url(redis_url) as client:
        client.config_resetstat()
        backend.link.lose_reply(b"op2")
        with pytest.raises(StoreTimeout):
            await scripts.script("admit_v2", account, ["refill", 0, "L1", "op2", 1000, 600_000])
        calls = client.info("commandstats")
        assert calls["cmdstat_evalsha"]["calls"] == 1
        assert client.hget("acct:{a}", "left") == b"2000"


async def test_a_broken_connection_is_opened_again(scripts: RedisScripts, backend: Backend) -> None:
    await scripts.script("ping_v1", ["k"], [])
    backend.link.cut()
    for _ in range(3):
        try:
            assert await scripts.script("ping_v1", ["k"], []) == "PONG"
            return
        except StoreTimeout:  # the reset came while the call was on its way
            continue
    raise AssertionError("the backend does not recover")


async def test_a_server_that_is_read_only_refuses_and_nothing_was_run(
    scripts: RedisScripts, redis_url: str
) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.replicaof("127.0.0.1", "1")
        try:
            with pytest.raises(StoreUnavailable):
                await scripts.script("principal_v1", ["principal:{a}"], ["put", "x"])
        finally:
            client.replicaof("no", "one")


@pytest.mark.parametrize("url", ["http://x", "redis://", "localhost:6379"])
def test_an_address_that_is_none_is_one_clear_line(url: str) -> None:
    with pytest.raises(SettingsError, match="REDIS_URL"):
        RespRedis(url, timeout_s=1.0)
