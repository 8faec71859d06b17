"""What happened to requests and what they came to, for the account they are of. Control plane."""

from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response

from gatewayz.api import activity_views as views
from gatewayz.api import usage_fields as fields
from gatewayz.api import usage_views as told
from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.key_fields import LAST_MS, moment_ms
from gatewayz.api.schemas.usage import AnalyticsQuery, Feedback, NewExport
from gatewayz.billing.credits import Credits
from gatewayz.core import clock
from gatewayz.core.errors import Conflict, InvalidRequest, NotFound
from gatewayz.core.ids import parse_request_id, ulid
from gatewayz.inference.generations import explain, find_generation, show_generation
from gatewayz.runtime import entries
from gatewayz.stores.queue import WORKER_TIMEOUT_S
from gatewayz.usage import exports, log, questions
from gatewayz.usage.files import MEDIA
from gatewayz.usage.receipts import Signer
from gatewayz.usage.receipts import shown as shown_receipt

app = create_app("usage")
lambda_handler = entries.http(app)

DAY_MS = 86_400_000
ROUTED_DAYS = 30
Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
From = Annotated[Text, Query(alias="from")]
Days = Annotated[int, Query(ge=1, le=365)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Place = Annotated[int, Query(ge=0, le=1_000_000)]
Page = Annotated[int | None, Query(ge=1, le=1_000_000)]
Cursor = Annotated[str | None, Query(max_length=64)]


def _credits(plane: CurrentPlane) -> Credits:
    return Credits(
        plane.stores.postgres,
        plane.stores.redis,
        lease_ttl_s=plane.settings.credit.lease_ttl_s,
    )


@app.get("/v1/generation")
@app.get("/api/v1/generation")
async def get_generation(id: str, caller: Caller, plane: CurrentPlane) -> Response:
    """One request by any id we gave it: tokens by class, cost, provider, timings, outcome."""
    row = await find_generation(plane.stores.postgres, _credits(plane), caller.account, id)
    return json_answer({"data": show_generation(row)})


@app.get("/v1/generation/{id}/explain")
@app.get("/api/v1/generation/{id}/explain")
async def explain_generation(id: str, caller: Caller, plane: CurrentPlane) -> Response:
    """The charge recomputed line by line from usage and the price pinned at admission."""
    row = await find_generation(plane.stores.postgres, _credits(plane), caller.account, id)
    return json_answer({"data": explain(row)})


@app.post("/v1/generation/feedback")
@app.post("/api/v1/generation/feedback")
async def give_feedback(asked: Feedback, caller: Caller, plane: CurrentPlane) -> Response:
    """What was wrong with an answer, kept beside its request."""
    request_id = parse_request_id(asked.generation_id)
    said = {"account": caller.account, "request_id": request_id, "category": asked.category}
    if request_id is not None:
        known = await plane.stores.postgres.rpc("give_feedback", said | {"comment": asked.comment})
        if known["success"]:
            return json_answer({"data": known})
    raise NotFound("There is no such generation.", code="generation_not_found")


# ------------------------------------------------------------------ what an account asked for


@app.get("/user/activity/stats")
async def get_activity(
    caller: Caller,
    plane: CurrentPlane,
    days: Days = 30,
    from_: From = None,
    to: Text = None,
) -> Response:
    """Spend, tokens and requests by day in UTC, from settled requests."""
    span = {"from_ms": max(0, clock.now_ms() - days * DAY_MS), "to_ms": LAST_MS}
    wanted = {"account": caller.account} | span | _span(from_, to)
    return json_answer(views.stats(await plane.stores.postgres.rpc("activity_by_day", wanted)))


@app.get("/user/activity/log")
async def list_activity(
    caller: Caller,
    plane: CurrentPlane,
    limit: Limit = 100,
    offset: Place = 0,
    page: Page = None,
    from_: From = None,
    to: Text = None,
    model: Text = None,
    provider: Text = None,
) -> Response:
    """Settled requests, newest first; `page`, from 1, in place of `offset`."""
    wanted = {
        "account": caller.account,
        "from_ms": 0,
        "to_ms": LAST_MS,
        **_span(from_, to),
        "model": model or None,
        "provider": provider or None,
        "limit": limit,
        "offset": offset if page is None else (page - 1) * limit,
    }
    found = await plane.stores.postgres.rpc("activity_log", wanted)
    logs = [views.logged(row, caller.account) for row in found["rows"]]
    return json_answer({"logs": logs, "total": found["total"]})


@app.get("/api/v1/activity")
async def list_routed_activity(
    caller: Caller, plane: CurrentPlane, date: Text = None, api_key_hash: Text = None
) -> Response:
    """By day, model and offer: the last 30 complete days in UTC, or one of them."""
    today_ms = clock.now_ms() // DAY_MS * DAY_MS
    first_ms, end_ms = today_ms - ROUTED_DAYS * DAY_MS, today_ms
    if date:
        day_ms = moment_ms(date, "date")
        if day_ms is None or day_ms % DAY_MS or not first_ms <= day_ms < end_ms:
            raise InvalidRequest("'date' is one of the last 30 complete days.", param="date")
        first_ms, end_ms = day_ms, day_ms + DAY_MS
    rows = await plane.stores.postgres.rpc(
        "activity_by_model",
        {
            "account": caller.account,
            "from_ms": first_ms,
            "to_ms": end_ms,
            "key": api_key_hash or None,
        },
    )
    return json_answer({"data": [views.routed(row) for row in rows]})


def _span(first: str | None, end: str | None) -> dict[str, Any]:
    """What is given of it, in Unix milliseconds."""
    given = {"from_ms": moment_ms(first or None, "from"), "to_ms": moment_ms(end or None, "to")}
    return {name: value for name, value in given.items() if value is not None}


# ------------------------------------------------------------------ the log and questions about it


@app.get("/v1/requests")
async def list_requests(
    request: Request,
    caller: Caller,
    plane: CurrentPlane,
    limit: Limit = 50,
    cursor: Cursor = None,
    order: Literal["newest", "oldest"] = "newest",
    from_: From = None,
    to: Text = None,
) -> Response:
    """Settled requests by any of their features, a page at a time."""
    asked = fields.log_filters(caller.account, request.query_params) | fields.span(from_, to)
    asked |= {"account": caller.account, "limit": limit, "order": order}
    if cursor:
        asked["cursor"] = parse_request_id(cursor)
        if asked["cursor"] is None:
            raise InvalidRequest("'cursor' is no cursor of the log.", param="cursor")
    page = await plane.stores.postgres.rpc("search_requests", asked, timeout_s=WORKER_TIMEOUT_S)
    return json_answer(
        {"data": [log.shown(row) for row in page["rows"]], "next_cursor": page["next"]}
    )


@app.get("/v1/analytics/meta")
@app.get("/api/v1/analytics/meta")
async def describe_analytics(caller: Caller) -> Response:
    """The metrics, dimensions, operators and granularities that a query may name."""
    return json_answer({"data": questions.describe()})


@app.post("/v1/analytics/query")
@app.post("/api/v1/analytics/query")
async def query_analytics(asked: AnalyticsQuery, caller: Caller, plane: CurrentPlane) -> Response:
    """Metrics of the account's requests, by dimensions and time."""
    started_s = clock.monotonic_s()
    params = fields.question(caller.account, asked)
    found = await plane.stores.postgres.rpc("query_usage", params, timeout_s=WORKER_TIMEOUT_S)
    facts = {
        "query_time_ms": round((clock.monotonic_s() - started_s) * 1000, 1),
        "row_count": len(found["rows"]),
        "truncated": found["truncated"],
        "start": time_text(found["from_ms"]),
        "end": time_text(found["to_ms"]),
        "granularity": found["granularity"],
    }
    rows = [fields.dated(row, found["granularity"]) for row in found["rows"]]
    return json_answer({"data": {"data": rows, "metadata": facts}})


# ------------------------------------------------------------------ exports


def _export(plane: Plane, job: dict[str, Any]) -> dict[str, Any]:
    pepper = plane.settings.keys.pepper
    return told.export(job, lambda number: exports.link_of(pepper, job, number))


@app.post("/v1/exports")
async def create_export(asked: NewExport, caller: Caller, plane: CurrentPlane) -> Response:
    """Have a long range written to files; the answer is the job."""
    made = {
        "export_id": "exp_" + ulid(),
        "account": caller.account,
        "kind": asked.kind,
        "format": asked.format,
        "params": fields.export_params(caller.account, asked),
    }
    try:
        job = await plane.stores.postgres.rpc("create_export", made)
    except Conflict:
        raise Conflict("At most 5 exports wait at once.", code="too_many_exports") from None
    return json_answer({"data": _export(plane, job)}, 202)


@app.get("/v1/exports")
async def list_exports(caller: Caller, plane: CurrentPlane) -> Response:
    """The account's exports, newest first."""
    jobs = await plane.stores.postgres.rpc("list_exports", {"account": caller.account})
    return json_answer({"data": [_export(plane, job) for job in jobs]})


@app.get("/v1/exports/{export_id}")
async def get_export(export_id: str, caller: Caller, plane: CurrentPlane) -> Response:
    """How far an export is; when it is done, the links of its parts."""
    job = None
    if fields.is_id(export_id):
        wanted = {"account": caller.account, "export_id": export_id}
        job = await plane.stores.postgres.rpc("find_export", wanted)
    if job is None:
        raise NotFound("There is no such export.", code="export_not_found")
    return json_answer({"data": _export(plane, job)})


@app.get("/v1/exports/{export_id}/parts/{number}")
async def get_export_part(
    export_id: str, number: int, plane: CurrentPlane, expires: int = 0, signature: str = ""
) -> Response:
    """The file behind a signed link; its signature is its key."""
    exports.check_link(plane.settings.keys.pepper, export_id, number, expires, signature)
    link = await exports.store_link(plane.stores, export_id, number)
    if link is not None:
        return Response(status_code=307, headers={"Location": link})
    data, job = await exports.find_part(plane.stores, export_id, number)
    name = f"{export_id}-{number}.{job['format']}"
    headers = {
        "Content-Disposition": f'attachment; filename="{name}"',
        "Cache-Control": "private, no-store",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(data, media_type=MEDIA[job["format"]], headers=headers)


# ------------------------------------------------------------------ receipts


def _signer(plane: Plane) -> Signer:
    keys = plane.settings.keys
    return Signer(keys.receipt_key, keys.pepper, keys.receipt_former_keys)


@app.get("/v1/receipts/keys")
async def list_receipt_keys(plane: CurrentPlane) -> Response:
    """The keys that receipts are signed with, as a JWK Set."""
    return json_answer({"keys": list(_signer(plane).keys)})


@app.get("/v1/receipts/{id}")
async def get_receipt(id: str, caller: Caller, plane: CurrentPlane) -> Response:
    """The signed receipt of a settled request, by any id we gave it."""
    request_id = parse_request_id(id)
    found = None
    if request_id is not None:
        wanted = {"account": caller.account, "request_id": request_id}
        found = await plane.stores.postgres.rpc("find_receipt", wanted, timeout_s=WORKER_TIMEOUT_S)
    if found is None:
        raise NotFound("No settled request has this id.", code="receipt_not_found")
    return json_answer({"data": shown_receipt(found, _signer(plane))})
