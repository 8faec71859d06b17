"""Sessions of browsers: the secret in the cookie, the token against forged requests, the cookie.

The secret is random and stored as a keyed hash. It travels in an http-only cookie that scripts
cannot read; what changes something needs a second token besides, which only a page of ours knows.
"""

import hmac
import os
from collections.abc import Iterable
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie

from gatewayz.core.settings import LOOPBACK
from gatewayz.net.asgi import RawHeaders

PREFIX = b"gws_"
SECRET_BYTES = 32
COOKIE, SECURE_COOKIE = "gatewayz_session", "__Host-gatewayz_session"
CSRF_HEADER = b"x-csrf-token"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_COOKIE_BYTES = 8192


def new_secret() -> str:
    """`gws_` and 256 random bits."""
    return PREFIX.decode() + os.urandom(SECRET_BYTES).hex()


def hash_secret(secret: bytes, pepper: str) -> str:
    """Hex of a keyed hash: the only form in stores. Also for secrets of links."""
    return hmac.digest(pepper.encode(), b"secret:" + secret, "sha256").hex()


def csrf_token(secret: bytes, pepper: str) -> str:
    """Known to pages that may read our answers, to no other page."""
    return hmac.digest(pepper.encode(), b"csrf:" + secret, "sha256").hex()[:40]


@dataclass(frozen=True, slots=True)
class Site:
    """What a browser sees of us: plain http is for this machine alone."""

    secure: bool

    @classmethod
    def of(cls, headers: Iterable[tuple[bytes, bytes]]) -> "Site":
        host = next((v for n, v in headers if n == b"host"), b"").decode("latin-1")
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        return cls(name not in LOOPBACK)

    @property
    def cookie(self) -> str:
        return SECURE_COOKIE if self.secure else COOKIE

    def set_cookie(self, secret: str, life_s: int) -> str:
        """The header's value; `life_s` 0 takes the cookie away."""
        secure = "; Secure" if self.secure else ""
        return f"{self.cookie}={secret}; Path=/; Max-Age={life_s}; HttpOnly; SameSite=Lax{secure}"


def secret_in_cookie(headers: RawHeaders) -> bytes | None:
    """The session's secret, of the cookie that this site sets."""
    lines = [value for name, value in headers if name == b"cookie"]
    text = b"; ".join(lines)
    if not text or len(text) > MAX_COOKIE_BYTES:
        return None
    try:
        jar = SimpleCookie(text.decode("latin-1"))
    except CookieError:
        return None
    found = jar.get(Site.of(headers).cookie)
    return found.value.encode("latin-1") if found is not None and found.value else None


def same_token(given: bytes, secret: bytes, pepper: str) -> bool:
    return hmac.compare_digest(given, csrf_token(secret, pepper).encode())
