"""Signing in: verified tokens, links by mail, sessions of browsers. Control plane."""

from typing import Annotated, Any, Literal

from fastapi import Body, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from gatewayz.accounts.attempts import allow
from gatewayz.accounts.identity import Identity, address, from_privy, from_supabase
from gatewayz.accounts.privy import ask_privy
from gatewayz.accounts.roles import permissions_of
from gatewayz.accounts.sessions import Site, csrf_token, secret_in_cookie
from gatewayz.accounts.sign_in import Door, Origin, Session, SignedIn, Wishes
from gatewayz.accounts.tokens import PRIVY, SUPABASE, issuers_of
from gatewayz.api import profile_views as views
from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Plane, Signed, create_app, place_of
from gatewayz.api.mail_pages import sign_in_page
from gatewayz.api.schemas.people import (
    AskInvalidate,
    AskLink,
    AskRefresh,
    AskSignIn,
    UseLink,
)
from gatewayz.billing.plans import load_plans
from gatewayz.core import clock
from gatewayz.core.errors import InvalidRequest, NotFound, SignInRefused, Unauthorized
from gatewayz.core.log import get_log
from gatewayz.notify.send import send_now
from gatewayz.runtime import entries

app = create_app("account")
lambda_handler = entries.http(app)
log = get_log(__name__)

Row = dict[str, Any]
LINK_SENT = "If the address can be reached, a link is on its way. It works once, for 15 minutes."


def _door(plane: Plane) -> Door:
    return Door(plane.stores.postgres, plane.stores.redis, plane.settings)


def _origin(request: Request, plane: Plane) -> Origin:
    agent = request.headers.get("user-agent")
    return Origin(place_of(request, plane).ip, "".join(c for c in agent or "" if c.isprintable()))


async def login_attempt(request: Request, plane: CurrentPlane) -> Origin:
    """Where the attempt comes from; RateLimited before anything is read or looked up."""
    origin = _origin(request, plane)
    await allow("login", origin.ip, redis=plane.stores.redis)
    return origin


Attempt = Annotated[Origin, Depends(login_attempt)]
# A body may be left out.
Refresh = Annotated[AskRefresh, Body(default_factory=AskRefresh)]
Invalidate = Annotated[AskInvalidate, Body(default_factory=AskInvalidate)]


def _who_sends_links(plane: Plane) -> Literal["we", "issuer", "nobody"]:
    """Of sign-in links: we, where mail can be sent, unless the issuer of tokens does."""
    settings = plane.settings
    if settings.auth.email_links == "off":
        return "nobody"
    if settings.auth.email_links == "on":
        return "we"
    if any(issuer.kind == SUPABASE for issuer in issuers_of(settings)):
        return "issuer" if settings.stores.supabase_url else "nobody"
    return "we" if settings.notify.sender or settings.stage == "local" else "nobody"


# ------------------------------------------------------------------ signing in


async def _identity(asked: AskSignIn, plane: Plane) -> Identity:
    """Who the tokens name: all that were sent must be good and of one person."""
    sent = [asked.identity_token, asked.token, asked.privy_access_token]
    found: list[Identity] = []
    for token in dict.fromkeys(each for each in sent if each is not None):
        try:
            issuer, claims = await plane.tokens.verify(token.encode())
        except Unauthorized:
            raise SignInRefused from None
        if issuer.kind == PRIVY:
            listed = None
            if "linked_accounts" not in claims and not found:
                listed = await ask_privy(
                    plane.tokens.http, plane.settings, plane.stores.secrets, claims["sub"]
                )
            found.append(from_privy(claims, listed))
        else:
            found.append(from_supabase(claims))
    if not found or len({(each.issuer, each.subject) for each in found}) != 1:
        raise SignInRefused
    return next((each for each in found if each.email), found[0])


async def _profile(plane: Plane, account: str, **caller: str | None) -> Row:
    row: Row = await plane.stores.postgres.rpc("read_profile", {"account": account, **caller})
    return row


def _plan_name(row: Row) -> str:
    plan = load_plans().get(row["plan"])
    return plan.name if plan is not None else row["plan"]


def _facts(session: Session, plane: Plane, *, whole: bool) -> Row:
    return {
        "expires_at": time_text(session.expires_at_ms),
        "csrf_token": csrf_token(session.secret.encode(), plane.settings.keys.pepper),
        "token": session.secret if whole else None,
    }


