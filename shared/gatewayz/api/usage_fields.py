"""From what a caller asks about usage to what the database is asked.

InvalidRequest names the field.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gatewayz.accounts.labels import hashed_label
from gatewayz.api.answers import time_text
from gatewayz.api.key_fields import moment_ms, nanos_of
from gatewayz.api.schemas.usage import AlertFields, AnalyticsQuery, NewExport
from gatewayz.core import clock
from gatewayz.core.errors import InvalidRequest
from gatewayz.core.money import parse_usd
from gatewayz.usage import questions

Row = dict[str, Any]
DAY_MS = 86_400_000
USUAL_DAYS = 30
MAX_DAYS = 400
MAX_VALUES = 50
# Parameters of the log that are compared as they are; several values stand between commas.
EXACT = ("model", "provider", "offer", "api_key_id", "outcome", "finish_reason", "team", "app")
ONE = ("member", "tag", "client_request_id", "error_class", "blame")
HASHED = ("end_user", "session")
FLAGS: Mapping[str, bool] = {"true": True, "false": False}
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PLAIN = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])")


def is_id(text: str) -> bool:
    """Whether a text of a path can be an id of ours at all."""
    return _ID.fullmatch(text) is not None


def month(text: str) -> str:
    if not _MONTH.fullmatch(text):
        raise InvalidRequest("'month' is like 2026-11.", param="month")
    return text


def day_text(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).date().isoformat()


def span(first: str | None, end: str | None) -> Row:
    """A span of time in Unix milliseconds; the last 30 days where it is not said."""
    from_ms, to_ms = moment_ms(first or None, "from"), moment_ms(end or None, "to")
    if to_ms is None:
        to_ms = max(clock.now_ms() + 1, from_ms or 0)
    if from_ms is None:
        from_ms = max(0, to_ms - USUAL_DAYS * DAY_MS)
    if from_ms > to_ms:
        raise InvalidRequest("The span ends before it begins.", param="from")
    return {"from_ms": from_ms, "to_ms": to_ms}


def _values(name: str, text: str) -> list[str]:
    values = [part for part in text.split(",") if part]
    if len(values) > MAX_VALUES or not all(map(_PLAIN.fullmatch, values)):
        raise InvalidRequest(f"'{name}' has at most {MAX_VALUES} plain values.", param=name)
    return values


def log_filters(account: str, given: Mapping[str, str]) -> Row:
    """The filters of the log among `given`; others are not looked at."""
    made: Row = {}
    for name in (*EXACT, *ONE, *HASHED):
        if not given.get(name):
            continue
        values = _values(name, given[name])
        if name in EXACT:
            made[name] = values[0] if len(values) == 1 else values
        elif name in ONE:
            made[name] = given[name]
        else:
            made[name] = [*values, *(hashed_label(account, value) for value in values)]
    for name in ("stream", "failed"):
        if given.get(name):
            if given[name] not in FLAGS:
                raise InvalidRequest(f"'{name}' is true or false.", param=name)
            made[name] = FLAGS[given[name]]
    for name, param in (("min_nanos", "min_usage"), ("max_nanos", "max_usage")):
        if given.get(param):
            made[name] = _nanos(param, given[param])
    if given.get("min_total_ms"):
        if not re.fullmatch(r"\d{1,9}", given["min_total_ms"]):
            raise InvalidRequest("'min_total_ms' is a number.", param="min_total_ms")
        made["min_total_ms"] = int(given["min_total_ms"])
    return made


def _nanos(name: str, text: str) -> int:
    try:
        nanos = parse_usd(text)
    except ValueError:
        nanos = -1
    if not 0 <= nanos <= 10**13:
        raise InvalidRequest(f"'{name}' is an amount in US dollars.", param=name)
    return nanos


def _limited(first: str, end: str) -> Row:
    """A span that is said, as long as a question may look at."""
    from_ms, to_ms = moment_ms(first, "start") or 0, moment_ms(end, "end") or 0
    if from_ms > to_ms:
        raise InvalidRequest("The time range ends before it begins.", param="time_range")
    if to_ms - from_ms > MAX_DAYS * DAY_MS:
        raise InvalidRequest(f"A time range has at most {MAX_DAYS} days.", param="time_range")
    return {"from_ms": from_ms, "to_ms": to_ms}


def question(account: str, asked: AnalyticsQuery) -> Row:
    """The parameters of `query_usage`."""
    if asked.time_range is None:
        now_ms = clock.now_ms()
        when = {"from_ms": max(0, now_ms - USUAL_DAYS * DAY_MS), "to_ms": now_ms + 1}
    else:
        when = _limited(asked.time_range.start, asked.time_range.end)
    metrics = questions.known(asked.metrics, questions.METRICS, "metrics")
    dimensions = questions.known(asked.dimensions, questions.DIMENSIONS, "dimensions")
    made: Row = {
        "account": account,
        "metrics": metrics,
        "dimensions": dimensions,
        "granularity": asked.granularity,
        "filters": [
            questions.condition(
                each.field, each.operator, each.value, include_unset=each.include_unset,
                hashed=lambda text: hashed_label(account, text),
            )
            for each in asked.filters
        ],
        "limit": asked.limit,
        "group_limit": asked.group_limit,
        **when,
    }  # fmt: skip
    if asked.order_by is not None:
        field = questions.ALIASES.get(asked.order_by.field, asked.order_by.field)
        dated_too = {"date"} if asked.granularity else set()
        if field not in {*metrics, *dimensions, "request_count"} | dated_too:
            raise InvalidRequest("'order_by' names what is asked for, or date.", param="order_by")
        made["order"] = {"field": field, "direction": asked.order_by.direction}
    return made


def dated(row: Row, granularity: str | None) -> Row:
    """A row of an answer: its time under `date` and under the name that says how wide it is."""
    made = questions.shown({name: value for name, value in row.items() if name != "date_ms"})
    if "date_ms" in row:
        at = time_text(row["date_ms"])
        made = {"date": at, f"date__{granularity}": at} | made
    return made


def export_params(account: str, asked: NewExport) -> Row:
    """What the job needs, checked now and not when nobody waits any more."""
    when = _limited(asked.start, asked.end)
    if asked.kind == "requests":
        return when | log_filters(account, asked.filters)
    if asked.kind == "focus":
        return when
    return when | {
        "metrics": questions.known(asked.metrics, questions.METRICS, "metrics"),
        "dimensions": questions.known(asked.dimensions, questions.DIMENSIONS, "dimensions"),
        "granularity": asked.granularity,
        "filters": [],
    }


def alert(asked: AlertFields) -> Row:
    """The columns of an alert."""
    if (asked.dimension is None) != (asked.value is None):
        raise InvalidRequest("'dimension' and 'value' are given together.", param="dimension")
    nanos = nanos_of(asked.limit)
    if not nanos:
        raise InvalidRequest("'limit' is at least a nano-dollar.", param="limit")
    return {
        "name": asked.name,
        "limit_nanos": nanos,
        "period": asked.period,
        "thresholds": asked.thresholds,
        "forecast": asked.forecast,
        "daily_report": asked.daily_report,
        "dimension": asked.dimension,
        "value": asked.value,
        "enabled": asked.enabled,
    }
