"""Questions about usage: the metrics and dimensions there are, and what a question means. Pure.

Money leaves as exact US dollars, times as ISO 8601, shares and milliseconds as numbers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewayz.core.errors import InvalidRequest
from gatewayz.core.money import usd_number

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Metric:
    """`shown` says how a value is to be read: number, currency, percent, latency, throughput."""

    label: str
    shown: str = "number"
    is_rate: bool = False


METRICS: Mapping[str, Metric] = {
    "request_count": Metric("Requests"),
    "error_count": Metric("Failed requests"),
    "error_rate": Metric("Error rate", "percent", is_rate=True),
    "usage": Metric("Spend", "currency"),
    "average_usage": Metric("Spend per request", "currency", is_rate=True),
    "tokens_prompt": Metric("Prompt tokens"),
    "tokens_completion": Metric("Completion tokens"),
    "tokens_total": Metric("Tokens"),
    "tokens_reasoning": Metric("Reasoning tokens"),
    "tokens_cached": Metric("Tokens read from the cache"),
    "tokens_cache_write": Metric("Tokens written to the cache"),
    "cache_hit_rate": Metric("Share of the prompt read from the cache", "percent", is_rate=True),
    "cache_savings": Metric("Saved by the cache", "currency"),
    "reference_usage": Metric("The same at reference prices", "currency"),
    "reference_savings": Metric("Saved against reference prices", "currency"),
    "attempt_count": Metric("Attempts at providers"),
    "latency_average": Metric("Average duration", "latency", is_rate=True),
    "throughput": Metric("Tokens per second", "throughput", is_rate=True),
    **{
        f"{kind}_p{share}": Metric(f"{label}, {share}th percentile", "latency", is_rate=True)
        for kind, label in (("latency", "Duration"), ("first_token", "Time to first token"))
        for share in (50, 90, 95, 99)
    },
}
DIMENSIONS: Mapping[str, str] = {
    "model": "Model",
    "provider": "Provider",
    "offer": "Offer",
    "api_key_id": "API key",
    "team": "Team",
    "member": "Member",
    "end_user": "End user",
    "app": "App",
    "tag": "Tag",
    "finish_reason": "Finish reason",
    "error_class": "Error class",
    "outcome": "Outcome",
    "blame": "Blame",
    "stream": "Streamed",
    "is_byok": "By a key of one's own",
}
# Other words for the same.
ALIASES: Mapping[str, str] = {
    "key": "api_key_id",
    "api_key": "api_key_id",
    "user": "end_user",
    "external_user": "end_user",
    "total_usage": "usage",
    "spend": "usage",
    "cost": "usage",
}
GRANULARITIES: Mapping[str, str] = {
    "hour": "Hour", "day": "Day", "week": "Week", "month": "Month"
}  # fmt: skip
OPERATORS: Mapping[str, str] = {
    "eq": "scalar", "neq": "scalar", "in": "array", "not_in": "array"
}  # fmt: skip
MONEY = frozenset(name for name, metric in METRICS.items() if metric.shown == "currency")


def describe() -> Row:
    """What may be asked, as the API tells it."""
    return {
        "metrics": [
            {
                "name": name,
                "display_label": metric.label,
                "display_format": metric.shown,
                "is_rate": metric.is_rate,
            }
            for name, metric in METRICS.items()
        ],
        "dimensions": [
            {"name": name, "display_label": label} for name, label in DIMENSIONS.items()
        ],
        "granularities": [
            {"name": name, "display_label": label} for name, label in GRANULARITIES.items()
        ],
        "operators": [{"name": name, "value_type": kind} for name, kind in OPERATORS.items()],
    }


def known(names: Sequence[str], table: Mapping[str, Any], param: str) -> list[str]:
    """The names, aliases resolved, each once; InvalidRequest for one that is not in the table."""
    found = list(dict.fromkeys(ALIASES.get(name, name) for name in names))
    for name in found:
        if name not in table:
            raise InvalidRequest(
                f"'{name}' is none of: {', '.join(table)}.", param=param, code="invalid_request"
            )
    return found


def condition(field: str, operator: str, value: Any, *, include_unset: bool, hashed: Any) -> Row:
    """One filter as the database takes it. `hashed` makes of an end user's name what is kept."""
    (name,) = known([field], DIMENSIONS, "filters")
    kind = OPERATORS.get(operator)
    if kind is None:
        raise InvalidRequest(f"'{operator}' is none of: {', '.join(OPERATORS)}.", param="filters")
    if (kind == "array") is not isinstance(value, list):
        raise InvalidRequest(f"'{operator}' takes one {kind}.", param="filters")
    given = value if isinstance(value, list) else [value]
    values = [_text(each) for each in given if each is not None]
    if name == "end_user":
        values += [hashed(each) for each in values]
    return {
        "field": name,
        "operator": operator,
        "values": values,
        "unset": include_unset or None in given,
    }


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def shown(row: Mapping[str, Any]) -> Row:
    """A row's values as they are told: money exact, milliseconds and shares rounded."""
    made: Row = {}
    for name, value in row.items():
        if name in MONEY and value is not None:
            made[name] = usd_number(value)
        elif isinstance(value, float):
            made[name] = round(value, 6)
        else:
            made[name] = value
    return made
