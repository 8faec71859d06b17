"""Limits: the caller's own under /user, everybody's for staff; exempt addresses; velocity mode.

A change holds from the next request and stands in the audit of its account. Control plane.
"""

import re
from typing import Annotated, Any

from fastapi import Depends, Query, Response

from gatewayz.accounts.holding import check_may_change
from gatewayz.accounts.labels import hashed_label
from gatewayz.accounts.limits import RATES, limits_of
from gatewayz.accounts.limits_admin import LimitDesk
from gatewayz.accounts.limits_velocity import reset_velocity, velocity_state
from gatewayz.accounts.rules import ip_in
from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.limit_views import COUNTS, limits_shown, limits_stored, use_shown
from gatewayz.api.schemas.limits import (
    AddressAsked,
    BulkKeyLimits,
    BulkLimits,
    Exemption,
    LimitFields,
    ScopeLimits,
    StaffLimits,
    WhichLimits,
)
from gatewayz.api.staff import Staff
from gatewayz.billing.epochs import Epochs
from gatewayz.billing.plans import load_plans, plan_limits
from gatewayz.billing.slot import RedisAway, call_admit
from gatewayz.core.errors import Conflict, DependencyError, InvalidRequest, NotFound
from gatewayz.runtime import entries

app = create_app("limits")
lambda_handler = entries.http(app)

Row = dict[str, Any]
HASH = re.compile(r"[0-9a-f]{24}")
Limit = Annotated[int, Query(ge=1, le=1000)]
Place = Annotated[int, Query(ge=0, le=1_000_000)]
Percent = Annotated[int, Query(ge=1, le=100)]
Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Words = Annotated[str, Query(min_length=2, max_length=64, pattern=r"^[0-9a-fA-F:./]+$")]


def _desk(plane: Plane, actor: str) -> LimitDesk:
    stores = plane.stores
    return LimitDesk(
        stores.postgres, stores.redis, Epochs(stores, plane.settings).push, actor=actor
    )


async def own_desk(caller: Caller, plane: CurrentPlane) -> LimitDesk:
    return _desk(plane, caller.actor)


async def staff_desk(staff: Staff, plane: CurrentPlane) -> LimitDesk:
    return _desk(plane, f"staff:{staff.name}")


Own = Annotated[LimitDesk, Depends(own_desk)]
Desk = Annotated[LimitDesk, Depends(staff_desk)]


async def _set(desk: LimitDesk, account: str, asked: ScopeLimits, *, anew: bool = False) -> Row:
    if asked.scope != "account" and asked.id is None:
        raise InvalidRequest("'id' says whose limits these are.", param="id")
    if asked.scope == "user" and asked.id is not None and not HASH.fullmatch(asked.id):
        # As the account itself names them: kept, here as elsewhere, as a hash alone.
        asked = asked.model_copy(update={"id": hashed_label(account, asked.id)})
    return await _change(desk, account, asked.scope, asked.id, asked, anew=anew)


async def _change(
    desk: LimitDesk, account: str, scope: str, id: str | None, asked: LimitFields, *, anew: bool
) -> Row:
    try:
        row = await desk.set(account, scope, id, limits_stored(asked), anew=anew)
    except NotFound as error:
        what = "key" if error.code == "key_not_found" else "account"
        raise NotFound(f"There is no such {what}.", code=f"{what}_not_found") from None
    except Conflict:
        raise Conflict(
            "At most 200 end users of an account have limits of their own.", code="too_many_limits"
        ) from None
    return limits_shown(row)


# ------------------------------------------------------------------ one's own


@app.get("/user/rate-limits")
async def list_own(caller: Caller, plane: CurrentPlane, desk: Own) -> Response:
    """The limits of the caller's keys, and those of the account, its teams and end users."""
    keys = await plane.stores.postgres.rpc("read_keys", {"account": caller.account})
    rows = [
        {"key_id": key["key_id"], "key_name": key["name"]} | limits_shown({"limits": key["limits"]})
        for key in keys
    ]
    others = [r for r in await desk.find(account=caller.account, limit=1000) if r["scope"] != "key"]
    plan = plan_limits(free=True).get(caller.plan, {})
    return json_answer(
        {
            "status": "success",
            "keys": rows,
            "account": [limits_shown(row) for row in others],
            "plan": {"plan": caller.plan, "limits": dict(plan)},
        }
    )


