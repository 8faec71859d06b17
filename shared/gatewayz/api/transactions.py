"""The record of credit over HTTP: filters in the words of its readers, rows as they are shown."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import Depends, Query

from gatewayz.api.answers import time_text
from gatewayz.api.exports import Exact
from gatewayz.core.errors import InvalidRequest
from gatewayz.core.money import parse_usd, usd_number, usd_text

Row = dict[str, Any]
Sort = Literal["desc", "asc", "newest", "oldest", "-created_at", "created_at", "-amount", "amount"]
KINDS = (
    "topup", "grant", "bonus", "coupon", "referral", "trial", "allowance", "adjustment",
    "refund", "refund_failed", "dispute", "dispute_won", "clawback", "expiry", "credit_note",
)  # fmt: skip
USAGE = "api_usage"
# The existing frontend's words for kinds of ours; where the sign decides, it stands beside them.
TYPES: Mapping[str, tuple[tuple[str, ...], str]] = {
    "purchase": (("topup",), "both"),
    "admin_credit": (("grant", "adjustment"), "in"),
    "admin_debit": (("adjustment",), "out"),
    "refund": (("refund", "refund_failed"), "both"),
    "subscription_renewal": (("allowance",), "both"),
}
ORDERS: Mapping[str, str] = {
    "desc": "newest", "newest": "newest", "-created_at": "newest",
    "asc": "oldest", "oldest": "oldest", "created_at": "oldest",
    "-amount": "largest", "amount": "smallest",
}  # fmt: skip
COLUMNS = (
    "id", "created_at", "account", "type", "kind", "amount", "balance_after", "wallet",
    "description", "actor",
)  # fmt: skip
MOST_EXPORTED = 10_000


def type_of(kind: str, nanos: int) -> str:
    for name, (kinds, way) in TYPES.items():
        if kind in kinds and way in ("both", "in" if nanos > 0 else "out"):
            return name
    return kind


@dataclass(frozen=True, slots=True)
class Filters:
    """What `search_operations` takes besides the account; `usage`: charges are asked for."""

    params: Row
    usage: bool

    @property
    def spans(self) -> Row:
        return {name: self.params[name] for name in ("since_ms", "until_ms") if name in self.params}


Amount = Annotated[str | None, Query(max_length=24)]
When = Annotated[str | None, Query(max_length=40)]


def filters_of(
    type: Annotated[str | None, Query(max_length=40)] = None,
    transaction_type: Annotated[str | None, Query(max_length=40)] = None,
    from_date: When = None,
    to_date: When = None,
    min_amount: Amount = None,
    max_amount: Amount = None,
    sort: Sort = "desc",
) -> Filters:
    """Dates are ISO 8601; a date alone is its whole day, UTC. Amounts: dollars without a sign."""
    params: Row = {"order": ORDERS[sort]}
    wanted = type or transaction_type
    if wanted == USAGE:
        pass
    elif wanted is not None and wanted in TYPES:
        kinds, params["way"] = TYPES[wanted]
        params["kinds"] = list(kinds)
    elif wanted in KINDS:
        params["kinds"] = [wanted]
    elif wanted is not None:
        known = sorted({*KINDS, *TYPES, USAGE})
        raise InvalidRequest(f"type must be one of {', '.join(known)}", param="type")
    if from_date:
        params["since_ms"] = _time_ms(from_date, "from_date")
    if to_date:
        params["until_ms"] = _time_ms(to_date, "to_date", end=True)
    if min_amount:
        params["least_nanos"] = _nanos(min_amount, "min_amount")
    if max_amount:
        params["most_nanos"] = _nanos(max_amount, "max_amount")
    return Filters(params, usage=wanted == USAGE)


Filtered = Annotated[Filters, Depends(filters_of)]


def _time_ms(text: str, param: str, *, end: bool = False) -> int:
    try:
        at = datetime.fromisoformat(text.replace(" ", "+"))
        if len(text) == 10 and end:
            at += timedelta(days=1) - timedelta(milliseconds=1)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        millis = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        millis = -1
    if not 0 <= millis <= 253_402_300_799_000:
        raise InvalidRequest(f"{param} must be an ISO 8601 date or time.", param=param)
    return millis


def _nanos(text: str, param: str) -> int:
    try:
        nanos = parse_usd(text)
    except ValueError:
        nanos = -1
    if not 0 <= nanos <= 9_007_199_254_740_991:
        raise InvalidRequest(f"{param} must be an amount in dollars.", param=param)
    return nanos


def shown(row: Row) -> Row:
    """One movement as it is answered."""
    after, name = row["balance_after_nanos"], type_of(row["kind"], row["amount_nanos"])
    return {
        "id": row["id"],
        "type": name,
        "transaction_type": name,
        "kind": row["kind"],
        "amount": usd_number(row["amount_nanos"]),
        "amount_nanos": row["amount_nanos"],
        "balance_before": None if after is None else usd_number(after - row["amount_nanos"]),
        "balance_after": None if after is None else usd_number(after),
        "description": row["reason"],
        "wallet": row["wallet"],
        "created_at": time_text(row["posted_at_ms"]),
    }


def shown_usage(row: Row) -> Row:
    """One charge in the same words."""
    return {
        "id": row["id"],
        "type": USAGE,
        "transaction_type": USAGE,
        "kind": "charge",
        "amount": usd_number(-row["charge_nanos"]),
        "amount_nanos": -row["charge_nanos"],
        "balance_before": None,
        "balance_after": None,
        "description": row["model"],
        "wallet": None,
        "created_at": time_text(row["posted_at_ms"]),
    }


def summary_of(found: Row) -> Row:
    by_type: dict[str, list[int]] = {}
    for part in found.get("kinds", ()):
        sums = by_type.setdefault(type_of(part["kind"], part["nanos"]), [0, 0])
        sums[0] += part["number"]
        sums[1] += part["nanos"]
    into, out = found.get("in_nanos", 0), found["out_nanos"]
    return {
        "total_transactions": found["total"],
        "total_credits_added": usd_number(into),
        "total_credits_used": usd_number(out),
        "net_change": usd_number(into - out),
        "by_type": {
            name: {"count": number, "total": usd_number(nanos)}
            for name, (number, nanos) in by_type.items()
        },
    }


def exported(row: Row) -> Row:
    """One movement as a row of a file: amounts as exact plain decimals."""
    after = row["balance_after_nanos"]
    return {
        "id": row["id"],
        "created_at": time_text(row["posted_at_ms"]),
        "account": row["account"],
        "type": type_of(row["kind"], row["amount_nanos"]),
        "kind": row["kind"],
        "amount": Exact(usd_text(row["amount_nanos"])),
        "balance_after": "" if after is None else Exact(usd_text(after)),
        "wallet": row["wallet"],
        "description": row["reason"] or "",
        "actor": row["actor"] or "",
    }
