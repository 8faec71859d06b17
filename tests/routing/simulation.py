"""A world of offers with drifting latency, outages and prices, on a virtual clock.

Plays the same seeded requests with our planner, breaker and attempt loop, and with strategies to
compare: an oracle that sees the truth, random, price only, round robin. `python -m
tests.routing.simulation` writes the report under docs/ (make routing-report).
"""

import asyncio
import math
import random
import statistics
import sys
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gatewayz.catalog.model import Model, Offer
from gatewayz.core import clock
from gatewayz.core.errors import StoreUnavailable, UpstreamError, UpstreamUnavailable
from gatewayz.pricing.price import Price
from gatewayz.routing.board import Board
from gatewayz.routing.budget import RetryBudget
from gatewayz.routing.filters import Candidates
from gatewayz.routing.needs import Needs
from gatewayz.routing.plan import plan
from gatewayz.routing.preferences import NO_PREFERENCES, Preferences
from gatewayz.routing.ranking import uniform
from gatewayz.routing.run import Guard, run_attempts

DOCS = Path(__file__).resolve().parents[2] / "docs"
USD = 10**9
NEEDS = Needs(1000, 400)
MODEL = Model("sim/model", "Simulated")
FULL = 100_000


class VirtualClock:
    def __init__(self) -> None:
        self.at_s = 1_000.0

    def now_ms(self) -> int:
        return int(self.at_s * 1000)

    def monotonic_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds


class NoRedis:
    """The breakers then run in the process: the same function as in the script."""

    async def script(self, name: str, keys: Any, args: Any) -> Any:
        raise StoreUnavailable("simulated")

    async def close(self) -> None: ...


@dataclass(frozen=True)
class Truth:
    """One offer as it really is. `outages`: (from, to) in seconds; `drift`: period in seconds."""

    name: str
    usd: float
    failing: float = 0.0
    first_s: float = 0.4
    drift_s: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()
    prices: tuple[tuple[float, float], ...] = ()  # (since, USD)

    def price_at(self, at_s: float) -> float:
        return next((usd for since, usd in reversed(self.prices) if since <= at_s), self.usd)

    def fails_at(self, at_s: float) -> float:
        """Probability of failure."""
        if any(start <= at_s < end for start, end in self.outages):
            return 0.97
        return self.failing

    def latency_at(self, at_s: float, u: float) -> float:
        swing = 1.0
        if self.drift_s:
            swing += 0.6 * math.sin(2 * math.pi * at_s / self.drift_s)
        return self.first_s * swing * (0.6 + 0.8 * u)

    def offer_at(self, at_s: float) -> Offer:
        usd = self.price_at(at_s)
        price = Price("v", {"input": round(usd * USD), "output": round(3 * usd * USD)})
        return Offer(f"{self.name}/m", MODEL.id, self.name, "m", price)


@dataclass
class Result:
    """What a strategy achieved."""

    name: str
    requests: int = 0
    succeeded: int = 0
    attempts: int = 0
    wasted: int = 0
    cost_usd: float = 0.0
    waits_s: list[float] = field(default_factory=list)
    curve: list[tuple[float, float, float]] = field(default_factory=list)  # hour, success, cost

    @property
    def success(self) -> float:
        return self.succeeded / self.requests

    @property
    def waste(self) -> float:
        return self.wasted / self.requests

    @property
    def mean_cost(self) -> float:
        return self.cost_usd / max(1, self.succeeded)

    def wait_at(self, share: float) -> float:
        ranked = sorted(self.waits_s)
        return ranked[min(len(ranked) - 1, int(share * len(ranked)))] if ranked else 0.0


def cost_of(offer: Offer) -> float:
    assert offer.price is not None
    of = offer.price.of
    return (1000 * (of("input") or 0) + 400 * (of("output") or 0)) / 1e6 / USD


Order = Callable[[int, list[Truth], float], list[Offer]]


