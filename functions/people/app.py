"""Who belongs to an account and what is known of them: the profile, members, invitations, teams,
the account itself. Control plane; what a role may do here stands in accounts/scopes.py.
"""

import re
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response

from gatewayz.accounts.attempts import allow
from gatewayz.accounts.domains import check_domain
from gatewayz.accounts.forgetting import forget_at_issuers
from gatewayz.accounts.identity import address
from gatewayz.accounts.members import People, worded
from gatewayz.accounts.principals import Principal
from gatewayz.accounts.roles import ADMIN, OWNER
from gatewayz.api import profile_views as views
from gatewayz.api.answers import json_answer
from gatewayz.api.app import Caller, CurrentPlane, Plane, Signed, create_app, place_of
from gatewayz.api.mail_pages import invitation_page
from gatewayz.api.schemas.people import (
    AcceptInvitation,
    AskSettings,
    AskTransfer,
    ChangeAccount,
    ChangeMember,
    ChangeProfile,
    ChangeTeam,
    DeleteAccount,
    NewInvitation,
    NewTeam,
)
from gatewayz.billing.epochs import Epochs
from gatewayz.billing.plans import load_plans
from gatewayz.core.errors import Forbidden, InvalidRequest, NotFound
from gatewayz.core.log import get_log
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.notify.send import send_now
from gatewayz.runtime import entries

app = create_app("people")
lambda_handler = entries.http(app)
log = get_log(__name__)

Row = dict[str, Any]
NANOS_PER_CENT = 10_000_000


async def people_of(caller: Caller, plane: CurrentPlane) -> People:
    """The people of the caller's account; a change is known to the data plane with the answer."""
    return People(
        plane.stores.postgres,
        plane.settings,
        Epochs(plane.stores, plane.settings).push,
        account=caller.account,
        actor=caller.actor,
        role=caller.rules.role,
    )


Own = Annotated[People, Depends(people_of)]


# ------------------------------------------------------------------ the profile


def _who(caller: Principal) -> dict[str, str | None]:
    return {"person": caller.person or None, "key_id": caller.key_id or None}


@app.get("/user/profile")
async def get_profile(caller: Caller, plane: CurrentPlane) -> Response:
    """Whoever calls, or whom the calling key acts for; what the account has."""
    row = await _profile(plane, caller.account, **_who(caller))
    return json_answer(views.profile(row, _plan_name(row)))


@app.get("/user/balance")
async def get_balance(caller: Caller, plane: CurrentPlane) -> Response:
    row = await _profile(plane, caller.account, **_who(caller))
    return json_answer(
        {
            "user_id": row["account"],
            "api_key": views.shown_prefix(row),
            "credits": views.funds(row, "")["total_credits"],
            "status": row["status"],
        }
    )


@app.put("/user/profile")
async def change_profile(caller: Caller, plane: CurrentPlane, asked: ChangeProfile) -> Response:
    """What is named changes: name and preferences of the person, settings of the account."""
    row = await _profile(plane, caller.account, **_who(caller))
    person = (row["person"] or {}).get("person")
    if asked.email is not None and address(asked.email) != (row["person"] or {}).get("email"):
        raise InvalidRequest("The address is that of signing in.", param="email")
    if asked.settings is not None:
        await _change_settings(caller, plane, row, asked.settings)
    changes: Row = {}
    if asked.name is not None:
        changes["name"] = asked.name
    if asked.preferences is not None and person is not None:
        changes["preferences"] = asked.preferences
    if changes:
        params = {"account": caller.account, "actor": caller.actor, **changes}
        try:
            if person is not None:
                await plane.stores.postgres.rpc("change_person", {**params, "person": person})
            else:
                await plane.stores.postgres.rpc("change_account", params)
        except NotFound as error:
            raise worded(error) from None
    row = await _profile(plane, caller.account, **_who(caller))
    return json_answer(views.profile(row, _plan_name(row)))


async def _profile(plane: Plane, account: str, **caller: str | None) -> Row:
    row: Row = await plane.stores.postgres.rpc("read_profile", {"account": account, **caller})
    return row


def _plan_name(row: Row) -> str:
    plan = load_plans().get(row["plan"])
    return plan.name if plan is not None else row["plan"]


