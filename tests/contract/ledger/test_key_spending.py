"""What a key spent, kept as running totals."""

from typing import Any

from tests.contract.ledger.conftest import Ledger


async def usage(ledger: Ledger, key: str) -> Any:
    return await ledger.rpc("get_key_usage", account="ann", key_id=key)


async def at(ledger: Ledger, when: str) -> None:
    await ledger.connection.execute(f"select set_config('gatewayz.now', '{when}', false)")


async def open_with_keys(ledger: Ledger, *keys: str) -> None:
    await ledger.open()
    for number, key in enumerate(keys):
        await ledger.rpc(
            "create_key", key_id=key, account="ann", name=key, hash=f"{number:064x}", prefix="gw_x"
        )


async def test_a_keys_usage_is_told_by_day_week_month_and_in_total(ledger: Ledger) -> None:
    await open_with_keys(ledger, "key_1", "key_2")
    for when, nanos in (
        ("2026-10-31T23:59:59Z", 1_000_000),
        ("2026-11-01T00:00:00Z", 100_000),  # a Sunday: the week before
        ("2026-11-23T00:00:00Z", 10_000),  # the Monday of the week
        ("2026-11-25T00:00:00Z", 1_000),
        ("2026-11-25T12:00:00Z", 100),
    ):
        await at(ledger, when)
        assert await ledger.settle(ledger.message(nanos)) == ["posted"]
    assert await ledger.settle(ledger.message(7, key_id="key_2")) == ["posted"]
    assert await usage(ledger, "key_1") == {
        "prefix": "gw_x",
        "day_nanos": 1_100,
        "week_nanos": 11_100,
        "month_nanos": 111_100,
        "total_nanos": 1_111_100,
    }
    assert (await usage(ledger, "key_2"))["total_nanos"] == 7


async def test_duplicates_and_refused_messages_count_once_or_not_at_all(ledger: Ledger) -> None:
    await open_with_keys(ledger, "key_1")
    message = ledger.message(500)
    bad = ledger.message(300) | {"charge_nanos": 299}
    assert await ledger.settle(message, bad, message) == ["posted", "invalid", "duplicate"]
    assert await ledger.settle(message) == ["duplicate"]
    assert (await usage(ledger, "key_1"))["total_nanos"] == 500


async def test_asking_for_usage_reads_no_request(ledger: Ledger) -> None:
    """Its cost must not grow with a key's history."""
    source: str = await ledger.connection.fetchval(
        "select prosrc from pg_proc where proname = 'get_key_usage'"
    )
    assert "ledger.requests" not in source and "ledger.key_spending" in source
    await open_with_keys(ledger, "key_1")
    await ledger.settle(*[ledger.message(10) for _ in range(50)])
    rows = await ledger.connection.fetchval("select count(*) from ledger.key_spending")
    assert rows == 1 and (await usage(ledger, "key_1"))["total_nanos"] == 500
