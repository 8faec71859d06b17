"""Everything GET /metrics shows: the totals of all processes, and what the stores say right now.

Guarantees that a store which is away leaves out its own figures and no others.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, TypeVar

from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.stores.open import Stores
from gatewayz.telemetry.totals import Sample, Samples, read_totals

log = get_log(__name__)
T = TypeVar("T")

HOLDS = "holds_v1"
# Accounts whose holds are counted: those that were busy last.
MAX_ACCOUNTS = 1000
QUEUES = ("charges",)
STATES = ("closed", "open", "half_open")
# providers -> the state of each one's breaker; {} while Redis is away
Breakers = Callable[[Iterable[str]], Awaitable[Mapping[str, str]]]


async def gather_metrics(stores: Stores, breakers: Breakers) -> Samples:
    state, totals, depths = await asyncio.gather(
        _or({}, stores.postgres.rpc("metrics_state", {"limit": MAX_ACCOUNTS})),
        _or(({}, 0), read_totals(stores.redis)),
        asyncio.gather(*(_or(None, stores.queue.depth(queue)) for queue in QUEUES)),
    )
    samples: Samples = dict(totals[0])
    samples["series_refused"] = [Sample((), totals[1])]
    _tell_margin(samples)
    for queue, depth in zip(QUEUES, depths, strict=True):
        if depth is not None:
            # Asked for now: newer than what the last reconciliation has left.
            samples["queue_waiting"] = [Sample((queue,), depth.waiting + depth.inflight)]
            samples["queue_dead"] = [Sample((queue,), depth.dead)]
            if depth.oldest_ms is not None:
                samples["queue_oldest"] = [Sample((queue,), depth.oldest_ms)]
    if state:
        await _tell_state(samples, state, stores, breakers)
    return samples


async def _or(other: T, work: Awaitable[T]) -> T:
    try:
        return await work
    except GatewayError as error:
        log.warning("metrics_incomplete", error=error.metric)
        return other


def _tell_margin(samples: Samples) -> None:
    """By provider, of what was settled since the totals began."""
    margin: dict[str, int] = {}
    for name, sign in (("charge", 1), ("cost", -1)):
        for sample in samples.get(name, ()):
            provider = sample.labels[1]
            margin[provider] = margin.get(provider, 0) + sign * sample.number
    samples["margin"] = [Sample((provider,), nanos) for provider, nanos in margin.items()]


async def _tell_state(
    samples: Samples, state: Mapping[str, Any], stores: Stores, breakers: Breakers
) -> None:
    samples["leases_open"] = [Sample((), state["leases"])]
    samples["credit"] = [Sample((book,), nanos) for book, nanos in state["credit"].items()]
    samples["incidents"] = [
        Sample((provider, kind), count) for provider, kind, count in state["incidents"]
    ]
    samples["provider_credit"] = [
        Sample((provider,), nanos) for provider, nanos in state["provider_credit"].items()
    ]
    known = await _or({}, breakers(state["providers"]))
    samples["breaker"] = [
        Sample((provider, each), int(each == now))
        for provider, now in known.items()
        for each in STATES
    ]
    holds = await _or(None, _count_holds(stores, state["accounts"]))
    if holds is not None:
        samples["holds_open"] = [Sample((), holds)]


async def _count_holds(stores: Stores, accounts: Iterable[str]) -> int | None:
    keys = [f"holds:{{{account}}}" for account in accounts]
    counts = await asyncio.gather(*(stores.redis.script(HOLDS, [key], []) for key in keys))
    return sum(map(int, counts))


LIVE = frozenset({
    "margin", "leases_open", "holds_open", "credit", "breaker", "incidents", "provider_credit",
    "series_refused",
})  # fmt: skip
