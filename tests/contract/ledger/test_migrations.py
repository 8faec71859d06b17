"""Migrations: from zero, twice, into a second database of the same server; files stay readable."""

import asyncpg

from gatewayz.local.migrate import MIGRATIONS, migrate

FILES = sorted(MIGRATIONS.glob("*.sql"))


async def create(postgres, name):
    connection = await asyncpg.connect(postgres.url)
    try:
        await connection.execute(f"drop database if exists {name} with (force)")
        await connection.execute(f"create database {name} template template0")
    finally:
        await connection.close()
    return f"{postgres.url.rpartition('/')[0]}/{name}"


async def test_migrations_apply_from_zero_and_twice_beside_another_database(postgres):
    url = await create(postgres, "from_zero")
    assert await migrate(url) == [file.name for file in FILES]
    assert await migrate(url) == []
    connection = await asyncpg.connect(url)
    try:
        assert await connection.fetchval("select api.ping('{}')") == '{"ok": true, "version": 1}'
        assert await connection.fetch("select * from ledger.violations") == []
    finally:
        await connection.close()


async def test_no_extension_is_needed(ledger):
    rows = await ledger.connection.fetch("select extname from pg_extension")
    assert [row["extname"] for row in rows] == ["plpgsql"]


async def test_every_api_function_takes_one_unnamed_jsonb_and_returns_jsonb(ledger):
    rows = await ledger.connection.fetch(
        """select p.proname, p.pronargs, p.proargnames is null as unnamed,
                  pg_get_function_identity_arguments(p.oid) as takes,
                  p.prorettype::regtype::text as gives
             from pg_proc p where p.pronamespace = 'api'::regnamespace"""
    )
    assert len(rows) >= 22
    for row in rows:
        shape = (row["pronargs"], row["unnamed"], row["takes"], row["gives"])
        assert shape == (1, True, "jsonb", "jsonb"), row["proname"]


def test_files_have_numbers_of_their_own_and_are_short_enough_to_read():
    numbers = [file.name[:4] for file in FILES]
    assert all(number.isdigit() for number in numbers)
    assert len(set(numbers)) == len(numbers)
    for file in FILES:
        lines = file.read_text().splitlines()
        assert len(lines) <= 450, file.name
        assert max(map(len, lines)) <= 104, file.name
