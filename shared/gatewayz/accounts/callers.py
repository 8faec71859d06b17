"""Members who call without a key: by a session's cookie, by its secret or by a sign-in token.

Guarantees that whoever shows something that is no good gets 401, never a guest's rights; that a
cookie alone changes nothing (X-CSRF-Token); and that a member may what their role says.
"""

from typing import Any

from gatewayz.accounts.principals import Principal, key_in
from gatewayz.accounts.rules import Origin, Rules, permit
from gatewayz.accounts.sessions import (
    CSRF_HEADER,
    PREFIX,
    SAFE_METHODS,
    hash_secret,
    same_token,
    secret_in_cookie,
)
from gatewayz.accounts.tokens import Tokens, looks_like_token
from gatewayz.core.errors import DependencyError, Forbidden, NotFound, Unauthorized
from gatewayz.core.log import get_log
from gatewayz.core.settings import Settings
from gatewayz.net.asgi import RawHeaders
from gatewayz.stores.postgres import Postgres

log = get_log(__name__)
ACCOUNT_HEADER = b"x-gatewayz-account"
DAY_MS = 86_400_000
MAX_NAME_CHARS = 64
Row = dict[str, Any]


class Members:
    """Finds the member behind a request's headers."""

    def __init__(self, postgres: Postgres, tokens: Tokens, settings: Settings) -> None:
        self._postgres = postgres
        self._tokens = tokens
        self._pepper = settings.keys.pepper
        self._idle_ms = settings.auth.idle_days * DAY_MS

    async def find(self, headers: RawHeaders, method: str) -> Row | None:
        """{person, staff, account, role, epoch, status, stage, session?}; None when the request
        shows an API key, or nothing at all. Unauthorized, Forbidden (csrf_failed), NotFound
        (account_not_found)."""
        shown = key_in(headers)
        if shown is None:
            secret = secret_in_cookie(headers)
            if secret is None:
                return None
            seat = await self._by_session(secret, headers)
            if method not in SAFE_METHODS:
                given = next((v for n, v in headers if n == CSRF_HEADER), b"")
                if not same_token(given, secret, self._pepper):
                    raise Forbidden(
                        "Send the session's csrf_token as X-CSRF-Token.", code="csrf_failed"
                    )
            return seat
        if shown.startswith(PREFIX):
            return await self._by_session(shown, headers)
        if looks_like_token(shown):
            issuer, claims = await self._tokens.verify(shown)
            row = await self._postgres.rpc(
                "find_member",
                {
                    "issuer": issuer.issuer,
                    "subject": claims["sub"],
                    "issued_at_ms": int(claims["iat"]) * 1000,
                    "account": _account(headers),
                },
            )
            return _seat(row)
        return None

    async def _by_session(self, secret: bytes, headers: RawHeaders) -> Row:
        row = await self._postgres.rpc(
            "find_session",
            {
                "hash": hash_secret(secret, self._pepper),
                "idle_ms": self._idle_ms,
                "account": _account(headers),
            },
        )
        return _seat(row)

    async def permitted(self, seat: Row, scope: str, place: Origin) -> Principal:
        """The member as a caller; Forbidden when the role lacks the permission `scope`."""
        if seat["status"] != "active":
            raise Forbidden("This account is suspended.", code="account_suspended")
        principal = Principal(
            seat["account"],
            "",
            "",
            seat["epoch"],
            seat["status"],
            Rules(role=seat["role"]),
            person=seat["person"],
            session=seat.get("session", ""),
        )
        try:
            permit(principal.rules, scope, place)
        except Forbidden:
            await self._note_denial(principal, scope, place)
            raise
        return principal

    async def _note_denial(self, caller: Principal, scope: str, place: Origin) -> None:
        """Into the account's audit; never raises."""
        log.warning("member_denied", account=caller.account, person=caller.person, scope=scope)
        try:
            await self._postgres.rpc(
                "note_denied_member",
                {
                    "account": caller.account,
                    "person": caller.person,
                    "permission": scope,
                    "ip": place.ip,
                },
            )
        except DependencyError:
            log.warning("denial_not_noted", account=caller.account)


def _account(headers: RawHeaders) -> str | None:
    """The account that the caller chose among theirs."""
    named = next((v for n, v in headers if n == ACCOUNT_HEADER), b"").decode("latin-1")
    if not named:
        return None
    # What is no name of an account is not looked up, and found by nobody.
    fits = named.isascii() and named.isprintable() and len(named) <= MAX_NAME_CHARS
    return named if fits else "-"


def _seat(row: Row | None) -> Row:
    if row is None:
        raise Unauthorized
    if row.get("refused"):
        raise NotFound("There is no such account.", code="account_not_found")
    return row
