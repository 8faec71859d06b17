"""Signs calls in at providers, as their rows say: a credential in a header, a signature of the
call, or a token that a service account gets for itself.

Owns the tokens, which it renews before they end with one request however many wait. Never logs,
never shows a credential in an error, and loads cryptography only when a row needs it.
"""

import asyncio
import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import orjson

from gatewayz.core import clock
from gatewayz.core.errors import StoreUnavailable, UpstreamAuth, UpstreamUnavailable
from gatewayz.net.http import HttpAnswer, HttpClient, NetError
from gatewayz.net.sigv4 import sign
from gatewayz.stores.aws import AwsIdentity

# What the `auth` of a row may be. A signature's service stands behind it where the row's is
# another than the usual.
AUTH = r"bearer|header:[a-z][a-z0-9-]{1,63}|sigv4(:[a-z][a-z0-9-]{1,31})?|oauth:google"
SIGNED_SERVICE = "bedrock"
# The variables of an identity share what stands before these words.
KEY_ID = "ACCESS_KEY_ID"
USUAL_PREFIX = "AWS_"
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d{1,2}")

SCOPE = "https://www.googleapis.com/auth/cloud-platform"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
TOKEN_LIFE_S = 3600
# A token is renewed while it is still good, so that nobody waits for it.
RENEW_BEFORE_S = 300.0
RETRY_AFTER_S = 10.0
TOKEN_TIMEOUT_S = 10.0
MAX_TOKEN_BYTES = 64 * 1024


class SignsIn(Protocol):
    """What of a provider's row says how to sign in at it."""

    @property
    def slug(self) -> str: ...
    @property
    def auth(self) -> str: ...
    @property
    def credential(self) -> str: ...


class Signer:
    """`find_secret` gives a credential by its name."""

    def __init__(self, http: HttpClient, find_secret: Callable[[str], str | None]) -> None:
        self._http = http
        self._find_secret = find_secret
        self._identities: dict[str, AwsIdentity] = {}
        self._tokens: dict[str, _Token] = {}

    async def sign(
        self, provider: SignsIn, method: str, url: str, *, headers: Mapping[str, str], body: bytes
    ) -> Mapping[str, str]:
        """`headers`, of lower-case names, and those that sign the call in; send them unchanged.

        UpstreamAuth without a usable credential; UpstreamUnavailable when no token can be got now.
        """
        if not provider.credential:
            return headers
        kind, _, name = provider.auth.partition(":")
        match kind:
            case "bearer":
                return {**headers, "authorization": f"Bearer {self._secret(provider)}"}
            case "header":
                return {**headers, name: self._secret(provider)}
            case "oauth":
                token = self._token(provider)
                return {**headers, "authorization": f"Bearer {await token.get()}"}
        identity = self._identity(provider)
        try:
            keys = await identity.keys()
        except StoreUnavailable:
            raise _no_credential(provider) from None
        return sign(
            method,
            url,
            headers=headers,
            body=body,
            keys=keys,
            region=self._region(provider, url),
            service=name or SIGNED_SERVICE,
            now_ms=clock.now_ms(),
        )

    def forget(self, provider: SignsIn) -> bool:
        """A credential was refused: get a new one for the next call; whether one can be got that
        is worth trying, since the refused token was not fetched just now."""
        if identity := self._identities.get(provider.credential):
            identity.forget()
        token = self._tokens.get(provider.credential)
        if token is None or not token.aged:
            return False
        del self._tokens[provider.credential]
        return True

    def _secret(self, provider: SignsIn) -> str:
        secret = self._find_secret(provider.credential)
        if not secret:
            raise _no_credential(provider)
        return secret

    # ------------------------------------------------------------------ signatures

    def _identity(self, provider: SignsIn) -> AwsIdentity:
        """Of the environment's usual variables, or of those with the credential's own prefix."""
        known = self._identities.get(provider.credential)
        if known is None:
            prefix = _prefix(provider)

            def find(name: str) -> str | None:
                return self._find_secret(prefix + name.removeprefix(USUAL_PREFIX))

            known = self._identities[provider.credential] = AwsIdentity(self._http, find)
        return known

    def _region(self, provider: SignsIn, url: str) -> str:
        found = _REGION.search(urlsplit(url).hostname or "")
        region = found[0] if found else self._find_secret(_prefix(provider) + "REGION")
        if not region:
            raise UpstreamAuth(
                "The provider's address names no region to sign for.", provider=provider.slug
            )
        return region

    # ------------------------------------------------------------------ tokens

    def _token(self, provider: SignsIn) -> "_Token":
        """A changed credential is another one: its token is its own."""
        secret = self._secret(provider)
        known = self._tokens.get(provider.credential)
        if known is None or known.secret != secret:
            known = self._tokens[provider.credential] = _Token(self._http, provider.slug, secret)
        return known


def _prefix(provider: SignsIn) -> str:
    return provider.credential.removesuffix(KEY_ID)


def _no_credential(provider: SignsIn) -> UpstreamAuth:
    return UpstreamAuth("The provider has no credential here.", provider=provider.slug)


