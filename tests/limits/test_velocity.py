"""Velocity mode: our own failures shrink limits for a while, for all instances."""

from typing import Any

import pytest
import redis

from gatewayz.accounts.limits import limits_of
from gatewayz.accounts.limits_velocity import (
    KEY,
    VELOCITY,
    Velocity,
    own_failure,
    reset_velocity,
    velocity_state,
)
from gatewayz.core.errors import (
    InsufficientCredits,
    InternalError,
    Overloaded,
    RateLimited,
    StoreTimeout,
    UpstreamBroken,
    UpstreamUnavailable,
)
from gatewayz.core.settings import Settings
from gatewayz.stores.open import Stores, open_stores
from tests.limits.test_budgets import limit
from tests.world import World, eventually

NOW_MS = 1_764_072_000_000


@pytest.fixture
async def stores(settings: Settings) -> Any:
    opened = open_stores(settings)
    yield opened
    await opened.close()


async def report(stores: Stores, at_ms: int, requests: int, failures: int) -> list[int]:
    reply = await stores.redis.script(VELOCITY, [KEY], ["report", at_ms, requests, failures])
    return [int(word) for word in reply]


async def test_a_quarter_of_a_hundred_within_a_minute_trips_it_and_no_less(stores: Stores) -> None:
    assert (await report(stores, NOW_MS, 99, 99))[:3] == [0, 0, 0]
    assert (await report(stores, NOW_MS + 61_000, 100, 24))[:3] == [0, 0, 0]
    # 25 % of what the last minute had, not of all that ever was.
    assert (await report(stores, NOW_MS + 122_000, 100, 25))[:3] == [1, 180_000, 1]


async def test_it_goes_on_to_those_with_a_key_only_while_it_goes_on_failing(stores: Stores) -> None:
    await report(stores, NOW_MS, 100, 50)
    assert (await report(stores, NOW_MS + 1_000, 0, 0))[:3] == [1, 179_000, 0]
    assert (await report(stores, NOW_MS + 20_000, 200, 10))[:3] == [1, 160_000, 0]
    assert (await report(stores, NOW_MS + 90_000, 100, 40))[:3] == [2, 180_000, 1]
    assert (await report(stores, NOW_MS + 269_999, 0, 0))[0] == 2
    assert (await report(stores, NOW_MS + 270_000, 0, 0))[0] == 0


def test_only_failures_of_our_own_count() -> None:
    ours = [StoreTimeout("x"), InternalError(), Overloaded()]
    others = [
        UpstreamUnavailable("x"),
        UpstreamBroken("x"),
        RateLimited("x"),
        InsufficientCredits("x"),
    ]
    assert all(own_failure(error) for error in ours)
    assert not any(own_failure(error) for error in others)


async def test_all_processes_learn_it_and_operators_see_and_end_it(stores: Stores) -> None:
    one, two = (Velocity(stores.redis, stores.postgres) for _ in range(2))
    for number in range(120):
        one.saw(failed=number % 3 == 0)
        await one.finish_background()
    one._report_at_s = two._report_at_s = 0.0
    one.saw(failed=True)
    await one.finish_background()
    two.saw(failed=False)
    await two.finish_background()
    assert (one.percent, two.percent) == (50, 50)
    assert (one.strained, two.strained) == (False, False)
    assert two.headers()["X-Velocity-Mode-Active"] == "true"
    state = await velocity_state(stores.redis)
    assert state.stage == 1 and state.requests >= 100 and 0 < state.left_ms <= 180_000
    events = await stores.postgres.rpc("list_velocity_events", {})
    assert [event["stage"] for event in events] == [1]
    assert (await reset_velocity(stores.redis)).stage == 0
    two._report_at_s = 0.0
    two.saw(failed=False)
    await two.finish_background()
    assert two.percent == 100 and two.headers() == {}


def test_rates_shrink_by_tier_and_budgets_and_quotas_do_not() -> None:
    row: dict[str, Any] = {
        "limits": {"requests_per_minute": 10, "requests_per_day": 100, "concurrent_requests": 3},
        "key_scope": "key:1", "used": {},
        "budgets": [["key:1:total", "total", 5, "total=0"]],
    }  # fmt: skip
    for plan, rate in (("free", 5), ("dev", 7), ("team", 9), ("enterprise", 10)):
        limits = limits_of(row | {"plan": plan}, {})
        lines = limits.lines_of(None, None, strained=True).split("\n")
        assert f"rm {rate} - requests:key:1" in lines
        assert "rD 100 - requests:key:1" in lines
        assert "nT 5 total=0 key:1:total" in lines
        assert limits.lines_of(None, None, strained=False).startswith("rm 10 ")


async def test_a_failing_gateway_limits_its_callers_and_counts_no_fault_of_theirs(
    world: World,
) -> None:
    account = await world.account()
    await limit(world, account, "key", account.key_id, requests_per_minute=4)
    gateway = world.chat.gateway()
    for model in ("sandbox/echo-err500", "sandbox/nothing"):
        await world.post(account, model, max_tokens=8)
    assert gateway.velocity._failures == 0
    for _ in range(2):
        await stage(world)
    assert gateway.velocity.strained
    answer = await world.post(account, max_tokens=8)
    assert answer.headers["x-ratelimit-limit-requests"] == "2"


async def stage(world: World) -> None:
    """Another process reports a bad minute; ours learns it with its next report."""
    gateway = world.chat.gateway()
    await world.stores.redis.script(VELOCITY, [KEY], ["report", 0, 100, 90])
    if (await velocity_state(world.stores.redis)).stage == 1:
        # The next slot of ten seconds, without waiting for it.
        with redis.Redis.from_url(world.settings.stores.redis_url) as client:
            client.hset(KEY, "since", 0)
    gateway.velocity._report_at_s = 0.0

    async def told() -> bool:
        await world.client.get("/healthz")
        account = world.accounts[0]
        await world.post(account, "sandbox/nothing")
        return gateway.velocity._stage == (await velocity_state(world.stores.redis)).stage

    await eventually(told)
