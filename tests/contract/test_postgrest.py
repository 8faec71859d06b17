"""What only the REST backends meet: keys, gateways before PostgREST, a database that goes away."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from gatewayz.core.errors import (
    DependencyError,
    InternalError,
    RequestError,
    StoreTimeout,
    StoreUnavailable,
)
from gatewayz.net.http import HttpClient
from gatewayz.stores.postgres import MAX_TRIES, Postgres
from gatewayz.stores.postgrest import RestPostgres
from gatewayz.stores.supabase_client import SupabaseClient, SupabasePostgres
from tests.fakes.proxy import Proxy
from tests.fakes.supabase import PUBLISHABLE_KEY, SECRET_KEY
from tests.managed import Supabase, authenticator, running_supabase
from tests.world import Server

__all__ = ["authenticator"]

KINDS = ["thin", "supabase client"]


def open_client(kind: str, url: str, key: str, http: HttpClient) -> Postgres:
    if kind == "thin":
        return RestPostgres(http, url, key, timeout_s=3.0)
    return SupabasePostgres(SupabaseClient(url, key), timeout_s=3.0)


class Answering:
    """Whatever may stand before PostgREST: gives one answer to every call, and counts them."""

    def __init__(self) -> None:
        self.status = 200
        self.body = b""
        self.requests: list[tuple[str, dict[str, str], bytes]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        body = (await receive()).get("body", b"")
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append((f"{scope['method']} {scope['path']}", headers, body))
        sent = [(b"content-length", b"%d" % len(self.body))]
        await send({"type": "http.response.start", "status": self.status, "headers": sent})
        await send({"type": "http.response.body", "body": self.body})


@pytest.fixture(scope="module")
def front() -> Iterator[tuple[Answering, str]]:
    app = Answering()
    server = Server(app)
    yield app, server.url
    server.stop()


@pytest.fixture
async def http() -> AsyncIterator[HttpClient]:
    made = HttpClient(connect_timeout_s=1.0)
    yield made
    await made.aclose()


def _error(code: str) -> bytes:
    return orjson.dumps({"code": code, "message": "m", "details": "7", "hint": None})


@pytest.mark.parametrize(
    ("status", "body", "expected", "calls"),
    [
        (402, _error("PT402"), RequestError, 1),
        (500, _error("PT402"), RequestError, 1),
        (500, _error("40P01"), StoreUnavailable, MAX_TRIES),
        (409, _error("40001"), StoreUnavailable, MAX_TRIES),
        (500, _error("57014"), StoreTimeout, 1),
        (503, _error("53300"), StoreUnavailable, 1),
        (503, _error("08006"), StoreTimeout, 1),
        (503, _error("PGRST000"), StoreUnavailable, 1),
        (503, _error("PGRST001"), StoreTimeout, 1),
        (503, _error("PGRST002"), StoreUnavailable, 1),
        (504, _error("PGRST003"), StoreUnavailable, 1),
        (404, _error("PGRST202"), InternalError, 1),
        (406, _error("PGRST106"), InternalError, 1),
        (401, _error("PGRST301"), StoreUnavailable, 1),
        (403, _error("42501"), StoreUnavailable, 1),
        (500, _error("XX000"), InternalError, 1),
        (401, b'{"message":"Invalid API key"}', StoreUnavailable, 1),
        (429, b"rate limited", StoreUnavailable, 1),
        (540, b'{"message":"Project paused"}', StoreUnavailable, 1),
        (502, b"<html>bad gateway</html>", StoreTimeout, 1),
        (503, b"", StoreTimeout, 1),
        (520, b"<html>origin</html>", StoreTimeout, 1),
        (524, b"", StoreTimeout, 1),
        (301, b"", StoreTimeout, 1),
        (500, b'{"code": 5}', StoreTimeout, 1),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
async def test_an_error_has_one_class_and_is_never_repeated_blindly(
    front: tuple[Answering, str], http: HttpClient, kind: str,
    status: int, body: bytes, expected: Any, calls: int,
) -> None:  # fmt: skip
    app, url = front
    app.requests.clear()
    app.status, app.body = status, body
    client = open_client(kind, url, SECRET_KEY, http)
    try:
        with pytest.raises(expected):
            await client.rpc("ping", {})
    finally:
        await client.close()
    assert len(app.requests) == calls


@pytest.mark.parametrize("kind", KINDS)
async def test_a_call_is_one_post_with_both_keys_and_the_schema(
    front: tuple[Answering, str], http: HttpClient, kind: str
) -> None:
    app, url = front
    app.requests.clear()
    app.status, app.body = 200, b"7"
    client = open_client(kind, url + "/", SECRET_KEY, http)
    assert await client.rpc("ping", {"a": [1, None]}) == 7
    ((place, headers, body),) = app.requests
    assert place == "POST /rest/v1/rpc/ping"
    assert headers["apikey"] == SECRET_KEY
    assert headers["authorization"] == f"Bearer {SECRET_KEY}"
    assert headers["content-profile"] == "api"
    assert headers["content-type"].startswith("application/json")
    # A secret key is refused where a browser shows it.
    assert not re.search("mozilla|chrome|safari", headers.get("user-agent", "").lower())
    assert orjson.loads(body) == {"a": [1, None]}
    await client.close()


@pytest.fixture
def weak(
    authenticator: None, database_url: str, tmp_path: Path
) -> Iterator[tuple[Supabase, Proxy]]:
    """A project whose database can be cut off from PostgREST."""
    parts = urlsplit(database_url)
    assert parts.hostname and parts.port
    link = Proxy(parts.hostname, parts.port)
    with running_supabase(link.address(database_url), tmp_path) as project:
        yield project, link
    link.stop()


@pytest.mark.parametrize("kind", KINDS)
async def test_F08_a_database_that_goes_away_is_an_outage_and_comes_back(
    weak: tuple[Supabase, Proxy], http: HttpClient, kind: str
) -> None:
    project, link = weak
    client = open_client(kind, project.url, SECRET_KEY, http)
    assert (await client.rpc("ping", {}))["ok"]
    link.down()
    for _ in range(3):
        with pytest.raises(DependencyError):
            await client.rpc("ping", {}, timeout_s=1.0)
    link.up()
    for _ in range(200):
        try:
            assert (await client.rpc("ping", {}))["ok"]
            break
        except DependencyError:
            await asyncio.sleep(0.05)
    else:
        raise AssertionError("it does not come back")
    await client.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("key", ["sb_secret_a-guess", PUBLISHABLE_KEY])
async def test_a_wrong_key_is_an_outage_of_ours_and_no_business_error(
    weak: tuple[Supabase, Proxy], http: HttpClient, kind: str, key: str
) -> None:
    project, _ = weak
    client = open_client(kind, project.url, key, http)
    try:
        with pytest.raises(StoreUnavailable):
            await client.rpc("get_balance", {"account": "ann"})
    finally:
        await client.close()
