"""One reader of a clock in all of SQL; only the owner of the schema may set the time."""

import re

import asyncpg
import pytest

from gatewayz.local.migrate import MIGRATIONS

CLOCK = re.compile(
    r"(?<!ledger\.)\bnow\s*\(|\b(clock|statement|transaction)_timestamp\b"
    r"|\bcurrent_(timestamp|time|date)\b|\blocaltime(stamp)?\b|\btimeofday\b|'(now|today)'",
    re.IGNORECASE,
)


def without_comments(sql):
    return re.sub(r"--[^\n]*", "", sql)


def test_only_ledger_now_reads_a_clock():
    found = []
    for file in sorted(MIGRATIONS.glob("*.sql")):
        for line in without_comments(file.read_text()).splitlines():
            if CLOCK.search(line) and "create function ledger.now()" not in line:
                found.append((file.name, line.strip()))
    assert found == [("0001_roles_and_schemas.sql", "else clock_timestamp()")]


@pytest.mark.parametrize("line", ["select now()", "default CURRENT_DATE", "x > clock_timestamp()"])
def test_the_search_for_clocks_finds_them(line):
    assert CLOCK.search(line)


async def test_the_owner_sets_the_time_for_everything(ledger):
    await ledger.open()
    lease = await ledger.reserve(ttl_ms=60_000, live_ms=0)
    await ledger.connection.execute("set gatewayz.now = '2040-01-01T00:00:00Z'")
    later = await ledger.reserve(ttl_ms=60_000, live_ms=0)
    assert later["lease"] != lease["lease"]
    assert later["left_ms"] == 60_000


async def test_another_login_cannot_set_the_time(ledger):
    await ledger.connection.execute(
        "create role stranger login password 'strange'; grant service_role to stranger"
    )
    try:
        # user and password given apart go before those in the address
        stranger = await asyncpg.connect(ledger.url, user="stranger", password="strange")
        try:
            assert await stranger.fetchval("select session_user") == "stranger"
            await stranger.execute("set role service_role; set gatewayz.now = '2040-01-01'")
            messages = [{"id": "1", "body": {}}]
            await ledger.rpc("send_messages", stranger, queue="charges", messages=messages)
        finally:
            await stranger.close()
        year = await ledger.connection.fetchval(
            "select extract(year from sent_at)::int from queue.messages"
        )
        assert year < 2040
    finally:
        await ledger.connection.execute("drop role stranger")
