"""What moved credit, for its owner and the staff; credit given and taken by hand. Control plane.

The list is a view of the ledger. Staff orders are capped and, above a threshold, need two people.
"""

from contextlib import suppress
from typing import Annotated, Any, Literal

import orjson
from fastapi import Query, Response

from gatewayz.api import transactions
from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.exports import safe_rows, write_csv
from gatewayz.api.schemas.credits import AskBulk, AskNote, AskOrder
from gatewayz.api.staff import Member, Staff
from gatewayz.api.transactions import Filtered, Filters
from gatewayz.core import clock
from gatewayz.core.errors import GatewayError, InvalidRequest
from gatewayz.core.ids import new_id
from gatewayz.core.money import MAX_WALLET_NANOS, parse_usd, usd_number
from gatewayz.runtime import entries

app = create_app("credits")
lambda_handler = entries.http(app)

Row = dict[str, Any]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Format = Literal["csv", "json"]
NANOS_PER_CENT = 10_000_000
DAY_MS = 86_400_000


# ------------------------------------------------------------------ of one account


async def _search(plane: Plane, account: str | None, filters: Filters, **page: int) -> Row:
    params = {**filters.params, "account": account, **page}
    found: Row = await plane.stores.postgres.rpc("search_operations", params)
    return found


def _listed(found: Row, rows: list[Row], limit: int, offset: int) -> Response:
    return json_answer(
        {
            "transactions": rows,
            "summary": transactions.summary_of(found),
            "total": found["total"],
            "limit": limit,
            "offset": offset,
        }
    )


@app.get("/user/credit-transactions")
async def list_transactions(
    caller: Caller, plane: CurrentPlane, filters: Filtered, limit: Limit = 50, offset: Offset = 0
) -> Response:
    """What came in and went out. `type=api_usage` lists the charges of requests."""
    if filters.usage:
        asked = {"account": caller.account, "limit": limit, "offset": offset, **filters.spans}
        found = await plane.stores.postgres.rpc("list_usage", asked)
        rows = [transactions.shown_usage(row) for row in found["rows"]]
        return _listed(found, rows, limit, offset)
    found = await _search(plane, caller.account, filters, limit=limit, offset=offset)
    return _listed(found, [transactions.shown(row) for row in found["rows"]], limit, offset)


def _file(rows: list[Row], form: Format) -> Response:
    name = f'attachment; filename="credit-transactions.{form}"'
    made = [transactions.exported(row) for row in rows]
    if form == "csv":
        body: bytes = write_csv(made, transactions.COLUMNS).encode()
        return Response(body, media_type="text/csv", headers={"Content-Disposition": name})
    body = orjson.dumps(safe_rows(made))
    return Response(body, media_type="application/json", headers={"Content-Disposition": name})


@app.get("/user/credit-transactions/export")
async def export_transactions(
    caller: Caller, plane: CurrentPlane, filters: Filtered, format: Format = "csv"
) -> Response:
    """The same as a file, at most 10,000 rows; no cell of it is a formula."""
    found = await _search(plane, caller.account, filters, limit=transactions.MOST_EXPORTED)
    return _file(found["rows"], format)


@app.get("/analytics/transactions")
async def list_feed(
    caller: Caller, plane: CurrentPlane, limit: Limit = 100, offset: Offset = 0
) -> Response:
    """The account's requests as a feed of costs, newest first."""
    asked = {"account": caller.account, "limit": limit, "offset": offset}
    found = await plane.stores.postgres.rpc("list_usage", asked)
    rows = [
        {
            "id": row["id"],
            "model": row["model"],
            "amount": usd_number(row["charge_nanos"]),
            "created_at": time_text(row["posted_at_ms"]),
        }
        for row in found["rows"]
    ]
    return json_answer({"transactions": rows, "total": found["total"]})


@app.get("/analytics/transactions/summary")
async def summarize_feed(caller: Caller, plane: CurrentPlane) -> Response:
    found = await plane.stores.postgres.rpc("list_usage", {"account": caller.account, "limit": 1})
    return json_answer(
        {"total_transactions": found["total"], "total_cost": usd_number(found["out_nanos"])}
    )


# ----------------------------------------------------------------- orders of staff


def _exact(amount: int | float | str) -> int:
    """Nanos of dollars given as a number or a text."""
    with suppress(ValueError):
        nanos = parse_usd(amount if isinstance(amount, str) else format_number(amount))
        if abs(nanos) <= MAX_WALLET_NANOS:
            return nanos
    raise InvalidRequest(
        "amount must be dollars with at most 9 decimals.", code="invalid_amount", param="amount"
    )


