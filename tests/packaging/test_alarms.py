"""What must wake somebody has an alarm that reads a metric which is really written."""

from typing import Any

import pytest

from gatewayz.core.metrics import METRICS
from tests.packaging.deployables import RESOURCES, resources_of

OURS = {"Ref": "AWS::StackName"}


def _read(alarm: dict[str, Any]) -> list[tuple[Any, str, dict[str, Any]]]:
    """(namespace, metric, dimensions) that an alarm reads."""
    parts = [m["MetricStat"]["Metric"] for m in alarm.get("Metrics", []) if "MetricStat" in m]
    return [
        (
            part["Namespace"],
            part["MetricName"],
            {d["Name"]: d["Value"] for d in part.get("Dimensions", [])},
        )
        for part in (parts or [alarm])
    ]


ALARMS = resources_of("AWS::CloudWatch::Alarm")
READ = [(name, *read) for name, alarm in ALARMS.items() for read in _read(alarm)]
FILTERED = {
    change["MetricName"]
    for properties in resources_of("AWS::Logs::MetricFilter").values()
    for change in properties["MetricTransformations"]
}


@pytest.mark.parametrize(("name", "namespace", "metric", "dimensions"), READ)
def test_an_alarm_reads_what_is_written(
    name: str, namespace: Any, metric: str, dimensions: dict[str, Any]
) -> None:
    if namespace != OURS:
        assert str(namespace).startswith("AWS/")
        return
    if metric in FILTERED:
        return
    assert tuple(dimensions) == METRICS[metric].labels, f"{name}: CloudWatch matches all of them"


WATCHED = {
    "admission": ("admissions", "requests"),
    "attempts": ("attempts", "requests"),
    "settlement lag": ("settlement_lag",),
    "the sweeper": ("swept",),
    "the ledger": ("ledger_violations",),
    "what goes beyond its hold": ("overages",),
}


@pytest.mark.parametrize("what", WATCHED)
def test_what_goes_wrong_unseen_has_an_alarm(what: str) -> None:
    read = {metric for _, namespace, metric, _ in READ if namespace == OURS}
    assert read & set(WATCHED[what])


def test_dead_letters_old_messages_and_a_silent_clock_are_seen_from_outside() -> None:
    """By the platform's own metrics: they are there also when nothing of ours runs."""
    read = {(str(namespace), metric): dimensions for _, namespace, metric, dimensions in READ}
    dead = read["AWS/SQS", "ApproximateNumberOfMessagesVisible"]
    assert dead["QueueName"] == {"Fn::GetAtt": ["ChargeDeadLetters", "QueueName"]}
    old = read["AWS/SQS", "ApproximateAgeOfOldestMessage"]
    assert old["QueueName"] == {"Fn::GetAtt": ["ChargeQueue", "QueueName"]}
    assert read["AWS/Lambda", "Invocations"]["FunctionName"] == {"Ref": "SweepHolds"}
    silent = [a for a in ALARMS.values() if a["TreatMissingData"] == "breaching"]
    assert {a["MetricName"] for a in silent} >= {"ledger_violations", "Invocations"}
    assert "SweepHolds" in RESOURCES
