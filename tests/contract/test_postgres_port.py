"""The rpc port: every backend gives the same answers, the same errors, the same doubts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from gatewayz.core.errors import (
    Conflict,
    Forbidden,
    InsufficientCredits,
    InternalError,
    InvalidRequest,
    NotFound,
    StoreTimeout,
    StoreUnavailable,
)
from gatewayz.local.postgres import PostgresProcess
from gatewayz.net.http import HttpClient
from gatewayz.stores.direct_postgres import DirectPostgres
from gatewayz.stores.postgres import MAX_TRIES, Postgres
from gatewayz.stores.postgrest import RestPostgres
from gatewayz.stores.supabase_client import SupabaseClient, SupabasePostgres
from tests.conftest import TEMPLATE, _administer, _named
from tests.fakes.proxy import Proxy
from tests.fakes.supabase import SECRET_KEY
from tests.managed import authenticator, running_pooler, running_supabase
from tests.world import eventually

__all__ = ["authenticator"]

# What the functions of the house do not do on purpose, done by functions of this test.
PROBES = """
create table ledger.probes (n bigint);
create sequence ledger.probe_tries;
create function api.probe_echo(jsonb) returns jsonb language sql as 'select $1 -> ''value''';
create function api.probe_fail(jsonb) returns jsonb language plpgsql as $$
begin raise exception '%', $1 ->> 'message' using errcode = $1 ->> 'code', detail = $1 ->> 'detail';
end $$;
create function api.probe_flaky(jsonb) returns jsonb language plpgsql security definer as $$
declare tries bigint := nextval('ledger.probe_tries');   -- a sequence survives the roll-back
begin
  if tries <= ($1 ->> 'failures')::bigint then
    raise exception 'as if rolled back' using errcode = $1 ->> 'code';
  end if;
  return to_jsonb(tries);
end $$;
create function api.probe_add(jsonb) returns jsonb language plpgsql security definer as $$
begin
  insert into ledger.probes values (($1 ->> 'n')::bigint);
  perform pg_sleep(coalesce(($1 ->> 'sleep_s')::float, 0));
  return (select to_jsonb(count(*)) from ledger.probes);