class Simulation:
    def __init__(self, truths: list[Truth], *, every_s: float = 0.1, seed: int = 1) -> None:
        self.truths = truths
        self.by_name = {truth.name: truth for truth in truths}
        self.every_s = every_s
        self.seed = seed

    def run(self, name: str, requests: int, order: Order | None = None,
            preferences: Preferences = NO_PREFERENCES) -> Result:  # fmt: skip
        """Play `requests` with an order of offers, or with ours when there is none."""
        virtual = VirtualClock()
        before = clock.use(virtual)
        try:
            return asyncio.run(self._run(name, requests, order, preferences, virtual))
        finally:
            clock.use(before)

    async def _run(self, name: str, requests: int, order: Order | None,
                   preferences: Preferences, virtual: VirtualClock) -> Result:  # fmt: skip
        result, start_s = Result(name), virtual.at_s
        jitters = random.Random(self.seed)
        board = Board(NoRedis(), jitter=lambda: jitters.randrange(1000))
        guard = Guard(board, RetryBudget()) if order is None else Guard()
        window = [0, 0, 0.0]
        for number in range(requests):
            arrival_s = start_s + number * self.every_s
            virtual.at_s = arrival_s
            elapsed = number * self.every_s
            if order is None:
                group = Candidates(MODEL, tuple(t.offer_at(elapsed) for t in self.truths))
                made = plan(NEEDS, [group], preferences=preferences, view=board.view(),
                            seed=self.seed * 1_000_003 + number)  # fmt: skip
                offers, wait_s = made.offers, made.wait_s
            else:
                offers, wait_s = tuple(order(number, self.truths, elapsed)), 0.0
            log: list[dict[str, Any]] = []
            attempt = self._attempt(number, elapsed, virtual)
            try:
                served = await run_attempts(offers, attempt, log, guard, wait_s=wait_s)
            except UpstreamError:
                served = None
            else:
                board.succeeded(served.id, served.provider, took_ms=log[-1]["ms"])
                board.measured(served.id, first_token_ms=log[-1]["ms"])
            await asyncio.sleep(0)
            result.requests += 1
            result.attempts += len(log)
            result.wasted += sum(entry["error"] is not None for entry in log)
            window[0] += 1
            if served is not None:
                result.succeeded += 1
                result.cost_usd += cost_of(served)
                result.waits_s.append(virtual.at_s - arrival_s)
                window[1] += 1
                window[2] += cost_of(served)
            if window[0] * self.every_s >= 600:
                point = (elapsed / 3600, window[1] / window[0], window[2] / max(1, window[1]))
                result.curve.append(point)
                window = [0, 0, 0.0]
        return result

    def _attempt(
        self, number: int, elapsed: float, virtual: VirtualClock
    ) -> Callable[[Offer], Awaitable[Offer]]:
        async def attempt(offer: Offer) -> Offer:
            truth = self.by_name[offer.provider]
            # The same luck for every strategy: it depends on the request and the offer alone.
            seed = self.seed * 7919 + number * 131 + sum(map(ord, truth.name))
            luck = uniform(seed, 1)
            virtual.at_s += truth.latency_at(elapsed, uniform(seed, 2))
            if luck <= truth.fails_at(elapsed):
                raise UpstreamUnavailable("simulated", upstream_status=500)
            return offer

        return attempt


# ------------------------------------------------------------------ strategies


def oracle(number: int, truths: list[Truth], at_s: float) -> list[Offer]:
    """Knows who works: the least expected failures first, then the cheapest."""
    ranked = sorted(truths, key=lambda t: (t.fails_at(at_s) > 0.05, t.price_at(at_s)))
    return [truth.offer_at(at_s) for truth in ranked[:3]]


def at_random(number: int, truths: list[Truth], at_s: float) -> list[Offer]:
    ranked = sorted(truths, key=lambda t: uniform(number, sum(map(ord, t.name))))
    return [truth.offer_at(at_s) for truth in ranked[:3]]


def price_only(number: int, truths: list[Truth], at_s: float) -> list[Offer]:
    return [t.offer_at(at_s) for t in sorted(truths, key=lambda t: t.price_at(at_s))[:3]]


def round_robin(number: int, truths: list[Truth], at_s: float) -> list[Offer]:
    turn = [truths[(number + i) % len(truths)] for i in range(3)]
    return [truth.offer_at(at_s) for truth in turn]


STRATEGIES: dict[str, Order | None] = {
    "gatewayz": None, "oracle": oracle, "price only": price_only, "random": at_random,
    "round robin": round_robin,
}  # fmt: skip


def drifting_world(hours: float) -> list[Truth]:
    """Six offers of one model over some hours: each has its bad time."""
    at = hours * 3600
    return [
        Truth("ash", 1.0, 0.01, 0.35, 5000, ((0.10 * at, 0.16 * at), (0.70 * at, 0.74 * at))),
        Truth("birch", 1.1, 0.02, 0.55, 3000, ((0.30 * at, 0.33 * at),)),
        Truth("cedar", 1.25, 0.005, 0.25, 7000, (), ((0.5 * at, 0.9),)),
        Truth("elm", 1.5, 0.15, 0.30, 4000),
        Truth("fir", 1.6, 0.01, 0.90, 2000, ((0.55 * at, 0.60 * at),)),
        Truth("oak", 1.9, 0.002, 0.45, 0, (), ((0.2 * at, 1.4), (0.8 * at, 2.2))),
    ]


