"""Coupons and referrals of the calling account, and their administration. Control plane."""

from typing import Annotated, Any

from fastapi import Query, Request, Response

from gatewayz.accounts.attempts import allow, check
from gatewayz.accounts.origin import origin_of
from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.schemas.promotions import AskCoupon, AskReferral, ChangeCoupon, NewCoupon
from gatewayz.api.staff import Staff
from gatewayz.core import clock
from gatewayz.core.errors import InvalidRequest, NotFound, RateLimited
from gatewayz.core.money import usd_number
from gatewayz.runtime import entries

app = create_app("promotions")
lambda_handler = entries.http(app)

Row = dict[str, Any]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
NANOS_PER_CENT = 10_000_000
MESSAGES = {
    "COUPON_NOT_FOUND": "There is no such coupon.",
    "COUPON_INACTIVE": "This coupon is not active.",
    "COUPON_NOT_YET_ACTIVE": "This coupon is not valid yet.",
    "COUPON_EXPIRED": "This coupon has expired.",
    "COUPON_NOT_ASSIGNED": "This coupon belongs to another account.",
    "MAX_USES_EXCEEDED": "This code has been used as often as it can be.",
    "ALREADY_REDEEMED": "This account has redeemed the coupon already.",
    "REFERRAL_NOT_FOUND": "There is no such referral code.",
    "SELF_REFERRAL": "An account cannot refer itself.",
    "ALREADY_REFERRED": "This account has been referred already.",
    "NOT_A_NEW_CUSTOMER": "Referrals are for accounts that have not paid yet.",
    "REFERRAL_CYCLE": "These accounts refer each other already.",
}


# ------------------------------------------------------------------------ coupons


@app.post("/coupons/redeem")
async def redeem_coupon(
    caller: Caller, plane: CurrentPlane, request: Request, asked: AskCoupon
) -> Response:
    """Credit for a code, once. A refusal is a 400 that names its reason in `error_code`. Codes that
    nobody has count as guesses: an address has few of them."""
    scope = request.scope
    place = origin_of(plane.settings.http.client_ip, scope.get("client"), scope["headers"])
    await check("coupon", place.ip, redis=plane.stores.redis)
    row = await plane.stores.postgres.rpc(
        "redeem_coupon", {"account": caller.account, "code": asked.code}
    )
    refused = row.get("error_code")
    if refused == "COUPON_NOT_FOUND":
        await allow("coupon", place.ip, redis=plane.stores.redis)
    if refused == "TOO_MANY_ATTEMPTS":
        raise RateLimited(
            "Too many codes were tried; try again in an hour.",
            code="too_many_attempts",
            headers={"Retry-After": "3600"},
        )
    before = row["balance_nanos"] if refused else row["previous_balance_nanos"]
    body = {
        "success": refused is None,
        "message": MESSAGES[refused] if refused else "The coupon is redeemed.",
        "coupon_code": asked.code.upper(),
        "coupon_value": None if refused else usd_number(row["value_nanos"]),
        "previous_balance": usd_number(before),
        "new_balance": usd_number(row["balance_nanos"]),
        "error_code": refused,
    }
    return json_answer(body, 400 if refused else 200)


def _coupon(row: Row) -> Row:
    return {
        "coupon_id": row["code"],
        "code": row["code"],
        "value_usd": usd_number(row["value_nanos"]),
        "coupon_scope": row["scope"],
        "coupon_type": row["type"],
        "description": row["description"],
        "valid_from": time_text(row["valid_from_ms"]),
        "valid_until": time_text(row["valid_until_ms"]),
        "max_uses": row["max_uses"],
        "times_used": row["times_used"],
        "remaining_uses": row["remaining_uses"],
        "is_active": row["active"],
        "is_expired": row["expired"],
    }


def _redemption(row: Row) -> Row:
    return {
        "code": row["code"],
        "value_usd": usd_number(row["value_nanos"]),
        "redeemed_at": time_text(row["redeemed_at_ms"]),
    }


@app.get("/coupons/available")
async def list_coupons(caller: Caller, plane: CurrentPlane) -> Response:
    """Coupons that were made for this account and not redeemed; public codes are not told."""
    rows = await plane.stores.postgres.rpc("list_open_coupons", {"account": caller.account})
    return json_answer({"coupons": [_coupon(row) for row in rows], "total": len(rows)})


@app.get("/coupons/history")
async def list_redemptions(caller: Caller, plane: CurrentPlane) -> Response:
    rows = await plane.stores.postgres.rpc("list_redemptions", {"account": caller.account})
    return json_answer(
        {
            "redemptions": [_redemption(row) for row in rows],
            "total_redemptions": len(rows),
            "total_value_redeemed": usd_number(sum(row["value_nanos"] for row in rows)),
        }
    )


# ------------------------------------------------------------------ administration


@app.post("/admin/coupons")
async def create_coupon(staff: Staff, plane: CurrentPlane, asked: NewCoupon) -> Response:
    """A code; with `assigned_to` for one account alone, and then for one use."""
    now_ms = clock.now_ms()
    row = await plane.stores.postgres.rpc(
        "create_coupon",
        {
            "code": asked.code,
            "value_nanos": asked.value_cents * NANOS_PER_CENT,
            "assigned_to": asked.assigned_to,
            "max_uses": asked.max_uses,
            "starts_in_ms": max(0, asked.valid_from_ms - now_ms) if asked.valid_from_ms else 0,
            "valid_ms": asked.valid_days * 86_400_000,
            "credit_ttl_ms": asked.credit_days * 86_400_000 if asked.credit_days else None,
            "description": asked.description,
            "type": asked.coupon_type,
            "actor": staff.name,
        },
    )
    return json_answer(_coupon(row))