@dataclass(slots=True)
class _Token:
    """`secret` is the account's key file, or the path of one."""

    http: HttpClient
    slug: str
    secret: str = field(repr=False)
    _value: str = field(default="", repr=False)
    _good_until_s: float = 0.0
    _asked_s: float = float("-inf")
    _asking: "asyncio.Task[None] | None" = None

    @property
    def aged(self) -> bool:
        """Old enough that another one may be taken where this was refused."""
        return clock.monotonic_s() - self._asked_s >= RETRY_AFTER_S

    async def get(self) -> str:
        now_s = clock.monotonic_s()
        left_s = self._good_until_s - now_s
        rested = now_s - self._asked_s >= RETRY_AFTER_S
        due = left_s <= 0 or (left_s < RENEW_BEFORE_S and rested)
        if due and self._asking is None:
            self._asked_s = now_s
            self._asking = asyncio.create_task(self._renew())
            self._asking.add_done_callback(self._asked)
        # Whoever gives up waiting takes the answer from nobody else.
        if left_s <= 0 and self._asking is not None:
            await asyncio.shield(self._asking)
        return self._value

    def _asked(self, task: "asyncio.Task[None]") -> None:
        self._asking = None
        if not task.cancelled():
            task.exception()  # it was told to those who waited; the others have a good token

    async def _renew(self) -> None:
        account = await _read_account(self.secret, self.slug)
        now_s = clock.monotonic_s()
        # Reading a key takes as long as a hundred requests.
        form = await asyncio.to_thread(_form, account, self.slug)
        answer = await self._ask(account, form)
        given = _read_token(answer.body)
        if given is None:
            raise UpstreamUnavailable("No token could be got.", provider=self.slug)
        self._value, life_s = given
        self._good_until_s = now_s + life_s

    async def _ask(self, account: Mapping[str, Any], form: Mapping[str, str]) -> HttpAnswer:
        try:
            answer = await self.http.request(
                "POST",
                _token_url(account, self.slug),
                headers={"content-type": "application/x-www-form-urlencoded"},
                body=urlencode(form).encode(),
                timeout_s=TOKEN_TIMEOUT_S,
                max_bytes=MAX_TOKEN_BYTES,
            )
        except NetError:
            raise UpstreamUnavailable("No token could be got.", provider=self.slug) from None
        if answer.status >= 500 or answer.status == 429:
            raise UpstreamUnavailable("No token could be got.", provider=self.slug)
        if answer.status >= 300:
            raise UpstreamAuth("The provider refused our credential.", provider=self.slug)
        return answer


def _read_token(body: bytes) -> tuple[str, float] | None:
    """The token and the seconds it lives."""
    try:
        given = orjson.loads(body)
        value, life_s = given["access_token"], float(given.get("expires_in", TOKEN_LIFE_S))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None
    return (value, life_s) if type(value) is str and value and life_s > 0 else None


async def _read_account(secret: str, slug: str) -> Mapping[str, Any]:
    try:
        text = secret if secret.lstrip()[:1] == "{" else await asyncio.to_thread(_read, secret)
        account = orjson.loads(text)
    except (OSError, ValueError):
        raise _unusable(slug) from None
    if type(account) is not dict:
        raise _unusable(slug)
    return account


def _read(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read(MAX_TOKEN_BYTES)


def _unusable(slug: str) -> UpstreamAuth:
    return UpstreamAuth("The provider's credential is no key of an account.", provider=slug)


def _token_url(account: Mapping[str, Any], slug: str) -> str:
    """Where the key file says; only https, or plain http on this machine."""
    url = account.get("token_uri", TOKEN_URL)
    parts = urlsplit(url) if type(url) is str else urlsplit("")
    near = parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")
    if not near and (parts.scheme != "https" or not parts.hostname):
        raise _unusable(slug)
    return str(url)


def _form(account: Mapping[str, Any], slug: str) -> Mapping[str, str]:
    """What a service account, or a user who lent us a right, shows for a token."""
    try:
        if account.get("type") == "authorized_user":
            names = ("client_id", "client_secret", "refresh_token")
            return {"grant_type": "refresh_token", **{name: account[name] for name in names}}
        return {"grant_type": GRANT, "assertion": _assertion(account, _token_url(account, slug))}
    except ImportError:
        words = "Signing in at the provider needs the library 'cryptography', which is missing."
        raise UpstreamAuth(words, provider=slug) from None
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _unusable(slug) from None


def _assertion(account: Mapping[str, Any], audience: str) -> str:
    """A JWT signed with RS256 (RFC 7523)."""
    # Only those who have such a provider pay for loading these.
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    now = clock.now_ms() // 1000
    email = account["client_email"]
    claims = {"iss": email, "scope": SCOPE, "aud": audience, "iat": now, "exp": now + TOKEN_LIFE_S}
    header = {"alg": "RS256", "typ": "JWT", "kid": account.get("private_key_id", "")}
    signed = b".".join(_url64(orjson.dumps(part)) for part in (header, claims))
    key = load_pem_private_key(account["private_key"].encode(), password=None)
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("not an RSA key")
    return b".".join((signed, _url64(key.sign(signed, PKCS1v15(), SHA256())))).decode()


def _url64(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")
