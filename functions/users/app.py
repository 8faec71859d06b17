"""Staff and the people of accounts: search, growth, suspend, delete; roles and who is staff;
blocked mail domains. Every act names who did it, in the account's audit.
"""

from typing import Annotated, Any, Literal

from fastapi import Query, Response

from gatewayz.accounts.forgetting import forget_at_issuers
from gatewayz.accounts.keys import hash_key
from gatewayz.accounts.members import People, worded
from gatewayz.accounts.roles import ROLES, STAFF, permissions_of
from gatewayz.api import profile_views as views
from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import CurrentPlane, Plane, create_app
from gatewayz.api.key_fields import moment_ms
from gatewayz.api.schemas.users import AskBlock, AskRole, AskSuspend
from gatewayz.api.staff import Member, Staff
from gatewayz.billing.epochs import Epochs
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import Conflict, InvalidRequest, NotFound
from gatewayz.core.log import get_log
from gatewayz.runtime import entries

app = create_app("users")
lambda_handler = entries.http(app)
log = get_log(__name__)

Row = dict[str, Any]
Limit = Annotated[int, Query(ge=1, le=1000)]
Place = Annotated[int, Query(ge=0, le=1_000_000)]
Days = Annotated[int, Query(ge=1, le=366)]
Text = Annotated[str | None, Query(max_length=300, pattern=r"^[^\x00-\x1f\x7f]*$")]
Status = Literal["active", "suspended", "closed"]
MAX_ID_CHARS = 64
HOUSE = "@house"
# A buffered answer has to be there before the platform's 29 s.
DELETE_S = 20.0


async def _call(plane: Plane, staff: Member | None, function: str, /, **params: Any) -> Any:
    """A function of the database in the name of whoever acts; an epoch it raised is pushed."""
    if staff is not None:
        params["actor"] = f"staff:{staff.name}"
    user = params.get("user", "-")
    if not user.isascii() or not user.isprintable() or not 0 < len(user) <= MAX_ID_CHARS:
        raise NotFound("There is no such user.", code="user_not_found")
    try:
        answer = await plane.stores.postgres.rpc(function, params)
    except (NotFound, Conflict) as error:
        raise worded(error) from None
    if isinstance(answer, dict) and answer.get("epoch") is not None:
        await Epochs(plane.stores, plane.settings).push(answer["account"], answer["epoch"])
    return answer


# ------------------------------------------------------------------ mail domains


@app.get("/admin/users/blocked-domains")
async def list_blocked(staff: Staff, plane: CurrentPlane, limit: Limit = 1000) -> Response:
    """Those that staff blocked; the kept list of a release has many more."""
    rows = await _call(plane, None, "list_blocked_domains", limit=limit)
    shown = [{**row, "created_at": time_text(row.pop("created_at_ms"))} for row in rows]
    return json_answer({"domains": shown})


@app.post("/admin/users/blocked-domains")
async def block_domain(staff: Staff, plane: CurrentPlane, asked: AskBlock) -> Response:
    row = await _call(
        plane, staff, "block_domain", domain=asked.domain, reason=asked.reason, blocked=True
    )
    return json_answer(row)


@app.delete("/admin/users/blocked-domains/{domain}")
async def allow_domain(domain: str, staff: Staff, plane: CurrentPlane) -> Response:
    if not domain.isascii() or not domain.replace("-", "a").replace(".", "a").isalnum():
        raise InvalidRequest("This is no domain.", param="domain")
    return json_answer(await _call(plane, staff, "block_domain", domain=domain, blocked=False))


# ------------------------------------------------------------------ users


