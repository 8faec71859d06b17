"""API keys: for the web client under /user, for OpenRouter's clients under /api/v1. Control plane.

Both are views of accounts/issued.py; the routes' scopes stand in accounts/scopes.py.
"""

from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Response

from gatewayz.accounts.holding import check_may_change, check_may_make
from gatewayz.accounts.issued import MOST_PER_HOUR, Keys
from gatewayz.accounts.principals import Principal
from gatewayz.accounts.rules import Rules
from gatewayz.api import key_views as views
from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.key_fields import moment_ms, routed, stored
from gatewayz.api.schemas.keys import (
    ChangeApiKey,
    ChangeRoutedKey,
    DeleteApiKey,
    Environment,
    KeyFields,
    NewApiKey,
    NewRoutedKey,
)
from gatewayz.billing.credits import Credits
from gatewayz.billing.plans import FREE, load_plans
from gatewayz.billing.slot import RedisAway
from gatewayz.core import clock
from gatewayz.core.errors import Forbidden, InvalidRequest
from gatewayz.core.log import get_log
from gatewayz.inference.instructions import check_instructions
from gatewayz.routing.wishes import read_preferences
from gatewayz.runtime import entries

app = create_app("keys")
lambda_handler = entries.http(app)
log = get_log(__name__)

Row = dict[str, Any]
PAGE = 100
OF_STAGE: dict[str, Environment] = {
    "production": "live", "staging": "staging", "test": "test", "local": "development",
}  # fmt: skip
ACTIONS = {
    "create": "key.created",
    "update": "key.updated",
    "delete": "key.deleted",
    "rotate": "key.rotated",
    "use-denied": "key.denied",
}
Action = Literal["create", "update", "delete", "rotate", "use-denied"]
Text = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]
Limit = Annotated[int, Query(ge=1, le=1000)]
Place = Annotated[int, Query(ge=0, le=1_000_000)]
Before = Annotated[int | None, Query(ge=1, le=2**53 - 1)]


async def keys_of(caller: Caller, plane: CurrentPlane) -> Keys:
    """The caller's keys; a change is known to the data plane when the answer is sent."""
    credits = Credits(
        plane.stores.postgres, plane.stores.redis, lease_ttl_s=plane.settings.credit.lease_ttl_s
    )

    async def push(account: str, epoch: int) -> None:
        try:
            await credits.push_epoch(account, epoch)
        except RedisAway:
            # Principals live 5 s while Redis is away, and each new lease brings the epoch.
            log.warning("epoch_not_pushed", account=account)

    return Keys(
        plane.stores.postgres,
        plane.settings.keys.pepper,
        push,
        account=caller.account,
        actor=caller.actor,
    )


Own = Annotated[Keys, Depends(keys_of)]


# ------------------------------------------------------------------ the calling key


@app.get("/v1/key")
@app.get("/api/v1/key")
async def get_key(caller: Caller, plane: CurrentPlane, keys: Own) -> Response:
    """OpenRouter's key object. A key without a limit of its own has `limit: null`."""
    row = await keys.read(caller.key_id)
    found = await plane.stores.postgres.rpc("get_balance", {"account": caller.account})
    return json_answer({"data": views.own_key(row, found["balance_nanos"])})


# ------------------------------------------------------------------ the web client


async def _fields(asked: KeyFields, caller: Principal, plane: Plane, *, new: bool) -> Row:
    fields = stored(asked, caller.rules, clock.now_ms(), new=new)
    if fields.get("preferences") is not None:
        read_preferences(fields["preferences"], param="preferences")
        check_instructions(fields["preferences"])
    if asked.max_requests is not None:
        found = await plane.stores.postgres.rpc("find_subscription", {"account": caller.account})
        plans = load_plans()
        runs = found is not None and found["status"] in ("active", "trialing")
        most = plans[found["plan"] if runs else FREE].requests_per_month
        if most:
            fields["limits"]["max_requests"] = min(asked.max_requests, most)
    return fields