def _with_cookie(answer: Response, request: Request, secret: str, life_s: int) -> Response:
    site = Site.of(request.scope["headers"])
    answer.headers["Set-Cookie"] = site.set_cookie(secret, life_s)
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def _signed_in(
    request: Request, plane: Plane, done: SignedIn, origin: Origin, *, whole: bool
) -> Response:
    session = await _door(plane).open_session(done.row, origin)
    person, account = done.row, done.row["account"]
    profile = await _profile(plane, account, person=person["person"])
    body = {
        "success": True,
        "message": "Welcome." if person["is_new"] else "Signed in.",
        "user_id": account,
        "member_id": person["person"],
        "api_key": done.key,
        "auth_method": person["method"],
        "privy_user_id": views.privy_id(profile),
        "is_new_user": person["is_new"],
        "display_name": person["name"],
        "email": person["email"],
        "phone_number": person["phone"],
        "timestamp": time_text(clock.now_ms()),
        "session": _facts(session, plane, whole=whole),
        **views.funds(profile, _plan_name(profile)),
    }
    life_s = plane.settings.auth.session_days * 86_400
    return _with_cookie(json_answer(body), request, session.secret, life_s)


@app.post("/auth")
async def sign_in(
    request: Request, origin: Attempt, plane: CurrentPlane, asked: AskSignIn
) -> Response:
    """Who the token names, with an account; the first time also a key, shown this once."""
    identity = await _identity(asked, plane)
    wishes = Wishes(
        asked.auto_create_api_key, asked.key_name or "Primary", asked.referral_code or None
    )
    done = await _door(plane).admit(identity, wishes, origin)
    return await _signed_in(request, plane, done, origin, whole=asked.session == "token")


@app.get("/auth")
async def lead_to_grant(request: Request) -> Response:
    """Where applications written for OpenRouter send their users: the page that gives a key."""
    query = request.url.query
    return RedirectResponse(f"/auth/grant?{query}" if query else "/auth/grant", 307)


@app.get("/auth/health")
async def get_sign_in_health(plane: CurrentPlane) -> Response:
    methods = ["email_link"] if _who_sends_links(plane) != "nobody" else []
    if issuers_of(plane.settings):
        methods.append("token")
    return json_answer({"status": "ok", "methods": methods})


def _site(request: Request, plane: Plane) -> str:
    """Where links lead: the web application, on a developer's machine the stack itself."""
    if plane.settings.stage == "local":
        return str(request.base_url)
    return plane.settings.billing.app_url


async def _send_link(request: Request, plane: Plane, asked: AskLink, ip: str | None) -> Response:
    """The same answer whoever the address is, and whether anybody is known there."""
    email = address(asked.email)
    if email is None:
        raise InvalidRequest("This is no e-mail address.", param="email")
    sender = _who_sends_links(plane)
    if sender == "nobody":
        raise NotFound("Sign-in by mail is not offered here.", code="links_not_offered")
    await allow("code", ip, redis=plane.stores.redis, account="mail:" + email)
    if sender == "we":
        said = {"name": asked.username, "key_name": asked.key_name, "code": asked.referral_code}
        told = {name: value for name, value in said.items() if value}
        once = await _door(plane).send_link(email, told, _site(request, plane))
        await send_now(plane.stores, plane.settings, once)
    else:
        await _ask_issuer(plane, email)
    return json_answer({"success": True, "message": LINK_SENT})


async def _ask_issuer(plane: Plane, email: str) -> None:
    from gatewayz.accounts.domains import check_domain
    from gatewayz.stores.supabase_auth import SupabaseAuth
    from gatewayz.stores.supabase_client import SupabaseClient

    stores = plane.settings.stores
    await check_domain(email, plane.stores.postgres)
    auth = SupabaseAuth(SupabaseClient(stores.supabase_url, stores.supabase_key))
    try:
        await auth.send_link(email, back_to=plane.settings.billing.app_url)
    finally:
        await auth.close()


@app.post("/auth/email")
async def ask_link(
    request: Request, origin: Attempt, plane: CurrentPlane, asked: AskLink
) -> Response:
    """A link by mail that signs in."""
    return await _send_link(request, plane, asked, origin.ip)