def format_number(amount: int | float) -> str:
    """A JSON number as plain decimal text: the shortest that reads back as the same number."""
    if isinstance(amount, bool):
        raise ValueError("a truth is no amount")
    text = repr(amount)
    if "e" in text or "n" in text:
        raise ValueError("not a plain decimal")
    return text.removesuffix(".0")


async def _order(
    plane: Plane, staff: Member, kind: str, asked: Any, nanos: int, *, account: str | None = None
) -> Row:
    named = account or asked.account or asked.user_id
    if not named:
        raise InvalidRequest("Name an account.", param="account")
    billing = plane.settings.billing
    row: Row = await plane.stores.postgres.rpc(
        "order_credit",
        {
            "order_id": asked.operation_id or new_id("order_"),
            "account": named,
            "kind": kind,
            "amount_nanos": nanos,
            "reason": asked.reason,
            "actor": staff.name,
            "request_id": getattr(asked, "request_id", None),
            "each_most": billing.grant_most_cents * NANOS_PER_CENT,
            "day_most": billing.grant_day_cents * NANOS_PER_CENT,
            "second_from": billing.grant_second_cents * NANOS_PER_CENT,
        },
    )
    return row


def _ordered(row: Row) -> Row:
    return {
        "order_id": row["order_id"],
        "status": row["status"],
        "account": row["account"],
        "user_id": row["account"],
        "kind": row["kind"],
        "amount": usd_number(row["amount_nanos"]),
        "reason": row["reason"],
        "request_id": row["request_id"],
        "actor": row["actor"],
        "decided_by": row["decided_by"],
        "new_balance": usd_number(row["balance_nanos"]),
        "created_at": time_text(row["created_at_ms"]),
        "decided_at": time_text(row["decided_at_ms"]),
    }


def _answer(row: Row) -> Response:
    """202 while a second person has to agree."""
    return json_answer(_ordered(row), 202 if row["status"] == "pending" else 200)


@app.post("/credits/add")
async def add_credit(staff: Staff, plane: CurrentPlane, asked: AskOrder) -> Response:
    nanos = _exact(asked.amount)
    if nanos <= 0:
        raise InvalidRequest("amount must be above 0.", code="invalid_amount", param="amount")
    return _answer(await _order(plane, staff, "grant", asked, nanos))


@app.post("/credits/adjust")
async def adjust_credit(staff: Staff, plane: CurrentPlane, asked: AskOrder) -> Response:
    """Up or down; never below zero."""
    return _answer(await _order(plane, staff, "adjustment", asked, _exact(asked.amount)))


@app.post("/credits/refund")
async def refund_charge(staff: Staff, plane: CurrentPlane, asked: AskNote) -> Response:
    """A credit note for the charge of one request: all of it, or the amount given."""
    named = asked.account or asked.user_id
    if not named:
        raise InvalidRequest("Name an account.", param="account")
    row = await plane.stores.postgres.rpc(
        "find_generation", {"account": named, "request_id": asked.request_id}
    )
    charged = row["charge_nanos"] if row else 0
    nanos = charged if asked.amount is None else _exact(asked.amount)
    if nanos <= 0:
        raise InvalidRequest("There is nothing to give back.", code="invalid_amount")
    return _answer(await _order(plane, staff, "credit_note", asked, nanos))


@app.post("/credits/bulk-add")
async def add_in_bulk(staff: Staff, plane: CurrentPlane, asked: AskBulk) -> Response:
    """One grant for each account; what is refused is named and hinders no other."""
    nanos = _exact(asked.amount)
    if nanos <= 0:
        raise InvalidRequest("amount must be above 0.", code="invalid_amount", param="amount")
    names = list(dict.fromkeys(asked.accounts or asked.user_ids or []))
    if not names:
        raise InvalidRequest("Name accounts.", param="accounts")
    whole = asked.operation_id or new_id("order_")
    done, failed = [], []
    for name in names:
        one = AskOrder(account=name, amount=0, reason=asked.reason, operation_id=f"{whole}:{name}")
        try:
            done.append(_ordered(await _order(plane, staff, "grant", one, nanos)))
        except GatewayError as error:
            if error.status >= 500:
                raise
            failed.append({"account": name, "code": error.code, "message": error.message})
    return json_answer({"operation_id": whole, "orders": done, "failed": failed})