@app.put("/user/rate-limits")
async def change_account(caller: Caller, desk: Own, asked: ScopeLimits) -> Response:
    """Budgets of the account, of what each end user or session may spend; limits of a team, an end
    user or a key. The rates of an account are its plan's."""
    rates = [name for name in COUNTS if name in asked.model_fields_set]
    if asked.scope == "account" and rates:
        raise InvalidRequest(
            "The rates of an account are those of its plan; its budgets can be set.", param=rates[0]
        )
    row = await _set(desk, caller.account, asked)
    return json_answer({"status": "success", "message": "The limits are changed.", "limits": row})


@app.put("/user/rate-limits/{key_id}")
async def change_own(
    key_id: str, caller: Caller, plane: CurrentPlane, desk: Own, asked: LimitFields
) -> Response:
    """Change what is named; null takes a limit away."""
    await check_may_change(caller, plane.stores.postgres, ("limits",))
    row = await _change(desk, caller.account, "key", _key(key_id), asked, anew=False)
    return json_answer({"status": "success", "message": "The limits are changed.", "key": row})


@app.post("/user/rate-limits/bulk-update")
async def change_many_own(
    caller: Caller, plane: CurrentPlane, desk: Own, asked: BulkKeyLimits
) -> Response:
    """Several keys, in order; the first that is refused ends it."""
    await check_may_change(caller, plane.stores.postgres, ("limits",))
    rows = [
        await _change(desk, caller.account, "key", _key(one.key_id), one, anew=False)
        for one in asked.keys
    ]
    return json_answer(
        {"status": "success", "message": f"{len(rows)} keys are changed.", "keys": rows}
    )


@app.get("/user/rate-limits/usage/{key_id}")
async def get_own_use(key_id: str, caller: Caller, plane: CurrentPlane) -> Response:
    """What is used of a key's limits now, and what is left."""
    try:
        row = await plane.stores.postgres.rpc(
            "find_limits", {"account": caller.account, "key_id": _key(key_id)}
        )
    except NotFound:
        raise NotFound("There is no such key.", code="key_not_found") from None
    plans = plan_limits(free=plane.settings.plan_limits)
    lines = limits_of(row | {"plan": caller.plan}, plans).lines
    try:
        reply = await call_admit(plane.stores.redis, caller.account, "limits", lines)
    except RedisAway:
        reply = None
    return json_answer(
        {
            "status": "success",
            "key_id": row["key_id"],
            "key_name": row["name"],
            "limits": use_shown(lines, reply),
        }
    )


def _key(key_id: str) -> str:
    if not key_id.isascii() or not key_id.isprintable() or " " in key_id or len(key_id) > 200:
        raise NotFound("There is no such key.", code="key_not_found")
    return key_id


# ------------------------------------------------------------------ staff


@app.get("/admin/rate-limits/system")
async def get_system(desk: Desk, plane: CurrentPlane) -> Response:
    """What holds for everybody now: the layer by address, callers without a key, velocity mode."""
    own = plane.settings.limits
    try:
        state: Row | None = (await velocity_state(plane.stores.redis))._asdict()
    except DependencyError:
        state = None
    events = await plane.stores.postgres.rpc("list_velocity_events", {"limit": 50})
    return json_answer(
        {
            "address_per_minute": own.address_per_minute,
            "anonymous": own.anonymous,
            "anonymous_per_day": own.anonymous_per_day,
            "plan_limits": plane.settings.plan_limits,
            "velocity_mode": state,
            "velocity_events": [_timed(event, "at_ms") for event in events],
        }
    )


@app.post("/admin/rate-limits/velocity/reset")
async def end_velocity(desk: Desk, plane: CurrentPlane) -> Response:
    """Back to normal at once."""
    return json_answer({"velocity_mode": (await reset_velocity(plane.stores.redis))._asdict()})


