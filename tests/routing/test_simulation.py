"""Failover in numbers: upstreams that fail, a world that drifts; seeded, on a virtual clock."""

import asyncio

import pytest

from gatewayz.catalog.model import Offer
from gatewayz.core.errors import UpstreamUnavailable
from gatewayz.routing.budget import RetryBudget
from gatewayz.routing.needs import Needs
from gatewayz.routing.pins import Pin, prompt_scaled
from gatewayz.routing.plan import plan
from gatewayz.routing.preferences import Preferences
from gatewayz.routing.ranking import uniform
from gatewayz.routing.run import Guard, run_attempts
from tests.routing.simulation import STRATEGIES, Simulation, compare, pair, table
from tests.unit.routing.offers import USD, group, offer

REQUESTS = 2000


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("CRITICAL", logger="gatewayz")


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_one_of_two_fails_thirty_percent_and_nobody_notices(seed: int) -> None:
    got = Simulation(pair(0.3, 0.0), seed=seed).run("ours", REQUESTS)
    assert got.success >= 0.999
    # Once demoted it is asked only after the other, and now and then to see whether it is well.
    assert got.waste <= 0.02


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_both_fail_thirty_percent_and_what_can_be_had_is_had(seed: int) -> None:
    simulation = Simulation(pair(0.3, 0.3), seed=seed)
    got = simulation.run("ours", REQUESTS)
    possible = sum(
        any(_luck(seed, number, name) > 0.3 for name in ("one", "two"))
        for number in range(REQUESTS)
    )
    assert possible / REQUESTS - got.success <= 0.005


def _luck(seed: int, number: int, name: str) -> float:
    return uniform(seed * 7919 + number * 131 + sum(map(ord, name)), 1)


def test_one_fully_down_costs_next_to_nothing() -> None:
    down = Simulation(pair(1.0, 0.0)).run("ours", REQUESTS)
    well = Simulation(pair(0.0, 0.0)).run("ours", REQUESTS)
    assert down.success == 1.0 and down.waste <= 0.01
    # Steady: what the median request waits is the other's own latency.
    assert down.wait_at(0.5) - well.wait_at(0.5) < 0.002


@pytest.mark.parametrize("requests", [10, 100, 1000])
async def test_the_retry_budget_bites_where_retries_would_become_the_load(requests: int) -> None:
    """All first attempts fail at one moment and the other offer hangs: it gets a fifth and three.
    As soon as it answers, everybody who waited is served."""
    budget, released = RetryBudget(), asyncio.Event()
    failing, started = asyncio.Event(), 0
    under_way = most = 0

    async def attempt(made: Offer) -> str:
        nonlocal started, under_way, most
        if made.provider == "down":
            await failing.wait()
            raise UpstreamUnavailable("down")
        started, under_way = started + 1, under_way + 1
        most = max(most, under_way)
        await released.wait()
        await asyncio.sleep(0)
        under_way -= 1
        return "served"

    pair = (offer("down", 1), offer("up", 1))
    runs = [
        asyncio.create_task(run_attempts(pair, attempt, [], Guard(budget=budget)))
        for _ in range(requests)
    ]
    await asyncio.sleep(0)
    failing.set()
    for _ in range(5):
        await asyncio.sleep(0)
    bites_at = requests // 5 + 3
    print(f"{requests} requests that all fail at once: {started} retries under way")
    assert started == bites_at
    released.set()
    assert await asyncio.gather(*runs) == ["served"] * requests
    assert most == bites_at and started == requests


def test_the_world_that_drifts_a_small_one_of_the_report_under_docs() -> None:
    results = {r.name: r for r in compare(6000, every_s=1.0)}
    print("\n" + "\n".join(table(list(results.values()))))
    ours, oracle = results["gatewayz"], results["oracle"]
    assert set(results) == set(STRATEGIES)
    assert ours.success >= 0.999 and oracle.success - ours.success <= 0.001
    assert ours.waste < min(results[n].waste for n in ("price only", "random", "round robin"))
    assert ours.mean_cost < min(results[n].mean_cost for n in ("random", "round robin"))
    assert ours.wait_at(0.95) < results["random"].wait_at(0.95)


def test_a_percentage_split_is_kept_over_many_requests() -> None:
    from tests.routing.simulation import MODEL, Candidates

    split = Preferences(split={"a": 70.0, "b": 30.0})
    groups = (Candidates(MODEL, (offer("a", 1), offer("b", 1))),)
    firsts = [
        plan(Needs(100), groups, preferences=split, seed=seed).offers[0].provider
        for seed in range(5000)
    ]
    assert firsts.count("a") / 5000 == pytest.approx(0.7, abs=0.02)


# ------------------------------------------------------------------ the arithmetic of affinity


def test_an_agent_session_keeps_its_cache_while_a_cheaper_offer_appears() -> None:
    """30 turns, each 1,500 tokens longer; from turn 10 on there is an offer 30 % cheaper."""
    home = offer("home", 1.0, cached=0.1)
    rival = offer("rival", 0.7, cached=0.07)
    pin: Pin | None = None
    cacheable = cached = 0
    lines = ["turn  prompt  cached  at     µUSD   µUSD at the rival, uncached"]
    for turn in range(1, 31):
        prompt = 2000 + 1500 * turn
        offers = (home, rival) if turn >= 10 else (home,)
        needs = Needs(prompt)
        made = plan(needs, (group(*offers),), pin=pin, seed=turn,
                    preferences=Preferences(sort="price"))  # fmt: skip
        chosen = made.offers[0]
        known = pin.cached_tokens if pin is not None and pin.offer == chosen.id else 0
        if turn > 1:
            cacheable += prompt - 1500
            cached += known
        assert chosen.price is not None and rival.price is not None
        here = prompt_scaled(chosen.price, prompt, known) / USD
        there = prompt_scaled(rival.price, prompt, 0) / USD
        lines.append(f"{turn:>4}  {prompt:>6}  {known:>6}  {chosen.provider:<5} {here:>6.0f}"
                     f"  {there:>6.0f}")  # fmt: skip
        pin = Pin(chosen.id, prompt)
    print("\n".join(lines))
    assert cached / cacheable >= 0.95
