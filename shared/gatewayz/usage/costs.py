"""What providers say we owe them, from their cost interfaces or an invoice, beside our record.

A difference above half a percent is an alarm. Where a provider bills less than customers were
charged by, and a rule says so, they get it back (SQL decides that). Spends nothing, sends nothing.
"""

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson

from gatewayz.core import clock
from gatewayz.core.errors import GatewayError, InvalidRequest
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.net.http import HttpClient, NetError
from gatewayz.providers.tables import Table, read_toml
from gatewayz.stores.open import Stores
from gatewayz.stores.queue import WORKER_TIMEOUT_S

log = get_log(__name__)
Row = dict[str, Any]
# day, the provider's model or "", exact nano-USD as text, requests or None
Cost = tuple[str, str, str, int | None]

FILE = Path(__file__).with_name("costs.toml")
TIMEOUT_S = 30.0
MAX_BYTES = 8 * 1024 * 1024
MAX_PAGES = 50
# Providers correct the last days; what is older than that was read often enough.
DAYS = 7
# Above it somebody looks. Cents of noise are none of anybody's business.
DRIFT_PPM = 5_000
LEAST_NANOS = NANOS_PER_USD // 100
MAX_CSV_ROWS = 100_000
CENTS = 100


@dataclass(frozen=True, slots=True)
class Source:
    """Where a provider tells its costs, and with which credential."""

    provider: str
    kind: str
    url: str
    credential: str
    auth: str = "authorization"
    headers: Mapping[str, str] = field(default_factory=dict)
    credit: bool = False


def load_sources(file: Path = FILE) -> tuple[Source, ...]:
    """The rows of costs.toml; an unknown kind is refused."""
    found = []
    for slug, row in read_toml(file).items():
        table = Table(file.name, slug, row)
        extra = table.sub("headers")
        found.append(
            Source(
                slug,
                table.choice("kind", tuple(READERS)),
                table.text("url", pattern=r"https://\S+"),
                table.text("credential", pattern=r"[A-Z][A-Z0-9_]+"),
                table.text("auth", "authorization"),
                {name: extra.text(name) for name in extra.rest_keys()},
                table.flag("credit"),
            )
        )
        extra.finish()
        table.finish()
    return tuple(found)