@app.post("/user/api-keys")
async def create_key(caller: Caller, plane: CurrentPlane, keys: Own, asked: NewApiKey) -> Response:
    """A new key; its text stands in this answer and nowhere else."""
    await check_may_make(caller, plane.stores.postgres)
    fields = await _fields(asked, caller, plane, new=True)
    made = await keys.issue(
        asked.key_name,
        asked.environment_tag,
        fields,
        most_per_hour=MOST_PER_HOUR,
        needs_payment=True,
    )
    return json_answer(
        {
            "status": "success",
            "message": "The key is made. It is shown this once: keep it safe.",
            "api_key": made.text,
            "key_name": made.row["name"],
            "environment_tag": made.row["environment"],
            "id": made.row["key_id"],
        }
    )


@app.get("/user/api-keys")
async def list_keys(caller: Caller, keys: Own) -> Response:
    rows = await keys.list()
    now_ms = clock.now_ms()
    shown = [views.api_key(row, now_ms) for row in rows]
    return json_answer({"status": "success", "total_keys": len(shown), "keys": shown})


@app.get("/user/api-keys/usage")
async def list_key_usage(caller: Caller, keys: Own) -> Response:
    """What each key used, from its settled requests."""
    rows = await keys.list()
    return json_answer({"status": "success", "keys": [views.api_key_use(row) for row in rows]})


@app.get("/user/api-keys/audit-logs")
async def list_key_audit(
    caller: Caller,
    plane: CurrentPlane,
    key_id: Text = None,
    action: Action | None = None,
    start_date: Text = None,
    end_date: Text = None,
    limit: Limit = 100,
) -> Response:
    """What happened to the account's keys, newest first."""
    wanted = {
        "target": key_id or None,
        "action": ACTIONS[action] if action else "key.",
        "from_ms": moment_ms(start_date or None, "start_date"),
        "to_ms": moment_ms(end_date or None, "end_date"),
        "limit": limit,
    }
    return await _audit(caller, plane, wanted)


async def _audit(caller: Principal, plane: Plane, wanted: Row) -> Response:
    rows = await plane.stores.postgres.rpc("list_audit", {"account": caller.account, **wanted})
    logs = [views.audit_entry(row) for row in rows]
    return json_answer({"status": "success", "total": len(logs), "logs": logs})


@app.put("/user/api-keys/{key_id}")
async def change_key(
    key_id: str, caller: Caller, plane: CurrentPlane, keys: Own, asked: ChangeApiKey
) -> Response:
    """Change what is named, or rotate. It holds from the next request."""
    if asked.action is not None:
        await check_may_make(caller, plane.stores.postgres)
        return await _rotate(key_id, caller, keys, asked)
    fields = await _fields(asked, caller, plane, new=False)
    if asked.key_name is not None:
        fields["name"] = asked.key_name
    if "environment_tag" in asked.model_fields_set:
        fields["environment"] = asked.environment_tag
    if asked.is_active is not None:
        fields["enabled"] = asked.is_active
    if not fields:
        raise InvalidRequest("Nothing is named that could be changed.")
    await check_may_change(caller, plane.stores.postgres, fields)
    row = await keys.change(key_id, fields)
    return _changed("The key is changed.", views.api_key(row, clock.now_ms()), None, [])


async def _rotate(key_id: str, caller: Principal, keys: Keys, asked: ChangeApiKey) -> Response:
    """Who is given a key's new secret may already do what it may."""
    named = await keys.read(key_id)
    rows, left = [named], 0
    if asked.action == "bulk_rotate":
        filtered = "environment_tag" in asked.model_fields_set
        rows = await keys.list(
            disabled=False, **({"environment": asked.environment_tag} if filtered else {})
        )
        held = [row for row in rows if caller.rules.covers(Rules.of(row["rules"]))]
        rows, left = held, len(rows) - len(held)
    elif not caller.rules.covers(Rules.of(named["rules"])):
        raise Forbidden(
            "This key may more than who asks for its secret.", code="insufficient_scope"
        )
    secrets = await keys.rotate(rows, overlap_ms=asked.overlap_s * 1000)
    rotated = [
        {
            "id": s.row["key_id"],
            "key_name": s.row["name"],
            "api_key": s.text,
            "old_secret_until": time_text(s.row["old_until_ms"]),
        }
        for s in secrets
    ]
    if asked.action == "bulk_rotate":
        more = f" {left} may more than who asks, and are not." if left else ""
        return _changed(f"{len(rotated)} keys are rotated.{more}", None, None, rotated)
    key = views.api_key(secrets[0].row, clock.now_ms())
    return _changed("The key is rotated.", key, secrets[0].text, rotated)


