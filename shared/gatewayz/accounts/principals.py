"""Who is calling: from a key in the headers to a Principal.

Looks in this process, then Redis, then Postgres. Keeps a principal 60 s (5 s while Redis is
away); its epoch travels into the admission script, which refuses it from the moment a newer one
is known (D13), so revocation holds from the next request.
"""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import orjson

from gatewayz.accounts.keys import hash_key, well_formed
from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, Forbidden, Unauthorized
from gatewayz.stores.postgres import Postgres
from gatewayz.stores.redis import RedisScripts

KEEP_S = 60.0
KEEP_WITHOUT_REDIS_S = 5.0
# Redis is away already: that both are is to be known within a second (F10).
WITHOUT_REDIS_TIMEOUT_S = 0.7
MAX_ENTRIES = 10_000
# No key of ours is longer; hashing more would be work for nothing.
MAX_KEY_BYTES = 256


@dataclass(frozen=True, slots=True)
class Principal:
    """A key of an account, as it was at `epoch`."""

    account: str
    key_id: str
    key_name: str
    epoch: int
    status: str


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

    def __init__(self, postgres: Postgres, redis: RedisScripts, pepper: str) -> None:
        self._postgres = postgres
        self._redis = redis
        self._pepper = pepper.encode()
        self._salt = os.urandom(hashlib.blake2b.MAX_KEY_SIZE)
        # hash → (kept until, principal or None for a key known to be bad)
        self._known: dict[bytes, tuple[float, Principal | None]] = {}

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
            if not well_formed(key):
                raise Unauthorized
            principal = await self._look_up(name, hash_key(key, self._pepper), fresh=fresh)
        else:
            principal = entry[1]
        if principal is None:
            raise Unauthorized
        if principal.status != "active":
            raise Forbidden("This account is suspended.", code="account_suspended")
        return principal

    async def _look_up(self, name: bytes, digest: bytes, *, fresh: bool) -> Principal | None:
        redis_key = [f"principal:{{{digest.hex()}}}"]
        keep_s, text = KEEP_S, ""
        try:
            if not fresh:
                text = await self._redis.script("principal_v1", redis_key, ["get"])
        except DependencyError:
            keep_s = KEEP_WITHOUT_REDIS_S
        if text:
            principal: Principal | None = Principal(**orjson.loads(text))
        else:
            principal = await self._fetch(digest, redis_away=keep_s == KEEP_WITHOUT_REDIS_S)
        if principal is not None and not text and keep_s == KEEP_S:
            value = orjson.dumps(asdict(principal)).decode()
            try:
                await self._redis.script("principal_v1", redis_key, ["put", value])
            except DependencyError:
                keep_s = KEEP_WITHOUT_REDIS_S
        self._remember(name, keep_s, principal)
        return principal

    async def _fetch(self, digest: bytes, *, redis_away: bool) -> Principal | None:
        row = await self._postgres.rpc(
            "find_principal",
            {"hash": digest.hex()},
            timeout_s=WITHOUT_REDIS_TIMEOUT_S if redis_away else None,
        )
        if row is None:
            return None
        return Principal(row["account"], row["key_id"], row["name"], row["epoch"], row["status"])

    def _remember(self, name: bytes, keep_s: float, principal: Principal | None) -> None:
        if len(self._known) >= MAX_ENTRIES:
            # Oldest first: dicts keep the order of insertion.
            for old in list(self._known)[: MAX_ENTRIES // 10]:
                del self._known[old]
        self._known.pop(name, None)
        self._known[name] = (clock.monotonic_s() + keep_s, principal)
