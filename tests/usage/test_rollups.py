"""Sums by hour and day beside the requests they were made of, to the nano-dollar."""

import random
from collections import Counter, defaultdict
from typing import Any

import pytest

from tests.contract.ledger.conftest import Ledger
from tests.usage.day import DAY_END_MS, DAY_MS, day, open_day, settle_day

DIMENSIONS = {
    "model": "model", "provider": "provider", "offer": "offer", "api_key_id": "key_id",
    "team": "team", "end_user": "end_user", "app": "app", "outcome": "outcome",
    "finish_reason": "finish",
}  # fmt: skip


async def ask(ledger: Ledger, metrics: list[str], dims: list[str], **more: Any) -> Any:
    span = {"from_ms": DAY_MS, "to_ms": DAY_END_MS, "limit": 100_000}
    return await ledger.rpc(
        "query_usage", account="ann", metrics=metrics, dimensions=dims, **(span | more)
    )


async def test_every_dimension_adds_up_to_the_ledger(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(600))
    await settle_day(used, messages)
    for name, field in DIMENSIONS.items():
        answer = await ask(used, ["usage", "request_count", "tokens_prompt"], [name])
        spent: Counter[Any] = Counter()
        counted: Counter[Any] = Counter()
        prompt: Counter[Any] = Counter()
        for message in messages:
            spent[message[field]] += message["charge_nanos"]
            counted[message[field]] += 1
            prompt[message[field]] += sum(
                line[1] for line in message["lines"] if line[0] in ("input", "cache_read")
            )
        assert {row[name]: row["usage"] for row in answer["rows"]} == dict(spent), name
        assert {row[name]: row["request_count"] for row in answer["rows"]} == dict(counted)
        assert {row[name]: row["tokens_prompt"] for row in answer["rows"]} == dict(prompt)


async def test_hours_days_weeks_and_months_say_the_same(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(300))
    await settle_day(used, messages)
    total = sum(message["charge_nanos"] for message in messages)
    by_hour: Counter[int] = Counter()
    for message in messages:
        by_hour[message["admitted_at_ms"] // 3_600_000 * 3_600_000] += message["charge_nanos"]
    hours = await ask(used, ["usage"], [], granularity="hour")
    assert {row["date_ms"]: row["usage"] for row in hours["rows"]} == dict(by_hour)
    assert [row["date_ms"] for row in hours["rows"]] == sorted(by_hour)
    for granularity in ("day", "week", "month"):
        answer = await ask(used, ["usage"], [], granularity=granularity)
        assert [row["usage"] for row in answer["rows"]] == [total]
    half = await ask(used, ["usage"], [], to_ms=DAY_MS + 12 * 3_600_000)
    assert half["rows"][0]["usage"] == sum(
        nanos for hour, nanos in by_hour.items() if hour < DAY_MS + 12 * 3_600_000
    )


async def test_folding_twice_or_in_any_pieces_counts_each_charge_once(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(200))
    await settle_day(used, messages)
    chance = random.Random(3)
    folded = 0
    while part := (await used.rpc("fold_usage", most=chance.randrange(1, 40)))["folded"]:
        folded += part
    assert folded == 200
    late = list(day(50, seed=2))
    await settle_day(used, late)
    assert (await used.rpc("fold_usage", most=1000))["folded"] == 50
    total = sum(m["charge_nanos"] for m in messages + late)
    assert (await ask(used, ["usage"], []))["rows"] == [{"usage": total}]
    assert await used.connection.fetch("select * from ledger.find_usage_violations(null)") == []


async def test_a_request_settled_late_falls_into_the_hour_of_its_admission(used: Ledger) -> None:
    await open_day(used)
    early, late = day(2)
    await settle_day(used, [late])
    assert (await ask(used, ["request_count"], []))["rows"] == [{"request_count": 1}]
    await settle_day(used, [early])
    rows = (await ask(used, ["request_count"], [], granularity="hour"))["rows"]
    assert [row["date_ms"] for row in rows] == [DAY_MS, DAY_MS + 12 * 3_600_000]


@pytest.mark.parametrize("table", ["usage_hours", "usage_days", "usage_lines"])
async def test_a_changed_sum_is_a_violation(used: Ledger, table: str) -> None:
    await open_day(used)
    await settle_day(used, list(day(40)))
    await used.rpc("fold_usage", most=1000)
    find = "select rule from ledger.find_usage_violations(null)"
    assert await used.connection.fetch(find) == []
    async with used.undone():
        await used.connection.execute(f"update ledger.{table} set nanos = nanos + 1")
        assert [row["rule"] for row in await used.connection.fetch(find)] == ["U1"]
    async with used.undone():
        await used.connection.execute("update ledger.usage_heads set requests = requests - 1")
        assert {row["rule"] for row in await used.connection.fetch(find)} == {"U1", "U2"}


async def test_lines_by_class_add_up_to_the_charge_caps_included(used: Ledger) -> None:
    await open_day(used)
    messages = list(day(300))
    assert any(m["cap_nanos"] is not None for m in messages)
    await settle_day(used, messages)
    await used.rpc("fold_usage", most=1000)
    units: dict[tuple[str, int], int] = defaultdict(int)
    for message in messages:
        for cls, number, price in message["lines"]:
            units[(cls, price)] += number
    rows = await used.connection.fetch(
        "select class, price_nanos, sum(units)::bigint as units, sum(nanos)::bigint as nanos"
        " from ledger.usage_lines group by 1, 2"
    )
    assert {(r["class"], r["price_nanos"]): r["units"] for r in rows} == dict(units)
    assert sum(r["nanos"] for r in rows) == sum(m["charge_nanos"] for m in messages)
    for row in rows:
        exact = row["units"] * row["price_nanos"] / 10**6
        # each line of a request is rounded by less than one, and a cap takes one
        assert abs(row["nanos"] - exact) <= 2 * len(messages)
