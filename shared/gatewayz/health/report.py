"""How offers, providers and models fare, in figures: rows of SQL in, plain objects out. Pure.

Where nothing was measured the figure is None: a number is never invented.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from gatewayz.routing.figures import percentiles

Span = Literal["m5", "m30", "d1", "d7", "d30"]
SPANS: tuple[Span, ...] = ("m5", "m30", "d1", "d7", "d30")
PERIODS: Mapping[str, Span] = {"24h": "d1", "7d": "d7", "30d": "d30"}
Word = Literal["operational", "degraded", "partial_outage", "major_outage", "offline", "unknown"]
COUNTS = (
    "requests", "successes", "errors", "throttled", "total_ms", "prompt_tokens",
    "output_tokens", "cost_nanos", "tool_calls", "tool_valid", "timeouts",
)  # fmt: skip
SUMMED = ("latency_m30", "throughput_m30", "latency_d1", "throughput_d1")


@dataclass(slots=True)
class Figures:
    """Counts of one span. A throttled request is no failure of the offer."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def add(self, row: Mapping[str, Any]) -> None:
        for name in COUNTS:
            self.counts[name] += int(row.get(name) or 0)

    def __getitem__(self, name: str) -> int:
        return self.counts[name]

    @property
    def uptime(self) -> float | None:
        """Percent of what could succeed; None when nothing was tried."""
        judged = self["successes"] + self["errors"]
        return round(100 * self["successes"] / judged, 3) if judged else None

    @property
    def average_ms(self) -> float | None:
        done = self["successes"]
        return round(self["total_ms"] / done, 1) if done else None

    @property
    def error_rate(self) -> float | None:
        judged = self["successes"] + self["errors"]
        return round(100 * self["errors"] / judged, 3) if judged else None

    @property
    def tools_valid(self) -> float | None:
        return round(self["tool_valid"] / self["tool_calls"], 4) if self["tool_calls"] else None


class Stand:
    """An offer, a provider or a model as it stands: sums over its offers."""

    def __init__(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self.rows = rows
        self.spans: dict[Span, Figures] = {span: Figures() for span in SPANS}
        self._buckets: dict[str, dict[int, int]] = {name: defaultdict(int) for name in SUMMED}
        for row in rows:
            for span in SPANS:
                self.spans[span].add(row[span])
            for name in SUMMED:
                for bucket, count in (row.get(name) or {}).items():
                    self._buckets[name][int(bucket)] += int(count)

    def percentiles(self, name: str) -> dict[str, float] | None:
        """Seconds to the first content, or tokens per second; None without data."""
        latency = name.startswith("latency")
        found = percentiles(
            self._buckets[name], scale=1000 if latency else 1, descending=not latency
        )
        return {key: round(value, 3) for key, value in found.items()} or None

    @property
    def failures(self) -> int:
        return max((row["failures"] for row in self.rows), default=0)

    @property
    def hidden(self) -> bool:
        return bool(self.rows) and all(row["hidden"] for row in self.rows)

    def latest(self, name: str) -> Any:
        return max((row[name] for row in self.rows if row.get(name) is not None), default=None)

    @property
    def newest(self) -> Mapping[str, Any] | None:
        return max(self.rows, key=lambda row: row["seen_at_ms"] or 0, default=None)


def word_of_model(stand: Stand, *, is_open: bool = False) -> Word:
    """A model or offer in a word (behaviour.md §2.11)."""
    if is_open or stand.hidden:
        return "offline"
    uptime = stand.spans["d1"].uptime
    if uptime is None:
        return "unknown"
    if uptime >= 99.9:
        return "operational"
    if uptime >= 95:
        return "degraded"
    return "partial_outage" if uptime >= 50 else "major_outage"


def word_of_provider(stand: Stand, *, is_open: bool = False) -> Word:
    if is_open:
        return "offline"
    uptime = stand.spans["d1"].uptime
    if uptime is None:
        return "unknown"
    if uptime >= 99:
        return "operational"
    return "degraded" if uptime >= 95 else "major_outage"


def word_of_system(words: Iterable[Word]) -> Word:
    """By the share of models that are offline; what nobody asked for says nothing."""
    known = [word for word in words if word != "unknown"]
    if not known:
        return "unknown"
    offline = sum(word in ("offline", "major_outage") for word in known)
    if not offline:
        return "operational"
    return "degraded" if offline < len(known) / 10 else "major_outage"


def by_provider(rows: Iterable[Mapping[str, Any]]) -> dict[str, Stand]:
    return _grouped(rows, "provider")


def by_model(rows: Iterable[Mapping[str, Any]]) -> dict[str, Stand]:
    return _grouped(rows, "model")


def _grouped(rows: Iterable[Mapping[str, Any]], name: str) -> dict[str, Stand]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault(row[name], []).append(row)
    return {key: Stand(groups[key]) for key in sorted(groups)}


@dataclass(frozen=True, slots=True)
class EndpointStats:
    """What `/models/…/endpoints` shows of an offer; None where there is no data. `status` is
    OpenRouter's: 0 fine, −1 degraded, −2 down, −3 hidden, −5 no data."""

    status: int
    uptime_last_5m: float | None
    uptime_last_30m: float | None
    uptime_last_1d: float | None
    latency_last_30m: dict[str, float] | None
    throughput_last_30m: dict[str, float] | None


STATUS: Mapping[Word, int] = {
    "operational": 0, "degraded": -1, "partial_outage": -2, "major_outage": -2, "offline": -3,
    "unknown": -5,
}  # fmt: skip


def endpoint_stats_of(stand: Stand) -> EndpointStats:
    return EndpointStats(
        status=STATUS[word_of_model(stand)],
        uptime_last_5m=stand.spans["m5"].uptime,
        uptime_last_30m=stand.spans["m30"].uptime,
        uptime_last_1d=stand.spans["d1"].uptime,
        latency_last_30m=stand.percentiles("latency_m30"),
        throughput_last_30m=stand.percentiles("throughput_m30"),
    )
