"""Service objectives, defined once: the alert rules and the alarms that watch their budgets.

Owns objectives.toml and what is made of it. `python -m gatewayz.telemetry.objectives` writes
alerts.yaml; `… template` prints the alarms as template.yaml has them. Tests hold both equal.
"""

import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import orjson

from gatewayz.core.metrics import PER_SECOND, catalogue
from gatewayz.telemetry.prometheus import full_name

HERE = Path(__file__).parent
ALERTS = HERE / "alerts.yaml"
Outcomes = Mapping[str, list[str]]


@dataclass(frozen=True, slots=True)
class Window:
    """`burn`: how many times as fast as it may the budget is used up."""

    name: str
    burn: float
    long_s: int
    short_s: int


@dataclass(frozen=True, slots=True)
class Objective:
    name: str
    objective: float
    help: str
    metric: str = ""
    within: int = 0
    zero: bool = False
    bad: Outcomes = field(default_factory=dict)
    all: Outcomes = field(default_factory=dict)

    @property
    def budget(self) -> float:
        return round(1 - self.objective, 9)


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads((HERE / "objectives.toml").read_text())


def windows() -> list[Window]:
    rows = {k: v for k, v in _file()["windows"].items() if isinstance(v, dict)}
    return [Window(name, **row) for name, row in rows.items()]


def objectives() -> list[Objective]:
    rows = {name: row for name, row in _file().items() if name != "windows"}
    return [Objective(name, **row) for name, row in rows.items()]


# ---------------------------------------------------------------- PromQL


def _span(seconds: int) -> str:
    return f"{seconds // 3600}h" if seconds % 3600 == 0 else f"{seconds // 60}m"


def _rates(outcomes: Outcomes, span: str) -> str:
    parts = []
    for name, values in outcomes.items():
        full = full_name(name, catalogue()[name])
        parts.append(f'sum(rate({full}{{outcome=~"{"|".join(values)}"}}[{span}]))')
    return " + ".join(f"({part} or vector(0))" for part in parts)


def bad_share(each: Objective, span: str) -> str:
    """The share of what is bad, over a span, as PromQL."""
    if each.bad:
        return f"({_rates(each.bad, span)}) / ({_rates(each.all, span)})"
    known = catalogue()[each.metric]
    full, edge = full_name(each.metric, known), f"{each.within / PER_SECOND[known.unit]:g}"
    good = f'sum(rate({full}_bucket{{le="{edge}"}}[{span}]))'
    return f"1 - {good} / sum(rate({full}_count[{span}]))"


def burn_rules() -> Iterator[dict[str, Any]]:
    for each in objectives():
        title = each.name.title()
        if each.zero:
            full = full_name(each.metric, catalogue()[each.metric])
            yield _rule(f"{title}Lost", f"max({full}) > 0", "page", each.help)
            continue
        for window in windows():
            limit = f"{round(window.burn * each.budget, 9):g}"
            long, short = (bad_share(each, _span(s)) for s in (window.long_s, window.short_s))
            yield _rule(
                f"{title}Burns{window.name.title()}",
                f"({long}) > {limit} and ({short}) > {limit}",
                window.name,
                f"{each.help}: the budget of {_file()['windows']['days']} days burns"
                f" {window.burn:g} times too fast",
            )


def _rule(name: str, expr: str, severity: str, summary: str, wait: str = "") -> dict[str, Any]:
    rule: dict[str, Any] = {"alert": name, "expr": expr}
    if wait:
        rule["for"] = wait
    rule["labels"] = {"severity": severity}
    rule["annotations"] = {"summary": summary, "runbook": "docs/operations.md"}
    return rule


def rule_groups() -> dict[str, Any]:
    """The rules file of Prometheus."""
    rows = tomllib.loads((HERE / "alerts.toml").read_text())
    own = [
        _rule(name, row["expr"], row["severity"], row["summary"], row.get("for", ""))
        for name, row in rows.items()
    ]
    return {
        "groups": [
            {"name": "objectives", "rules": list(burn_rules())},
            {"name": "gatewayz", "rules": own},
        ]
    }


def alerts_text() -> str:
    """As JSON, which is YAML: one writer less, and every reader takes it."""
    return orjson.dumps(rule_groups(), option=orjson.OPT_INDENT_2).decode() + "\n"