@app.get("/admin/users")
async def list_users(
    staff: Staff,
    plane: CurrentPlane,
    search: Text = None,
    query: Text = None,
    email: Text = None,
    status: Status | None = None,
    is_active: bool | None = None,
    limit: Limit = 100,
    offset: Place = 0,
) -> Response:
    """Accounts and their owners, newest first. `search` is a part of an address, name or id."""
    if status is None and is_active is not None:
        status = "active" if is_active else "suspended"
    found = await _call(
        plane, None, "search_users", query=search or query, email=email, status=status,
        limit=limit, offset=offset,
    )  # fmt: skip
    users = [views.user(row) for row in found["rows"]]
    return json_answer({"users": users, "total": found["total"], "limit": limit, "offset": offset})


@app.get("/admin/users/count")
async def count_users(staff: Staff, plane: CurrentPlane) -> Response:
    found = await _call(plane, None, "count_users")
    return json_answer({"count": found["total"], "active": found["active"]})


@app.get("/admin/users/stats")
async def get_user_stats(staff: Staff, plane: CurrentPlane) -> Response:
    return json_answer(await _call(plane, None, "count_users"))


@app.get("/admin/users/growth")
async def get_user_growth(staff: Staff, plane: CurrentPlane, days: Days = 30) -> Response:
    """New accounts by day in UTC, and how many there were then."""
    return json_answer({"days": days, "data": await _call(plane, None, "count_growth", days=days)})


@app.get("/admin/users/by-api-key")
async def find_by_key(
    staff: Staff, plane: CurrentPlane, api_key: Annotated[str, Query(min_length=4, max_length=256)]
) -> Response:
    """Whose key it is: by the key's id, by how it begins as lists show it, or by the whole."""
    wanted = api_key.removesuffix("…")
    if not wanted.isascii() or not wanted.isprintable():
        raise InvalidRequest("'api_key' is no key.", param="api_key")
    digest = hash_key(wanted.encode(), plane.settings.keys.pepper.encode()).hex()
    rows = await _call(plane, None, "find_users_by_key", key=wanted, hash=digest)
    return json_answer({"users": [views.user(row) for row in rows], "total": len(rows)})


@app.delete("/admin/users/by-domain/{domain}")
async def delete_by_domain(
    domain: str, staff: Staff, plane: CurrentPlane, dry_run: bool = False, block: bool = False
) -> Response:
    """Accounts whose owner's address is of the domain, those that ever paid apart; at most 1,000
    at a time, and as many as the platform leaves time for: `left` are for the next call. `block`
    refuses the domain from now on."""
    name = domain.lower()
    if not name.isascii() or not name.replace("-", "a").replace(".", "a").isalnum():
        raise InvalidRequest("This is no domain.", param="domain")
    rows = await _call(plane, None, "list_users_by_domain", domain=name)
    wanted = [row["account"] for row in rows if not row["paid"]]
    deleted, failed = [], []
    deadline = Deadline.after(DELETE_S)
    for account in [] if dry_run else wanted:
        if deadline.passed:
            break
        try:
            gone = await _call(plane, staff, "delete_account", account=account)
            deleted.append(account)
            await forget_at_issuers(plane.settings, gone["identities"])
        except Conflict as error:
            failed.append({"user_id": account, "code": error.code})
    if block and not dry_run:
        await _call(plane, staff, "block_domain", domain=name, blocked=True)
    return json_answer(
        {
            "domain": name,
            "dry_run": dry_run,
            "matched": len(rows),
            "kept": [row["account"] for row in rows if row["paid"]],
            "deleted": wanted if dry_run else deleted,
            "failed": failed,
            "left": 0 if dry_run else len(wanted) - len(deleted) - len(failed),
        }
    )


@app.get("/admin/users/{user_id}")
async def get_user(user_id: str, staff: Staff, plane: CurrentPlane) -> Response:
    """An account, by its id or by that of a person whose home it is."""
    row = await _call(plane, None, "read_user", user=user_id)
    return json_answer({**views.user(row), "team": [views.member(each) for each in row["team"]]})


@app.post("/admin/users/{user_id}/suspend")
async def suspend_user(
    user_id: str, staff: Staff, plane: CurrentPlane, asked: AskSuspend
) -> Response:
    """Keys and sessions of the account are refused from the next request."""
    row = await _call(
        plane, staff, "set_user_status", user=user_id, status="suspended", reason=asked.reason
    )
    return json_answer(views.user(row))


