"""Dashboards and alerts ask only for series that exist, with labels that they have."""

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser as promql
import pytest

from gatewayz.core.metrics import PER_SECOND, catalogue
from gatewayz.telemetry import objectives
from gatewayz.telemetry.prometheus import full_name
from tests.packaging.deployables import RESOURCES, resources_of

HERE = Path(objectives.__file__).parent
ROOT = Path(__file__).resolve().parents[2]
DASHBOARDS = sorted((HERE / "dashboards").glob("*.json"))
ALERTS = json.loads((HERE / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
# What Grafana puts in before it asks.
VARIABLES = {"$__rate_interval": "5m", "$provider": ".*", "$model": ".*"}


def labels_of() -> dict[str, tuple[set[str], int]]:
    """Every series: its labels and, of buckets, the number of edges."""
    found: dict[str, tuple[set[str], int]] = {}
    for name, known in catalogue().items():
        full, labels = full_name(name, known), set(known.labels)
        if known.kind == "histogram":
            found |= {f"{full}_{end}": (labels, 0) for end in ("sum", "count")}
            found[f"{full}_bucket"] = (labels | {"le"}, len(known.bounds))
        else:
            found[full] = (labels, 0)
    return found


SERIES = labels_of()


def parsed(text: str) -> Any:
    for name, value in VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, text
    return promql.parse(text)


def nodes(node: Any) -> Iterator[Any]:
    """A query's parts, at any depth."""
    yield node
    for name in ("lhs", "rhs", "expr", "param", "vector_selector"):
        each = getattr(node, name, None)
        if each is not None and not isinstance(each, str | int | float):
            yield from nodes(each)
    for each in getattr(node, "args", None) or ():
        yield from nodes(each)


def faults(text: str) -> list[str]:
    """What a query asks for that nobody has."""
    found = []
    for node in nodes(parsed(text)):
        if isinstance(node, promql.VectorSelector):
            known = SERIES.get(node.name)
            if known is None:
                found.append(f"there is no series {node.name}")
                continue
            for matcher in node.matchers.matchers:
                if matcher.name not in known[0]:
                    found.append(f"{node.name} has no label {matcher.name}")
                elif matcher.name == "le" and matcher.value not in edges(node.name):
                    found.append(f"{node.name} has no bucket {matcher.value}")
        elif isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            inner = {n.name for n in nodes(node.expr) if isinstance(n, promql.VectorSelector)}
            for label in node.modifier.labels:
                found += [
                    f"{name} has no label {label}"
                    for name in inner & SERIES.keys()
                    if label not in SERIES[name][0]
                ]
    return found


def edges(bucket: str) -> set[str]:
    name = next(n for n, k in catalogue().items() if full_name(n, k) + "_bucket" == bucket)
    known = catalogue()[name]
    return {f"{bound / PER_SECOND[known.unit]:g}" for bound in known.bounds} | {"+Inf"}


def queries(dashboard: dict[str, Any]) -> Iterator[str]:
    for panel in dashboard["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    yield from (each["expr"] for each in dashboard["annotations"]["list"])


def test_there_is_a_dashboard_for_each_who_looks() -> None:
    names = {path.stem for path in DASHBOARDS}
    assert names == {"executive", "models", "providers", "money", "incidents", "tokens"}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_only_for_what_exists(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    asked = list(queries(dashboard))
    assert len(asked) > 5
    assert [fault for text in asked for fault in faults(text)] == []
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            name, label = re.fullmatch(  # type: ignore[union-attr]
                r"label_values\((\w+), (\w+)\)", variable["query"]["query"]
            ).groups()
            assert label in SERIES[name][0]
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert dashboard["uid"] == f"gatewayz-{path.stem}"
    assert len({(p["gridPos"]["x"], p["gridPos"]["y"]) for p in panels}) == len(panels)


def test_every_metric_stands_on_a_dashboard_or_in_a_rule() -> None:
    text = "".join(path.read_text() for path in DASHBOARDS) + json.dumps(ALERTS)
    unseen = {name for name, known in catalogue().items() if full_name(name, known) not in text}
    assert not unseen, "measured, and nobody looks at it"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_only_for_what_exists(rule: dict[str, Any]) -> None:
    assert faults(rule["expr"]) == []
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert (ROOT / rule["annotations"]["runbook"]).exists()


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("rate(gatewayz_request_total[5m])", "there is no series gatewayz_request_total"),
        ('gatewayz_requests_total{model="a"}', "gatewayz_requests_total has no label model"),
        (
            "sum by (model) (rate(gatewayz_attempts_total[5m]))",
            "gatewayz_attempts_total has no label model",
        ),
        (
            'rate(gatewayz_overhead_seconds_bucket{le="0.06"}[5m])',
            "gatewayz_overhead_seconds_bucket has no bucket 0.06",
        ),
    ],
)
def test_the_check_sees_what_is_wrong(query: str, fault: str) -> None:
    assert faults(query) == [fault]


# ---------------------------------------------------------------- objectives, once


def test_the_rules_file_is_what_the_objectives_and_alerts_say() -> None:
    written = (HERE / "alerts.yaml").read_text()
    assert written == objectives.alerts_text(), "run: python -m gatewayz.telemetry.objectives"


def test_the_alarms_of_the_template_are_those_of_the_objectives() -> None:
    made = objectives.alarms()
    assert len(made) == 3 * 2 * 3
    for name, resource in made.items():
        assert RESOURCES.get(name) == resource, (
            f"{name}: run python -m gatewayz.telemetry.objectives template"
        )
    composite = set(resources_of("AWS::CloudWatch::CompositeAlarm"))
    assert composite == {n for n, r in made.items() if r["Type"].endswith("CompositeAlarm")}


def test_every_objective_has_a_rule_and_an_alarm() -> None:
    names = {each.name for each in objectives.objectives()}
    assert names == {"availability", "overhead", "settlement", "exactness"}
    alerts = {rule["alert"] for rule in RULES}
    for each in objectives.objectives():
        if each.zero:
            assert f"{each.name.title()}Lost" in alerts
            assert any(each.metric in json.dumps(a) for a in resources_of(
                "AWS::CloudWatch::Alarm").values())  # fmt: skip
            continue
        for window in objectives.windows():
            assert f"{each.name.title()}Burns{window.name.title()}" in alerts
            assert window.long_s >= 6 * window.short_s
            # A burn this fast is seen long before the budget of the month is gone.
            assert window.burn * window.long_s < 30 * 86_400 / 4


def test_an_alert_names_the_alarm_that_says_the_same() -> None:
    rows = tomllib.loads((HERE / "alerts.toml").read_text())
    alarms = set(resources_of("AWS::CloudWatch::Alarm"))
    named = {row["alarm"] for row in rows.values() if "alarm" in row}
    assert named <= alarms
    # Those that read what only the platform knows.
    made = objectives.alarms().keys()
    rest = alarms - named - made
    assert rest <= {"SettleAlarm", "ChatAlarm", "EmbeddingsAlarm"}, rest


def test_a_new_version_takes_a_part_first_and_is_rolled_back_by_the_objectives() -> None:
    functions = resources_of("AWS::Serverless::Function")
    for name in ("Chat", "Embeddings"):
        preference = functions[name]["DeploymentPreference"]
        assert functions[name]["AutoPublishAlias"] == "live"
        watched = {each["Ref"] for each in preference["Alarms"]}
        assert {"AvailabilityPageShortAlarm", "OverheadPageShortAlarm"} <= watched
        assert watched <= set(RESOURCES)
