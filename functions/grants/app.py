"""Keys for other people's applications: the page to agree on, the code, its exchange (PKCE).

OpenRouter's flow over accounts/grants.py. The page knows its customer by the session's cookie and
that session's token in its form, or by a key that is typed in. Control plane.
"""

from typing import Annotated, Any
from urllib.parse import parse_qsl, urlencode
from zlib import crc32

from fastapi import Depends, Query, Request, Response
from fastapi.responses import RedirectResponse

from gatewayz.accounts.attempts import allow, check
from gatewayz.accounts.grants import Asked, Grants, no_good, with_answer
from gatewayz.accounts.principals import Principal
from gatewayz.accounts.sessions import CSRF_HEADER, csrf_token, secret_in_cookie
from gatewayz.api import grant_page as pages
from gatewayz.api.answers import json_answer, time_text
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app, place_of
from gatewayz.api.key_fields import moment_ms, nanos_of
from gatewayz.api.schemas.grants import AskCode, ExchangeCode
from gatewayz.billing.epochs import Epochs
from gatewayz.core.errors import (
    Forbidden,
    InvalidRequest,
    PayloadTooLarge,
    Unauthorized,
)
from gatewayz.core.log import get_log
from gatewayz.core.money import parse_usd, usd_text
from gatewayz.runtime import entries

app = create_app("grants")
lambda_handler = entries.http(app)
log = get_log(__name__)

PERMISSION = "keys:write"
MAX_FORM_BYTES = 16 * 1024
MAX_LIMIT_NANOS = 1_000_000 * 10**9
RESETS = ("daily", "weekly", "monthly")
# What the page asks for and hands on to itself.
FIELDS = (
    "callback_url", "code_challenge", "code_challenge_method", "key_label", "usage_limit_type",
    "expires_at", "state",
)  # fmt: skip
OF_STAGE = {
    "production": "live", "staging": "staging", "test": "test", "local": "development",
}  # fmt: skip
Word = Annotated[str | None, Query(max_length=2000, pattern=r"^[^\x00-\x1f\x7f]*$")]


async def grants_of(plane: CurrentPlane) -> Grants:
    settings = plane.settings
    return Grants(
        plane.stores.postgres, settings.keys.pepper, OF_STAGE[settings.stage], settings.stage
    )


Desk = Annotated[Grants, Depends(grants_of)]


def _asked(fields: dict[str, str], limit: str) -> Asked:
    """What the page's address or form says; InvalidRequest names the field."""
    method = fields.get("code_challenge_method") or None
    if method not in (None, "S256", "plain"):
        raise InvalidRequest("It is S256 or plain.", param="code_challenge_method")
    reset = fields.get("usage_limit_type") or None
    if reset not in (None, *RESETS):
        raise InvalidRequest(f"It is one of {', '.join(RESETS)}.", param="usage_limit_type")
    label = fields.get("key_label") or None
    if label is not None and len(label) > 100:
        raise InvalidRequest("A label has at most 100 characters.", param="key_label")
    return Asked(
        callback=fields.get("callback_url") or None,
        challenge=fields.get("code_challenge") or None,
        method=method,  # type: ignore[arg-type]
        label=label,
        limit_nanos=_limit_nanos(limit),
        reset=reset,
        expires_at_ms=moment_ms(fields.get("expires_at") or None, "expires_at"),
        state=fields.get("state") or None,
    ).check()


def _limit_nanos(text: str) -> int | None:
    if not text.strip():
        return None
    try:
        nanos = parse_usd(text.strip().removeprefix("$"))
    except ValueError:
        nanos = -1
    if not 0 < nanos <= MAX_LIMIT_NANOS:
        raise InvalidRequest("A limit is an amount in USD, as 10 or 2.50.", param="limit")
    return nanos


# ------------------------------------------------------------------ the page


@app.get("/auth/grant")
async def show_page(
    request: Request,
    plane: CurrentPlane,
    callback_url: Word = None,
    code_challenge: Word = None,
    code_challenge_method: Word = None,
    key_label: Word = None,
    usage_limit_type: Word = None,
    expires_at: Word = None,
    state: Word = None,
    limit: Annotated[str, Query(max_length=20)] = "",
) -> Response:
    """Who asks, for what, and who is asked."""
    given = dict(zip(FIELDS, (callback_url, code_challenge, code_challenge_method, key_label,
                              usage_limit_type, expires_at, state), strict=True))  # fmt: skip
    fields = {name: value for name, value in given.items() if value}
    try:
        asked = _asked(fields, limit)
    except InvalidRequest as error:
        return _html(pages.refused_page(f"{error.param}: {error.message}"), None, 400)
    return await _ask(request, plane, asked, fields)


async def _ask(
    request: Request, plane: Plane, asked: Asked, fields: dict[str, str], error: str = ""
) -> Response:
    account, csrf = await _seen(request, plane)
    here = f"/auth/grant?{urlencode(fields)}"
    sign_in = f"{plane.settings.billing.app_url.rstrip('/')}/signin?{urlencode({'next': here})}"
    page = pages.ask_page(
        asked,
        fields,
        account=account,
        csrf=csrf,
        sign_in_url=sign_in,
        limit="" if asked.limit_nanos is None else usd_text(asked.limit_nanos),
        problem=error,
    )
    return _html(page, asked, 403 if error else 200)


