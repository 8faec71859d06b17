"""GET /metrics: the numbers of all instances, from shared state; and the catalogue behind them."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core import clock
from gatewayz.core.errors import StoreUnavailable
from gatewayz.core.metrics import BOUNDS, catalogue, flush_metrics, metric, most_values, use_sink
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.core.settings import Settings
from gatewayz.stores.open import Stores
from gatewayz.telemetry.prometheus import full_name, render, series_names
from gatewayz.telemetry.state import LIVE
from gatewayz.telemetry.totals import (
    KEY,
    MAX_FIELDS,
    METRICS,
    US,
    Sample,
    Totals,
    read_totals,
    samples_of,
)
from tests.telemetry.text import Series, parse
from tests.world import World, eventually

TOKEN = "a-token-of-the-metrics-page-for-tests"
HEADERS = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def telemetry() -> dict[str, Any]:
    return {"metrics_token": TOKEN, "traces": "none", "meters": "none"}


@pytest.fixture(autouse=True)
def _nobody_else() -> Iterator[None]:
    yield
    use_sink("totals", None)
    use_sink("otlp", None)


async def page(world: World, *, measured: int) -> dict[str, Series]:
    """Series by name and labels, once that many requests were measured, behind their answers."""
    found: dict[str, Series] = {}

    async def arrived() -> bool:
        flush_metrics(now=True)
        answer = await world.client.get("/metrics", headers=HEADERS)
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        found.clear()
        found.update(parse(answer.text))
        return found.get("gatewayz_overhead_seconds_count", {}).get(()) == str(measured)

    await eventually(arrived)
    return found


async def test_a_request_shows_in_every_figure_that_it_touches(world: World) -> None:
    account = await world.account()
    await world.stream(account)
    await world.post(account, "sandbox/mock-err500", models=["sandbox/echo"])
    await world.post(account, "no/such")
    await world.settle()
    found = await page(world, measured=2)
    model = (("model", "sandbox/echo"), ("provider", "sandbox"))
    assert found["gatewayz_admissions_total"][(("outcome", "admitted"),)] == "2"
    assert found["gatewayz_admissions_total"][(("outcome", "model_not_found"),)] == "1"
    assert found["gatewayz_failovers_total"][(("result", "saved"),)] == "1"
    assert found["gatewayz_settled_total"][(*model, ("outcome", "completed"))] == "2"
    assert found["gatewayz_duration_seconds_count"][(("provider", "sandbox"),)] == "2"
    assert found["gatewayz_first_token_seconds_count"][(("provider", "sandbox"),)] == "1"
    assert found["gatewayz_overhead_seconds_count"][()] == "2"
    assert found["gatewayz_settlement_lag_seconds_count"][()] != "0"
    assert found["gatewayz_breaker"][(("provider", "sandbox"), ("state", "closed"))] == "1"
    assert found["gatewayz_breaker"][(("provider", "sandbox"), ("state", "open"))] == "0"
    assert found["gatewayz_queue_waiting"][(("queue", "charges"),)] == "0"
    assert found["gatewayz_holds_open"][()] == "0"
    assert found["gatewayz_leases_open"][()] != "0"
    charged = [row["charge_nanos"] for row in await world.requests(account)]
    assert found["gatewayz_charge_usd_total"][model] == usd(sum(charged))
    credit = found["gatewayz_credit_usd"]
    held, wallet = credit[(("book", "held"),)], credit[(("book", "purchased"),)]
    balance = 10 * NANOS_PER_USD - sum(charged)
    assert nanos(held) + nanos(wallet) == balance, "exact to the nano-dollar"


def usd(amount_nanos: int) -> str:
    whole, rest = divmod(amount_nanos, NANOS_PER_USD)
    return f"{whole}.{rest:09}".rstrip("0").rstrip(".")


def nanos(text: str) -> int:
    whole, _, rest = text.partition(".")
    return int(whole) * NANOS_PER_USD + int(rest.ljust(9, "0"))


class TestIdle:
    @pytest.fixture
    def telemetry(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        monkeypatch.setattr("gatewayz.telemetry.sinks.TICK_S", 0.02)
        monkeypatch.setattr("gatewayz.core.metrics.PERIOD_S", 0.5)
        return {"metrics_token": TOKEN, "traces": "none", "meters": "none"}

    async def test_the_last_request_is_told_though_none_comes_after_it(self, world: World) -> None:
        account = await world.account()
        for _ in range(3):  # the first is told at once, the others within a period are not
            await world.post(account)

        async def told() -> bool:
            found, _ = await read_totals(world.stores.redis)
            return any(sum(sample.counts) == 3 for sample in found.get("duration", ()))

        await eventually(told)


async def test_only_who_has_the_token_reads_it(world: World) -> None:
    account = await world.account()
    for headers in ({}, {"authorization": "Bearer guess"}, account.headers):
        assert (await world.client.get("/metrics", headers=headers)).status_code == 401


class TestWithoutToken:
    @pytest.fixture
    def telemetry(self) -> dict[str, Any]:
        return {"traces": "none", "meters": "none"}

    async def test_nobody_reads_it_and_nothing_is_kept(self, world: World) -> None:
        account = await world.account()
        await world.post(account)
        flush_metrics(now=True)
        for headers in ({"authorization": "Bearer x"}, {}):
            assert (await world.client.get("/metrics", headers=headers)).status_code == 401
        assert await read_totals(world.stores.redis) == ({}, 0)


async def test_two_processes_add_up_and_neither_tells_its_own(stores: Stores) -> None:
    one, two = Totals(stores.redis), Totals(stores.redis)
    known = catalogue()
    for sink, count in ((one, 3), (two, 4)):
        sink.add("requests", known["requests"], ("completed",), [count])
        sink.add("duration", known["duration"], ("sandbox",), [5, 40, 10**9])
        sink.add("ledger_violations", known["ledger_violations"], (), [count])
        sink.flush()
        await sink.finish()
    found, refused = await read_totals(stores.redis)
    assert refused == 0
    assert found["requests"] == [Sample(("completed",), 7)]
    assert found["ledger_violations"] == [Sample((), 4)], "a gauge is what was said last"
    (duration,) = found["duration"]
    assert sum(duration.counts) == 6
    assert duration.counts[-1] == 2
    assert duration.number == 2 * (5 + 40 + 10**9)


async def test_what_redis_did_not_take_comes_with_the_next(stores: Stores) -> None:
    class Away:
        down = True

        async def script(self, *call: Any) -> Any:
            if self.down:
                raise StoreUnavailable("Redis is away.")
            return await stores.redis.script(*call)

    redis = Away()
    sink = Totals(redis)  # type: ignore[arg-type]
    sink.add("requests", catalogue()["requests"], ("completed",), [2])
    sink.flush()
    await sink.finish()
    redis.down = False
    sink.add("requests", catalogue()["requests"], ("completed",), [1])
    sink.flush()
    await sink.finish()
    found, _ = await read_totals(stores.redis)
    assert found["requests"] == [Sample(("completed",), 3)]


async def test_a_label_that_runs_wild_is_stopped_and_told(stores: Stores) -> None:
    args: list[Any] = [3]
    for number in range(5):
        args += [f"+settled{US}m{number}{US}p{US}completed", 1]
    args += [f"+settled{US}m0{US}p{US}completed", 1]
    await stores.redis.script(METRICS, [KEY], args)
    found, refused = await read_totals(stores.redis)
    assert len(found["settled"]) == 3
    assert refused == 2
    assert max(sample.number for sample in found["settled"]) == 2, "what is known goes on"


@pytest.mark.parametrize("path", ["text/plain", "application/openmetrics-text; version=1.0.0"])
async def test_the_page_is_what_its_readers_parse(world: World, path: str) -> None:
    account = await world.account()
    await world.post(account)
    await world.settle()
    flush_metrics(now=True)
    await asyncio.sleep(0.05)
    answer = await world.client.get("/metrics", headers=HEADERS | {"accept": path})
    assert answer.text.endswith("# EOF\n") is path.startswith("application")
    told = set(parse(answer.text))
    assert told <= series_names()


# ---------------------------------------------------------------- the catalogue


def test_what_is_read_live_is_what_the_catalogue_calls_live() -> None:
    assert {name for name, known in catalogue().items() if known.live} == LIVE


def test_no_metric_has_more_series_than_there_is_room_for() -> None:
    """Labels are closed sets: their bounds stand beside the catalogue and multiply."""
    most = most_values()
    for name, known in catalogue().items():
        series = 1
        for label in known.labels:
            series *= most[label]
        if known.kind == "histogram":
            series *= len(known.bounds) + 2
        if "model" in known.labels:
            # A model is at few providers, and uses few classes: by catalog, not by product.
            series = most["model"] * 8 * (4 if len(known.labels) > 2 else 1)
        assert series <= MAX_FIELDS, f"{name}: {series} series"
        assert known.aws is False or "model" not in known.labels
    assert not most.keys() - {label for known in catalogue().values() for label in known.labels}


def test_names_and_units_follow_the_rules_of_prometheus() -> None:
    names = [full_name(name, known) for name, known in catalogue().items()]
    assert len(set(names)) == len(names)
    for name, known in catalogue().items():
        full = full_name(name, known)
        assert full.startswith("gatewayz_")
        assert full.endswith("_total") is (known.kind == "counter")
        assert known.kind != "histogram" or known.unit in BOUNDS
        assert (known.help and known.help[0].islower()) or known.help[0].isdigit()


@given(
    st.text(max_size=30),
    st.integers(min_value=-(2**62), max_value=2**62),
    st.lists(st.integers(0, 2**40), min_size=16, max_size=16),
)
def test_any_label_and_number_comes_back_as_it_was(
    label: str, number: int, counts: list[int]
) -> None:
    label = label.replace(US, " ")
    samples = {
        "margin": [Sample((label,), number)],
        "duration": [Sample((label,), abs(number), tuple(counts))],
    }
    found = parse(render(samples))
    ((key, text),) = found["gatewayz_margin_usd"].items()
    assert key == (("provider", label),)
    sign = -1 if text.startswith("-") else 1
    assert sign * nanos(text.lstrip("-")) == number
    buckets = list(found["gatewayz_duration_seconds_bucket"].values())
    assert buckets[-1] == str(sum(counts))
    assert [int(each) for each in buckets] == sorted(int(each) for each in buckets)


def test_fields_of_a_version_that_is_gone_are_left_out() -> None:
    assert samples_of({f"gone{US}x": 1, f"requests{US}a{US}b": 1, f"duration{US}p{US}?": 2}) == {
        "duration": [Sample(("p",), 0, (0,) * 16)]
    }


async def test_counting_costs_nothing_when_nobody_asks(settings: Settings) -> None:
    use_sink("totals", None)
    metric("no_such_metric", outcome="x")  # is not even looked up
    assert replace(settings.telemetry).watched is False
    assert clock.now_ms() > 0
