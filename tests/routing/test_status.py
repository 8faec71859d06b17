"""The status pages over what real requests showed: figures where there are some, null elsewhere."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gatewayz.api.health_operations import HEALTH_OPERATIONS
from tests.faults.scene import Scene
from tests.routing.fleet import Fleet, fleet, refusal


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
    return path.replace("{provider}", provider).replace("{model}", model)


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


async def test_static_pages_are_not_shadowed_by_those_of_a_model(world: Scene, two: Fleet) -> None:
    await failing(world, two, 1)
    for path in ("stats", "unhealthy", "providers", "provider/one/summary"):
        page = await get(world, f"/v1/model-health/{path}")
        assert "consecutive_failures" not in page, path
