"""F91: what each database role may touch. Only service_role, and only functions of schema api."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

SCHEMAS = ("ledger", "tenancy", "queue", "api")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator["asyncpg.Connection[Any]"]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def relations(database):
    rows = await database.fetch(
        """select n.nspname || '.' || quote_ident(c.relname) as name, c.relkind::text as kind,
                  c.relrowsecurity as secured
             from pg_class c join pg_namespace n on n.oid = c.relnamespace
            where n.nspname = any ($1) and c.relkind in ('r', 'p', 'v', 'S')""",
        list(SCHEMAS),
    )
    assert len(rows) > 20
    return rows


async def functions(database, *schemas):
    rows = await database.fetch(
        """select p.oid, n.nspname || '.' || p.proname as name, p.prosecdef as definer,
                  p.proconfig as settings, n.nspname as schema
             from pg_proc p join pg_namespace n on n.oid = p.pronamespace
            where n.nspname = any ($1)""",
        list(schemas or SCHEMAS),
    )
    assert len(rows) > 10
    return rows


@pytest.mark.parametrize("role", ["anon", "authenticated", "public_stranger", "service_role"])
async def test_F91_no_client_role_can_touch_a_table(database, role):
    await database.execute(f"begin; create role public_stranger; set local role {role}")
    try:
        rows = await relations_as_owner(database, role)
        for row in rows:
            verbs = {"S": ["select last_value from {}"]}.get(
                row["kind"], ["select * from {}", "delete from {}"]
            )
            for verb in verbs:
                await database.execute("savepoint attempt")
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await database.execute(verb.format(row["name"]))
                await database.execute("rollback to attempt")
    finally:
        await database.execute("rollback")


async def relations_as_owner(database, role):
    await database.execute("reset role")
    rows = await relations(database)
    await database.execute(f"set local role {role}")
    return rows


@pytest.mark.parametrize("role", ["anon", "authenticated"])
async def test_F91_no_stranger_can_call_a_function(database, role):
    rows = await functions(database, "api")
    for row in rows:
        async with database.transaction():
            await database.execute(f"set local role {role}")
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with database.transaction():
                    await database.fetchval(f"select {row['name']}('{{}}')")


async def test_privileges_say_the_same_as_attempts(database):
    for row in await functions(database):
        for role in ("anon", "authenticated", "service_role"):
            may = await database.fetchval(
                "select has_function_privilege($1, $2::oid, 'execute')", role, row["oid"]
            )
            assert may == (role == "service_role" and row["schema"] == "api"), (role, row["name"])


async def test_service_role_can_call_what_the_gateway_calls(database):
    async with database.transaction():
        await database.execute("set local role service_role")
        opened = await database.fetchval(
            """select api.open_account('{"account": "ann", "name": "Ann", "stage": "dev"}')"""
        )
        assert opened == '{"epoch": 1, "account": "ann"}'
        assert await database.fetchval("select api.check_violations('{}')") == "[]"


async def test_every_table_has_row_security(database):
    tables = [row for row in await relations(database) if row["kind"] in ("r", "p")]
    assert [row["name"] for row in tables if not row["secured"]] == []


async def test_every_function_that_runs_as_its_owner_has_a_fixed_search_path(database):
    for row in await functions(database):
        if row["definer"]:
            assert row["schema"] == "api", row["name"]
            assert 'search_path=""' in (row["settings"] or []), row["name"]
        else:
            assert row["schema"] != "api", row["name"]


async def test_schema_api_holds_functions_only(database):
    names = [row["name"] for row in await relations(database)]
    assert not [name for name in names if name.startswith("api.")]


async def test_a_function_added_later_is_closed_to_everyone_from_the_start(database):
    for name in ("ledger.forgotten()", "api.forgotten(jsonb)"):
        await database.execute(f"create function {name} returns int language sql as 'select 1'")
        for role in ("anon", "authenticated"):
            assert not await database.fetchval(
                "select has_function_privilege($1, $2::text, 'execute')", role, name
            )


async def test_a_shadowing_schema_of_the_caller_is_never_searched(database):
    """A caller's own `sum` or table must not run with the rights of the owner."""
    await database.execute(
        """create schema evil;
           create function evil.sum(numeric) returns numeric language sql as 'select 1/0::numeric';
           set search_path = evil, pg_catalog;
           select api.open_account('{"account": "ann", "name": "Ann", "stage": "dev"}');
           select api.get_balance('{"account": "ann"}')"""
    )
