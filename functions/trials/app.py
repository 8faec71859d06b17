"""Trials of the calling account: the terms, the state, the start. Control plane.

One for a person, for ever, and only with something verified. The client chooses no amount.
"""

from contextlib import suppress
from typing import Annotated, Any, Literal

from fastapi import Body, Query, Response

from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.schemas.trials import AskPartnerTrial, AskTrial, NewTerms
from gatewayz.api.staff import Staff
from gatewayz.billing.plans import FREE, load_plans
from gatewayz.billing.slot import RedisAway, call_admit
from gatewayz.core.errors import Conflict, Forbidden, GatewayError, InvalidRequest, NotFound
from gatewayz.core.money import usd_number, usd_text
from gatewayz.runtime import entries

app = create_app("trials")
lambda_handler = entries.http(app)

NANOS_PER_CENT = 10_000_000
Row = dict[str, Any]


def _refusal(code: str) -> GatewayError:
    match code:
        case "TRIAL_CODE_NOT_FOUND":
            return NotFound("There is no such partner code.", code="trial_code_not_found")
        case "TRIAL_ALREADY_USED":
            return Conflict("A trial is for once.", code="trial_already_used")
        case "NOT_A_NEW_CUSTOMER":
            return Conflict(
                "Trials are for accounts that have not paid yet.", code="not_a_new_customer"
            )
    return Forbidden(
        "Save a card first, or verify your e-mail address: nothing is charged.",
        code="verification_required",
    )


def _state(found: Row) -> Row:
    trial: Row = found["trial"] or {}
    used = bool(trial)
    active = used and trial["active"]
    tokens_left = max(0, trial["tokens_most"] - trial["tokens"]) if active else 0
    requests_left = max(0, trial["requests_most"] - trial["requests"]) if active else 0
    day = trial.get("day_nanos")
    ended_ms = trial.get("ended_at_ms") or trial.get("ends_at_ms")
    return {
        "is_trial": active,
        "trial_active": active,
        "trial_expired": used and not active,
        "trial_converted": used and trial["converted"],
        "can_start": not used and not found["paid"] and bool(found["signals"]),
        "verified": found["signals"],
        "partner_code": None if trial.get("code") in (None, "DEFAULT") else trial["code"],
        "trial_start_date": time_text(trial.get("started_at_ms")),
        "trial_end_date": time_text(ended_ms),
        "trial_ended_by": trial.get("ended_by"),
        "trial_used_tokens": trial.get("tokens", 0),
        "trial_max_tokens": trial.get("tokens_most", 0),
        "trial_remaining_tokens": tokens_left,
        "trial_used_requests": trial.get("requests", 0),
        "trial_max_requests": trial.get("requests_most", 0),
        "trial_remaining_requests": requests_left,
        "trial_used_credits": usd_number(trial.get("spent_nanos", 0)),
        "trial_max_credits": usd_number(trial.get("nanos", 0)),
        "trial_remaining_credits": usd_number(trial["left_nanos"] if active else 0),
        "trial_daily_credits": None if day is None else usd_number(day),
        "subscription_plan": found.get("plan", FREE),
    }


def _headers(found: Row) -> dict[str, str]:
    """What clients of the trial read beside an answer."""
    trial = found["trial"]
    if trial is None:
        return {}
    state = _state(found)
    return {
        "X-Trial-Expired": "true" if state["trial_expired"] else "false",
        "X-Trial-End-Date": state["trial_end_date"],
        "X-Trial-Remaining-Tokens": str(state["trial_remaining_tokens"]),
        "X-Trial-Remaining-Requests": str(state["trial_remaining_requests"]),
        "X-Trial-Remaining-Credits": usd_text(trial["left_nanos"] if trial["active"] else 0),
    }


async def _answer(plane: Plane, account: str) -> Response:
    found = await plane.stores.postgres.rpc("find_trial", {"account": account})
    answer = json_answer(_state(found))
    answer.headers.update(_headers(found))
    return answer


@app.get("/trial/status")
@app.get("/partner-trials/status")
async def get_status(caller: Caller, plane: CurrentPlane) -> Response:
    return await _answer(plane, caller.account)


async def _start(plane: Plane, account: str, code: str | None) -> Response:
    row = await plane.stores.postgres.rpc("start_trial", {"account": account, "code": code})
    if "error_code" in row:
        raise _refusal(row["error_code"])
    return await _answer(plane, account)


@app.post("/trial/start")
@app.post("/trials/start")
async def start_trial(
    caller: Caller, plane: CurrentPlane, asked: Annotated[AskTrial | None, Body()] = None
) -> Response:
    """Credit that lapses with the trial and is spent before all other."""
    return await _start(plane, caller.account, asked.partner_code if asked else None)


@app.post("/partner-trials/start")
async def start_partner_trial(
    caller: Caller, plane: CurrentPlane, asked: AskPartnerTrial
) -> Response:
    return await _start(plane, caller.account, asked.partner_code)