@app.get("/credits/orders")
async def list_orders(
    staff: Staff,
    plane: CurrentPlane,
    status: Literal["pending", "posted", "rejected"] | None = None,
    limit: Limit = 100,
) -> Response:
    rows = await plane.stores.postgres.rpc("list_credit_orders", {"status": status, "limit": limit})
    return json_answer({"orders": [_ordered(row) for row in rows], "total": len(rows)})


async def _decide(plane: Plane, staff: Member, order_id: str, *, approve: bool) -> Response:
    row = await plane.stores.postgres.rpc(
        "decide_credit_order", {"order_id": order_id, "actor": staff.name, "approve": approve}
    )
    return json_answer(_ordered(row))


@app.post("/credits/orders/{order_id}/approve")
async def approve_order(order_id: str, staff: Staff, plane: CurrentPlane) -> Response:
    """By another person than who ordered it."""
    return await _decide(plane, staff, order_id, approve=True)


@app.post("/credits/orders/{order_id}/reject")
async def reject_order(order_id: str, staff: Staff, plane: CurrentPlane) -> Response:
    return await _decide(plane, staff, order_id, approve=False)


# ------------------------------------------------------------------ records of all


@app.get("/credits/summary")
async def summarize(staff: Staff, plane: CurrentPlane, filters: Filtered) -> Response:
    """What came in, what was charged, what customers hold."""
    row = await plane.stores.postgres.rpc("summarize_credit", filters.spans)
    return json_answer(
        {
            "accounts": row["accounts"],
            "accounts_below_zero": row["below_zero"],
            "total_balance": usd_number(row["held_nanos"]),
            "total_charged": usd_number(row["charged_nanos"]),
            "pending_orders": row["pending_orders"],
            "by_kind": {
                kind["kind"]: {"count": kind["number"], "total": usd_number(kind["nanos"])}
                for kind in row["kinds"]
            },
        }
    )


@app.get("/credits/transactions")
async def list_all(
    staff: Staff,
    plane: CurrentPlane,
    filters: Filtered,
    account: Annotated[str | None, Query(max_length=64)] = None,
    user_id: Annotated[str | None, Query(max_length=64)] = None,
    limit: Limit = 50,
    offset: Offset = 0,
) -> Response:
    found = await _search(plane, account or user_id, filters, limit=limit, offset=offset)
    rows = [
        transactions.shown(row) | {"account": row["account"], "actor": row["actor"]}
        for row in found["rows"]
    ]
    return _listed(found, rows, limit, offset)


@app.get("/credits/transactions/export")
async def export_all(
    staff: Staff,
    plane: CurrentPlane,
    filters: Filtered,
    account: Annotated[str | None, Query(max_length=64)] = None,
    format: Format = "csv",
) -> Response:
    found = await _search(plane, account, filters, limit=transactions.MOST_EXPORTED)
    return _file(found["rows"], format)


@app.get("/admin/billing/costs")
async def list_costs(
    staff: Staff, plane: CurrentPlane, days: Annotated[int, Query(ge=1, le=366)] = 30
) -> Response:
    """What providers will bill by our record, per UTC day, to hold their invoices against."""
    since_ms = (clock.now_ms() // DAY_MS - days + 1) * DAY_MS
    rows = await plane.stores.postgres.rpc("sum_provider_costs", {"since_ms": since_ms})
    money = ("cost", "stated", "charged")
    return json_answer(
        {
            "costs": [
                {
                    "day": row["day"],
                    "provider": row["provider"],
                    "requests": row["requests"],
                    "stated_requests": row["stated_requests"],
                    **{name: usd_number(row[f"{name}_nanos"]) for name in money},
                }
                for row in rows
            ]
        }
    )


@app.get("/admin/billing/drift")
async def list_drift(staff: Staff, plane: CurrentPlane, limit: Limit = 30) -> Response:
    """What was found when the ledger was held against Stripe, newest first."""
    rows = await plane.stores.postgres.rpc("list_drift", {"limit": limit})
    return json_answer(
        {
            "reports": [
                {"made_at": time_text(row["made_at_ms"]), "drifts": row["drifts"], **row["report"]}
                | {"count": row["drifts"]}
                for row in rows
            ]
        }
    )


@app.get("/admin/billing/notices")
async def list_notices(staff: Staff, plane: CurrentPlane, limit: Limit = 100) -> Response:
    """What customers have to be told and were not yet."""
    rows = await plane.stores.postgres.rpc("list_billing_notices", {"limit": limit})
    return json_answer(
        {"notices": [{**row, "created_at": time_text(row["created_at_ms"])} for row in rows]}
    )
