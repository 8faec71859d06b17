"""What was used at a customer's own key, at list prices: sums that no request is too large for."""

import asyncpg
import pytest

from gatewayz.core.money import NANOS_PER_USD as USD


@pytest.mark.parametrize(
    ("fee", "ppm", "listed"),
    [
        (20_000 * USD, 50_000, 400_000 * USD),
        (9_224 * USD, 500_000, 18_448 * USD),
        (10, 30_000, 333),
    ],
)
async def test_a_fee_of_any_size_is_told_as_its_list_price(
    database_url: str, fee: int, ppm: int, listed: int
) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(
            """select api.open_account('{"account": "a", "name": "a", "stage": "test"}')"""
        )
        await connection.execute(
            "insert into ledger.requests (request_id, account, key_id, price_version, lines,"
            " charge_nanos, outcome, estimated, attempts, stream, posted_at)"
            " values ('r', 'a', 'k', $1, '[]', $2, 'completed', false, '[]', false, now())",
            f"v-byok{ppm}",
            fee,
        )
        rows = await connection.fetch("select requests, listed_nanos from ledger.byok_spending")
    finally:
        await connection.close()
    assert [tuple(row) for row in rows] == [(1, listed)]