@app.get("/admin/rate-limits/alerts")
async def list_alerts(
    desk: Desk, account: Text = None, percent: Percent = 80, limit: Limit = 100
) -> Response:
    """Budgets that are used up, or nearly, in the period under way; the fullest first."""
    wanted: Row = {"percent": percent, "limit": limit}
    if account:
        wanted["account"] = account
    return json_answer({"data": await desk.alerts(**wanted)})


@app.get("/admin/rate-limits/config")
async def get_config(desk: Desk) -> Response:
    """The limits of each plan, and what limits there are."""
    plans = plan_limits(free=True)
    shown = [{"plan": name, "name": load_plans()[name].name, "limits": dict(limits)}
             for name, limits in plans.items()]  # fmt: skip
    return json_answer({"plans": shown, "limits": [*RATES, "concurrent_requests", "limit"]})


@app.get("/admin/rate-limits/users")
@app.get("/admin/rate-limits")
async def list_limits(
    desk: Desk, account: Text = None, limit: Limit = 100, offset: Place = 0
) -> Response:
    """All that has limits of its own."""
    wanted: Row = {"limit": limit, "offset": offset}
    if account:
        wanted["account"] = account
    return json_answer({"data": [limits_shown(row) for row in await desk.find(**wanted)]})


@app.post("/admin/rate-limits/config")
@app.put("/admin/rate-limits/update")
async def set_limits(desk: Desk, asked: StaffLimits) -> Response:
    """Of an account, a key, a team or an end user: what is named changes."""
    return json_answer(await _set(desk, asked.account, asked))


@app.post("/admin/rate-limits/bulk-update")
async def set_many(desk: Desk, asked: BulkLimits) -> Response:
    return json_answer({"data": [await _set(desk, one.account, one) for one in asked.changes]})


@app.post("/admin/rate-limits/config/reset")
@app.delete("/admin/rate-limits/delete")
async def reset_limits(desk: Desk, asked: WhichLimits) -> Response:
    """Back to none of its own: what the plan says holds."""
    nothing = ScopeLimits(scope=asked.scope, id=asked.id)
    return json_answer(await _set(desk, asked.account, nothing, anew=True))


# ------------------------------------------------------------------ exempt addresses


@app.get("/api/admin/ip-whitelist")
async def list_exempt(staff: Staff, desk: Desk) -> Response:
    """Networks that the layer by address lets through."""
    rows = [_timed(row, "created_at_ms", "expires_at_ms") for row in await desk.exemptions()]
    return json_answer({"data": rows})


@app.post("/api/admin/ip-whitelist")
@app.put("/api/admin/ip-whitelist")
async def add_exempt(staff: Staff, desk: Desk, asked: Exemption) -> Response:
    row = await _exempt(desk, asked)
    return json_answer(_timed(row, "created_at_ms", "expires_at_ms"))


async def _exempt(desk: LimitDesk, asked: Exemption) -> Row:
    try:
        return await desk.exempt(asked.network, asked.reason, asked.expires_in_s)
    except InvalidRequest:
        raise InvalidRequest("That is no address and no network.", param="network") from None


@app.delete("/api/admin/ip-whitelist")
async def remove_exempt(staff: Staff, desk: Desk, network: Words) -> Response:
    try:
        removed = await desk.unexempt(network)
    except InvalidRequest:
        raise InvalidRequest("That is no address and no network.", param="network") from None
    if not removed:
        raise NotFound("This network is not exempt.", code="exemption_not_found")
    return json_answer({"removed": True})


@app.post("/api/admin/ip-whitelist/check")
async def check_exempt(staff: Staff, desk: Desk, asked: AddressAsked) -> Response:
    """Would this address pass, and by which network?"""
    networks = [str(row["network"]) for row in await desk.exemptions()]
    by = [network for network in networks if ip_in(asked.ip, [network])]
    return json_answer({"ip": asked.ip, "exempt": bool(by), "networks": by})


def _timed(row: Row, *names: str) -> Row:
    """Moments in milliseconds as text, under their names without the unit."""
    shown = {name: value for name, value in row.items() if name not in names}
    return shown | {name.removesuffix("_ms"): time_text(row[name]) for name in names}