end $$;
select ledger.close_doors();
"""
DATABASE = "probes"
KINDS = ["direct", "pooler", "PostgREST", "supabase client"]


@dataclass
class Backend:
    """`open(address)` makes a client over a link that a test may break."""

    link: Proxy
    open: Callable[[float], Postgres]
    database_url: str

    async def has_settled(self) -> bool:
        """Nobody calls the database any more."""
        return not await self.sql(
            "select count(*) from pg_stat_activity where state <> 'idle' and query like '%probe_%'"
            " and pid <> pg_backend_pid()"
        )

    async def sql(self, query: str) -> Any:
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()


def _client(kind: str, address: str, http: HttpClient, timeout_s: float) -> Postgres:
    match kind:
        case "PostgREST":
            return RestPostgres(http, address, SECRET_KEY, timeout_s=timeout_s)
        case "supabase client":
            client = SupabaseClient(address, SECRET_KEY)
            return SupabasePostgres(client, timeout_s=timeout_s)
    return DirectPostgres(address, timeout_s=timeout_s, pooled=kind == "pooler")


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def probed_url(postgres: PostgresProcess) -> Iterator[str]:
    """A database with the probes in it; its tests leave it as they found it."""
    url = _named(postgres.url, DATABASE)
    _administer(postgres.url, f"create database {DATABASE} template {TEMPLATE} strategy file_copy")
    _administer(url, PROBES)
    yield url
    _administer(postgres.url, f"drop database {DATABASE} with (force)")


@pytest.fixture(scope="module")
def address(
    kind: str, probed_url: str, authenticator: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """Where the backend is."""
    folder = tmp_path_factory.mktemp("backend")
    match kind:
        case "direct":
            yield probed_url
        case "pooler":
            with running_pooler(probed_url, folder) as url:
                yield url
        case _:
            with running_supabase(probed_url, folder) as project:
                yield project.url


@pytest.fixture
def link(address: str) -> Iterator[Proxy]:
    parts = urlsplit(address)
    assert parts.hostname and parts.port
    made = Proxy(parts.hostname, parts.port)
    yield made
    made.stop()


@pytest.fixture
async def backend(kind: str, address: str, link: Proxy, probed_url: str) -> AsyncIterator[Backend]:
    _administer(probed_url, "truncate ledger.probes", "alter sequence ledger.probe_tries restart")
    opened: list[Postgres] = []
    http = HttpClient(connect_timeout_s=1.0)

    def make(timeout_s: float) -> Postgres:
        opened.append(_client(kind, link.address(address), http, timeout_s))
        return opened[-1]

    yield Backend(link, make, probed_url)
    for client in opened:
        await client.close()
    await http.aclose()


@pytest.fixture
def postgres_port(backend: Backend) -> Postgres:
    return backend.open(5.0)


async def test_a_json_value_comes_back_as_it_was_sent(postgres_port: Postgres) -> None:
    values = [
        None, True, 0, 2**53 - 1, -(2**53) + 1, "text ä \x1f \u2028 'quoted' $1", [], {},
        {"rows": [[1, None], ["a", {"b": []}]]},
    ]  # fmt: skip
    for value in values:
        answer = await postgres_port.rpc("probe_echo", {"value": value})
        assert answer == value
        assert type(answer) is type(value)


async def test_a_large_body_travels_both_ways(postgres_port: Postgres) -> None:
    value = ["x" * 1000] * 2000
    assert await postgres_port.rpc("probe_echo", {"value": value}) == value


@pytest.mark.parametrize(
    ("code", "kind_of_error", "status"),
    [
        ("PT400", InvalidRequest, 400),
        ("PT402", InsufficientCredits, 402),
        ("PT403", Forbidden, 403),
        ("PT404", NotFound, 404),
        ("PT409", Conflict, 409),
    ],
)
async def test_a_business_error_is_the_same_from_every_backend(
    postgres_port: Postgres, code: str, kind_of_error: Any, status: int
) -> None:
    call = {"code": code, "message": "some_reason", "detail": "1234567890123"}
    with pytest.raises(kind_of_error) as refused:
        await postgres_port.rpc("probe_fail", call)
    assert refused.value.status == status
    if code == "PT402":
        assert refused.value.metadata == {"available_nanos": 1234567890123}
        assert refused.value.code == "insufficient_credits"
    else:
        assert refused.value.code == "some_reason"


async def test_a_spent_budget_is_told_from_missing_credit(postgres_port: Postgres) -> None:
    call = {"code": "PT402", "message": "budget_exceeded", "detail": "7"}
    with pytest.raises(InsufficientCredits) as refused:
        await postgres_port.rpc("probe_fail", call)
    assert refused.value.code == "budget_exceeded"
    assert refused.value.metadata == {"available_nanos": 7}


async def test_the_functions_of_the_house_refuse_alike(postgres_port: Postgres) -> None:
    with pytest.raises(InvalidRequest) as malformed:
        await postgres_port.rpc("get_balance", {"account": "not:a:name"})
    assert malformed.value.code == "invalid_argument"
    with pytest.raises(NotFound):
        await postgres_port.rpc("get_balance", {"account": "nobody"})
    assert await postgres_port.rpc("find_principal", {"hash": "ab" * 32}) is None


@pytest.mark.parametrize("code", ["XX000", "22012", "P0001", "42501", "PT418"])
async def test_an_unexpected_error_is_internal_and_its_log_holds_no_argument(
    postgres_port: Postgres, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    call = {"code": code, "message": "broken", "detail": "d", "prompt": "a private text"}
    with pytest.raises((InternalError, StoreUnavailable)) as failed:
        await postgres_port.rpc("probe_fail", call)
    if code != "42501":  # refused rights: our configuration, not this call
        assert isinstance(failed.value, InternalError)
    assert "broken" not in failed.value.message
    assert "probe_fail" in str([record.__dict__ for record in caplog.records])
    assert "private" not in str([record.__dict__ for record in caplog.records])


async def test_a_function_that_is_not_there_is_an_internal_error(postgres_port: Postgres) -> None:
    with pytest.raises(InternalError):
        await postgres_port.rpc("no_such_function", {})


@pytest.mark.parametrize("name", ["ping; drop", "ping(", "ledger.now", "../ping", "", "Ping"])
async def test_a_name_that_is_none_is_never_sent(
    backend: Backend, postgres_port: Postgres, name: str
) -> None:
    with pytest.raises(InternalError):
        await postgres_port.rpc(name, {})
    assert backend.link.requests == 0


@pytest.mark.parametrize("code", ["40P01", "40001", "55P03"])
async def test_F12_a_rolled_back_call_is_tried_again(postgres_port: Postgres, code: str) -> None:
    call = {"code": code, "failures": MAX_TRIES - 1}
    assert await postgres_port.rpc("probe_flaky", call) == MAX_TRIES


async def test_F12_but_not_for_ever(backend: Backend, postgres_port: Postgres) -> None:
    with pytest.raises(StoreUnavailable):
        await postgres_port.rpc("probe_flaky", {"code": "55P03", "failures": 100})
    assert await backend.sql("select last_value from ledger.probe_tries") == MAX_TRIES


async def test_F12_an_endless_conflict_ends_with_the_time_limit(
    backend: Backend, postgres_port: Postgres
) -> None:
    """PostgREST repeats a conflict by itself, without an end of its own."""
    call = {"code": "40001", "failures": 10**9}
    with pytest.raises((StoreUnavailable, StoreTimeout)):
        await postgres_port.rpc("probe_flaky", call, timeout_s=0.5)
    await backend.sql("select setval('ledger.probe_tries', 2000000001)")
    await eventually(lambda: backend.has_settled())


@pytest.mark.parametrize(
    ("code", "kind_of_error"),
    [("57014", StoreTimeout), ("53300", StoreUnavailable), ("57P01", StoreUnavailable)],
)
async def test_F12_other_failures_are_told_once(
    backend: Backend, postgres_port: Postgres, code: str, kind_of_error: Any
) -> None:
    with pytest.raises(kind_of_error):
        await postgres_port.rpc("probe_flaky", {"code": code, "failures": 100})
    assert await backend.sql("select last_value from ledger.probe_tries") == 1


async def test_a_slow_call_ends_at_its_limit_and_nobody_knows_what_became_of_it(
    backend: Backend, postgres_port: Postgres
) -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(StoreTimeout):
        await postgres_port.rpc("probe_add", {"n": 1, "sleep_s": 2}, timeout_s=0.3)
    assert asyncio.get_running_loop().time() - started < 1.5
    assert await postgres_port.rpc("ping", {}) == {"ok": True, "version": 1}


async def test_a_refused_connection_means_not_applied(backend: Backend) -> None:
    client = backend.open(2.0)
    backend.link.down()
    with pytest.raises(StoreUnavailable):
        await client.rpc("probe_add", {"n": 1})
    backend.link.up()
    assert await client.rpc("probe_add", {"n": 1}) == 1


async def test_a_server_that_hangs_is_unknown_after_the_limit(backend: Backend) -> None:
    client = backend.open(0.3)
    backend.link.hang()
    with pytest.raises(StoreTimeout):
        await client.rpc("probe_add", {"n": 1})
    backend.link.up()


async def test_a_lost_reply_is_unknown_and_the_call_was_sent_once(backend: Backend) -> None:
    client = backend.open(5.0)
    lost = backend.link.lose_reply(b"probe_add")
    with pytest.raises(StoreTimeout):
        await client.rpc("probe_add", {"n": 1})
    assert lost.reached
    assert await backend.sql("select count(*) from ledger.probes") <= 1


async def test_F05_who_repeats_a_call_whose_reply_was_lost_gets_it_done_once(
    backend: Backend,
) -> None:
    client = backend.open(5.0)
    await client.rpc("open_account", {"account": "ann", "name": "Ann", "stage": "test"})
    grant = {"op_id": "op1", "account": "ann", "amount_nanos": 1000, "reason": "a test"}
    backend.link.lose_reply(b"op1")
    for _ in range(2):
        try:
            await client.rpc("grant_credit", grant)
        except StoreTimeout:
            continue
    assert (await client.rpc("get_balance", {"account": "ann"}))["available_nanos"] == 1000


async def test_a_cut_connection_is_opened_again(backend: Backend, postgres_port: Postgres) -> None:
    await postgres_port.rpc("ping", {})
    backend.link.cut()
    for _ in range(3):
        try:
            assert await postgres_port.rpc("ping", {}) == {"ok": True, "version": 1}
            return
        except StoreTimeout:  # the reset came while the call was on its way
            continue
    raise AssertionError("the backend does not recover")


async def test_many_calls_at_once_all_find_their_answer(postgres_port: Postgres) -> None:
    calls = [postgres_port.rpc("probe_echo", {"value": n}) for n in range(60)]
    assert await asyncio.gather(*calls) == list(range(60))


async def test_a_cancelled_call_leaves_the_client_whole(postgres_port: Postgres) -> None:
    await postgres_port.rpc("ping", {})
    task = asyncio.create_task(postgres_port.rpc("probe_add", {"n": 1, "sleep_s": 1}))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await postgres_port.rpc("probe_echo", {"value": "next"}) == "next"
