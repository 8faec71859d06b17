"""Who is calling: from a key in the headers to a Principal.

Looks in this process, then Redis, then Postgres. Keeps a principal 60 s (5 s while Redis is
away); its epoch travels into the admission script, which refuses it from the moment a newer one
is known (D13), so revocation holds from the next request.
"""

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import orjson

from gatewayz.accounts.keys import hash_key, legacy_form, legacy_hash, shown_part, well_formed
from gatewayz.accounts.rules import FREE, Origin, Rules, permit
from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, Forbidden, Unauthorized
from gatewayz.core.log import get_log
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)
KEEP_S = 60.0
# A denied use stands in the audit at most so often for a key and a cause, from one process.
DENIAL_EVERY_S = 60.0
KEEP_WITHOUT_REDIS_S = 5.0
# Redis is away already: that both are is to be known within a second (F10).
WITHOUT_REDIS_TIMEOUT_S = 0.7
MAX_ENTRIES = 10_000
# No key of ours is longer; hashing more would be work for nothing.
MAX_KEY_BYTES = 256


@dataclass(frozen=True, slots=True)
class Principal:
    """A key of an account, as it was at `epoch`. `routing`: preferences of the key, then of its
    account, where there are any."""

    account: str
    key_id: str
    key_name: str
    epoch: int
    status: str
    rules: Rules = FREE
    routing: tuple[dict[str, Any] | None, ...] = ()

    @property
    def restricted(self) -> bool:
        return self.rules is not FREE or bool(self.routing)


def _principal(row: dict[str, Any]) -> Principal:
    """From the answer of find_principal, which is also what Redis keeps."""
    wishes = row.get("preferences")
    return Principal(
        row["account"],
        row["key_id"],
        row["name"],
        row["epoch"],
        row["status"],
        Rules.of(row.get("rules") or {}),
        (wishes,) if wishes else (),
    )


