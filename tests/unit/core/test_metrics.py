"""Metrics: gathered cheaply, written as CloudWatch reads them, nothing when nobody asked."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from gatewayz.core import clock
from gatewayz.core.metrics import (
    MAX_VALUES,
    METRICS,
    PERIOD_S,
    configure_metrics,
    flush_metrics,
    metric,
    most_values,
)

ROOT = Path(__file__).resolve().parents[3]


class Clock(clock.SystemClock):
    at_s = 1000.0

    def monotonic_s(self) -> float:
        return self.at_s


@pytest.fixture
def hands() -> Iterator[Clock]:
    mine = Clock()
    before = clock.use(mine)
    configure_metrics("Test")
    yield mine
    configure_metrics("")
    clock.use(before)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_without_a_namespace_nothing_is_kept_or_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure_metrics("")
    metric("admissions", outcome="admitted")
    flush_metrics(now=True)
    assert lines(capsys) == []


def test_counts_are_added_up_and_written_as_emf(
    hands: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for outcome in ("admitted", "admitted", "insufficient_credits"):
        metric("admissions", outcome=outcome)
    flush_metrics()
    first, second = lines(capsys)
    assert (first["admissions"], first["outcome"]) == (2, "admitted")
    assert (second["admissions"], second["outcome"]) == (1, "insufficient_credits")
    (directive,) = first["_aws"]["CloudWatchMetrics"]
    assert directive == {
        "Namespace": "Test",
        "Dimensions": [["outcome"]],
        "Metrics": [{"Name": "admissions", "Unit": "Count"}],
    }
    assert abs(first["_aws"]["Timestamp"] - clock.now_ms()) < 60_000


def test_a_busy_process_writes_once_a_period(
    hands: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(100):
        metric("admissions", outcome="admitted")
        flush_metrics()
    assert [line["admissions"] for line in lines(capsys)] == [1]
    hands.at_s += PERIOD_S
    flush_metrics()
    assert [line["admissions"] for line in lines(capsys)] == [99]
    metric("admissions", outcome="admitted")
    flush_metrics(now=True)
    assert [line["admissions"] for line in lines(capsys)] == [1]


def test_durations_are_kept_one_by_one_within_the_formats_limit(
    hands: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in range(MAX_VALUES + 1):
        metric("first_token", value, provider="sandbox")
    flush_metrics(now=True)
    written = [line["first_token"] for line in lines(capsys)]
    assert written == [list(range(MAX_VALUES)), [MAX_VALUES]]


def calls() -> Iterator[tuple[str, ast.Call]]:
    for folder in ("shared", "functions"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "metric":
                    yield path.name, node


def test_every_metric_of_the_catalogue_is_measured_with_its_labels_in_order() -> None:
    measured = set()
    for place, call in calls():
        (name, *rest) = call.args
        assert isinstance(name, ast.Constant), place
        known = METRICS[name.value]
        named = [k.arg for k in call.keywords if k.arg]
        for keyword in call.keywords:
            if keyword.arg is None:  # `class` is no keyword of the language
                assert isinstance(keyword.value, ast.Dict)
                named += [key.value for key in keyword.value.keys if isinstance(key, ast.Constant)]
        assert tuple(named) == known.labels, (place, name.value)
        assert len(rest) == 1 or known.kind == "counter"
        measured.add(name.value)
    assert measured == {name for name, known in METRICS.items() if not known.live}


def test_no_label_is_an_id() -> None:
    """Every new value of a dimension is a metric that is paid for."""
    labels = {label for known in METRICS.values() if known.aws for label in known.labels}
    assert labels <= most_values().keys() - {"model", "class", "book"}