async def _seen(request: Request, plane: Plane) -> tuple[str | None, str]:
    """The account of the session, and the token that its form carries; None for nobody."""
    headers = request.scope["headers"]
    secret = secret_in_cookie(headers)
    if secret is None:
        return None, ""
    try:
        seat = await plane.members.find(_cookies_alone(headers), "GET")
    except (Unauthorized, Forbidden):
        return None, ""
    if seat is None:
        return None, ""
    return seat["account"], csrf_token(secret, plane.settings.keys.pepper)


@app.post("/auth/grant")
async def decide(request: Request, plane: CurrentPlane, grants: Desk) -> Response:
    """What the customer decided: back to the application, with a code or a refusal."""
    form = await _form(request)
    fields = {name: form[name] for name in FIELDS if form.get(name)}
    try:
        asked = _asked(fields, form.get("limit", ""))
    except InvalidRequest as error:
        return _html(pages.refused_page(f"{error.param}: {error.message}"), None, 400)
    back = {"state": asked.state} if asked.state else {}
    if form.get("decision") != "allow":
        if asked.callback is None:
            return _html(pages.refused_page(), None, 200)
        return _lead(asked.callback, {"error": "access_denied", **back})
    try:
        giver = await _giver(request, plane, form)
        code, _ = await grants.give(asked, giver)
    except (Unauthorized, Forbidden) as error:
        return await _ask(request, plane, asked, fields, error.message)
    if asked.callback is None:
        return _html(pages.code_page(code), None, 200)
    return _lead(asked.callback, {"code": code, **back})


async def _giver(request: Request, plane: Plane, form: dict[str, str]) -> Principal:
    """The member behind cookie and token, or the key that was typed in."""
    if key := form.get("api_key", "").strip():
        shown = [(b"authorization", b"Bearer " + key.encode("latin-1", "replace"))]
        return await plane.principals.permitted(
            shown, "management", lambda: place_of(request, plane), fresh=True
        )
    own = _cookies_alone(request.scope["headers"])
    token = (CSRF_HEADER, form.get("csrf_token", "").encode("latin-1", "replace"))
    seat = await plane.members.find([*own, token], "POST")
    if seat is None:
        raise Unauthorized
    return await plane.members.permitted(seat, PERMISSION, place_of(request, plane))


def _cookies_alone(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A page is opened by a browser: it shows a cookie, and nothing that only programs send."""
    return [(name, value) for name, value in headers if name in (b"cookie", b"host")]


async def _form(request: Request) -> dict[str, str]:
    body = b""
    async for block in request.stream():
        body += block
        if len(body) > MAX_FORM_BYTES:
            raise PayloadTooLarge("The form is too large.")
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=30)
    except ValueError:
        raise InvalidRequest("The form cannot be read.") from None
    if any(not value.isprintable() for _, value in pairs):
        raise InvalidRequest("The form cannot be read.")
    return dict(pairs)


def _html(page: str, asked: Asked | None, status: int) -> Response:
    return Response(page, status, media_type="text/html", headers=pages.headers(asked))


def _lead(callback: str, answer: dict[str, str]) -> Response:
    """303: the browser forgets the form, and what stood in it."""
    headers = {"Referrer-Policy": "no-referrer", "Cache-Control": "no-store"}
    return RedirectResponse(with_answer(callback, answer), 303, headers=headers)


# ------------------------------------------------------------------ OpenRouter's calls


@app.post("/api/v1/auth/keys")
async def exchange_code(
    request: Request, plane: CurrentPlane, grants: Desk, asked: ExchangeCode
) -> Response:
    """The key that was agreed on, for who has the code and its verifier; once. An address has few
    failures: they are guesses."""
    place, redis = place_of(request, plane), plane.stores.redis
    await check("code", place.ip, redis=redis)
    try:
        row = await grants.exchange(asked.code, asked.code_verifier, asked.code_challenge_method)
    except Forbidden:
        await allow("code", place.ip, redis=redis)
        raise
    if "revoked" in row:
        log.warning("grant_code_shown_twice", account=row["account"], key=row["revoked"])
        await Epochs(plane.stores, plane.settings).push(row["account"], row["epoch"])
        raise no_good()
    user = row["person"] or row["key"]["account"]
    return json_answer({"key": row["text"], "user_id": user})


@app.post("/api/v1/auth/keys/code")
async def make_code(caller: Caller, grants: Desk, asked: AskCode) -> Response:
    """The same without the page: for who may give keys already."""
    wanted = Asked(
        callback=asked.callback_url,
        challenge=asked.code_challenge,
        method=asked.code_challenge_method,
        label=asked.key_label,
        limit_nanos=nanos_of(asked.limit),
        reset=asked.usage_limit_type,
        expires_at_ms=moment_ms(asked.expires_at, "expires_at"),
    )
    code, at_ms = await grants.give(wanted, caller)
    number = crc32(wanted.app.encode())
    data: dict[str, Any] = {"id": code, "app_id": number, "created_at": time_text(at_ms)}
    return json_answer({"data": data})
