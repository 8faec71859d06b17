"""Keys for somebody else's application, by way of the browser: OpenRouter's flow of RFC 7636.

Owns which callbacks are allowed, the code and its exchange. Guarantees that a code works once, for
ten minutes, for who has the verifier; and that a key given so may do inference and nothing else.
"""

import base64
import hashlib
import hmac
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from gatewayz.accounts.issued import Row
from gatewayz.accounts.keys import generate_key, hash_key
from gatewayz.accounts.principals import Principal
from gatewayz.accounts.rules import checked_scopes
from gatewayz.core.errors import Forbidden, InvalidRequest
from gatewayz.core.ids import new_id
from gatewayz.core.settings import LOOPBACK
from gatewayz.stores.postgres import Postgres

Method = Literal["S256", "plain"]
CODE_LIFE_MS = 10 * 60_000
CODE_PREFIX = "auth_code_"
MAX_CALLBACK_CHARS = 2000
SCOPES = ("inference",)
HEADLESS = "an application without a page of its own"
# RFC 7636: of a verifier, and of an S256 challenge.
_VERIFIER = re.compile(r"[A-Za-z0-9._~-]{43,128}")
_HASHED = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Asked:
    """What an application asks for. `limit_nanos` None is no limit of its own."""

    callback: str | None
    challenge: str | None = None
    method: Method | None = None
    label: str | None = None
    limit_nanos: int | None = None
    reset: str | None = None
    expires_at_ms: int | None = None
    state: str | None = None

    @property
    def app(self) -> str:
        """Who gets the key, as its customer can judge it: the host that the code is sent to."""
        host = urlsplit(self.callback).hostname if self.callback else None
        return host or self.label or HEADLESS

    def check(self) -> "Asked":
        """Itself; InvalidRequest for what is not allowed."""
        if self.callback is not None:
            check_callback(self.callback)
        if self.method is not None and self.challenge is None:
            raise _wrong("code_challenge", "A code_challenge_method needs a code_challenge.")
        if self.challenge is not None:
            pattern = _HASHED if self.method == "S256" else _VERIFIER
            if not pattern.fullmatch(self.challenge):
                raise _wrong("code_challenge", "This is no code_challenge of RFC 7636.")
        elif self.callback is None or is_loopback(self.callback):
            raise _wrong("code_challenge", "Without a page on https a code_challenge is needed.")
        return self


def check_callback(url: str) -> None:
    """https anywhere, or plain http on the customer's own machine at any port; no credentials, no
    fragment, nothing that a browser would run."""
    try:
        parts = urlsplit(url)
        port_is_number = parts.port is None or parts.port > 0
    except ValueError:
        raise _wrong("callback_url", "This is no address.") from None
    secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    plain = url.isascii() and url.isprintable() and not set(url) & set(' "<>\\^`{|}')
    if not (secure and parts.hostname and port_is_number and plain):
        raise _wrong("callback_url", "A callback is https, or http on localhost.")
    if len(url) > MAX_CALLBACK_CHARS or parts.username is not None or parts.fragment or "#" in url:
        raise _wrong("callback_url", "A callback has no credentials and no fragment.")


def is_loopback(url: str) -> bool:
    return urlsplit(url).hostname in LOOPBACK


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def with_answer(url: str, answer: Mapping[str, str]) -> str:
    """The callback with `answer` behind its own query, in place of what has the same names."""
    parts = urlsplit(url)
    kept = [(n, v) for n, v in parse_qsl(parts.query, keep_blank_values=True) if n not in answer]
    return urlunsplit(parts._replace(query=urlencode([*kept, *answer.items()])))


def challenge_of(verifier: str) -> str:
    """S256 of RFC 7636."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _wrong(param: str, message: str) -> InvalidRequest:
    return InvalidRequest(message, param=param)


@dataclass(frozen=True, slots=True)
class Grants:
    """`environment` and `stage` are those of keys that this deployment makes."""

    postgres: Postgres
    pepper: str = field(repr=False)
    environment: str
    stage: str

    async def give(self, asked: Asked, giver: Principal) -> tuple[str, int]:
        """A code for what was asked, and when it was made; Forbidden when the giver may not."""
        asked.check()
        code = CODE_PREFIX + os.urandom(32).hex()
        scopes = checked_scopes(SCOPES, giver.rules)
        limits: Row = {}
        if asked.limit_nanos is not None:
            limits = {"usd_nanos": asked.limit_nanos, "reset": asked.reset}
        row = await self.postgres.rpc(
            "make_grant_code",
            {
                "hash": self._hash(code),
                "account": giver.account,
                "actor": giver.actor,
                "app": asked.app,
                "callback": asked.callback,
                "challenge": asked.challenge,
                "method": (asked.method or "plain") if asked.challenge else None,
                "ttl_ms": CODE_LIFE_MS,
                "key": {
                    "name": asked.label or asked.app,
                    "environment": self.environment,
                    "rules": giver.rules.bound({"scopes": scopes}, new=True),
                    "limits": {k: v for k, v in limits.items() if v is not None},
                    "expires_at_ms": asked.expires_at_ms,
                },
            },
        )
        return code, row["created_at_ms"]

    async def exchange(self, code: str, verifier: str | None, method: Method | None) -> Row:
        """{key: its row, text, person}, or {revoked, account, epoch} for a code that is shown
        again; Forbidden for every code that is no good, with one and the same answer."""
        if verifier is not None and not _VERIFIER.fullmatch(verifier):
            raise no_good()
        secret = generate_key(self.stage)
        row: Row | None = await self.postgres.rpc(
            "use_grant_code",
            {
                "hash": self._hash(code),
                "s256": None if verifier is None else challenge_of(verifier),
                "plain": verifier,
                "method": method,
                "key": {
                    "key_id": new_id("key_"),
                    "hash": hash_key(secret.text.encode(), self.pepper.encode()).hex(),
                    "prefix": secret.prefix,
                },
            },
        )
        if row is None:
            raise no_good()
        return row if "revoked" in row else {**row, "text": secret.text}

    def _hash(self, code: str) -> str:
        return hmac.digest(self.pepper.encode(), b"grant:" + code.encode(), "sha256").hex()


def no_good() -> Forbidden:
    return Forbidden("Invalid code or code_verifier.", code="invalid_grant")