def nanos_text(amount: Any, *, per_usd: int = 1) -> str:
    """An amount of somebody else's, exact, in nano-USD. ValueError when it is none."""
    try:
        value = Decimal(str(amount)) * (NANOS_PER_USD // per_usd)
    except InvalidOperation:
        raise ValueError("not an amount") from None
    if not value.is_finite() or abs(value) > 10**18:
        raise ValueError("not an amount")
    # A refund of the provider's within a day: never below nothing.
    return format(max(value, Decimal(0)), "f")


def _day(text: str) -> str:
    return date.fromisoformat(text[:10]).isoformat()


def _cost_buckets(answer: Any) -> Iterator[Cost]:
    """Buckets of a day with lines as `model, input`."""
    for bucket in answer["data"]:
        day = datetime.fromtimestamp(bucket["start_time"], tz=UTC).date().isoformat()
        for result in bucket["results"]:
            if result["amount"]["currency"].lower() != "usd":
                raise ValueError("not in USD")
            model = (result.get("line_item") or "").split(",")[0].strip()
            yield day, model, nanos_text(result["amount"]["value"]), None


def _cost_report(answer: Any) -> Iterator[Cost]:
    """Buckets of a day; amounts are text in cents."""
    for bucket in answer["data"]:
        for result in bucket["results"]:
            if result["currency"].upper() != "USD":
                raise ValueError("not in USD")
            amount = nanos_text(result["amount"], per_usd=CENTS)
            yield _day(bucket["starting_at"]), result.get("model") or "", amount, None


def _activity(answer: Any) -> Iterator[Cost]:
    """Rows of a day and a model; amounts are numbers in USD."""
    for row in answer["data"]:
        yield _day(row["date"]), row["model"], nanos_text(row["usage"]), int(row["requests"])


@dataclass(frozen=True, slots=True)
class Reader:
    read: Callable[[Any], Iterator[Cost]]
    ask: Callable[[date, date], Mapping[str, Any]]


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


READERS: Mapping[str, Reader] = {
    "cost_buckets": Reader(
        _cost_buckets,
        lambda first, end: {
            "start_time": int(_midnight(first).timestamp()),
            "end_time": int(_midnight(end).timestamp()),
            "group_by": "line_item",
            "limit": 31,
        },
    ),
    "cost_report": Reader(
        _cost_report,
        lambda first, end: {
            "starting_at": _midnight(first).isoformat().replace("+00:00", "Z"),
            "ending_at": _midnight(end).isoformat().replace("+00:00", "Z"),
            "group_by[]": "description",
            "limit": 31,
        },
    ),
    "activity": Reader(_activity, lambda first, end: {}),
}


async def fetch_costs(
    http: HttpClient, source: Source, key: str, first: date, end: date
) -> list[Cost]:
    """All of a span's costs. ValueError when an answer is not understood, NetError without one."""
    reader = READERS[source.kind]
    asked = dict(reader.ask(first, end))
    secret = f"Bearer {key}" if source.auth == "authorization" else key
    headers = {"accept": "application/json", source.auth: secret, **source.headers}
    found: list[Cost] = []
    for _ in range(MAX_PAGES):
        url = source.url + ("?" + urlencode(asked) if asked else "")
        answer = await http.request(
            "GET", url, headers=headers, body=b"", timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES
        )
        if answer.status != 200:
            raise ValueError(f"status {answer.status}")
        page = orjson.loads(answer.body)
        try:
            found += reader.read(page)
        except (KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError("an answer of another form") from error
        if not page.get("has_more") or not page.get("next_page"):
            break
        asked["page"] = page["next_page"]
    return [cost for cost in found if first.isoformat() <= cost[0] < end.isoformat()]


def read_invoice(text: str) -> list[Cost]:
    """Rows of an uploaded CSV: date, model (may be empty), cost_usd, requests (may be absent)."""
    rows = csv.DictReader(io.StringIO(text))
    names = {name.strip().lower() for name in rows.fieldnames or ()}
    if not {"date", "cost_usd"} <= names:
        raise InvalidRequest("The invoice needs the columns date and cost_usd.")
    found: list[Cost] = []
    for number, row in enumerate(rows, 2):
        cells = {(name or "").strip().lower(): (cell or "") for name, cell in row.items()
                 if not isinstance(cell, list)}  # fmt: skip
        try:
            requests = cells.get("requests", "").strip()
            found.append(
                (
                    _day(cells["date"].strip()),
                    cells.get("model", "").strip(),
                    nanos_text(cells["cost_usd"].strip()),
                    int(requests) if requests else None,
                )
            )
        except ValueError:
            raise InvalidRequest(f"Line {number} of the invoice cannot be read.") from None
        if len(found) > MAX_CSV_ROWS:
            raise InvalidRequest(f"An invoice has at most {MAX_CSV_ROWS} lines.")
    return found


async def record_costs(stores: Stores, provider: str, origin: str, costs: list[Cost]) -> int:
    """Store what a provider said; the number of days and models."""
    rows = [list(cost) for cost in costs]
    answer = await stores.postgres.rpc(
        "record_provider_costs", {"provider": provider, "source": origin, "rows": rows}
    )
    return int(answer["recorded"])


def drifting(rows: list[Row]) -> list[Row]:
    """The rows that somebody should look at: final, and off by more than the bar."""
    return [
        row
        for row in rows
        if row["final"]
        and abs(row["drift_ppm"]) > DRIFT_PPM
        and abs(row["stated_nanos"] - row["recorded_nanos"]) > LEAST_NANOS
    ]


async def reconcile_providers(
    stores: Stores, http: HttpClient, sources: tuple[Source, ...] | None = None
) -> Row:
    """One night's round: ask who can be asked, compare, alarm, give back. Counts."""
    today = datetime.fromtimestamp(clock.now_ms() / 1000, tz=UTC).date()
    first = today - timedelta(days=DAYS)
    done: Row = {"asked": 0, "unknown": 0}
    for source in load_sources() if sources is None else sources:
        key = stores.secrets.find(source.credential)
        if not key:
            continue
        rule = {"provider": source.provider, "enabled": source.credit}
        try:
            costs = await fetch_costs(http, source, key, first, today)
            await record_costs(stores, source.provider, "api", costs)
            await stores.postgres.rpc("set_overcharge_rule", rule)
            done["asked"] += 1
        except (GatewayError, NetError, ValueError) as error:
            log.warning(
                "provider_cost_unknown", provider=source.provider, error=type(error).__name__
            )
            done["unknown"] += 1
    span = {"from_day": first.isoformat(), "to_day": today.isoformat()}
    rows = await stores.postgres.rpc("compare_provider_costs", span, timeout_s=WORKER_TIMEOUT_S)
    found = drifting(rows)
    for row in found:
        log.error(
            "provider_cost_drift",
            **{name: row[name] for name in ("provider", "model", "day", "drift_ppm",
                                            "recorded_nanos", "stated_nanos")},
        )  # fmt: skip
    metric("provider_cost_drifts", len(found))
    credited = await stores.postgres.rpc("credit_overcharges", span, timeout_s=WORKER_TIMEOUT_S)
    return done | {"compared": len(rows), "drifts": len(found), "credited": credited["given"]}