# ---------------------------------------------------------------- CloudWatch


def alarms() -> dict[str, Any]:
    """The resources of template.yaml: two alarms for each window, and one that needs both."""
    found: dict[str, Any] = {}
    for each in objectives():
        if each.zero:
            continue
        for window in windows():
            base = f"{each.name.title()}{window.name.title()}"
            for part, period in (("Long", window.long_s), ("Short", window.short_s)):
                found[f"{base}{part}Alarm"] = _alarm(each, window, period)
            found[f"{base}Alarm"] = {
                "Type": "AWS::CloudWatch::CompositeAlarm",
                "Properties": {
                    "AlarmDescription": f"{each.help}: the budget burns {window.burn:g} times"
                    " too fast.",
                    "AlarmRule": {
                        "Fn::Sub": f"ALARM(${{{base}LongAlarm}}) AND ALARM(${{{base}ShortAlarm}})"
                    },
                    "AlarmActions": [{"Ref": "Alarms"}],
                },
            }
    return found


def _alarm(each: Objective, window: Window, period_s: int) -> dict[str, Any]:
    metrics, share = _counted(each, period_s) if each.bad else _ranked(each, period_s)
    return {
        "Type": "AWS::CloudWatch::Alarm",
        "Properties": {
            "AlarmDescription": f"{each.help}: percent that is bad in {period_s // 60} minutes.",
            "EvaluationPeriods": 1,
            "Threshold": round(100 * window.burn * each.budget, 6),
            "ComparisonOperator": "GreaterThanThreshold",
            "TreatMissingData": "notBreaching",
            "Metrics": [{"Id": "bad", "Expression": share, "Label": "percent bad"}, *metrics],
        },
    }


def _counted(each: Objective, period_s: int) -> tuple[list[dict[str, Any]], str]:
    """Of counters: an id for every outcome; where one has no values it counts as none."""
    wanted = {(n, o) for part in (each.bad, each.all) for n, values in part.items() for o in values}
    metrics = [
        _stat(f"{name}_{outcome}", name, [{"Name": "outcome", "Value": outcome}], "Sum", period_s)
        for name, outcome in sorted(wanted)
    ]

    def added(outcomes: Outcomes) -> str:
        ids = [f"FILL({name}_{o}, 0)" for name, values in outcomes.items() for o in values]
        return " + ".join(ids)

    # Of a handful of requests one that fails says nothing.
    whole, bad = added(each.all), added(each.bad)
    return metrics, f"IF(({whole}) > 20, 100 * ({bad}) / ({whole}), 0)"


def _ranked(each: Objective, period_s: int) -> tuple[list[dict[str, Any]], str]:
    stat = f"PR(:{each.within})"
    return [_stat("good", each.metric, [], stat, period_s)], "100 - good"


def _stat(
    name: str, metric: str, dimensions: list[dict[str, str]], stat: str, period_s: int
) -> dict[str, Any]:
    told: dict[str, Any] = {"Namespace": {"Ref": "AWS::StackName"}, "MetricName": metric}
    if dimensions:
        told["Dimensions"] = dimensions
    return {
        "Id": name,
        "ReturnData": False,
        "MetricStat": {"Metric": told, "Period": period_s, "Stat": stat},
    }


def template_text() -> str:
    """The alarms as template.yaml has them."""
    return "\n\n".join("\n".join(_yaml({name: body}, 2)) for name, body in alarms().items()) + "\n"


def _yaml(value: Any, depth: int) -> Iterator[str]:
    """Lines of a tree: mappings in blocks, leaves and lists of leaves in JSON, which is YAML."""
    pad = " " * depth
    for name, each in value.items():
        if isinstance(each, dict) and len(each) > 1:
            yield f"{pad}{name}:"
            yield from _yaml(each, depth + 2)
        elif isinstance(each, list) and each and isinstance(each[0], dict) and len(each[0]) > 1:
            yield f"{pad}{name}:"
            yield from (f"{pad}  - {orjson.dumps(item).decode()}" for item in each)
        else:
            yield f"{pad}{name}: {orjson.dumps(each).decode()}"


if __name__ == "__main__":
    if sys.argv[1:] == ["template"]:
        sys.stdout.write(template_text())
    else:
        ALERTS.write_text(alerts_text())
