"""From a verified identity to a person with an account: known people are recognised, somebody new
gets account, wallet, membership and a first key, together or not at all.

Guarantees that only a verified token or a link that was read signs anybody in, that a key's text is
shown once, and that attempts are counted before anything is looked up.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gatewayz.accounts.attempts import allow
from gatewayz.accounts.domains import check_domain
from gatewayz.accounts.identity import Identity, display_name
from gatewayz.accounts.issued import ENVIRONMENTS, Keys, Secret
from gatewayz.accounts.keys import STAGE_PREFIXES, generate_key, hash_key
from gatewayz.accounts.roles import FIRST_KEY
from gatewayz.accounts.sessions import hash_secret, new_secret
from gatewayz.core import clock
from gatewayz.core.errors import Forbidden, SignInRefused
from gatewayz.core.ids import new_id, ulid
from gatewayz.core.log import get_log
from gatewayz.core.settings import Settings
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)

LINK_MS = 15 * 60_000
DAY_MS = 86_400_000
OWN_ISSUER = "email"
# A new account's first key works for tests; for live it needs credit, as every key does.
FIRST_ENVIRONMENT = "test"
FIRST_NAME = "Primary"
# Keys that the web client is given when its person signs in on another device.
DEVICE_NAME, DEVICE_DAYS, MOST_DEVICES = "Web sign-in", 30, 5
MAX_AGENT_CHARS = 200
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a sign-in comes from, for limits and for the list of sessions."""

    ip: str | None
    agent: str | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a caller may choose of what is made for them. `key` None: a key for somebody new."""

    key: bool | None = None
    key_name: str = FIRST_NAME
    referral_code: str | None = None


@dataclass(frozen=True, slots=True)
class SignedIn:
    """`row`: the person, {account, is_new} besides; `key`: its text, this once."""

    row: Row
    key: str | None


@dataclass(frozen=True, slots=True)
class Session:
    id: str
    secret: str
    expires_at_ms: int


class Door:
    """Signs people in."""

    def __init__(self, postgres: Postgres, redis: RedisScripts, settings: Settings) -> None:
        self._postgres = postgres
        self._redis = redis
        self._settings = settings
        self._pepper = settings.keys.pepper

    async def admit(self, identity: Identity, wishes: Wishes, origin: Origin) -> SignedIn:
        """The person, made when there was none. Forbidden (account_suspended), InvalidRequest
        (email_domain_blocked), RateLimited (too_many_attempts)."""
        known: Row = {
            "issuer": identity.issuer,
            "subject": identity.subject,
            "method": identity.method,
            "email": identity.email,
            "phone": identity.phone,
            "handle": identity.handle,
            "name": display_name(identity),
        }
        row: Row = await self._postgres.rpc("sign_in", known)
        key = None
        if row.get("refused") == "unknown":
            await check_domain(identity.email, self._postgres)
            await allow("register", origin.ip, redis=self._redis)
            fresh, key = self._new(wishes)
            row = await self._postgres.rpc("sign_in", {**known, "new": fresh})
        if row.get("refused"):
            raise Forbidden("This account is suspended.", code="account_suspended")
        if not row["is_new"]:
            key = await self._device_key(row) if wishes.key else None
            return SignedIn(row, key)
        await self._welcome(row, identity, wishes)
        return SignedIn(row, key)

    def _new(self, wishes: Wishes) -> tuple[Row, str | None]:
        """What is to be made, and the text of its key."""
        fresh: Row = {
            "person": new_id("usr_"),
            "account": new_id("acct_"),
            "stage": STAGE_PREFIXES[self._settings.stage],
        }
        if wishes.key is False:
            return fresh, None
        secret = generate_key(ENVIRONMENTS[FIRST_ENVIRONMENT])
        fresh["key"] = {
            "key_id": new_id("key_"),
            "name": wishes.key_name,
            "environment": FIRST_ENVIRONMENT,
            "hash": hash_key(secret.text.encode(), self._pepper.encode()).hex(),
            "prefix": secret.prefix,
            "rules": {"scopes": list(FIRST_KEY)},
        }
        return fresh, secret.text

    async def _welcome(self, row: Row, identity: Identity, wishes: Wishes) -> None:
        """What a new account has by what it said and by what is verified of it."""
        account = row["account"]
        signals = {"email": identity.email if identity.email_proved else None}
        if identity.method == "phone":
            signals["phone"] = identity.phone
        for kind, value in signals.items():
            if value is not None:
                digest = hashlib.sha256(f"{kind}:{value}".encode()).hexdigest()
                await self._postgres.rpc(
                    "note_signal", {"account": account, "kind": kind, "hash": digest}
                )
        if wishes.referral_code:
            used = await self._postgres.rpc(
                "use_referral", {"account": account, "code": wishes.referral_code}
            )
            if used.get("error_code"):
                log.info("referral_refused", account=account, code=used["error_code"])

    async def _device_key(self, row: Row) -> str:
        """A key for a device on which none is known; the oldest of too many goes."""

        async def push(account: str, epoch: int) -> None:
            return None  # nobody has the new key yet, and an old one goes with the next epoch

        actor = f"member:{row['person']}"
        keys = Keys(self._postgres, self._pepper, push, account=row["account"], actor=actor)
        held = [
            each
            for each in await keys.list()
            if each["creator"] == actor and each["name"].startswith(DEVICE_NAME)
        ]
        for old in held[: max(0, len(held) - MOST_DEVICES + 1)]:
            await keys.delete(old["key_id"])
        fields = {
            "rules": {"scopes": list(FIRST_KEY)},
            "expires_at_ms": clock.now_ms() + DEVICE_DAYS * DAY_MS,
        }
        made: Secret = await keys.issue(f"{DEVICE_NAME} {ulid()[-8:]}", FIRST_ENVIRONMENT, fields)
        return made.text

    # -------------------------------------------------------------- sessions

    async def open_session(self, row: Row, origin: Origin) -> Session:
        """A session of a signed-in person in their account."""
        secret, session = new_secret(), new_id("ses_")
        made = await self._postgres.rpc(
            "open_session",
            {
                "session": session,
                "hash": hash_secret(secret.encode(), self._pepper),
                "person": row["person"],
                "account": row["account"],
                "ttl_ms": self._settings.auth.session_days * DAY_MS,
                "ip": origin.ip,
                "agent": (origin.agent or "")[:MAX_AGENT_CHARS] or None,
            },
        )
        return Session(session, secret, made["expires_at_ms"])

    async def renew_session(self, session: str, account: str | None = None) -> Session:
        """The same session under a new secret, in `account` from now on."""
        secret = new_secret()
        params: Row = {
            "session": session,
            "hash": hash_secret(secret.encode(), self._pepper),
            "ttl_ms": self._settings.auth.session_days * DAY_MS,
        }
        if account is not None:
            params["account"] = account
        made = await self._postgres.rpc("renew_session", params)
        return Session(session, secret, made["expires_at_ms"])

    # -------------------------------------------------------------- links by mail

    async def send_link(self, email: str, said: Mapping[str, Any], site: str) -> str:
        """Enqueue a link to `site` that signs `email` in, once, within 15 minutes; the notice's
        own name."""
        await check_domain(email, self._postgres)
        secret, once = new_secret(), f"sign_in_link:{ulid()}"
        await self._postgres.rpc(
            "make_sign_in_link",
            {
                "hash": hash_secret(secret.encode(), self._pepper),
                "email": email,
                "data": dict(said),
                "ttl_ms": LINK_MS,
            },
        )
        link = f"{site.rstrip('/')}/auth/link?token={secret}"
        await self._postgres.rpc(
            "enqueue_notice",
            {"kind": "sign_in_link", "once": once, "email": email, "data": {"link": link}},
        )
        return once

    async def open_link(self, secret: str) -> tuple[Identity, Row]:
        """Whose address the link proves, and what was said when it was asked for; SignInRefused
        for every link that is no good."""
        found = await self._postgres.rpc(
            "use_sign_in_link", {"hash": hash_secret(secret.encode(), self._pepper)}
        )
        if found is None:
            raise SignInRefused
        email, said = found["email"], found["data"]
        identity = Identity(
            OWN_ISSUER, email, "email", email, name=said.get("name"), email_proved=True
        )
        return identity, said