def key_in(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key of `Authorization: Bearer`, `x-api-key` or `x-goog-api-key`, unchecked."""
    other = None
    for name, value in headers:
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            return value[7:].strip()
        if name in (b"x-api-key", b"x-goog-api-key"):
            other = value.strip()
    return other


class Principals:
    """Cache keys are whole keyed hashes, so two keys never share an entry (F85).

    Within the process it is BLAKE2 under a key of this process: a tenth of the time that checksum
    and HMAC take, and as little use to who reads the memory.
    """

    def __init__(
        self, postgres: Postgres, redis: RedisScripts, pepper: str, legacy_salt: str = ""
    ) -> None:
        self._postgres = postgres
        self._redis = redis
        self._pepper = pepper.encode()
        self._legacy_salt = legacy_salt.encode()
        self._salt = os.urandom(hashlib.blake2b.MAX_KEY_SIZE)
        # hash → (kept until, principal or None for a key known to be bad)
        self._known: dict[bytes, tuple[float, Principal | None]] = {}
        self._denied: dict[tuple[str, str], float] = {}

    async def permitted(
        self,
        headers: Iterable[tuple[bytes, bytes]],
        scope: str,
        origin: Callable[[], Origin],
        *,
        fresh: bool = False,
    ) -> Principal:
        """The caller, if its key may be used for `scope` from there; Unauthorized or Forbidden.

        What was read a while ago refuses nobody: before that it is read again.
        """
        principal = await self.authenticate(headers, fresh=fresh)
        if principal.rules is FREE:
            return principal
        place = origin()
        try:
            permit(principal.rules, scope, place)
        except Forbidden as error:
            if not fresh:
                return await self.permitted(headers, scope, origin, fresh=True)
            await self.note_denial(principal, error.code, place)
            raise
        return principal

    async def note_denial(self, principal: Principal, code: str, place: Origin) -> None:
        """A use that its key's rules forbid, into the account's audit; never raises."""
        log.warning("key_use_denied", account=principal.account, key=principal.key_id, code=code)
        name, now_s = (principal.key_id, code), clock.monotonic_s()
        if self._denied.get(name, 0.0) > now_s:
            return
        if len(self._denied) >= MAX_ENTRIES:
            self._denied.clear()
        self._denied[name] = now_s + DENIAL_EVERY_S
        try:
            await self._postgres.rpc(
                "note_denied_use",
                {
                    "account": principal.account,
                    "key_id": principal.key_id,
                    "code": code,
                    "ip": place.ip,
                },
            )
        except DependencyError:
            self._denied.pop(name, None)

    async def authenticate(
        self, headers: Iterable[tuple[bytes, bytes]], *, fresh: bool = False
    ) -> Principal:
        """The caller; Unauthorized for every kind of bad key, with one and the same answer.

        `fresh` asks Postgres whatever the caches hold: after STALE_PRINCIPAL, and always where
        no admission script follows.
        """
        key = key_in(headers)
        if key is None or len(key) > MAX_KEY_BYTES:
            raise Unauthorized
        name = hashlib.blake2b(key, key=self._salt, digest_size=32).digest()
        entry = self._known.get(name)
        if fresh or entry is None or entry[0] < clock.monotonic_s():
            ours = well_formed(key)
            if not ours and not (self._legacy_salt and legacy_form(key)):
                raise Unauthorized
            older = None if ours else key
            digest = hash_key(key, self._pepper)
            principal = await self._look_up(name, digest, older, fresh=fresh)
        else:
            principal = entry[1]
        if principal is None:
            raise Unauthorized
        if principal.status != "active":
            raise Forbidden("This account is suspended.", code="account_suspended")
        return principal

    async def _look_up(
        self, name: bytes, digest: bytes, older: bytes | None, *, fresh: bool
    ) -> Principal | None:
        # The number is that of the form: processes of two releases share one Redis (D54).
        redis_key = [f"principal:2:{{{digest.hex()}}}"]
        keep_s, text = KEEP_S, ""
        try:
            if not fresh:
                text = await self._redis.script("principal_v1", redis_key, ["get"])
        except DependencyError:
            keep_s = KEEP_WITHOUT_REDIS_S
        if text:
            row: dict[str, Any] | None = orjson.loads(text)
        else:
            row = await self._fetch(digest, redis_away=keep_s == KEEP_WITHOUT_REDIS_S)
            if row is None and older is not None:
                row = await self._upgrade(digest, older)
        left_ms = row.get("left_ms") if row is not None else None
        if row is not None and not text and keep_s == KEEP_S:
            # What ends is not shared: how long it has left is true only at the database's clock.
            value = orjson.dumps(row).decode() if left_ms is None else ""
            try:
                await self._redis.script("principal_v1", redis_key, ["put", value])
            except DependencyError:
                keep_s = KEEP_WITHOUT_REDIS_S
        if left_ms is not None:
            keep_s = min(keep_s, left_ms / 1000)
        principal = _principal(row) if row is not None else None
        self._remember(name, keep_s, principal)
        return principal

    async def _fetch(self, digest: bytes, *, redis_away: bool) -> dict[str, Any] | None:
        row: dict[str, Any] | None = await self._postgres.rpc(
            "find_principal",
            {"hash": digest.hex()},
            timeout_s=WITHOUT_REDIS_TIMEOUT_S if redis_away else None,
        )
        return row

    async def _upgrade(self, digest: bytes, key: bytes) -> dict[str, Any] | None:
        """A key of an older system, found by its hash there, is kept by ours from now on."""
        row: dict[str, Any] | None = await self._postgres.rpc(
            "upgrade_key",
            {
                "hash": digest.hex(),
                "legacy_hash": legacy_hash(key, self._legacy_salt).hex(),
                "prefix": shown_part(key),
            },
        )
        return row

    def _remember(self, name: bytes, keep_s: float, principal: Principal | None) -> None:
        if len(self._known) >= MAX_ENTRIES:
            # Oldest first: dicts keep the order of insertion.
            for old in list(self._known)[: MAX_ENTRIES // 10]:
                del self._known[old]
        self._known.pop(name, None)
        self._known[name] = (clock.monotonic_s() + keep_s, principal)
