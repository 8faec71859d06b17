"""A seeded day through settlement: log, sums, questions, exports, ledger agree to the nano-dollar.

bench/usage.py does the same with 100,000 requests, and with millions in the log.
"""

import math
from collections import Counter
from typing import Any

from gatewayz.core.money import usd_text
from gatewayz.usage.files import WRITERS
from gatewayz.usage.focus import COLUMNS, focus_row
from gatewayz.usage.log import filed
from tests.contract.ledger.conftest import Ledger
from tests.usage.day import DAY_END_MS, DAY_MS, day, open_day, settle_day
from tests.usage.test_rollups import ask

SIZE = 3000
SPAN: dict[str, Any] = {"account": "ann", "from_ms": DAY_MS, "to_ms": DAY_END_MS}


async def pages(ledger: Ledger, **filters: Any) -> list[Any]:
    """The whole log under these filters, page after page."""
    rows: list[Any] = []
    cursor = None
    while True:
        page = await ledger.rpc("search_requests", **(SPAN | filters), cursor=cursor)
        rows += page["rows"]
        cursor = page["next"]
        if cursor is None:
            return rows


async def test_a_day_reads_the_same_everywhere(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(SIZE))
    await settle_day(used, messages)
    total = sum(message["charge_nanos"] for message in messages)
    log = await pages(used, limit=700)
    assert [row["request_id"] for row in log] == sorted(
        (message["request_id"] for message in messages), reverse=True
    )
    assert sum(row["charge_nanos"] for row in log) == total
    assert (await ask(used, ["usage", "request_count"], []))["rows"] == [
        {"usage": total, "request_count": SIZE}
    ]
    sums = {
        table: await used.connection.fetchval(f"select sum(nanos)::bigint from ledger.{table}")
        for table in ("usage_hours", "usage_days", "usage_lines")
    }
    assert set(sums.values()) == {total}
    lines = await used.rpc("list_billed_lines", account="ann", day_ms=DAY_MS)
    rows = [focus_row(line, DAY_MS) for line in lines]
    assert sum(row["BilledCost"] for row in rows) == total
    writer = WRITERS["csv"](COLUMNS)
    writer.add(rows)
    assert usd_text(rows[0]["BilledCost"]) in writer.close().decode()
    assert filed(log[0])["usage_usd"] == usd_text(log[0]["charge_nanos"])
    revenue = "select sum(amount)::bigint from ledger.transfers where credit = 'revenue:usage'"
    assert await used.connection.fetchval(revenue) == total
    assert await used.violations() == []


async def test_every_filter_of_the_log_is_what_it_says_on_every_page(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(500))
    await settle_day(used, messages)
    fields = {"model": "model", "provider": "provider", "team": "team", "app": "app",
              "outcome": "outcome", "api_key_id": "key_id", "end_user": "end_user",
              "finish_reason": "finish", "stream": "stream"}  # fmt: skip
    for name, field in fields.items():
        for value in {message[field] for message in messages} - {None}:
            found = await pages(used, limit=13, **{name: value})
            expected = [m["request_id"] for m in reversed(messages) if m[field] == value]
            assert [row["request_id"] for row in found] == expected, (name, value)
    tagged = [row["request_id"] for row in await pages(used, limit=50, tag="eu")]
    assert tagged == [m["request_id"] for m in reversed(messages) if m["key_id"] == "key_a"]
    assert await pages(used, limit=50, member="mem_1") == await pages(used, limit=50, tag="eu")
    slow = [m for m in messages if (m["total_ms"] or 0) >= 9000]
    assert len(await pages(used, limit=50, min_total_ms=9000)) == len(slow)
    blamed = Counter(row["blame"] for row in await pages(used, limit=100))
    for blame in ("client", "gateway", "provider"):
        assert len(await pages(used, limit=7, blame=blame)) == blamed[blame]
    two = {"provider": "host", "app": "bot", "model": ["open/weights", "maker/small"]}
    expected = [m for m in messages if m["provider"] == "host" and m["app"] == "bot"
                and m["model"] == "open/weights"]  # fmt: skip
    assert len(await pages(used, limit=5, **two)) == len(expected)


async def test_a_page_of_the_log_begins_and_ends_with_its_span(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(48))  # one each half hour
    await settle_day(used, messages)
    for first, end in ((0, 24), (1, 2), (5, 5), (23, 24)):
        span = {"from_ms": DAY_MS + first * 3_600_000, "to_ms": DAY_MS + end * 3_600_000}
        for filters in ({}, {"provider": ["maker", "host"]}, {"order": "oldest"}):
            found = await pages(used, limit=3, **span, **filters)
            assert len(found) == (end - first) * 2


async def test_percentiles_are_right_within_their_bucket(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(1000))
    await settle_day(used, messages)
    names = [f"{kind}_p{share}" for kind in ("latency", "first_token") for share in (50, 95, 99)]
    rows = (await ask(used, names, ["model"]))["rows"]
    assert len(rows) == 4
    for row in rows:
        for kind, field in (("latency", "total_ms"), ("first_token", "first_token_ms")):
            values = sorted(m[field] for m in messages if m["model"] == row["model"] and m[field])
            for share in (50, 95, 99):
                exact = values[math.ceil(len(values) * share / 100) - 1]
                assert abs(row[f"{kind}_p{share}"] - exact) <= exact / 60, (kind, share)


