"""Metrics for an operator: counts and durations as EMF lines, from which CloudWatch makes metrics.

Owns the catalogue METRICS. Values are gathered in the process and written at the end of a request
or run, at most once a period. Guarantees that without a namespace nothing is kept or written.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import orjson

from gatewayz.core import clock

Unit = Literal["Count", "Milliseconds"]

# Log lines are paid for by size: a busy process writes each kind of value once in this time.
PERIOD_S = 10.0
# EMF's own limit of values in one line.
MAX_VALUES = 100


@dataclass(frozen=True, slots=True)
class Metric:
    """`labels` are its dimensions, each of few values: never an id, an account or a model."""

    unit: Unit
    labels: tuple[str, ...]
    meaning: str


METRICS: dict[str, Metric] = {
    "admissions": Metric(
        "Count", ("outcome",), "requests by what became of them at the door: admitted or error code"
    ),
    "attempts": Metric(
        "Count", ("provider", "result"), "calls of providers: ok or the class of the error"
    ),
    "requests": Metric("Count", ("outcome",), "admitted requests by their end, as in the ledger"),
    "first_token": Metric(
        "Milliseconds", ("provider",), "from admission to the first content of a stream"
    ),
    "charges": Metric(
        "Count", ("status",), "charge messages by what the ledger did: posted, duplicate, …"
    ),
    "settlement_lag": Metric(
        "Milliseconds",
        (),
        "from the end of a request to its charge in the ledger; worst of a batch",
    ),
    "queue_waiting": Metric("Count", ("queue",), "messages that wait or are in work"),
    "queue_dead": Metric("Count", ("queue",), "dead letters"),
    "queue_oldest": Metric(
        "Milliseconds", ("queue",), "age of the oldest message, where the queue tells it"
    ),
    "swept": Metric(
        "Count", ("kind",), "what the sweeper settled or freed: holds, messages, leases"
    ),
    "overages": Metric(
        "Count", ("cause",), "charges beyond what was set aside for them: overage, late, flush, …"
    ),
    "stripe_events": Metric(
        "Count", ("result",), "webhook calls: stored, known, forged or of the other mode"
    ),
    "stripe_applied": Metric("Count", ("kind", "result"), "events that were worked on, by type"),
    "auto_topups": Metric("Count", ("result",), "automatic top-ups: paid, failed or switched off"),
    "stripe_drift": Metric(
        "Count", (), "differences between Stripe and the ledger that did not mend themselves"
    ),
    "payment_mismatches": Metric("Count", (), "payments that fit no order of ours"),
    "fraud_warnings": Metric("Count", (), "payments that a bank calls fraudulent"),
    "ledger_violations": Metric(
        "Count", (), "rows of ledger.violations; anything above 0 is wrong"
    ),
}

_namespace = ""
_counts: dict[tuple[str, ...], int] = {}
_durations: dict[tuple[str, ...], list[int]] = {}
_written_s = 0.0


def configure_metrics(namespace: str) -> None:
    """Write metrics under `namespace`; none when it is empty. Safe to call twice."""
    global _namespace, _written_s
    _namespace, _written_s = namespace, 0.0
    _counts.clear()
    _durations.clear()


def metric(name: str, value: int = 1, **labels: str) -> None:
    """Add a value to a metric of the catalogue; all of its labels, in the catalogue's order."""
    if not _namespace:
        return
    key = (name, *labels.values())
    if METRICS[name].unit == "Count":
        _counts[key] = _counts.get(key, 0) + value
        return
    values = _durations.setdefault(key, [])
    values.append(value)
    if len(values) >= MAX_VALUES:
        _write(key, _durations.pop(key))


def flush_metrics(*, now: bool = False) -> None:
    """Write what was gathered if the period is over, or at once. Call it where work ends: a
    platform may freeze the process from then on.
    """
    global _written_s
    if not (_counts or _durations):
        return
    at_s = clock.monotonic_s()
    if not now and _written_s and at_s - _written_s < PERIOD_S:
        return
    _written_s = at_s
    for key, count in _counts.items():
        _write(key, count)
    for key, values in _durations.items():
        _write(key, values)
    _counts.clear()
    _durations.clear()


def use_writer(writer: "WriteLine") -> None:
    """Write by a platform's own library instead; it writes the same lines."""
    global _writer
    _writer = writer


def _write(key: tuple[str, ...], value: int | list[int]) -> None:
    name, *labels = key
    known = METRICS[name]
    named = dict(zip(known.labels, labels, strict=True))
    _writer(_namespace, name, known, named, value if isinstance(value, list) else [value])


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
        name: values[0] if known.unit == "Count" else values,
    }
    sys.stdout.write(orjson.dumps(line).decode() + "\n")
    sys.stdout.flush()


# namespace, name, metric, labels, values
WriteLine = Callable[[str, str, Metric, dict[str, str], list[int]], None]
_writer: WriteLine = _write_line
