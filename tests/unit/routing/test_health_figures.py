"""Samples, tiers, balances and reports: the pure half of health."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from gatewayz.core.money import NANOS_PER_USD
from gatewayz.health.credit import Balance, level_of, load_balances, read_balance
from gatewayz.health.report import (
    SPANS,
    Stand,
    endpoint_stats_of,
    word_of_model,
    word_of_provider,
    word_of_system,
)
from gatewayz.health.samples import samples_of
from gatewayz.health.tiers import Seen, due, tiers_of
from gatewayz.providers.config import load_providers
from gatewayz.routing.figures import bucket_of, percentiles, value_of
from gatewayz.routing.toolcalls import ToolWatch, check_answer


def message(*attempts: dict[str, Any], outcome: str = "completed", **more: Any) -> dict[str, Any]:
    entries = [{"offer": "p/m", "provider": "p", "error": None, "ms": 5} | a for a in attempts]
    return {"model": "v/m", "attempts": entries, "outcome": outcome, "lines": [], **more}


@pytest.mark.parametrize(
    ("attempt", "cls"),
    [
        ({}, "ok"),
        ({"cut": "UpstreamBroken"}, "cut"),
        ({"error": "UpstreamTimeout"}, "timeout"),
        ({"error": "UpstreamThrottled"}, "throttled"),
        ({"error": "UpstreamAuth", "upstream_status": 401}, "auth"),
        ({"error": "UpstreamAuth", "upstream_status": 402}, "payment"),
        ({"error": "UpstreamExhausted"}, "payment"),
        ({"error": "UpstreamModelMissing"}, "missing"),
        ({"error": "UpstreamUnavailable"}, "unavailable"),
        ({"error": "EmptyAnswer"}, "broken"),
        ({"error": "UpstreamRejected"}, None),
        ({"error": "InvalidRequest"}, None),
    ],
)
def test_an_attempt_says_what_it_says_of_its_offer(
    attempt: dict[str, Any], cls: str | None
) -> None:
    assert [s["class"] for s in samples_of(message(attempt))] == ([cls] if cls else [])


def test_the_answers_figures_belong_to_the_attempt_that_answered() -> None:
    rows = list(
        samples_of(
            message(
                {"error": "UpstreamBroken"},
                {"offer": "q/m", "provider": "q", "first_ms": 100, "tps": 64, "tools": [2, 1]},
                lines=[["input", 7, 1], ["cache_read", 3, 1], ["output", 5, 1]], cost_nanos=9,
                total_ms=400, admitted_at_ms=1,
            )
        )
    )  # fmt: skip
    assert [r["provider"] for r in rows] == ["p", "q"]
    assert "output_tokens" not in rows[0]
    shown = rows[1]
    assert (shown["prompt_tokens"], shown["output_tokens"], shown["ms"]) == (10, 5, 400)
    assert (shown["first_bucket"], shown["rate_bucket"]) == (bucket_of(100), bucket_of(64))
    assert (shown["tool_calls"], shown["tool_valid"]) == (2, 1)


def test_a_request_that_ended_for_our_own_reasons_says_nothing() -> None:
    assert list(samples_of(message({}, outcome="expired"))) == []
    assert list(samples_of({"attempts": None})) == []


def test_percentiles_of_logarithmic_buckets_are_right_within_a_tenth() -> None:
    values = [float(v) for v in range(1, 1001)]
    counts: dict[int, int] = {}
    for value in values:
        counts[bucket_of(value)] = counts.get(bucket_of(value), 0) + 1
    for name, exact in (("p50", 500), ("p90", 900), ("p99", 990)):
        assert percentiles(counts)[name] == pytest.approx(exact, rel=0.1)
    assert percentiles(counts, descending=True)["p99"] == pytest.approx(10, rel=0.2)
    assert percentiles({}) == {}
    assert value_of(bucket_of(64)) == 64


# ------------------------------------------------------------------ probes


def seen(name: str, requests: int, **more: Any) -> Seen:
    known = {"failures": 0, "heard_ms_ago": 10**9, "hidden": False} | more
    return Seen(name, "p", requests, **known)


def test_tiers_follow_the_use_of_the_last_day() -> None:
    rows = [seen(f"m{i:03}", 1000 - i) for i in range(100)] + [seen("unused", 0)]
    tiers = tiers_of(rows)
    by_tier = {tier: [m for (m, _), t in tiers.items() if t == tier] for tier in tiers.values()}
    assert by_tier["critical"] == [f"m{i:03}" for i in range(5)]
    assert by_tier["popular"] == [f"m{i:03}" for i in range(5, 25)]
    assert len(by_tier["standard"]) == 75
    assert by_tier["on_demand"] == ["unused"]


@pytest.mark.parametrize(
    ("row", "every_s"),
    [
        (seen("m", 5, heard_ms_ago=299_000), None),
        (seen("m", 5, heard_ms_ago=300_000), 300),
        (seen("m", 0), None),
        (seen("m", 0, failures=1, heard_ms_ago=300_000), 300),
        (seen("m", 0, hidden=True, heard_ms_ago=300_000), 300),
    ],
)
def test_what_is_due(row: Seen, every_s: int | None) -> None:
    assert [every for _, every in due([row])] == ([every_s] if every_s else [])


# ------------------------------------------------------------------ credit


# The examples of the providers' own documents.
TOLD = {
    "openrouter": ({"data": {"total_credits": 100.5, "total_usage": 25.75}}, "74.75"),
    "deepseek": (
        {"is_available": True, "balance_infos": [
            {"currency": "CNY", "total_balance": "110.00", "granted_balance": "10.00"},
            {"currency": "USD", "total_balance": "3.10", "topped_up_balance": "3.10"},
        ]}, "3.10",
    ),
    "moonshot": (
        {"code": 0, "data": {"available_balance": 49.58894, "voucher_balance": 46.58893,
                             "cash_balance": 3.00001}, "scode": "0x0", "status": True}, "49.58894",
    ),
    "novita": (
        {"availableBalance": "1000000", "cashBalance": "800000", "creditLimit": "200000"}, "100",
    ),
    "venice": (
        {"canConsume": True, "consumptionCurrency": "DIEM", "balances": {"diem": 90.5, "usd": 25}},
        "25",
    ),
    "vercel-ai-gateway": ({"balance": "95.50", "total_used": "4.50"}, "95.50"),
}  # fmt: skip


def test_a_balance_is_read_where_the_provider_tells_it() -> None:
    known = load_balances()
    assert known.keys() == TOLD.keys(), "each shape has its provider's own example"
    assert known.keys() <= load_providers().keys()
    for slug, (answer, usd) in TOLD.items():
        assert read_balance(known[slug], answer) == Decimal(usd) * NANOS_PER_USD, slug
    abroad = {"balance_infos": [{"currency": "CNY", "total_balance": "9"}]}
    assert read_balance(known["deepseek"], abroad) is None
    for nonsense in (None, [], {"data": "x"}, {"data": {"total_credits": "many"}}, {"balance": []}):
        for slug in known:
            assert read_balance(known[slug], nonsense) is None, (slug, nonsense)
    assert read_balance(Balance("/x", "a"), {"a": float("nan")}) is None


@pytest.mark.parametrize(
    ("usd", "level"), [(5, "critical"), (6, "warning"), (20, "warning"), (50, "info"), (51, "ok")]
)
def test_how_urgent_a_balance_is(usd: int, level: str) -> None:
    assert level_of(usd * NANOS_PER_USD) == level


# ------------------------------------------------------------------ words


def stand(successes: int, errors: int, **more: Any) -> Stand:
    row: dict[str, Any] = {"model": "v/m", "provider": "p", "failures": 0, "hidden": False,
                           "seen_at_ms": 1, **more}  # fmt: skip
    row |= {span: {"successes": successes, "errors": errors} for span in SPANS}
    return Stand([row])


@pytest.mark.parametrize(
    ("successes", "errors", "model", "provider"),
    [
        (1000, 1, "operational", "operational"),
        (995, 5, "degraded", "operational"),
        (96, 4, "degraded", "degraded"),
        (60, 40, "partial_outage", "major_outage"),
        (10, 90, "major_outage", "major_outage"),
        (0, 0, "unknown", "unknown"),
    ],
)
def test_the_words_of_the_status_page(
    successes: int, errors: int, model: str, provider: str
) -> None:
    assert word_of_model(stand(successes, errors)) == model
    assert word_of_provider(stand(successes, errors)) == provider
    assert word_of_model(stand(successes, errors), is_open=True) == "offline"


def test_the_whole_system_is_as_well_as_its_models() -> None:
    assert word_of_system(["operational", "unknown"]) == "operational"
    assert word_of_system(["operational"] * 19 + ["offline"]) == "degraded"
    assert word_of_system(["operational"] * 3 + ["offline"]) == "major_outage"
    assert word_of_system(["unknown"]) == "unknown"


def test_without_data_every_figure_is_none() -> None:
    got = endpoint_stats_of(stand(0, 0))
    assert (got.uptime_last_1d, got.latency_last_30m, got.throughput_last_30m) == (None, None, None)
    assert got.status == -5


# ------------------------------------------------------------------ tool calls


def frame(**value: Any) -> bytes:
    return b"event: x\ndata: " + orjson.dumps(value) + b"\n\n"


def chat(arguments: str) -> bytes:
    call = {"index": 0, "function": {"arguments": arguments}}
    return frame(choices=[{"index": 0, "delta": {"tool_calls": [call]}}])


def messages(part: str) -> bytes:
    delta = {"type": "input_json_delta", "partial_json": part}
    return frame(type="content_block_delta", index=1, delta=delta)


def responses(part: str) -> bytes:
    return frame(type="response.function_call_arguments.delta", item_id="i", delta=part)


GOOGLE = frame(candidates=[{"content": {"parts": [{"functionCall": {"name": "f"}}]}}])


@pytest.mark.parametrize(
    ("blocks", "calls"),
    [
        ([frame(choices=[{"index": 0, "delta": {"content": "x"}}])], (0, 0)),
        ([chat('{"a":'), chat("1}")], (1, 1)),
        ([chat("{oops")], (1, 0)),
        ([messages("{"), messages("}")], (1, 1)),
        ([responses("{]")], (1, 0)),
        ([GOOGLE], (1, 1)),
    ],
)
def test_the_arguments_of_tool_calls_are_read_in_every_dialect(
    blocks: list[bytes], calls: tuple[int, int]
) -> None:
    watch = ToolWatch()
    for block in blocks:
        watch.see(block)
    assert watch.verdict() == calls


def test_the_same_of_whole_answers() -> None:
    chat = b'{"choices":[{"index":0,"message":{"tool_calls":[{"function":{"arguments":"{"}}]}}]}'
    assert check_answer(chat) == (1, 0)
    messages = b'{"type":"message","content":[{"type":"tool_use","id":"t","input":{}}]}'
    assert check_answer(messages) == (1, 1)
    responses = b'{"output":[{"type":"function_call","call_id":"c","arguments":"{}"}]}'
    assert check_answer(responses) == (1, 1)
