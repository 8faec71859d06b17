"""The status pages over what real requests showed: figures where there are some, null elsewhere."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewayz.api.health_operations import HEALTH_OPERATIONS
from gatewayz.core.settings import Settings
from gatewayz.health.watch import watch_health
from tests.fakes.upstream import Step, event_stream
from tests.faults.scene import Scene
from tests.routing.fleet import DONE, ROLE, STOP, Fleet, chunk, fleet, good_answer, refusal

LONG = chunk(usage={"prompt_tokens": 10, "completion_tokens": 40, "total_tokens": 50})


@pytest.fixture
def two() -> Iterator[Fleet]:
    yield from fleet("one", "other")


@pytest.fixture
def providers_file(two: Fleet, tmp_path: Path) -> str:
    two.model("w/m", ("one", 1), ("other", 1))
    file = tmp_path / "providers.toml"
    file.write_text(two.text)
    return str(file)


async def get(world: Scene, path: str, status: int = 200) -> Any:
    got = await world.client.get(path)
    assert got.status_code == status, (path, got.text)
    return got.json()


async def failing(world: Scene, two: Fleet, count: int) -> None:
    """`count` requests that the first provider fails and the second answers."""
    account = await world.account()
    two.play("one", refusal(500))
    for _ in range(count):
        got = await world.post(account, "w/m", provider={"order": ["one", "other"]})
        assert got.status_code == 200
    await world.quiet()
    await world.settle()


def path_of(path: str, provider: str, model: str) -> str:
    named = path.replace("{provider}", provider).replace("{model}", model)
    return named.replace("{gateway}", provider)


STAFF = "staff-secret-of-at-least-thirty-two-characters"
AS_STAFF = {"authorization": f"Bearer {STAFF}"}


@pytest.fixture
def tune() -> Callable[[Settings], Settings]:
    return lambda settings: replace(settings, keys=replace(settings.keys, staff=f"ann:{STAFF}"))


async def test_before_any_request_nothing_is_invented(world: Scene) -> None:
    overview = await get(world, "/v1/status")
    assert (overview["status"], overview["uptime_percentage"]) == ("unknown", None)
    assert (await get(world, "/v1/model-health"))["models"] == []
    for operation in HEALTH_OPERATIONS:
        named = "{" in operation.path
        told = await world.client.get(path_of(operation.path, "nobody", "no/model"))
        lists = ("errors/", "hourly/", "latency-trends/")
        expected = 404 if named and not any(w in operation.path for w in lists) else 200
        assert told.status_code == expected, (operation.path, told.text)


async def test_every_page_shows_what_was_measured(world: Scene, two: Fleet) -> None:
    await failing(world, two, 6)
    for operation in HEALTH_OPERATIONS:
        await get(world, path_of(operation.path, "one", "w/m"))
    overview = await get(world, "/v1/status")
    assert overview["active_incidents"] == 1
    # The breaker of the first opened after five, so the sixth request did not ask it.
    assert overview["uptime_percentage"] == pytest.approx(100 * 6 / 11, abs=0.01)
    one = await get(world, "/v1/model-health/one/w/m")
    assert (one["status"], one["uptime_percentage"], one["call_count"]) == ("offline", 0.0, 5)
    assert (one["consecutive_failures"], one["average_response_time_ms"]) == (5, None)
    assert one["active_incident"]["severity"] == "high"
    other = await get(world, "/v1/status/models/other/w/m")
    assert (other["status"], other["uptime_percentage"]) == ("operational", 100.0)
    breaker = await get(world, "/circuit-breakers/one")
    assert breaker["state"] == "open" and breaker["retry_after_s"] > 0
    assert breaker["offers"][0]["state"] == "open"
    best = await get(world, "/availability/best/w/m")
    assert (best["best"], best["available"]) == ("other", True)
    unhealthy = await get(world, "/v1/model-health/unhealthy?error_threshold=0.5")
    assert [m["provider"] for m in unhealthy["models"]] == ["one"]
    uptime = await get(world, "/v1/status/uptime/one/w/m?period=7d")
    assert (uptime["uptime_percentage"], uptime["failed_checks"]) == (0.0, 5)
    assert uptime["points"][0]["requests"] == 5
    errors = await get(world, "/api/monitoring/errors/one")
    assert (errors["total_errors"], errors["errors"][0]["error_type"]) == (5, "unavailable")
    costs = await get(world, "/api/monitoring/cost-analysis")
    assert costs["providers"][0]["provider"] == "other"
    # 6 answers of 10 + 2 tokens at a dollar a million.
    assert costs["providers"][0]["cost_usd"] == 0.000072
    search = await get(world, "/v1/status/search?q=OTHER")
    assert [m["provider"] for m in search["models"]] == ["other"]
    incidents = await get(world, "/v1/status/incidents?active=true")
    assert incidents["incidents"][0]["incident_type"] == "outage"
    assert (await get(world, "/v1/status/incidents?active=false"))["total"] == 0


async def test_the_catalog_shows_of_an_offer_what_was_measured(world: Scene, two: Fleet) -> None:
    measured = ("uptime_last_5m", "uptime_last_30m", "uptime_last_1d", "latency_last_30m",
                "throughput_last_30m")  # fmt: skip

    async def endpoints() -> dict[str, dict[str, Any]]:
        data = (await get(world, "/v1/models/w/m/endpoints"))["data"]
        return {each["tag"]: each for each in data["endpoints"]}

    before = await endpoints()
    assert all(before[tag][name] is None for tag in ("one", "other") for name in measured)
    assert (await get(world, "/v1/models/w/m"))["health_status"] == "unknown"
    account = await world.account()
    # A Step of a number is that much silence: the words take a measurable while.
    words: list[Step] = [
        ROLE + chunk({"content": "a"}),
        0.05,
        chunk({"content": " b"}) + STOP + LONG + DONE,
    ]
    two.play("other", good_answer(), stream=[event_stream(), *words])
    for _ in range(3):
        status, _, _ = await world.stream(account, "w/m", provider={"only": ["other"]})
        assert status == 200
    await failing(world, two, 6)
    after = await endpoints()
    assert (after["one"]["uptime_last_30m"], after["other"]["uptime_last_30m"]) == (0.0, 100.0)
    assert (before["one"]["status"], after["one"]["status"], after["other"]["status"]) == (0, -2, 0)
    assert after["one"]["latency_last_30m"] is None, "it never answered"
    assert set(after["other"]["latency_last_30m"]) == {"p50", "p75", "p90", "p99"}
    assert after["other"]["throughput_last_30m"]["p50"] > 0
    model = await get(world, "/v1/models/w/m")
    detail = await get(world, "/api/models/detail?modelId=w/m")
    assert model["health_status"] == detail["health_status"] == "degraded"
    assert model["average_response_time_ms"] > 0


async def test_static_pages_are_not_shadowed_by_those_of_a_model(world: Scene, two: Fleet) -> None:
    await failing(world, two, 1)
    for path in ("stats", "unhealthy", "providers", "provider/one/summary"):
        page = await get(world, f"/v1/model-health/{path}")
        assert "consecutive_failures" not in page, path


async def test_a_back_end_nobody_asked_is_known_and_nothing_of_it_is_invented(
    world: Scene, two: Fleet
) -> None:
    vertex = await get(world, "/health/google-vertex")
    assert (vertex["configured"], vertex["status"], vertex["uptime_24h"]) == (
        False,
        "unknown",
        None,
    )
    other = await get(world, "/health/other")
    assert (other["configured"], other["requests_24h"]) == (True, 0)
    await get(world, "/health/nobody", 404)
    await failing(world, two, 5)
    roster = await get(world, "/health/gateways/dashboard")
    assert {"one", "other", "google-vertex"} <= {g["provider"] for g in roster["gateways"]}
    one = await get(world, "/health/one")
    assert (one["status"], one["uptime_24h"], one["name"]) == ("offline", 0.0, "one")


async def test_what_is_listed_and_what_was_asked_is_counted(world: Scene, two: Fleet) -> None:
    catalog = await get(world, "/health/catalog/models")
    assert catalog["total_models"] >= catalog["available_models"] > 0
    assert catalog["total_offers"] == catalog["priced_offers"] + catalog["unpriced_offers"]
    assert (await get(world, "/health/catalog/unpriced"))["total"] == 0, "nothing was synced here"
    assert (await get(world, "/health/providers/import-status"))["providers"] == []
    await failing(world, two, 2)
    counts = await get(world, "/api/monitoring/chat-requests/counts")
    assert (counts["requests"], counts["completed"], counts["failed"]) == (4, 2, 2)
    (model,) = (await get(world, "/api/monitoring/chat-requests"))["models"]
    assert (model["model"], model["requests"]) == ("w/m", 4)
    providers = (await get(world, "/api/monitoring/chat-requests/providers"))["providers"]
    assert {p["provider"]: p["completed"] for p in providers} == {"one": 0, "other": 2}


STAFF_ONLY = [
    ("post", "/availability/maintenance/w/m"), ("delete", "/availability/maintenance/w/m"),
    ("get", "/availability/maintenance"), ("post", "/availability/monitoring/stop"),
    ("post", "/availability/monitoring/start"), ("post", "/health/monitoring/stop"),
    ("post", "/health/monitoring/start"), ("post", "/health/check"), ("post", "/health/check/now"),
    ("post", "/circuit-breakers/one/reset"), ("post", "/circuit-breakers/reset-all"),
    ("get", "/api/provider-credits/balance"), ("get", "/api/provider-credits/balance/one"),
]  # fmt: skip


async def test_what_changes_or_tells_our_affairs_is_for_the_staff(world: Scene) -> None:
    account = await world.account()
    for method, path in STAFF_ONLY:
        for headers in ({}, account.headers):
            got = await world.client.request(method, path, headers=headers)
            assert got.status_code == 401, (method, path, got.text)


async def staff(world: Scene, method: str, path: str, status: int = 200) -> Any:
    got = await world.client.request(method, path, headers=AS_STAFF)
    assert got.status_code == status, (path, got.text)
    return got.json()


async def test_a_model_in_maintenance_is_in_no_plan_until_it_is_over(
    world: Scene, two: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gatewayz.routing.board.FRESH_S", -1.0)
    account = await world.account()

    async def served() -> str:
        body = {"provider": {"order": ["one", "other"]}}
        got = await world.post(account, "w/m", **body)
        await world.quiet()
        return str(got.headers.get("x-provider", got.status_code))

    assert await served() == "one"
    begun = await staff(
        world, "post", "/availability/maintenance/w/m?provider=one&hours=2&note=disk"
    )
    assert (begun["offers"], begun["by"], begun["note"]) == (["one/m"], "ann", "disk")
    await served()  # learns beside its admission
    assert await served() == "other"
    listed = await staff(world, "get", "/availability/maintenance")
    assert [row["provider"] for row in listed["maintenance"]] == ["one"]
    await world.settle()
    shown = await get(world, "/availability/check/w/m")
    assert {r["provider"]: (r["available"], r["maintenance"]) for r in shown["providers"]} == {
        "one": (False, True), "other": (True, False),
    }  # fmt: skip
    # Redis forgets everything: the schedule's next round tells it again.
    with world.redis() as redis:
        redis.delete(*redis.keys("brk:*"))
    await watch_health(world.stores, world.settings)
    await served()
    assert await served() == "other"
    ended = await staff(world, "delete", "/availability/maintenance/w/m?provider=one")
    assert ended["offers"] == ["one/m"]
    await served()
    assert await served() == "one"
    await staff(world, "delete", "/availability/maintenance/w/m?provider=one", 404)
    await staff(world, "post", "/availability/maintenance/no/such", 404)
    # Everywhere, and its time is over.
    await staff(world, "post", "/availability/maintenance/w/m?hours=1")
    await served()
    assert await served() in ("404", "503")
    await world.sql("update health.maintenance set until = now() - interval '1 s'")
    await watch_health(world.stores, world.settings)
    await served()
    assert await served() == "one"
    assert (await staff(world, "get", "/availability/maintenance"))["total"] == 0


async def test_probing_can_be_stopped_and_started(
    world: Scene, two: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    due: list[str] = []

    async def nothing(prober: Any) -> list[Any]:
        due.append("asked")
        return []

    monkeypatch.setattr("gatewayz.health.probes.Prober.due", nothing)
    assert (await get(world, "/health/monitoring/status"))["monitoring_active"] is True
    assert (await staff(world, "post", "/health/monitoring/stop"))["monitoring_active"] is False
    assert (await staff(world, "post", "/health/check"))["state"] == "done" and not due
    assert (await get(world, "/health/monitoring/status"))["monitoring_active"] is False
    started = await staff(world, "post", "/availability/monitoring/start")
    assert started["monitoring_active"] is True and started["changed_at"]
    await staff(world, "post", "/health/check/now")
    assert due == ["asked"]


async def test_staff_resets_breakers_and_reads_what_providers_have_left(
    world: Scene, two: Fleet
) -> None:
    await failing(world, two, 6)
    assert (await get(world, "/circuit-breakers/one"))["state"] == "open"
    assert (await staff(world, "post", "/circuit-breakers/one/reset"))["reset"] == 2
    assert (await get(world, "/circuit-breakers/one"))["state"] == "closed"
    await staff(world, "post", "/circuit-breakers/nobody/reset", 404)
    assert (await staff(world, "post", "/circuit-breakers/reset-all"))["reset"] == 4
    assert (await staff(world, "get", "/api/provider-credits/balance"))["balances"] == []
    await world.stores.postgres.rpc(
        "set_provider_credit", {"provider": "one", "balance_nanos": 7_250_000_000}
    )
    one = await staff(world, "get", "/api/provider-credits/balance/one")
    assert (one["balance_usd"], one["status"]) == (7.25, "warning")
    await staff(world, "get", "/api/provider-credits/balance/other", 404)
