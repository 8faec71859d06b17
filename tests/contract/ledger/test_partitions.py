"""Months of transfers, charges and requests: made ahead, filled by ULID, refusing nothing."""

from datetime import UTC, datetime

import pytest

from gatewayz.core.ids import ulid

TABLES = ("transfers", "charges", "requests")


def ms(*date):
    return int(datetime(*date, tzinfo=UTC).timestamp() * 1000)


async def at(ledger, text):
    await ledger.connection.execute("select set_config('gatewayz.now', $1, false)", text)


async def partition_of(ledger, table, value):
    column = "ref" if table == "transfers" else "request_id"
    name = await ledger.connection.fetchval(
        f"select tableoid::regclass::text from ledger.{table} where {column} = $1", value
    )
    return name.removeprefix(f"ledger.{table}_")


async def test_the_migration_makes_this_month_and_the_next_two(ledger):
    now = await ledger.connection.fetchval("select ledger.now() at time zone 'UTC'")
    months = [divmod(now.year * 12 + now.month - 1 + ahead, 12) for ahead in range(3)]
    for table in TABLES:
        for year, month in months:
            name = f"ledger.{table}_{year}_{month + 1:02d}"
            assert await ledger.connection.fetchval("select to_regclass($1)", name), name


async def test_preparing_twice_makes_nothing_new(ledger):
    assert await ledger.rpc("prepare_partitions") == {"made": 0}


async def test_the_time_of_a_ulid_is_the_same_in_sql_and_python(ledger):
    for moment in (0, 1, ms(2026, 11, 25), ms(2031, 1, 1), 2**48 - 1):
        made = await ledger.connection.fetchval("select ledger.ulid_time($1)", moment)
        assert made == ulid(moment)[:10]


async def test_ids_minted_in_sql_sort_by_time_and_differ(ledger):
    rows = await ledger.connection.fetch(
        """select ledger.new_ulid(timestamptz '2026-11-25' + n * interval '1 ms') as id
             from generate_series(1, 500) as n"""
    )
    ids = [row["id"] for row in rows]
    assert sorted(ids) == ids
    assert len(set(ids)) == 500
    assert {len(value) for value in ids} == {26}


@pytest.mark.parametrize(
    ("moment", "month"),
    [
        (ms(2031, 3, 1), "2031_03"),
        (ms(2031, 3, 31, 23, 59, 59), "2031_03"),
        (ms(2031, 4, 1), "2031_04"),
    ],
)
async def test_a_request_and_its_money_stand_in_the_month_of_its_ulid(ledger, moment, month):
    await at(ledger, "2031-03-15T12:00:00Z")
    await ledger.rpc("prepare_partitions")
    await ledger.open()
    request_id = "req_" + ulid(moment)
    assert await ledger.settle(ledger.message(5, request_id=request_id)) == ["posted"]
    for table in TABLES:
        assert await partition_of(ledger, table, request_id) == month


async def test_a_month_without_a_partition_is_served_by_the_default_and_moved_later(ledger):
    await ledger.open()
    request_id = "req_" + ulid(ms(2040, 6, 15))
    message = ledger.message(5, request_id=request_id)
    assert await ledger.settle(message) == ["posted"]
    assert await partition_of(ledger, "charges", request_id) == "default"
    await at(ledger, "2040-05-01T00:00:00Z")
    assert (await ledger.rpc("prepare_partitions"))["made"] == 9
    assert await partition_of(ledger, "charges", request_id) == "2040_06"
    assert await ledger.settle(message) == ["duplicate"]


async def test_an_id_that_is_no_ulid_is_still_served(ledger):
    await ledger.open()
    message = ledger.message(5, request_id="req_zzz")
    assert await ledger.settle(message, message) == ["posted", "duplicate"]


async def test_operations_count_once_over_the_turn_of_months(ledger):
    await at(ledger, "2031-01-31T23:59:59Z")
    await ledger.open(credit_nanos=0)
    payment = {"payment": "pi", "account": "ann", "amount_nanos": 500}
    await ledger.rpc("post_top_up", **payment)
    lease = (await ledger.reserve(need=100, op_id="r"))["lease"]
    await ledger.rpc("give_back_credit", op_id="g", lease=lease, amount=40)
    await at(ledger, "2031-02-01T00:00:01Z")
    await ledger.rpc("post_top_up", **payment)
    await ledger.reserve(need=100, op_id="r")
    await ledger.rpc("give_back_credit", op_id="g", lease=lease, amount=40)
    balance = await ledger.balance()
    assert (balance["granted_nanos"], balance["held_nanos"]) == (500, 60)


async def test_new_months_have_row_security_and_no_grants(ledger):
    await at(ledger, "2050-01-01T00:00:00Z")
    await ledger.rpc("prepare_partitions")
    rows = await ledger.connection.fetch(
        "select relname, relrowsecurity, relacl from pg_class where relname like '%2050_01'"
        " and relkind = 'r'"
    )
    assert len(rows) == 3
    assert all(row["relrowsecurity"] for row in rows)
    assert all("=" not in (entry or "")[:1] for row in rows for entry in row["relacl"] or [])