@app.post("/admin/users/{user_id}/resume")
async def resume_user(user_id: str, staff: Staff, plane: CurrentPlane) -> Response:
    row = await _call(plane, staff, "set_user_status", user=user_id, status="active")
    return json_answer(views.user(row))


@app.delete("/admin/users/{user_id}")
async def delete_user(user_id: str, staff: Staff, plane: CurrentPlane) -> Response:
    """As if the owner had deleted the account: rows of money stay, what names a person goes."""
    row = await _call(plane, None, "read_user", user=user_id)
    people = People(
        plane.stores.postgres,
        plane.settings,
        Epochs(plane.stores, plane.settings).push,
        account=row["account"],
        actor=f"staff:{staff.name}",
        role=None,
    )
    gone = await people.call("delete_account")
    await forget_at_issuers(plane.settings, gone["identities"])
    return json_answer({"success": True, "deleted_user_id": row["account"]})


# ------------------------------------------------------------------ roles


@app.post("/admin/roles/update")
async def update_role(staff: Staff, plane: CurrentPlane, asked: AskRole) -> Response:
    row = await _call(
        plane, staff, "set_role", user=asked.user_id, account=asked.account_id,
        role=asked.new_role, reason=asked.reason,
    )  # fmt: skip
    return json_answer(
        {
            "success": True,
            "message": "The role is set.",
            "old_role": row["before"],
            "new_role": asked.new_role,
            **views.seat(row),
        }
    )


@app.get("/admin/roles/audit/log")
async def list_role_changes(
    staff: Staff,
    plane: CurrentPlane,
    user_id: Text = None,
    start_date: Text = None,
    end_date: Text = None,
    limit: Limit = 100,
) -> Response:
    """Roles that staff changed, newest first."""
    rows = await _call(
        plane, None, "list_audit", account=HOUSE, action="role.", target=user_id or None,
        from_ms=moment_ms(start_date or None, "start_date"),
        to_ms=moment_ms(end_date or None, "end_date"), limit=limit,
    )  # fmt: skip
    logs = [
        {
            "id": row["seq"],
            "timestamp": time_text(row["at_ms"]),
            "changed_by": row["actor"],
            "member_id": row["target"],
            "user_id": row["details"].get("account"),
            "old_role": row["details"]["before"],
            "new_role": row["details"]["after"],
            "reason": row["details"].get("reason"),
        }
        for row in rows
    ]
    return json_answer({"logs": logs, "total": len(logs)})


def _known(role: str) -> str:
    if role != STAFF and role not in ROLES:
        raise NotFound("There is no such role.", code="role_not_found")
    return role


@app.get("/admin/roles/list/{role}")
async def list_role(
    role: str, staff: Staff, plane: CurrentPlane, limit: Limit = 100, offset: Place = 0
) -> Response:
    """Everybody who has the role, in whichever account."""
    rows = await _call(plane, None, "list_role", role=_known(role), limit=limit, offset=offset)
    return json_answer({"role": role, "users": [views.seat(r) for r in rows], "total": len(rows)})


@app.get("/admin/roles/permissions/{role}")
async def list_permissions(role: str, staff: Staff) -> Response:
    """The permissions of a role, as the routes ask for them; the staff's opens what is theirs."""
    held = [STAFF] if _known(role) == STAFF else sorted(permissions_of(role))
    return json_answer({"role": role, "permissions": held})


@app.get("/admin/roles/{user_id}")
async def get_role(
    user_id: str, staff: Staff, plane: CurrentPlane, account_id: Text = None
) -> Response:
    row = await _call(plane, None, "read_role", user=user_id, account=account_id or None)
    held = sorted(permissions_of(row["role"]) | ({STAFF} if row["staff"] else set()))
    return json_answer({**views.seat(row), "permissions": held})