async def test_small_times_are_exact_and_large_ones_in_order(used: Ledger) -> None:
    buckets = await used.connection.fetch(
        "select v, ledger.ms_bucket(v) as bucket, ledger.bucket_ms(ledger.ms_bucket(v)) as ms"
        " from (select generate_series(0, 5000) as v union all"
        " select (1.07 ^ n)::bigint from generate_series(100, 300) as n) as s order by v"
    )
    assert all(row["ms"] == row["v"] for row in buckets if row["v"] < 64)
    assert all(abs(row["ms"] - row["v"]) <= row["v"] / 60 for row in buckets if row["v"] >= 64)
    numbers = [row["bucket"] for row in buckets]
    assert numbers == sorted(numbers)


async def test_savings_are_told_against_the_cache_and_against_the_makers_price(
    used: Ledger,
) -> None:
    await open_day(used)
    rows = [("maker/large:a", "maker", 300, 1500), ("cheap/large:b", "cheap", 100, 500)]
    for offer, provider, price_in, price_out in rows:
        await used.connection.execute(
            "insert into catalog.offers (offer_id, provider, native_id, model_id, placed,"
            " first_seen_at, seen_at) values ($1, $2, 'n', 'maker/large', 'rule', now(), now())",
            offer, provider,
        )  # fmt: skip
        await used.connection.execute(
            "insert into catalog.prices (offer_id, valid_from, version, source, checked_at, nanos)"
            " values ($1, now(), $1, 'test', now(), jsonb_build_object('input', $2::bigint,"
            " 'output', $3::bigint, 'cache_read', 10))", offer, price_in, price_out,
        )  # fmt: skip
    message = used.message(
        0, model="maker/large", provider="cheap", offer="cheap/large:b", admitted_at_ms=DAY_MS,
        lines=[["input", 2_000_000, 100], ["cache_read", 1_000_000, 10],
               ["output", 1_000_000, 500]],
    ) | {"charge_nanos": 710, "cost_nanos": 710}  # fmt: skip
    unknown = used.message(50, model="nobody/knows", admitted_at_ms=DAY_MS + 1)
    assert await used.settle(message, unknown) == ["posted", "posted"]
    names = ["usage", "cache_savings", "reference_usage", "reference_savings"]
    rows = (await ask(used, names, ["model"], order={"field": "model", "direction": "asc"}))["rows"]
    assert rows == [
        {"model": "maker/large", "usage": 710, "cache_savings": 90,
         "reference_usage": 600 + 10 + 1500, "reference_savings": 1400},
        {"model": "nobody/knows", "usage": 50, "cache_savings": 0, "reference_usage": 0,
         "reference_savings": 0},
    ]  # fmt: skip


async def test_many_readers_at_once_fold_each_charge_once(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(400))
    await settle_day(used, messages)
    question = SPAN | {"metrics": ["usage", "request_count"], "dimensions": [], "limit": 10}
    answers = await used.together(
        [("query_usage", question)] * 6 + [("fold_usage", {"most": 100})] * 3, 9
    )
    total = sum(message["charge_nanos"] for message in messages)
    assert all(a["rows"] == [{"usage": total, "request_count": 400}] for a in answers[:6])
    assert await used.connection.fetch("select * from ledger.find_usage_violations(null)") == []


async def test_a_series_is_cut_by_group_and_by_number_and_says_so(used: Ledger) -> None:
    await open_day(used)
    await settle_day(used, list(day(300)))
    first = await ask(used, ["request_count"], ["model"], granularity="hour", group_limit=2)
    assert Counter(row["model"] for row in first["rows"]) == Counter(
        dict.fromkeys(("maker/large", "maker/small", "other/model", "open/weights"), 2)
    )
    few = await ask(used, ["request_count"], ["model"], granularity="hour", limit=5)
    assert (len(few["rows"]), few["truncated"]) == (5, True)
    best = await ask(used, ["usage"], ["model"], order={"field": "usage", "direction": "desc"})
    spent = [row["usage"] for row in best["rows"]]
    assert spent == sorted(spent, reverse=True)
    assert not best["truncated"]


async def test_filters_narrow_and_negate(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(300))
    await settle_day(used, messages)

    async def count(field: str, operator: str, *values: Any, unset: bool = False) -> int:
        wanted = {"field": field, "operator": operator, "values": values, "unset": unset}
        rows = (await ask(used, ["request_count"], [], filters=[wanted]))["rows"]
        return rows[0]["request_count"] if rows else 0

    def those(field: str, *values: Any) -> int:
        return sum(message[field] in values for message in messages)

    assert await count("team", "eq", "red") == those("team", "red")
    assert await count("team", "in", "red", "blue") == those("team", "red", "blue")
    assert await count("team", "neq", "red") == 300 - those("team", "red")
    assert await count("team", "not_in", "red", unset=True) == those("team", "blue")
    assert await count("team", "in", "red", unset=True) == those("team", "red", None)
    assert await count("tag", "eq", "eu") == those("key_id", "key_a")
    assert await count("tag", "neq", "eu") == 300 - those("key_id", "key_a")
    assert await count("model", "eq", "x' or true --") == 0


async def test_what_ones_own_key_paid_for_is_no_cost_of_ours(used: Ledger) -> None:
    await open_day(used)
    own = used.message(7, price_version="v1-byok50000", admitted_at_ms=DAY_MS)
    ours = used.message(20, admitted_at_ms=DAY_MS)
    await used.settle(own, ours)
    rows = (await ask(used, ["usage"], ["is_byok"]))["rows"]
    assert {row["is_byok"]: row["usage"] for row in rows} == {"true": 7, "false": 20}
    costs = "select sum(cost_nanos)::bigint from ledger.usage_days"
    assert await used.connection.fetchval(costs) == 20
