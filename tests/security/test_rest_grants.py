"""F91 through the real PostgREST: what a stranger with the publishable key can reach. Nothing."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import pytest

from gatewayz.local.migrate import migrate
from gatewayz.local.postgres import PostgresProcess
from tests.conftest import _administer, _named
from tests.fakes.supabase import PUBLISHABLE_KEY, SECRET_KEY, token
from tests.managed import Supabase, authenticator, supabase

__all__ = ["authenticator", "supabase"]

SCHEMAS = ("ledger", "tenancy", "queue", "api", "public", "pg_catalog", "information_schema")
# A signed-in user of the project, and nobody.
STRANGERS = {
    "anon": {"apikey": PUBLISHABLE_KEY},
    "authenticated": {
        "apikey": PUBLISHABLE_KEY,
        "authorization": f"Bearer {token('authenticated', sub='user-1')}",
    },
}
FORGED = [
    {},
    {"apikey": "sb_secret_a-guess"},
    {"apikey": PUBLISHABLE_KEY, "authorization": "Bearer a.b.c"},
    {"apikey": PUBLISHABLE_KEY, "authorization": f"Bearer {token('postgres')}"},
    {"apikey": PUBLISHABLE_KEY, "authorization": f"Bearer {token('authenticator')}"},
    {"apikey": PUBLISHABLE_KEY, "authorization": f"Bearer {token('service_role')[:-4]}AAAA"},
]


@pytest.fixture
async def client(supabase: Supabase) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=supabase.url + "/rest/v1", trust_env=False) as made:
        yield made


async def names(database_url: str, query: str) -> list[tuple[str, str]]:
    connection = await asyncpg.connect(database_url)
    try:
        return [(row[0], row[1]) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def functions(database_url: str) -> list[tuple[str, str]]:
    found = await names(
        database_url,
        "select n.nspname, p.proname from pg_proc p join pg_namespace n on n.oid = p.pronamespace"
        " where n.nspname in ('api', 'ledger', 'tenancy', 'queue')",
    )
    assert len(found) > 40
    return found


async def tables(database_url: str) -> list[tuple[str, str]]:
    found = await names(
        database_url,
        "select n.nspname, c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace"
        " where c.relkind in ('r', 'p', 'v')"
        " and n.nspname in ('api', 'ledger', 'tenancy', 'queue', 'public')",
    )
    assert len(found) > 20
    return found


@pytest.mark.parametrize("headers", [*STRANGERS.values(), *FORGED])
async def test_F91_a_stranger_calls_no_function(
    client: httpx.AsyncClient, database_url: str, headers: dict[str, str]
) -> None:
    for schema, name in await functions(database_url):
        answer = await client.post(
            f"/rpc/{name}", json={}, headers=headers | {"content-profile": schema}
        )
        assert answer.status_code in (401, 403, 404, 406), (schema, name, answer.text)
        read = await client.get(f"/rpc/{name}", headers=headers | {"accept-profile": schema})
        assert read.status_code in (401, 403, 404, 405, 406), (schema, name, read.text)


@pytest.mark.parametrize("headers", [*STRANGERS.values(), {"apikey": SECRET_KEY}])
async def test_F91_nobody_reaches_a_table_not_even_with_the_secret_key(
    client: httpx.AsyncClient, database_url: str, headers: dict[str, str]
) -> None:
    for schema, name in await tables(database_url):
        profile = {"accept-profile": schema, "content-profile": schema}
        for method in ("GET", "POST", "PATCH", "DELETE"):
            answer = await client.request(
                method, f"/{name}", json={} if method != "GET" else None, headers=headers | profile
            )
            assert answer.status_code in (401, 403, 404, 406), (schema, name, method, answer.text)


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_F91_only_schema_api_is_exposed(client: httpx.AsyncClient, schema: str) -> None:
    headers = {"apikey": SECRET_KEY, "content-profile": schema}
    answer = await client.post("/rpc/ping", json={}, headers=headers)
    assert answer.status_code == (200 if schema == "api" else 406), answer.text


@pytest.mark.parametrize("who", STRANGERS)
async def test_F91_the_description_of_the_interface_shows_a_stranger_nothing(
    client: httpx.AsyncClient, who: str
) -> None:
    answer: Any = (await client.get("/", headers=STRANGERS[who])).json()
    assert set(answer.get("paths", {})) <= {"/"}
    assert not answer.get("definitions")


async def test_an_argument_in_the_address_changes_no_call(client: httpx.AsyncClient) -> None:
    """PostgREST takes columns and filters from the query; a scalar answer has none to give."""
    headers = {"apikey": SECRET_KEY, "content-profile": "api"}
    answer = await client.post("/rpc/ping?select=*&limit=1", json={}, headers=headers)
    assert answer.json() == {"ok": True, "version": 1}


async def test_the_secret_key_calls_what_the_gateway_calls(client: httpx.AsyncClient) -> None:
    headers = {"apikey": SECRET_KEY, "content-profile": "api"}
    answer = await client.post("/rpc/check_violations", json={}, headers=headers)
    assert (answer.status_code, answer.json()) == (200, [])


GENEROUS = """
alter default privileges grant all on tables to anon, authenticated, service_role;
alter default privileges grant all on functions to anon, authenticated, service_role;
alter default privileges grant all on sequences to anon, authenticated, service_role;
alter default privileges grant all on schemas to anon, authenticated;
"""
REACHABLE = """
select p.oid::regprocedure::text from pg_proc p, unnest(array['anon', 'authenticated']) as role
 where p.pronamespace::regnamespace::text in ('api', 'ledger', 'tenancy', 'queue')
   and has_function_privilege(role, p.oid, 'execute')
union all
select c.oid::regclass::text
  from pg_class c, unnest(array['anon', 'authenticated', 'service_role']) as role
 where c.relnamespace::regnamespace::text in ('api', 'ledger', 'tenancy', 'queue')
   and c.relkind in ('r', 'p', 'v')
   and has_table_privilege(role, c.oid, 'select, insert, update, delete, truncate')
union all
select n.nspname from pg_namespace n, unnest(array['anon', 'authenticated']) as role
 where n.nspname in ('api', 'ledger', 'tenancy', 'queue')
   and has_schema_privilege(role, n.oid, 'usage')
"""


async def test_F91_a_project_that_grants_everything_by_default_grants_none_of_ours(
    postgres: PostgresProcess, database_url: str
) -> None:
    """Platforms give their roles rights to whatever is made; our migrations take them back."""
    name = "generous"
    _administer(postgres.url, f"create database {name} template template0")
    url = _named(postgres.url, name)
    try:
        _administer(url, GENEROUS)
        await migrate(url)
        assert await names(url, f"select 1, t.* from ({REACHABLE}) as t") == []
    finally:
        _administer(postgres.url, f"drop database {name} with (force)")