@app.post("/auth/register")
async def register(request: Request, plane: CurrentPlane, asked: AskLink) -> Response:
    """The same for somebody new: the account is made when the link is opened."""
    origin = _origin(request, plane)
    await allow("register", origin.ip, redis=plane.stores.redis)
    return await _send_link(request, plane, asked, origin.ip)


@app.get("/auth/link")
async def show_link(token: Annotated[str, Query(max_length=200)] = "") -> Response:
    """A page with a button: what only looks at the link, as mail scanners do, does not use it."""
    return sign_in_page()


@app.post("/auth/link")
async def use_link(
    request: Request, origin: Attempt, plane: CurrentPlane, asked: UseLink
) -> Response:
    """Sign in by a link that came by mail. It works once."""
    door = _door(plane)
    identity, said = await door.open_link(asked.token)
    wishes = Wishes(None, said.get("key_name") or "Primary", said.get("code"))
    done = await door.admit(identity, wishes, origin)
    return await _signed_in(request, plane, done, origin, whole=asked.session == "token")


# ------------------------------------------------------------------ sessions


@app.get("/auth/session")
async def get_session(request: Request, caller: Signed, plane: CurrentPlane) -> Response:
    """Who is signed in, where, and the token that changes need."""
    secret = secret_in_cookie(request.scope["headers"])
    pepper = plane.settings.keys.pepper
    role = caller.rules.role or ""
    rows = await plane.stores.postgres.rpc("list_memberships", {"person": caller.person})
    return json_answer(
        {
            "user_id": caller.account,
            "member_id": caller.person,
            "role": role,
            "permissions": sorted(permissions_of(role)),
            "accounts": views.accounts(rows),
            "csrf_token": csrf_token(secret, pepper) if secret is not None else None,
        }
    )


@app.post("/v1/auth/refresh")
async def refresh_session(
    request: Request, caller: Caller, plane: CurrentPlane, asked: Refresh
) -> Response:
    """A session goes on under a new secret; a key needs nothing of the kind."""
    if not caller.session:
        return json_answer({"success": True, "user_id": caller.account, "session": None})
    account = asked.account
    if account is not None:
        rows = await plane.stores.postgres.rpc("list_memberships", {"person": caller.person})
        if account not in {row["account"] for row in rows}:
            raise NotFound("There is no such account.", code="account_not_found")
    session = await _door(plane).renew_session(caller.session, account)
    whole = secret_in_cookie(request.scope["headers"]) is None
    body = {
        "success": True,
        "user_id": account or caller.account,
        "session": _facts(session, plane, whole=whole),
    }
    life_s = plane.settings.auth.session_days * 86_400
    return _with_cookie(json_answer(body), request, session.secret, life_s)


@app.post("/v1/auth/invalidate")
async def invalidate_session(
    request: Request, caller: Caller, plane: CurrentPlane, asked: Invalidate
) -> Response:
    """Sign out. A key stays: it is deleted where keys are."""
    ended = 0
    everywhere = asked.all
    if caller.person and (caller.session or everywhere):
        params: Row = {"person": caller.person}
        if not everywhere:
            params["session"] = caller.session
        row = await plane.stores.postgres.rpc("end_sessions", params)
        ended = row["ended"]
    answer = json_answer({"success": True, "message": "Signed out.", "ended": ended})
    return _with_cookie(answer, request, "", 0)


@app.get("/user/sessions")
async def list_sessions(caller: Signed, plane: CurrentPlane) -> Response:
    rows = await plane.stores.postgres.rpc("list_sessions", {"person": caller.person})
    return json_answer({"sessions": [views.session(row, caller.session) for row in rows]})


@app.delete("/user/sessions/{session}")
async def end_session(session: str, caller: Signed, plane: CurrentPlane) -> Response:
    row = await plane.stores.postgres.rpc(
        "end_sessions", {"person": caller.person, "session": _plain(session)}
    )
    if not row["ended"]:
        raise NotFound("There is no such session.", code="session_not_found")
    return json_answer({"success": True, "message": "Signed out.", "ended": row["ended"]})


def _plain(text: str) -> str:
    return text if text.isascii() and text.isprintable() else "-"
