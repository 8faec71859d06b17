"""What happened to a request, and what an account asked for. Control plane."""

from typing import Annotated, Any

from fastapi import Query, Response

from gatewayz.api import activity_views as views
from gatewayz.api.answers import json_answer
from gatewayz.api.app import Caller, CurrentPlane, create_app
from gatewayz.api.key_fields import LAST_MS, moment_ms
from gatewayz.billing.credits import Credits
from gatewayz.core import clock
from gatewayz.core.errors import InvalidRequest
from gatewayz.inference.generations import explain, find_generation, show_generation
from gatewayz.runtime import entries

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
