"""What goes after its time, and what stays: sums, charges, hashes, a ledger that adds up."""

from typing import Any

from tests.contract.ledger.conftest import Ledger
from tests.usage.day import DAY_MS, day, open_day, settle_day


async def now(ledger: Ledger, when: str) -> None:
    await ledger.connection.execute(f"select set_config('gatewayz.now', '{when}', false)")


async def usage(ledger: Ledger) -> Any:
    rows = await ledger.rpc(
        "query_usage", account="ann", metrics=["usage", "request_count"], dimensions=["model"],
        from_ms=DAY_MS, to_ms=DAY_MS + 86_400_000,
    )  # fmt: skip
    return rows["rows"]


async def test_details_go_after_the_plans_time_and_their_sums_stay(used: Ledger) -> None:
    await open_day(used)
    await settle_day(used, list(day(80)))
    before = await usage(used)
    await now(used, "2026-12-24T00:00:00Z")  # thirty days after the day began
    assert (await used.rpc("apply_retention", most=1000))["deleted"] == 0
    await now(used, "2026-12-25T00:00:00Z")
    kept = await used.rpc("apply_retention", most=1000)
    assert kept["deleted"] == 80
    assert await used.connection.fetchval("select count(*) from ledger.requests") == 0
    assert await used.connection.fetchval("select count(*) from ledger.charges") == 80
    assert await used.connection.fetchval("select max(number) from ledger.receipts") == 80
    assert await usage(used) == before
    assert await used.violations() == []
    assert await used.connection.fetch("select * from ledger.find_usage_violations(null)") == []


async def test_what_was_not_added_up_is_added_up_before_it_goes(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(30))
    await settle_day(used, messages)
    await now(used, "2027-01-25T00:00:00Z")
    await used.rpc("apply_retention", most=1000)
    spent = sum(row["usage"] for row in await usage(used))
    assert spent == sum(message["charge_nanos"] for message in messages)


async def test_a_better_plan_keeps_them_longer(used: Ledger) -> None:
    await open_day(used)
    await settle_day(used, list(day(10)))
    await used.connection.execute("update ledger.retention_terms set days = 90 where plan = 'free'")
    await now(used, "2027-01-25T00:00:00Z")
    assert (await used.rpc("apply_retention", most=1000))["deleted"] == 0


async def test_retention_in_pieces_comes_to_the_same(used: Ledger) -> None:
    await open_day(used)
    await settle_day(used, list(day(50)))
    await now(used, "2026-12-30T00:00:00Z")
    pieces = []
    while (done := await used.rpc("apply_retention", most=17))["more"]:
        pieces.append(done["deleted"])
        assert await used.violations() == []
    assert sum(pieces) + done["deleted"] == 50


async def test_a_month_that_nobody_keeps_is_dropped_whole(used: Ledger) -> None:
    await open_day(used)
    await settle_day(used, list(day(20)))
    months = "select count(*) from pg_inherits where inhparent = 'ledger.requests'::regclass"
    before = await used.connection.fetchval(months)
    await now(used, "2028-02-01T00:00:00Z")
    done = await used.rpc("apply_retention", most=1000)
    assert done["deleted"] == 20
    assert done["dropped"] >= 1
    assert await used.connection.fetchval(months) == before - done["dropped"]
    assert done["hours"] > 0, "hours are kept for 400 days"
    assert await used.connection.fetch("select * from ledger.find_usage_violations(null)") == []
    assert await used.violations() == []
