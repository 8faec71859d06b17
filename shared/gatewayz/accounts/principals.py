"""Who is calling: from a key in the headers to a Principal.

Looks in this process, then Redis, then Postgres. Keeps a principal 60 s (5 s while Redis is
away); its epoch travels into the admission script, which refuses it from the moment a newer one
is known (D13), so revocation holds from the next request.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from gatewayz.accounts.keys import hash_key, legacy_form, legacy_hash, shown_part, well_formed
from gatewayz.accounts.limits import NO_LIMITS, Limits, Numbers, limits_of
from gatewayz.accounts.limits_guard import AddressGuard
from gatewayz.accounts.own import OwnKey, read_own
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
KEEP_SUSPENDED_S = 1.0
# Redis is away already: that both are is to be known within a second (F10).
WITHOUT_REDIS_TIMEOUT_S = 0.7
MAX_ENTRIES = 10_000
# No key of ours is longer; hashing more would be work for nothing.
MAX_KEY_BYTES = 256


@dataclass(frozen=True, slots=True)
class Principal:
    """A key of an account, as it was at `epoch`. `routing`: preferences of the key, then of its
    account, where there are any. `plan` counts now; `blocked` is the state of a subscription that
    bars an account without credit."""

    account: str
    key_id: str
    key_name: str
    epoch: int
    status: str
    rules: Rules = FREE
    routing: tuple[dict[str, Any] | None, ...] = ()
    plan: str = "free"
    blocked: str = ""
    own: tuple[OwnKey, ...] = ()  # provider keys of the account that this key may use
    # A member who calls without a key: `key_id` is empty then.
    person: str = ""
    session: str = ""
    team: str | None = None
    limits: Limits = NO_LIMITS
    read_s: float = 0.0  # when it was read from the database, by the monotonic clock

    @property
    def actor(self) -> str:
        """As the audit names the caller."""
        return f"member:{self.person}" if self.person else f"key:{self.key_id}"

    @property
    def restricted(self) -> bool:
        return self.rules is not FREE or bool(self.routing)


def _principal(row: dict[str, Any], plans: Mapping[str, Numbers], read_s: float) -> Principal:
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
        plan=row.get("plan") or "free",
        blocked=row.get("blocked") or "",
        own=read_own(row["account"], row["own"]) if row.get("own") else (),
        team=row.get("team"),
        limits=limits_of(row, plans),
        read_s=read_s,
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
        self,
        postgres: Postgres,
        redis: RedisScripts,
        pepper: str,
        legacy_salt: str = "",
        *,
        plans: Mapping[str, Numbers] | None = None,
    ) -> None:
        """`plans`: the limits of the plans that are held; of all others none."""
        self._postgres = postgres
        self._plans = plans or {}
        self._redis = redis
        self._pepper = pepper.encode()
        self._legacy_salt = legacy_salt.encode()
        self._salt = os.urandom(hashlib.blake2b.MAX_KEY_SIZE)
        # hash → (kept until, principal or None for a key known to be bad)
        self._known: dict[bytes, tuple[float, Principal | None]] = {}
        self._denied: dict[tuple[str, str], float] = {}
        # Counts callers nobody knows; whoever opens the process sets it.
        self.guard: AddressGuard | None = None
        self.counts_keyless = True

    def at_hand(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal | None:
        """A caller whose key this process knows and nothing restricts; None: `permitted` tells."""
        key = key_in(headers)
        if key is None or len(key) > MAX_KEY_BYTES:
            return None
        name = hashlib.blake2b(key, key=self._salt, digest_size=32).digest()
        kept_until_s, principal = self._known.get(name) or (0.0, None)
        if principal is None or kept_until_s < clock.monotonic_s():
            return None
        usable = principal.rules is FREE and principal.status == "active"
        return principal if usable else None

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
        principal = await self.authenticate(headers, fresh=fresh, origin=origin)
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
        self,
        headers: Iterable[tuple[bytes, bytes]],
        *,
        fresh: bool = False,
        origin: Callable[[], Origin] | None = None,
    ) -> Principal:
        """The caller; Unauthorized for every kind of bad key, with one and the same answer, and
        RateLimited for too many of them from one address: a key that nobody knows yet is counted
        there before it is looked up (D37).

        `fresh` asks Postgres whatever the caches hold: after STALE_PRINCIPAL, and always where
        no admission script follows.
        """
        key = key_in(headers)
        if key is None or len(key) > MAX_KEY_BYTES:
            raise await self._unknown(origin if key or self.counts_keyless else None)
        name = hashlib.blake2b(key, key=self._salt, digest_size=32).digest()
        entry = self._known.get(name)
        if fresh or entry is None or entry[0] < clock.monotonic_s():
            ours = well_formed(key)
            if not ours and not (self._legacy_salt and legacy_form(key)):
                raise await self._unknown(origin)
            older = None if ours else key
            digest = hash_key(key, self._pepper)
            counted = origin if entry is None or entry[1] is None else None
            principal = await self._look_up(name, digest, older, fresh=fresh, origin=counted)
        else:
            principal = entry[1]
            if principal is None:
                raise await self._unknown(origin)
        if principal is None:
            raise Unauthorized
        if principal.status != "active":
            raise Forbidden("This account is suspended.", code="account_suspended")
        return principal

    async def _unknown(self, origin: Callable[[], Origin] | None) -> Unauthorized:
        if self.guard is not None and origin is not None:
            await self.guard.admit(origin().ip)
        return Unauthorized()

    async def _look_up(
        self,
        name: bytes,
        digest: bytes,
        older: bytes | None,
        *,
        fresh: bool,
        origin: Callable[[], Origin] | None,
    ) -> Principal | None:
        # The number is that of the form: processes of two releases share one Redis (D54).
        redis_key = [f"principal:3:{{{digest.hex()}}}"]
        keep_s, text = KEEP_S, ""
        guard = self.guard if origin is not None else None
        ip = origin().ip if origin is not None else None
        # In one write with the look-up in Redis; nothing goes on to the database before its answer.
        judging = None if guard is None else asyncio.ensure_future(guard.judge(ip, looks_up=True))
        try:
            if not fresh:
                text = await self._redis.script("principal_v1", redis_key, ["get"])
        except DependencyError:
            keep_s = KEEP_WITHOUT_REDIS_S
        if guard is not None and judging is not None:
            error = await guard.refusal(ip, await judging) if not text else None
            if error is not None:
                raise error
        if text:
            row: dict[str, Any] | None = orjson.loads(text)
        else:
            row = await self._fetch(digest, redis_away=keep_s == KEEP_WITHOUT_REDIS_S)
            if row is None and older is not None:
                row = await self._upgrade(digest, older)
        left_ms = row.get("left_ms") if row is not None else None
        if row is not None and not text and keep_s == KEEP_S:
            # What ends is not shared: how long it has left is true only at the database's clock.
            # Neither is who is shut out: no script follows that would tell of their return.
            shared = left_ms is None and row["status"] == "active"
            value = orjson.dumps(row).decode() if shared else ""
            try:
                await self._redis.script("principal_v1", redis_key, ["put", value])
            except DependencyError:
                keep_s = KEEP_WITHOUT_REDIS_S
        if left_ms is not None:
            keep_s = min(keep_s, left_ms / 1000)
        if row is not None and row["status"] != "active":
            keep_s = KEEP_SUSPENDED_S
        read_s = 0.0 if text else clock.monotonic_s()
        principal = _principal(row, self._plans, read_s) if row is not None else None
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