async def _change_settings(caller: Principal, plane: Plane, row: Row, asked: AskSettings) -> None:
    given = {name: getattr(asked, name) for name in asked.model_fields_set}
    topup = {n: given.pop(n) for n in list(given) if n.startswith("auto_topup_")}
    if given:
        # A key of theirs is as good as they are: what is the account's needs the role for it.
        if caller.rules.role not in (None, OWNER, ADMIN):
            raise Forbidden("Owner and admins set this.", code="insufficient_scope")
        params = {"account": caller.account, "actor": caller.actor, "settings": given}
        await plane.stores.postgres.rpc("change_account", params)
    if topup:
        await _change_topup(caller, plane, row["auto_topup"] or {}, topup)


async def _change_topup(caller: Principal, plane: Plane, old: Row, asked: Row) -> None:
    if not caller.rules.grants("billing"):
        raise Forbidden("This key lacks the scope 'billing'.", code="insufficient_scope")
    billing = plane.settings.billing
    enabled = asked.get("auto_topup_enabled")
    enabled = bool(old.get("enabled")) if enabled is None else enabled
    if enabled and not old.get("payment_method"):
        raise InvalidRequest("Save a card first.", code="no_payment_method")
    threshold, amount = asked.get("auto_topup_threshold"), asked.get("auto_topup_amount")
    cents = old.get("amount_cents", billing.least_cents) if amount is None else round(amount * 100)
    if not billing.least_cents <= cents <= billing.most_cents:
        raise InvalidRequest(
            f"amount must be from {billing.least_cents} to {billing.most_cents} cents",
            code="invalid_amount",
            param="settings.auto_topup_amount",
        )
    nanos = old.get("threshold_nanos", 5 * NANOS_PER_USD)
    await plane.stores.postgres.rpc(
        "set_auto_topup",
        {
            "account": caller.account,
            "enabled": enabled,
            "threshold_nanos": nanos
            if threshold is None
            else round(threshold * 100) * NANOS_PER_CENT,
            "amount_cents": cents,
            "month_cap_cents": max(old.get("month_cap_cents", cents), cents),
            "payment_method": old.get("payment_method"),
        },
    )


# ------------------------------------------------------------------ the account


@app.get("/user/account")
async def get_account(caller: Caller, people: Own) -> Response:
    row = await people.call("read_account")
    return json_answer(views.account(row, caller.rules.role))


@app.patch("/user/account")
async def change_account(caller: Caller, people: Own, asked: ChangeAccount) -> Response:
    row = await people.call("change_account", name=asked.name)
    return json_answer(views.account(row, caller.rules.role))


@app.delete("/user/account")
async def delete_account(
    caller: Caller, plane: CurrentPlane, people: Own, asked: DeleteAccount
) -> Response:
    """Closes the account for everybody in it. What names a person goes; rows of money stay."""
    row = await people.call("delete_account")
    await forget_at_issuers(plane.settings, row["identities"])
    return json_answer({"success": True, "message": "The account is deleted."})


@app.post("/user/account/transfer")
async def transfer_account(people: Own, asked: AskTransfer) -> Response:
    """The member owns the account from now on; the owner before is an admin."""
    await people.call("transfer_account", member=asked.member_id)
    return json_answer({"success": True, "message": "The account is transferred."})


@app.post("/user/account/leave")
async def leave_account(caller: Signed, people: Own) -> Response:
    """One's keys of the account stop; an owner transfers it first."""
    await people.call("remove_member", member=caller.person, heir=None)
    return json_answer({"success": True, "message": "You have left the account."})


@app.get("/user/accounts")
async def list_accounts(caller: Signed, plane: CurrentPlane) -> Response:
    """Those that one is a member of; X-Gatewayz-Account chooses among them."""
    rows = await plane.stores.postgres.rpc("list_memberships", {"person": caller.person})
    return json_answer({"accounts": views.accounts(rows)})


# ------------------------------------------------------------------ members


@app.get("/user/members")
async def list_members(people: Own) -> Response:
    return json_answer({"members": [views.member(r) for r in await people.call("list_members")]})


@app.get("/user/members/{member_id}")
async def get_member(member_id: str, people: Own) -> Response:
    return json_answer(views.member(await people.call("read_member", member=member_id)))