def _changed(message: str, key: Row | None, text: str | None, rotated: list[Row]) -> Response:
    return json_answer(
        {"status": "success", "message": message, "key": key, "api_key": text, "rotated": rotated}
    )


@app.delete("/user/api-keys/{key_id}")
async def delete_key(key_id: str, caller: Caller, keys: Own, asked: DeleteApiKey) -> Response:
    """From the next request nobody's; what it used stays."""
    row = await keys.delete(key_id)
    return json_answer(
        {
            "status": "success",
            "message": "The key is deleted.",
            "deleted_key_id": row["key_id"],
        }
    )


# ------------------------------------------------------------------ the account's audit


@app.get("/user/audit")
async def list_audit(
    caller: Caller,
    plane: CurrentPlane,
    action: Text = None,
    target: Text = None,
    start_date: Text = None,
    end_date: Text = None,
    limit: Limit = 100,
    before: Before = None,
) -> Response:
    """Every change of the account, newest first; `before` is the id to go on from."""
    wanted = {
        "target": target or None,
        "action": action or None,
        "from_ms": moment_ms(start_date or None, "start_date"),
        "to_ms": moment_ms(end_date or None, "end_date"),
        "limit": limit,
        "before": before,
    }
    return await _audit(caller, plane, wanted)


@app.get("/user/audit/verify")
async def verify_audit(caller: Caller, plane: CurrentPlane) -> Response:
    """Is the chain whole? If not, the first entry that is not what was written."""
    return json_answer(await plane.stores.postgres.rpc("verify_audit", {"account": caller.account}))


# ------------------------------------------------------------------ OpenRouter's clients


@app.get("/api/v1/keys")
async def list_routed(
    caller: Caller,
    keys: Own,
    offset: Place = 0,
    include_disabled: Literal["true", "false"] = "false",
) -> Response:
    rows = await keys.list(offset=offset, limit=PAGE, disabled=include_disabled == "true")
    return json_answer({"data": [views.routed_key(row) for row in rows]})


@app.post("/api/v1/keys")
async def create_routed(
    caller: Caller, plane: CurrentPlane, keys: Own, asked: NewRoutedKey
) -> Response:
    """A key for inference."""
    await check_may_make(caller, plane.stores.postgres)
    rules = caller.rules.bound({"scopes": ["inference", "usage:read"]}, new=True)
    fields = routed(asked) | {"rules": rules}
    made = await keys.issue(asked.name, OF_STAGE[plane.settings.stage], fields)
    return json_answer({"data": views.routed_key(made.row), "key": made.text}, 201)


@app.get("/api/v1/keys/{hash}")
async def get_routed(hash: str, caller: Caller, keys: Own) -> Response:
    return json_answer({"data": views.routed_key(await keys.read(hash))})


@app.patch("/api/v1/keys/{hash}")
async def change_routed(
    hash: str, caller: Caller, plane: CurrentPlane, keys: Own, asked: ChangeRoutedKey
) -> Response:
    fields = routed(asked)
    await check_may_change(caller, plane.stores.postgres, fields)
    if asked.name is not None:
        fields["name"] = asked.name
    if asked.disabled is not None:
        fields["enabled"] = not asked.disabled
    row = await keys.change(hash, fields) if fields else await keys.read(hash)
    return json_answer({"data": views.routed_key(row)})


@app.delete("/api/v1/keys/{hash}")
async def delete_routed(hash: str, caller: Caller, keys: Own) -> Response:
    await keys.delete(hash)
    return json_answer({"deleted": True})
