"""Whether Redis may throw keys away when it is full: then it must not keep holds (F20).

Asked where a process of ours starts and by the ledger's check, never on a request's path.
"""

from gatewayz.core.errors import DependencyError
from gatewayz.core.log import get_log
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)

SAFE = ("noeviction", "")  # a service that does not tell its policy is taken at its word


async def unsafe_eviction(redis: RedisScripts) -> str | None:
    """What is wrong with the policy, in one line; None when nothing is, or Redis is away."""
    try:
        policy = str(await redis.script("eviction_v1", ["ping"], []))
    except DependencyError:
        return None
    if policy in SAFE:
        return None
    return (
        f"Redis may evict keys (maxmemory-policy {policy}): "
        "credit holds need `noeviction`, or eviction switched off"
    )


async def report_eviction(redis: RedisScripts) -> None:
    """An ERROR line when the policy is wrong: it may be changed while nothing starts."""
    if problem := await unsafe_eviction(redis):
        log.error("redis_evicts", problem=problem)
