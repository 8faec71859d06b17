"""Verifies sign-in tokens offline: signature, issuer, audience, expiry, pinned algorithms.

Public keys are kept; an unknown key id has them read again, at most once in REFETCH_S, so that
strangers cannot make us call the issuer. Never believes what a token says about its own key.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from gatewayz.core import clock
from gatewayz.core.errors import StoreUnavailable, Unauthorized
from gatewayz.core.log import get_log
from gatewayz.core.settings import Settings
from gatewayz.net.http import HttpClient, NetError

log = get_log(__name__)

ALGORITHMS = ("ES256", "RS256")
MIN_RSA_BITS = 2048
MAX_TOKEN_BYTES = 16 * 1024
LEEWAY_S = 30
LONGEST_LIFE_S = 7 * 86400
KEEP_S = 3600.0
REFETCH_S = 30.0
FETCH_TIMEOUT_S = 4.0
MAX_KEYS_BYTES = 256 * 1024
MAX_KEYS = 64
SUPABASE, PRIVY = "supabase", "privy"


@dataclass(frozen=True, slots=True)
class Issuer:
    """Whose tokens are believed: for which audience, and where the public keys are."""

    kind: str
    issuer: str
    audience: str
    keys_url: str


def issuers_of(settings: Settings) -> tuple[Issuer, ...]:
    """Those that the settings name; none signs anybody in but ourselves."""
    auth, found = settings.auth, []
    issuer = auth.issuer
    if not issuer and settings.stores.supabase_url:
        issuer = settings.stores.supabase_url.rstrip("/") + "/auth/v1"
    if issuer:
        url = auth.jwks_url or issuer.rstrip("/") + "/.well-known/jwks.json"
        found.append(Issuer(SUPABASE, issuer, auth.audience, url))
    if app := auth.privy_app:
        url = f"{auth.privy_url.rstrip('/')}/api/v1/apps/{app}/jwks.json"
        found.append(Issuer(PRIVY, "privy.io", app, url))
    return tuple(found)


def looks_like_token(text: bytes) -> bool:
    """Three parts, the first of which begins as JSON does in base64."""
    return text.startswith(b"eyJ") and text.count(b".") == 2


class KeyRing:
    """The public keys of one issuer, by key id."""

    def __init__(self, issuer: Issuer, http: HttpClient) -> None:
        self._issuer = issuer
        self._http = http
        self._keys: dict[str, Any] = {}
        self._read_s = self._tried_s = float("-inf")
        self._reading = asyncio.Lock()

    async def find(self, key_id: str) -> Any:
        """The key, or None; StoreUnavailable while no key was ever read."""
        key = self._keys.get(key_id)
        now_s = clock.monotonic_s()
        if key is not None and now_s - self._read_s < KEEP_S:
            return key
        async with self._reading:
            now_s = clock.monotonic_s()
            known = self._keys.get(key_id)
            stale = now_s - self._read_s >= KEEP_S
            if (known is None or stale) and now_s - self._tried_s >= REFETCH_S:
                self._tried_s = now_s
                await self._read()
        if not self._keys:
            raise StoreUnavailable("Sign-in is not available; retry.")
        return self._keys.get(key_id)

    async def _read(self) -> None:
        """Replace the keys; those known stay when the issuer does not answer."""
        try:
            answer = await self._http.request(
                "GET",
                self._issuer.keys_url,
                headers={"accept": "application/json"},
                timeout_s=FETCH_TIMEOUT_S,
                max_bytes=MAX_KEYS_BYTES,
            )
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            entries = orjson.loads(answer.body)["keys"]
            keys = dict(filter(None, map(_usable, entries[:MAX_KEYS])))
        except (NetError, ValueError, KeyError, TypeError) as error:
            log.warning("keys_not_read", issuer=self._issuer.kind, error=type(error).__name__)
            return
        self._keys, self._read_s = keys, clock.monotonic_s()


def _usable(entry: Any) -> tuple[str, Any] | None:
    """(key id, key) of a public signing key of a pinned kind; None for everything else."""
    import jwt

    if not isinstance(entry, Mapping) or not isinstance(entry.get("kid"), str):
        return None
    if entry.get("use", "sig") != "sig" or "d" in entry:
        return None
    wanted = {"EC": "ES256", "RSA": "RS256"}.get(str(entry.get("kty")))
    if wanted is None or entry.get("alg", wanted) != wanted:
        return None
    if wanted == "ES256" and entry.get("crv") != "P-256":
        return None
    try:
        key = jwt.PyJWK(dict(entry), algorithm=wanted)
    except jwt.PyJWTError:
        return None
    if wanted == "RS256" and key.key.key_size < MIN_RSA_BITS:
        return None
    return entry["kid"], key


class Tokens:
    """Verifies tokens of the issuers that are believed."""

    def __init__(self, issuers: Sequence[Issuer], http: HttpClient | None = None) -> None:
        self._http = http or HttpClient()
        self._issuers = {issuer.issuer: issuer for issuer in issuers}
        self._rings = {name: KeyRing(i, self._http) for name, i in self._issuers.items()}

    @property
    def http(self) -> HttpClient:
        return self._http

    async def verify(self, token: bytes) -> tuple[Issuer, dict[str, Any]]:
        """Its issuer and claims; Unauthorized, always the same, for everything that is wrong."""
        import jwt

        if len(token) > MAX_TOKEN_BYTES or not looks_like_token(token):
            raise Unauthorized
        try:
            head = jwt.get_unverified_header(token)
            stated = jwt.decode(token, options={"verify_signature": False}).get("iss")
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthorized from None
        issuer = self._issuers.get(stated) if isinstance(stated, str) else None
        if issuer is None or head.get("alg") not in ALGORITHMS or "crit" in head:
            raise Unauthorized
        key_id = head.get("kid")
        key = await self._rings[issuer.issuer].find(key_id) if isinstance(key_id, str) else None
        if key is None or key.algorithm_name != head["alg"]:
            raise Unauthorized
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                audience=issuer.audience,
                issuer=issuer.issuer,
                # Times are judged below, by the one clock.
                options={
                    "require": ["exp", "iat", "sub", "aud", "iss"],
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            raise Unauthorized from None
        if not _lives(claims) or not _names_somebody(claims):
            raise Unauthorized
        return issuer, claims


def _lives(claims: Mapping[str, Any]) -> bool:
    now_s = clock.now_ms() / 1000
    times = [claims["exp"], claims["iat"], claims.get("nbf", 0)]
    if any(type(at) not in (int, float) for at in times):
        return False
    ends, made, starts = times
    young = now_s - LONGEST_LIFE_S < made <= now_s + LEEWAY_S
    return bool(young and starts <= now_s + LEEWAY_S and now_s < ends + LEEWAY_S)


def _names_somebody(claims: Mapping[str, Any]) -> bool:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= 300 or not subject.isprintable():
        return False
    # Guests have a token, but are nobody.
    return subject.isascii() and claims.get("is_anonymous") is not True