def compare(requests: int, *, every_s: float = 0.1, seed: int = 1) -> list[Result]:
    simulation = Simulation(drifting_world(requests * every_s / 3600), every_s=every_s, seed=seed)
    return [simulation.run(name, requests, order) for name, order in STRATEGIES.items()]


# ------------------------------------------------------------------ the report


def table(results: list[Result]) -> Iterator[str]:
    best = next(r for r in results if r.name == "oracle")
    yield "| strategy | success | cost per answer, µUSD | over the oracle | wasted attempts | wait p50 | wait p95 |"  # noqa: E501
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for r in results:
        yield (
            f"| {r.name} | {100 * r.success:.3f} % | {1e6 * r.mean_cost:.0f} "
            f"| {100 * (r.mean_cost / best.mean_cost - 1):+.1f} % | {100 * r.waste:.2f} % "
            f"| {r.wait_at(0.5):.2f} s | {r.wait_at(0.95):.2f} s |"
        )


def chart(results: list[Result]) -> str:
    """Success and cost over time, as SVG."""
    width, height, left, top = 760, 230, 60, 30
    colours = {"gatewayz": "#1a7f5a", "oracle": "#888888", "price only": "#c23b22",
               "random": "#e0a030", "round robin": "#3b6fc2"}  # fmt: skip
    hours = max(point[0] for r in results for point in r.curve)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 80}" height="{2 * height + 90}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{width + 80}" height="{2 * height + 90}" fill="white"/>',
    ]
    panels = (("success, %", 1, 100.0), ("cost per answer, µUSD", 2, 1e6))
    for row, (title, place, scale) in enumerate(panels):
        base = top + row * (height + 40)
        values = [point[place] * scale for r in results for point in r.curve]
        low, high = min(values), max(values)
        low, high = low - 0.02 * (high - low), high + 0.02 * (high - low) + 1e-9
        parts.append(f'<text x="{left}" y="{base - 8}">{title} (10-minute windows)</text>')
        parts.append(f'<rect x="{left}" y="{base}" width="{width}" height="{height}" '
                     'fill="none" stroke="#bbb"/>')  # fmt: skip
        for mark in (low, (low + high) / 2, high):
            y = base + height - (mark - low) / (high - low) * height
            parts.append(
                f'<text x="{left - 6}" y="{y + 4:.0f}" text-anchor="end">{mark:.1f}</text>'
            )
        for r in results:
            points = " ".join(
                f"{left + hour / hours * width:.1f},"
                f"{base + height - (value * scale - low) / (high - low) * height:.1f}"
                for hour, value in ((p[0], p[place]) for p in r.curve)
            )
            thick = 2.2 if r.name == "gatewayz" else 1.2
            parts.append(f'<polyline points="{points}" fill="none" '
                         f'stroke="{colours[r.name]}" stroke-width="{thick}"/>')  # fmt: skip
    for place, r in enumerate(results):
        x = left + place * 150
        y = 2 * height + 82
        parts.append(f'<line x1="{x}" y1="{y - 4}" x2="{x + 22}" y2="{y - 4}" '
                     f'stroke="{colours[r.name]}" stroke-width="3"/>')  # fmt: skip
        parts.append(f'<text x="{x + 28}" y="{y}">{r.name}</text>')
    return "\n".join([*parts, "</svg>", ""])


BEGIN, END = "<!-- simulation -->", "<!-- /simulation -->"


def write_report(requests: int = FULL) -> None:
    results = compare(requests)
    (DOCS / "routing-simulation.svg").write_text(chart(results))
    page = DOCS / "routing.md"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = "\n".join(table(results))
    page.write_text(
        f"{before}{BEGIN}\n{requests:,} requests at ten a second:\n\n{lines}\n{END}{after}"
    )
    print(lines)


def pair(one: float, other: float, **more: Any) -> list[Truth]:
    """Two offers at one price that fail with these probabilities."""
    return [
        replace(Truth("one", 1.0), failing=one, **more),
        replace(Truth("two", 1.0), failing=other),
    ]


def median(values: list[float]) -> float:
    return statistics.median(values)


if __name__ == "__main__":
    write_report(int(sys.argv[1]) if len(sys.argv) > 1 else FULL)
