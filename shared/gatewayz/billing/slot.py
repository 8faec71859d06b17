"""One account's credit in Redis: its keys, and the one script that works on them.

Guarantees that every failure of Redis is RedisAway, which Postgres can stand in for.
"""

from functools import lru_cache
from typing import Any

from gatewayz.core.errors import DependencyError, StoreUnavailable
from gatewayz.stores.redis import RedisScripts

ADMIT = "admit_v2"
# Which accounts may have something in their outbox.
OUTBOXES, OUTBOXES_KEY = "outboxes_v1", "outboxes"


class RedisAway(StoreUnavailable):
    """Redis cannot vouch for the money of this account now; Postgres still may."""


@lru_cache(maxsize=10_000)
def account_keys(account: str) -> tuple[str, ...]:
    """Redis keys of one account; the shared tag keeps them in one slot."""
    tag = "{" + account + "}"
    return ("acct:" + tag, "holds:" + tag, "due:" + tag, "budgets:" + tag, "outbox:" + tag)


async def call_admit(
    redis: RedisScripts,
    account: str,
    operation: str,
    *rest: str | int,
    request_id: str | None = None,
) -> list[Any]:
    """One operation of the admission script on one account; RedisAway when Redis fails.

    `request_id` names the request whose sent message the operation reads or writes.
    """
    keys = account_keys(account)
    if request_id is not None:
        keys = (*keys, f"sent:{{{account}}}:{request_id}")
    try:
        reply: list[Any] = await redis.script(ADMIT, keys, (operation, 0, *rest))
    except DependencyError as error:
        raise RedisAway(error.message) from error
    return reply
