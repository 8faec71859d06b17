"""What is promised and told without asking: alerts, service levels, credits. Control plane."""

from typing import Annotated, Literal

from fastapi import Query, Request, Response

from gatewayz.api import usage_fields as fields
from gatewayz.api import usage_views as told
from gatewayz.api.answers import json_answer
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.schemas.usage import AlertFields, ReverseCredit
from gatewayz.api.staff import Staff
from gatewayz.core import clock
from gatewayz.core.errors import Conflict, InvalidRequest, NotFound
from gatewayz.core.ids import ulid
from gatewayz.runtime import entries
from gatewayz.stores.queue import WORKER_TIMEOUT_S
from gatewayz.usage.costs import DAYS, read_invoice, record_costs

app = create_app("promises")
lambda_handler = entries.http(app)

DAY_MS = 86_400_000
MAX_INVOICE_BYTES = 4 * 1024 * 1024
Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
From = Annotated[Text, Query(alias="from")]
Limit = Annotated[int, Query(ge=1, le=1000)]
Day = Annotated[str | None, Query(pattern=r"^20\d\d-\d\d-\d\d$")]
FromDay = Annotated[Day, Query(alias="from")]


# ------------------------------------------------------------------ spending alerts


async def _saved(plane: Plane, account: str, id: str, asked: AlertFields) -> Response:
    params = fields.alert(asked) | {"account": account, "alert_id": id}
    try:
        row = await plane.stores.postgres.rpc("save_spend_alert", params)
    except Conflict:
        raise Conflict("At most 100 alerts.", code="too_many_alerts") from None
    return json_answer({"data": told.alert(row)})


async def _known(plane: Plane, account: str, id: str) -> None:
    wanted = {"account": account, "alert_id": id}
    if not fields.is_id(id) or not await plane.stores.postgres.rpc("list_spend_alerts", wanted):
        raise NotFound("There is no such alert.", code="alert_not_found")


@app.get("/v1/alerts")
async def list_alerts(caller: Caller, plane: CurrentPlane) -> Response:
    """The account's spending alerts and where they stand."""
    rows = await plane.stores.postgres.rpc("list_spend_alerts", {"account": caller.account})
    return json_answer({"data": [told.alert(row) for row in rows]})


@app.post("/v1/alerts")
async def create_alert(asked: AlertFields, caller: Caller, plane: CurrentPlane) -> Response:
    """Be told when spending reaches parts of a limit, or will pass it."""
    return await _saved(plane, caller.account, "alert_" + ulid(), asked)


@app.put("/v1/alerts/{alert_id}")
async def change_alert(
    alert_id: str, asked: AlertFields, caller: Caller, plane: CurrentPlane
) -> Response:
    """Replace an alert's fields."""
    await _known(plane, caller.account, alert_id)
    return await _saved(plane, caller.account, alert_id, asked)


@app.delete("/v1/alerts/{alert_id}")
async def delete_alert(alert_id: str, caller: Caller, plane: CurrentPlane) -> Response:
    """Remove an alert."""
    await _known(plane, caller.account, alert_id)
    gone = {"account": caller.account, "alert_id": alert_id}
    return json_answer(await plane.stores.postgres.rpc("delete_spend_alert", gone))


# ------------------------------------------------------------------ service levels


@app.get("/v1/sla")
async def get_sla(plane: CurrentPlane) -> Response:
    """What is promised, when it is broken, and what is given back then."""
    return json_answer({"data": told.terms(await plane.stores.postgres.rpc("sla_terms", {}))})


@app.get("/v1/sla/uptime")
async def get_uptime(
    caller: Caller,
    plane: CurrentPlane,
    by: Literal["provider", "model", "tier"] = "provider",
    from_: From = None,
    to: Text = None,
) -> Response:
    """Availability of providers, models, or of all accounts of a plan."""
    rows = await plane.stores.postgres.rpc("uptime", {"by": by} | fields.span(from_, to))
    return json_answer({"data": [told.uptime(row) for row in rows]})


@app.get("/v1/sla/incidents")
async def list_incidents(
    caller: Caller,
    plane: CurrentPlane,
    model: Text = None,
    provider: Text = None,
    limit: Limit = 100,
    from_: From = None,
    to: Text = None,
) -> Response:
    """What was down or degraded, newest first."""
    asked = {"model": model, "provider": provider, "limit": limit} | fields.span(from_, to)
    rows = await plane.stores.postgres.rpc("incident_timeline", asked)
    return json_answer({"data": [told.incident(row) for row in rows]})


@app.get("/v1/sla/reports/{month}")
async def get_sla_report(month: str, caller: Caller, plane: CurrentPlane) -> Response:
    """The account's month: availability, failures by blame, what was promised and given back."""
    asked = {"account": caller.account, "month": fields.month(month)}
    row = await plane.stores.postgres.rpc("sla_report", asked, timeout_s=WORKER_TIMEOUT_S)
    return json_answer({"data": told.sla_report(row)})


@app.get("/v1/sla/credits")
async def list_service_credits(caller: Caller, plane: CurrentPlane) -> Response:
    """What was given back without asking, and what of it was taken back."""
    rows = await plane.stores.postgres.rpc("list_service_credits", {"account": caller.account})
    return json_answer({"data": [told.service_credit(row) for row in rows]})


# ------------------------------------------------------------------ staff


@app.get("/admin/usage/credits")
async def list_all_credits(staff: Staff, plane: CurrentPlane, limit: Limit = 100) -> Response:
    rows = await plane.stores.postgres.rpc("list_service_credits", {"limit": limit})
    return json_answer(
        {"data": [told.service_credit(row) | {"account": row["account"]} for row in rows]}
    )


@app.post("/admin/usage/credits/{credit_id:path}/reverse")
async def reverse_credit(
    credit_id: str, asked: ReverseCredit, staff: Staff, plane: CurrentPlane
) -> Response:
    """Take a service credit back, once; who did it and why stands in the ledger."""
    params = {"credit_id": credit_id, "actor": f"staff:{staff.name}", "reason": asked.reason}
    row = await plane.stores.postgres.rpc("reverse_service_credit", params)
    return json_answer({"data": told.service_credit(row)})


@app.get("/admin/usage/provider-costs")
async def compare_costs(
    staff: Staff,
    plane: CurrentPlane,
    provider: Text = None,
    from_: FromDay = None,
    to: Day = None,
) -> Response:
    """Our record of costs beside what providers say; the last week without a span."""
    today_ms = clock.now_ms() // DAY_MS * DAY_MS
    asked = {
        "provider": provider,
        "from_day": from_ or fields.day_text(today_ms - DAYS * DAY_MS),
        "to_day": to or fields.day_text(today_ms + DAY_MS),
    }
    rows = await plane.stores.postgres.rpc("compare_provider_costs", asked)
    return json_answer({"data": rows})


@app.post("/admin/usage/provider-costs/{provider}")
async def upload_invoice(
    provider: str, request: Request, staff: Staff, plane: CurrentPlane
) -> Response:
    """An invoice as CSV: date, model, cost_usd, requests. It is the last word for its days."""
    body = await request.body()
    if len(body) > MAX_INVOICE_BYTES or not fields.is_id(provider):
        raise InvalidRequest("The invoice is too large, or its provider has no name.")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest("The invoice is not UTF-8.") from None
    recorded = await record_costs(plane.stores, provider, "invoice", read_invoice(text))
    return json_answer({"data": {"provider": provider, "recorded": recorded}})
