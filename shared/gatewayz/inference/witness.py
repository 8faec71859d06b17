"""The second witness of requests under a caller's own key: Postgres, besides Redis.

Guarantees that a key runs once also while Redis is away or after it forgot, as long as one of the
two stores remembers; when neither can be asked nothing is run.
"""

import hashlib
from typing import Literal, NamedTuple

from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, GatewayError
from gatewayz.core.ids import ulid
from gatewayz.core.log import get_log
from gatewayz.inference.recording import read_head
from gatewayz.net.asgi import Call
from gatewayz.stores.open import Stores

log = get_log(__name__)

# How long an answer is there for who asks under the same key again.
KEEP_MS = 24 * 3600 * 1000
FOLDER = "replay/"
# A last reader that came in time has it by then.
GRACE_MS = 15 * 60_000
State = Literal["OWN", "OTHER", "DONE", "RUNNING"]


class Testimony(NamedTuple):
    """`blob`: where the answer is kept; "" when it was only in Redis."""

    state: State
    blob: str = ""


class Witness:
    """Calls on one process's stores."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores

    async def claim(
        self, account: str, key: str, *, digest: str, owner: str, life_ms: int, alone: bool
    ) -> Testimony:
        """Who runs this key. With Redis an outage of Postgres is no hindrance; `alone`, without
        either, DependencyError: nobody could say that it runs once."""
        try:
            told = await self._stores.postgres.rpc(
                "claim_replay",
                {"account": account, "key": _hashed(key), "digest": digest, "owner": owner,
                 "life_ms": life_ms},
            )  # fmt: skip
        except DependencyError as error:
            if alone:
                raise
            log.warning("replay_unwitnessed", error=error.metric)
            return Testimony("OWN")
        return Testimony(told["state"], told["blob"])

    async def close(
        self, account: str, key: str, owner: str, *, failed: bool, answer: bytes | None
    ) -> None:
        """It is over. `answer`: what Redis does not have, head and body. Never raises: the caller
        has its answer, and who comes again is told that it was given."""
        blob = ""
        try:
            if answer is not None and not failed:
                blob = blob_of(owner)
                await self._stores.blobs.put(blob, answer)
        except GatewayError as error:
            log.warning("replay_not_kept", error=error.metric)
            blob = ""
        try:
            await self._stores.postgres.rpc(
                "close_replay",
                {"account": account, "key": _hashed(key), "owner": owner, "blob": blob,
                 "failed": failed},
            )  # fmt: skip
        except DependencyError as error:
            log.warning("replay_not_closed", error=error.metric)

    async def tell(self, blob: str, call: Call, note: tuple[bytes, bytes]) -> None:
        """Give a caller what an earlier one got, byte for byte."""
        head, _, body = (await self._stores.blobs.get(blob)).partition(b"\n")
        status, headers = read_head(head)
        await call.start(status, [*headers, note])
        if body:
            await call.write(body)
        await call.end()


def blob_of(owner: str) -> str:
    """Where an answer stands that is not in Redis: an owner's id says when it began."""
    return FOLDER + owner


async def forget_answers(stores: Stores) -> int:
    """Delete the answers whose time is over; how many. At most a thousand at once."""
    before = blob_of(ulid(clock.now_ms() - KEEP_MS - GRACE_MS))
    gone = 0
    try:
        for blob in await stores.blobs.list_keys(FOLDER):
            if blob < before:
                await stores.blobs.delete(blob)
                gone += 1
    except GatewayError as error:
        log.warning("replays_not_forgotten", error=error.metric)
    return gone


def _hashed(key: str) -> str:
    return hashlib.blake2s(key.encode(), digest_size=16).hexdigest()
