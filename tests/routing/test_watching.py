"""The windows, incidents and probes over real stores."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatewayz.health.credit import check_balances
from gatewayz.health.probes import Prober, Target
from gatewayz.health.watch import find_targets, watch_health
from gatewayz.health.windows import Windows, endpoint_stats
from gatewayz.net.http import HttpClient
from gatewayz.providers.client import ProviderClient
from gatewayz.routing.board import Board
from tests.fakes.upstream import Act
from tests.faults.scene import Scene
from tests.routing.fleet import Fleet, closing, fleet, refusal

NANOS = 10**9


@pytest.fixture(autouse=True)
def _always_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every request asks Redis, as one does that comes a while after the one before."""
    monkeypatch.setattr("gatewayz.routing.board.FRESH_S", -1.0)


@pytest.fixture
def two() -> Iterator[Fleet]:
    yield from fleet("one", "other")


@pytest.fixture
def providers_file(two: Fleet, tmp_path: Path) -> str:
    two.model("w/m", ("one", 1), ("other", 1)).model("w/alone", ("one", 1), native="alone")
    file = tmp_path / "providers.toml"
    file.write_text(two.text)
    return str(file)


async def post(world: Scene, account: Any, model: str = "w/m", **body: Any) -> Any:
    return await world.post(account, model, provider={"order": ["one", "other"]}, **body)


async def test_real_requests_fill_the_windows_once_however_often_they_settle(
    world: Scene, two: Fleet
) -> None:
    account = await world.account()
    two.play("one", refusal(500))
    await post(world, account)
    await world.quiet()
    body = (await world.sql("select body from queue.messages"))[0]["body"]
    await world.settle()
    await world.stores.queue.send("charges", "again", __import__("json").loads(body))
    await world.settle()
    stats = await endpoint_stats(world.stores.postgres, "w/m")
    assert stats["one"].uptime_last_5m == 0.0
    assert stats["other"].uptime_last_5m == 100.0
    rows = {row["provider"]: row for row in await Windows(world.stores).rows(model="w/m")}
    assert (rows["one"]["d1"]["requests"], rows["one"]["last_class"]) == (1, "unavailable")
    other = rows["other"]["d1"]
    assert (other["requests"], other["successes"], other["output_tokens"]) == (1, 1, 2)
    assert other["cost_nanos"] > 0


async def test_streams_show_latency_and_throughput(world: Scene, two: Fleet) -> None:
    account = await world.account()
    status, _, _ = await world.stream(account, "sandbox/mock-n40")
    assert status == 200
    await world.quiet()
    await world.settle()
    (stats,) = (await endpoint_stats(world.stores.postgres, "sandbox/mock-n40")).values()
    assert stats.latency_last_30m and stats.throughput_last_30m
    assert 0 < stats.latency_last_30m["p50"] < 30


async def test_incidents_open_grow_and_close_by_themselves(world: Scene, two: Fleet) -> None:
    account = await world.account()
    windows = Windows(world.stores)

    async def incidents() -> list[tuple[str, str, bool]]:
        windows._kept.clear()
        found = await windows.incidents(provider="one")
        return [(i["kind"], i["severity"], i["closed_at_ms"] is None) for i in found]

    two.play("one", refusal(500))
    for count, expected in ((2, []), (1, ["medium"]), (2, ["high"]), (5, ["critical"])):
        for _ in range(count):
            await post(world, account, "w/alone")
        await world.quiet()
        await world.settle()
        assert await incidents() == [("outage", severity, True) for severity in expected]
    two.answer("one")
    await post(world, account, "w/alone")
    await world.quiet()
    await world.settle()
    assert await incidents() == [("outage", "critical", False)]


async def test_a_degradation_is_ten_percent_of_twenty(world: Scene) -> None:
    def sample(cls: str) -> dict[str, Any]:
        return {"model": "w/m", "provider": "one", "offer": "one/m", "class": cls, "ms": 1}

    post_samples = {"samples": [sample("ok")] * 9 + [sample("broken"), sample("ok")] * 1}
    await world.stores.postgres.rpc("record_health", post_samples)
    assert (await world.stores.postgres.rpc("review_health", {}))["opened"] == 0
    await world.stores.postgres.rpc("record_health", post_samples)
    assert (await world.stores.postgres.rpc("review_health", {}))["opened"] == 0  # 2 of 22
    await world.stores.postgres.rpc("record_health", {"samples": [sample("cut"), sample("ok")]})
    assert (await world.stores.postgres.rpc("review_health", {}))["opened"] == 1  # 3 of 24
    (found,) = await Windows(world.stores).incidents(active=True)
    assert (found["kind"], found["severity"]) == ("degradation", "medium")
    await world.stores.postgres.rpc("record_health", {"samples": [sample("ok")] * 20})
    assert (await world.stores.postgres.rpc("review_health", {}))["closed"] == 1


# ------------------------------------------------------------------ probes


async def prober(world: Scene, board: Board, http: HttpClient, *, usd: int = 1) -> Prober:
    client = ProviderClient(http, world.stores.secrets.find)
    return Prober(world.stores, client, board, budget_nanos=usd * NANOS)