@app.patch("/user/members/{member_id}")
async def change_member(member_id: str, people: Own, asked: ChangeMember) -> Response:
    """Another role, for the member and for the keys they made, from the next request."""
    return json_answer(views.member(await people.change(member_id, asked.role)))


@app.delete("/user/members/{member_id}")
async def remove_member(
    member_id: str, caller: Caller, people: Own, keep_keys: bool = False
) -> Response:
    """Their keys stop, or with `keep_keys` are the caller's from now on."""
    heir = caller.person if keep_keys and caller.person else None
    await people.remove(member_id, heir)
    return json_answer({"success": True, "message": "The member is removed."})


# ------------------------------------------------------------------ invitations


@app.post("/user/invitations")
async def invite(
    request: Request, caller: Caller, plane: CurrentPlane, people: Own, asked: NewInvitation
) -> Response:
    """A link by mail, good for seven days and once; an open one to the address is replaced."""
    email = address(asked.email)
    if email is None:
        raise InvalidRequest("This is no e-mail address.", param="email")
    await check_domain(email, plane.stores.postgres)
    ip = place_of(request, plane).ip
    await allow("invite", ip, redis=plane.stores.redis, account=caller.account)
    profile = await _profile(plane, caller.account, **_who(caller))
    inviter = (profile["person"] or {}).get("name") or profile["name"]
    site = str(request.base_url) if plane.settings.stage == "local" else None
    row, once = await people.invite(email, asked.role, inviter, profile["name"], site=site)
    await send_now(plane.stores, plane.settings, once)
    return json_answer(views.invitation(row), 201)


@app.get("/invitations")
async def show_invitation(token: Annotated[str, Query(max_length=200)] = "") -> Response:
    """A page with a button, where no web application takes the link of the mail."""
    return invitation_page()


@app.get("/user/invitations")
async def list_invitations(people: Own) -> Response:
    rows = await people.call("list_invitations")
    return json_answer({"invitations": [views.invitation(row) for row in rows]})


@app.post("/user/invitations/accept")
async def accept_invitation(caller: Signed, people: Own, asked: AcceptInvitation) -> Response:
    """Join the account that invited; the session goes on in the one it is in."""
    row = await people.accept(asked.token, caller.person)
    body = {
        "success": True,
        "account_id": row["account"],
        "account_name": row["account_name"],
        "role": row["role"],
    }
    return json_answer(body)


@app.delete("/user/invitations/{invitation_id}")
async def revoke_invitation(invitation_id: str, people: Own) -> Response:
    await people.call("revoke_invitation", invitation=invitation_id)
    return json_answer({"success": True, "message": "The invitation is revoked."})


# ------------------------------------------------------------------ teams


@app.get("/user/teams")
async def list_teams(people: Own) -> Response:
    return json_answer({"teams": [views.team(row) for row in await people.call("list_teams")]})


@app.post("/user/teams")
async def create_team(people: Own, asked: NewTeam) -> Response:
    """Keys and budgets name it by its id, which never changes."""
    slug = asked.id or re.sub(r"[^a-z0-9]+", "-", asked.name.lower()).strip("-")[:60].strip("-")
    if not slug:
        raise InvalidRequest("Give an id: the name has nothing to make one of.", param="id")
    return json_answer(
        views.team(await people.call("create_team", team=slug, name=asked.name)), 201
    )


@app.patch("/user/teams/{team_id}")
async def change_team(team_id: str, people: Own, asked: ChangeTeam) -> Response:
    row = await people.call("change_team", team=team_id, name=asked.name)
    return json_answer(views.team(row))


@app.delete("/user/teams/{team_id}")
async def delete_team(team_id: str, people: Own) -> Response:
    """Its keys stay, and what they spent."""
    await people.call("delete_team", team=team_id)
    return json_answer({"success": True, "message": "The team is deleted."})


@app.put("/user/teams/{team_id}/members/{member_id}")
async def add_to_team(team_id: str, member_id: str, people: Own) -> Response:
    row = await people.call("set_team_member", team=team_id, member=member_id, present=True)
    return json_answer(views.team(row))


@app.delete("/user/teams/{team_id}/members/{member_id}")
async def remove_from_team(team_id: str, member_id: str, people: Own) -> Response:
    row = await people.call("set_team_member", team=team_id, member=member_id, present=False)
    return json_answer(views.team(row))