@app.get("/admin/coupons")
async def list_all_coupons(
    staff: Staff, plane: CurrentPlane, limit: Limit = 100, offset: Offset = 0
) -> Response:
    rows = await plane.stores.postgres.rpc("list_coupons", {"limit": limit, "offset": offset})
    return json_answer({"coupons": [_coupon(row) for row in rows], "total": len(rows)})


@app.get("/admin/coupons/stats/overview")
async def summarize_coupons(staff: Staff, plane: CurrentPlane) -> Response:
    row = await plane.stores.postgres.rpc("summarize_coupon", {})
    return json_answer(_summary(row) | {"total_coupons": row["coupons"], "active": row["active"]})


@app.get("/admin/coupons/{code}")
async def get_coupon(code: str, staff: Staff, plane: CurrentPlane) -> Response:
    return json_answer(_coupon(await _find_coupon(plane, code)))


@app.patch("/admin/coupons/{code}")
async def change_coupon(
    code: str, staff: Staff, plane: CurrentPlane, asked: ChangeCoupon
) -> Response:
    row = await plane.stores.postgres.rpc(
        "change_coupon",
        {
            "code": code,
            "valid_ms": None if asked.valid_days is None else asked.valid_days * 86_400_000,
            "max_uses": asked.max_uses,
            "active": asked.is_active,
            "description": asked.description,
        },
    )
    return json_answer(_coupon(row))


@app.delete("/admin/coupons/{code}")
async def stop_coupon(code: str, staff: Staff, plane: CurrentPlane) -> Response:
    """Nobody redeems it any more; what was redeemed stays."""
    row = await plane.stores.postgres.rpc("change_coupon", {"code": code, "active": False})
    return json_answer(_coupon(row))


@app.get("/admin/coupons/{code}/analytics")
async def analyze_coupon(code: str, staff: Staff, plane: CurrentPlane) -> Response:
    coupon = await _find_coupon(plane, code)
    row = await plane.stores.postgres.rpc("summarize_coupon", {"code": code})
    more = {"remaining_uses": coupon["remaining_uses"], "is_expired": coupon["expired"]}
    return json_answer(_summary(row) | more)


def _summary(row: Row) -> Row:
    possible = row["possible_uses"]
    return {
        "total_redemptions": row["total_redemptions"],
        "unique_users": row["unique_users"],
        "total_value_distributed": usd_number(row["distributed_nanos"]),
        "redemption_rate": row["total_redemptions"] / possible if possible else None,
    }


async def _find_coupon(plane: Plane, code: str) -> Row:
    rows = await plane.stores.postgres.rpc("list_coupons", {"code": code, "limit": 1})
    if not rows:
        raise NotFound("There is no such coupon.", code="coupon_not_found")
    found: Row = rows[0]
    return found


# ---------------------------------------------------------------------- referrals


@app.get("/referral/code")
@app.post("/referral/generate")
async def get_code(caller: Caller, plane: CurrentPlane) -> Response:
    """The account's own code, made at the first look."""
    row = await plane.stores.postgres.rpc("get_referral_code", {"account": caller.account})
    billing = plane.settings.billing
    link = f"{billing.app_url.rstrip('/')}/?ref={row['code']}"
    each = usd_number(billing.referral_cents * NANOS_PER_CENT)
    return json_answer(
        {
            "code": row["code"],
            "invite_link": link,
            "share_message": f"One key for every AI model: {link}",
            "uses": row["uses"],
            "remaining": max(0, row["cap"] - row["uses"]),
            "reward": each,
        }
    )


@app.get("/referral/stats")
async def get_stats(caller: Caller, plane: CurrentPlane) -> Response:
    row = await plane.stores.postgres.rpc("get_referral_stats", {"account": caller.account})
    referrals = [
        {
            "referee": one["referee"],
            "status": one["status"],
            "created_at": time_text(one["created_at_ms"]),
        }
        for one in row["referrals"]
    ]
    return json_answer(
        {
            "code": row["code"],
            "uses": row["uses"],
            "remaining": max(0, row["cap"] - row["uses"]),
            "earnings": usd_number(row["earned_nanos"]),
            "referrals": referrals,
        }
    )


@app.post("/referral/validate")
async def validate_code(caller: Caller, plane: CurrentPlane, asked: AskReferral) -> Response:
    """Whether this account could be referred by the code; nothing happens yet."""
    row = await plane.stores.postgres.rpc(
        "check_referral", {"account": caller.account, "code": asked.referral_code}
    )
    why = row["error_code"]
    return json_answer(
        {"valid": why is None, "error_code": why, "message": MESSAGES.get(why, "The code is good.")}
    )


@app.post("/referral/use")
async def use_code(caller: Caller, plane: CurrentPlane, asked: AskReferral) -> Response:
    """Be referred. Both sides are rewarded once this account's first payment has settled."""
    row = await plane.stores.postgres.rpc(
        "use_referral", {"account": caller.account, "code": asked.referral_code}
    )
    why = row["error_code"]
    if why is not None:
        raise InvalidRequest(MESSAGES[why], code=why.lower(), param="referral_code")
    return json_answer({"success": True, "message": "The code is noted."})
