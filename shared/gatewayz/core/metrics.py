"""Metrics for an operator: gathered in the process, written at the end of a request or run.

Owns the catalogue (metrics.toml, read when metrics are on). Out as EMF lines, from which CloudWatch
makes metrics, and to sinks: shared totals, a collector. Guarantees that without any of them nothing
is kept or written, and that each is told at most once a period.
"""

import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import orjson

from gatewayz.core import clock

Kind = Literal["counter", "gauge", "histogram"]
Unit = Literal["Count", "Milliseconds", "Microseconds", "Nanodollars"]

# Log lines are paid for by size: a busy process writes each kind of value once in this time.
PERIOD_S = 10.0
# EMF's own limit of values in one line.
MAX_VALUES = 100
# Upper ends of the buckets, in the metric's own unit; the last one has none.
BOUNDS: Mapping[str, tuple[int, ...]] = {
    "Milliseconds": (
        10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 120_000, 300_000,
        900_000,
    ),
    "Microseconds": (
        250, 500, 1000, 1500, 2000, 3000, 5000, 10_000, 25_000, 50_000, 100_000, 250_000,
        1_000_000,
    ),
}  # fmt: skip
PER_SECOND: Mapping[str, int] = {"Milliseconds": 1000, "Microseconds": 1_000_000}


@dataclass(frozen=True, slots=True)
class Metric:
    """`labels` are its dimensions, each of few values: never an id or an account."""

    kind: Kind
    unit: Unit
    labels: tuple[str, ...]
    help: str
    aws: bool = True
    live: bool = False

    @property
    def bounds(self) -> tuple[int, ...]:
        return BOUNDS[self.unit] if self.kind == "histogram" else ()


class Sink(Protocol):
    """Whoever else wants the values. Neither call waits or raises."""

    def add(
        self, name: str, known: Metric, labels: Sequence[str], values: Sequence[int]
    ) -> None: ...
    def flush(self) -> None: ...


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


@cache
def catalogue() -> Mapping[str, Metric]:
    """Every metric by its name."""
    rows = {name: row for name, row in _file().items() if name != "labels"}
    return {name: Metric(**{**row, "labels": tuple(row["labels"])}) for name, row in rows.items()}


def most_values() -> Mapping[str, int]:
    """How many values a label may have."""
    return dict(_file()["labels"])


def __getattr__(name: str) -> Any:
    if name == "METRICS":
        return catalogue()
    raise AttributeError(name)


_namespace = ""
_on = False
_sinks: dict[str, Sink] = {}
_kinds: dict[str, Kind] = {}
_counts: dict[tuple[str, ...], int] = {}
_values: dict[tuple[str, ...], list[int]] = {}
_written_s = 0.0


def configure_metrics(namespace: str) -> None:
    """Write EMF lines under `namespace`; none when it is empty. Safe to call twice."""
    global _namespace, _written_s
    if namespace != _namespace:
        _counts.clear()
        _values.clear()
    _namespace, _written_s = namespace, 0.0
    _switch()


def use_sink(name: str, sink: Sink | None) -> None:
    """Tell this one, too: one of a name, the last."""
    if sink is None:
        _sinks.pop(name, None)
    else:
        _sinks[name] = sink
    _switch()


def _switch() -> None:
    global _on
    _on = bool(_namespace or _sinks)
    if _on and not _kinds:
        _kinds.update((name, known.kind) for name, known in catalogue().items())


def metrics_on() -> bool:
    """Whether anybody wants them; what is costly to measure is measured only then."""
    return _on


def metric(name: str, value: int = 1, **labels: str) -> None:
    """Add a value to a metric of the catalogue; all of its labels, in the catalogue's order."""
    if not _on:
        return
    key = (name, *labels.values())
    kind = _kinds[name]
    if kind == "counter":
        _counts[key] = _counts.get(key, 0) + value
        return
    if kind == "gauge":
        _counts[key] = value
        return
    values = _values.setdefault(key, [])
    values.append(value)
    if len(values) >= MAX_VALUES:
        _write(key, _values.pop(key))


def flush_metrics(*, now: bool = False) -> None:
    """Write what was gathered if the period is over, or at once. Call it where work ends: a
    platform may freeze the process from then on.
    """
    global _written_s
    if not (_counts or _values):
        return
    at_s = clock.monotonic_s()
    if not now and _written_s and at_s - _written_s < PERIOD_S:
        return
    _written_s = at_s
    for key, count in _take(_counts):
        _write(key, [count])
    for key, values in _take(_values):
        _write(key, values)
    for sink in _sinks.values():
        sink.flush()


def _take(gathered: dict[tuple[str, ...], Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    rows = list(gathered.items())
    gathered.clear()
    return iter(rows)


def use_writer(writer: "WriteLine") -> None:
    """Write by a platform's own library instead; it writes the same lines."""
    global _writer
    _writer = writer


def _write(key: tuple[str, ...], values: list[int]) -> None:
    name, *labels = key
    known = catalogue()[name]
    if _namespace and known.aws:
        _writer(_namespace, name, known, dict(zip(known.labels, labels, strict=True)), values)
    for sink in _sinks.values():
        sink.add(name, known, labels, values)


def _write_line(
    namespace: str, name: str, known: Metric, labels: dict[str, str], values: list[int]
) -> None:
    line = {
        "_aws": {
            "Timestamp": clock.now_ms(),
            "CloudWatchMetrics": [
                {
                    "Namespace": namespace,
                    "Dimensions": [list(known.labels)],
                    "Metrics": [{"Name": name, "Unit": known.unit}],
                }
            ],
        },
        **labels,
        name: values if known.kind == "histogram" else values[0],
    }
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()


# namespace, name, metric, labels, values
WriteLine = Callable[[str, str, Metric, dict[str, str], list[int]], None]
_writer: WriteLine = _write_line
