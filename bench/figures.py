"""The table of figures with what must and what should be reached. Pure: results in, text out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

Results = Mapping[str, Any]
OURS, DIRECT, RIVAL, REFERENCE = "ours", "direct", "litellm-1w", "ref-pyreqwest"
PHASES = ("ns1", "ns8", "ns64", "rate40", "rate500", "big", "ttft", "flood", "paced16", "paced64")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: `must` and `aim` are upper bounds, lower bounds when `at_least`."""

    name: str
    unit: str
    must: float
    aim: float
    measure: Callable[[Results], float | None]
    at_least: bool = False

    def verdict(self, value: float | None) -> str:
        if value is None:
            return "not measured"
        if self.at_least:
            return "aim" if value >= self.aim else "must" if value >= self.must else "MISSED"
        return "aim" if value <= self.aim else "must" if value <= self.must else "MISSED"


def of(results: Results, target: str, *path: str) -> float | None:
    """Median over the rounds of a target's value."""
    found = []
    for each in results["rounds"]:
        value: Any = each.get(target)
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        if value is not None:
            found.append(value)
    return median(found) if found else None


def _own(*path: str) -> Callable[[Results], float | None]:
    return lambda results: of(results, OURS, *path)


def _ratio(other: str, *path: str) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        ours, theirs = of(results, OURS, *path), of(results, other, *path)
        return ours / theirs if ours is not None and theirs else None

    return measure


def _added_ms(*path: str) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        ours, direct = of(results, OURS, *path), of(results, DIRECT, *path)
        return None if ours is None or direct is None else (ours - direct) / 1000

    return measure


def _sum(name: str) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        return sum(of(results, OURS, phase, name) or 0 for phase in PHASES)

    return measure


def _soak(*path: str) -> Callable[[Results], float | None]:
    def measure(results: Results) -> float | None:
        value: Any = results.get("soak")
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return value  # type: ignore[no-any-return]

    return measure


# The bars of issue 2, section 7, and of decision D48.
FIGURES = (
    Figure("CPU per non-stream request", "µs", 350, 200, _own("ns64", "cpu_us_per_op")),
    Figure("… over ref-pyreqwest", "×", 3.5, 2, _ratio(REFERENCE, "ns64", "cpu_us_per_op")),
    Figure("requests/s at c=64 over LiteLLM", "×", 30, 70, _ratio(RIVAL, "ns64", "rps"), True),
    Figure("added p50 at c=1", "ms", 1.3, 0.9, _added_ms("ns1", "p50")),
    Figure("added p99 at 500 rps", "ms", 5, 2, _added_ms("rate500", "lat_us", "p99")),
    Figure("added time to first token p50", "ms", 2, 1, _added_ms("ttft", "ttft_us", "p50")),
    Figure("added time to first token p99", "ms", 5, 2, _added_ms("ttft", "ttft_us", "p99")),
    Figure(
        "64 paced streams, chunks/s over direct",
        "×",
        0.99,
        0.99,
        _ratio(DIRECT, "paced64", "chunks_per_s"),
        True,
    ),
    Figure("… added p99 chunk delay", "ms", 10, 3, _added_ms("paced64", "transit_us", "p99")),
    Figure("… CPU per chunk", "µs", 120, 60, _own("paced64", "cpu_us_per_op")),
    Figure("process start to first good answer", "s", 1.0, 0.5, _own("cold_s")),
    Figure("RSS after load", "MB", 100, 60, _own("rss")),
    Figure("errors", "", 0, 0, _sum("errors")),
    Figure("streams without [DONE]", "", 0, 0, _sum("incomplete")),
    Figure("requests with a wrong upstream key", "", 0, 0, _own("bad_key")),
    Figure("60 s at 500 rps: oldest message", "s", 5, 2, _soak("oldest_s")),
    Figure("… errors", "", 0, 0, _soak("errors")),
    Figure("… charged but for the answers", "nano-USD", 0, 0, _soak("unexplained_nanos")),
    Figure("ledger violations", "", 0, 0, _soak("violations")),
)


def number(value: float | None) -> str:
    if value is None:
        return "–"
    if value == int(value):
        return f"{int(value):,}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(results: Results) -> str:
    """Markdown."""
    lines = ["| figure | must | aim | measured | reached |", "| --- | ---: | ---: | ---: | --- |"]
    for figure in FIGURES:
        value = figure.measure(results)
        unit = f" {figure.unit}" if figure.unit else ""
        cells = [figure.name, number(figure.must), number(figure.aim)]
        cells += [number(value) + unit, figure.verdict(value)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, *_beside(results)])


def _beside(results: Results) -> list[str]:
    """What is reported without a bar: the stores' own cost, lag and drain, the rivals' figures."""
    out = ["", "| target | CPU µs/request | requests/s c=64 | added p50 c=1 ms | RSS MB |"]
    out += ["| --- | ---: | ---: | ---: | ---: |"]
    names = dict.fromkeys(name for each in results["rounds"] for name in each)
    for name in names:
        added = None
        if (own := of(results, name, "ns1", "p50")) is not None:
            added = (own - (of(results, DIRECT, "ns1", "p50") or 0)) / 1000
        cells = [of(results, name, "ns64", "cpu_us_per_op"), of(results, name, "ns64", "rps")]
        cells += [added, of(results, name, "rss")]
        out.append(f"| {name} | " + " | ".join(map(number, cells)) + " |")
    if soak := results.get("soak"):
        shares = ", ".join(f"{name} {number(us)}" for name, us in soak["cpu_us"].items())
        out += [
            "",
            f"{number(soak['seconds'])} s at 500 rps: {soak['requests']:,} answers; "
            f"p50 {number(soak['p50_ms'])} ms, p99 {number(soak['p99_ms'])} ms; "
            f"at most {soak['waiting']:,} messages waiting, "
            f"the oldest {number(soak['oldest_s'])} s; drained {number(soak['drain_s'])} s after "
            f"the last answer. CPU µs per request: {shares}.",
        ]
    return out