async def target_of(world: Scene, model: str, provider: str) -> Target:
    _, targets = await find_targets(world.stores, world.settings)
    return targets[model, provider]


@pytest.fixture
async def http() -> Any:
    made = HttpClient()
    yield made
    await made.aclose()


async def test_only_no_such_model_three_times_hides_an_offer_and_an_answer_brings_it_back(
    world: Scene, two: Fleet, http: HttpClient
) -> None:
    account = await world.account()
    board = Board(world.stores.redis)
    probe = await prober(world, board, http)
    target = await target_of(world, "w/m", "one")
    for step in (refusal(500), Act.CUT, refusal(401)):
        two.play("one", step)
        for _ in range(4):
            await probe.probe([(target, 0)])
    row = (await Windows(world.stores).rows(provider="one"))[0]
    assert row["failures"] == 12 and not row["hidden"]

    two.play("one", refusal(404))
    for attempt in range(3):
        await probe.probe([(target, 0)])
        await board.sync([target.offer.id])
        assert board.view().entries[target.offer.id].hidden == (attempt == 2)
    two.calls.clear()
    two.answer("one")
    got = await post(world, account)
    assert got.headers["x-provider"] == "other" and two.count("one") == 0
    alone = await world.post(account, "w/m", provider={"only": ["one"]})
    assert (alone.status_code, alone.json()["error"]["code"]) == (404, "constraint_filtered")

    assert await probe.probe([(target, 0)]) == {"ok": 1}
    await post(world, account)  # learns beside its admission that it is back
    got = await post(world, account)
    assert got.headers["x-provider"] == "one"


async def test_probes_stop_at_the_days_budget_and_are_made_once(
    world: Scene, two: Fleet, http: HttpClient
) -> None:
    board = Board(world.stores.redis)
    target = await target_of(world, "w/m", "one")
    none = await prober(world, board, http, usd=0)
    assert await none.probe([(target, 0)]) == {"budget": 1}
    assert two.count("one") == 0
    some = await prober(world, board, http)
    assert await some.probe([(target, 300)]) == {"not_due": 1}
    await world.sql("update health.offers set probed_at = ledger.now() - interval '1 hour'")
    assert await some.probe([(target, 300)]) == {"ok": 1}
    assert await some.probe([(target, 300)]) == {"not_due": 1}
    spent = await world.stores.postgres.rpc("probe_spending", {})
    # 10 input and 2 output tokens at a dollar a million each.
    assert spent == {"nanos": 12_000, "probes": 1}
    sent = two.upstreams["one"].requests[-1].json
    assert (sent["model"], sent["max_tokens"]) == ("m", 16)


async def test_the_schedule_probes_what_fails_and_leaves_alone_what_is_used(
    world: Scene, two: Fleet
) -> None:
    account = await world.account()
    two.play("one", refusal(500))
    await post(world, account)
    await world.quiet()
    await world.settle()
    two.calls.clear()
    assert "probes" not in await watch_health(world.stores, world.settings)
    await world.sql("update health.offers set seen_at = ledger.now() - interval '6 minutes'")
    two.answer("one")
    done = await watch_health(world.stores, world.settings)
    assert done["probes"] == {"ok": 1} and two.calls == ["one"]
    row = next(r for r in await Windows(world.stores).rows() if r["provider"] == "one")
    assert row["failures"] == 0


# ------------------------------------------------------------------ credit


async def test_low_credit_moves_a_provider_back_before_it_fails(
    world: Scene, two: Fleet, http: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from gatewayz.health import credit

    monkeypatch.setattr(
        credit, "load_balances", lambda: {"one": credit.Balance("/credits", "left")}
    )
    account = await world.account()
    providers = world.chat.gateway().providers
    board = Board(world.stores.redis)
    two.play("one", closing(200, b'{"left": 4.5}'))
    from dataclasses import replace

    signed = {"one": replace(providers["one"], credential="TEST_KEY")}
    monkeypatch.setenv("TEST_KEY", "secret")
    assert await check_balances(world.stores, http, signed, board) == {"one": "critical"}
    assert two.upstreams["one"].requests[-1].headers["authorization"] == "Bearer secret"
    await board.finish_background()
    two.answer("one")
    await post(world, account)
    for _ in range(4):
        got = await world.post(account, "w/m", provider={"sort": "price"})
        assert got.headers["x-provider"] == "other"
    # Asked again only after a while.
    assert await check_balances(world.stores, http, signed, board) == {}
    (row,) = await Windows(world.stores).credit()
    assert row["balance_nanos"] == 4_500_000_000


async def test_a_refused_payment_counts_where_no_balance_is_told(world: Scene, two: Fleet) -> None:
    account = await world.account()
    two.play("one", refusal(402))
    got = await post(world, account)
    assert got.headers["x-provider"] == "other"
    await world.quiet()
    await world.settle()
    (row,) = await Windows(world.stores).credit()
    assert (row["provider"], row["refusals"]) == ("one", 1)