def _terms(row: Row) -> Row:
    day = row["day_nanos"]
    return {
        "code": row["code"],
        "name": row["name"],
        "trial_days": row["days"],
        "credits": usd_number(row["nanos"]),
        "max_tokens": row["tokens"],
        "max_requests": row["requests"],
        "daily_credits": None if day is None else usd_number(day),
        "plan": row["plan"],
        "is_active": row["active"],
    }


async def _find_terms(plane: Plane, code: str) -> Row | None:
    if not code.replace("-", "").replace("_", "").isalnum() or not code.isascii() or len(code) > 40:
        return None
    row: Row | None = await plane.stores.postgres.rpc("find_trial_terms", {"code": code})
    return row if row is not None and row["active"] else None


@app.get("/partner-trials/config/{code}")
async def get_terms(code: str, caller: Caller, plane: CurrentPlane) -> Response:
    row = await _find_terms(plane, code)
    if row is None:
        raise _refusal("TRIAL_CODE_NOT_FOUND")
    return json_answer(_terms(row))


@app.get("/partner-trials/check/{code}")
async def check_terms(code: str, caller: Caller, plane: CurrentPlane) -> Response:
    row = await _find_terms(plane, code)
    return json_answer(
        {
            "valid": row is not None,
            "partner_code": code.upper(),
            "partner_name": row["name"] if row else None,
        }
    )


@app.get("/partner-trials/daily-limit")
async def get_daily_limit(caller: Caller, plane: CurrentPlane) -> Response:
    """What a partner's trial may spend in a UTC day, if its terms say so."""
    row = await plane.stores.postgres.rpc("find_daily_cap", {"account": caller.account})
    most, room = row["day_nanos"], row["room_nanos"]
    return json_answer(
        {
            "daily_limit": None if most is None else usd_number(most),
            "used_today": usd_number(row["spent_nanos"]),
            "remaining_today": None if room is None else usd_number(room),
        }
    )


# ------------------------------------------------------------------ administration


@app.put("/admin/trial/terms/{code}")
async def set_terms(code: str, staff: Staff, plane: CurrentPlane, asked: NewTerms) -> Response:
    """Terms of a code, for trials that start from now on; `DEFAULT` is everybody's."""
    if asked.plan not in load_plans():
        raise InvalidRequest("There is no such plan.", code="unknown_plan", param="plan")
    row = await plane.stores.postgres.rpc(
        "set_trial_terms",
        {
            "code": code,
            "name": asked.name,
            "days": asked.trial_days,
            "nanos": asked.credit_cents * NANOS_PER_CENT,
            "tokens": asked.max_tokens,
            "requests": asked.max_requests,
            "day_nanos": None if asked.daily_cents is None else asked.daily_cents * NANOS_PER_CENT,
            "plan": asked.plan,
            "active": asked.is_active,
        },
    )
    return json_answer(_terms(row))


@app.get("/admin/trial/analytics")
async def analyze(staff: Staff, plane: CurrentPlane, code: str | None = None) -> Response:
    row = await plane.stores.postgres.rpc("summarize_trials", {"code": code})
    return json_answer(
        {
            "trials": row["trials"],
            "active": row["active"],
            "converted": row["converted"],
            "conversion_rate": row["converted"] / row["trials"] if row["trials"] else None,
            "granted": usd_number(row["granted_nanos"]),
            "spent": usd_number(row["spent_nanos"]),
            "funnel": row["funnel"],
            "by_code": [_rated(one) for one in row["codes"]],
            "cohorts": [_rated(one) for one in row["cohorts"]],
        }
    )


def _rated(row: Row) -> Row:
    """A group's figures, with the share of it that became customers."""
    spent = row.pop("spent_nanos", None)
    more = {} if spent is None else {"spent": usd_number(spent)}
    return row | more | {"conversion_rate": row["converted"] / row["trials"]}


@app.get("/admin/trial/users")
async def list_trials(
    staff: Staff,
    plane: CurrentPlane,
    status: Literal["all", "active", "ended", "converted"] = "all",
    code: Annotated[str | None, Query(max_length=40)] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> Response:
    """Who has or had one, the newest first."""
    asked = {"state": status, "code": code, "limit": limit, "offset": offset}
    found = await plane.stores.postgres.rpc("list_trials", asked)
    users = [
        {"user_id": row["account"], **_state({"trial": row, "signals": [], "paid": False})}
        for row in found["rows"]
    ]
    return json_answer({"users": users, "total": found["total"]})


@app.post("/admin/trial/expire/{user_id}")
async def expire_trial(user_id: str, staff: Staff, plane: CurrentPlane) -> Response:
    """End a trial that runs, with what is left of it."""
    row = await plane.stores.postgres.rpc("end_trial", {"account": user_id})
    if row is None:
        raise NotFound("This account has no trial that runs.", code="trial_not_found")
    with suppress(RedisAway):
        await call_admit(plane.stores.redis, user_id, "epoch", row["epoch"])
    return json_answer(_state({"trial": row, "signals": [], "paid": row["converted"]}))
