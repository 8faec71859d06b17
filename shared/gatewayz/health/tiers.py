"""Which offers are to be probed now: the more an offer is used, the more often. Pure.

What real requests showed lately needs no probe; what failed or is hidden is looked at soon, so that
recovery is automatic.
"""

from collections.abc import Iterable
from typing import Literal, NamedTuple

Tier = Literal["critical", "popular", "standard", "on_demand"]
# Shares of the used offers, from the most used on.
CRITICAL_SHARE, POPULAR_SHARE = 0.05, 0.25
EVERY_S: dict[Tier, int] = {"critical": 300, "popular": 1800, "standard": 7200}
FAILING_S = 300


class Seen(NamedTuple):
    """What is known of an offer: use of the last day, failures in a row, when it was heard of."""

    model: str
    provider: str
    requests: int
    failures: int
    heard_ms_ago: int
    hidden: bool


def tiers_of(seen: Iterable[Seen]) -> dict[tuple[str, str], Tier]:
    """The tier of each offer, by (model, provider)."""
    rows = sorted(seen, key=lambda row: (-row.requests, row.model, row.provider))
    used = sum(row.requests > 0 for row in rows)
    critical = max(1, round(used * CRITICAL_SHARE)) if used else 0
    popular = max(critical, round(used * POPULAR_SHARE))
    tiers: dict[tuple[str, str], Tier] = {}
    for place, row in enumerate(rows):
        if not row.requests:
            tier: Tier = "on_demand"
        elif place < critical:
            tier = "critical"
        else:
            tier = "popular" if place < popular else "standard"
        tiers[row.model, row.provider] = tier
    return tiers


def due(seen: Iterable[Seen]) -> list[tuple[Seen, int]]:
    """(offer, its period in seconds) for those to be probed, the most urgent first."""
    rows = list(seen)
    tiers = tiers_of(rows)
    found = []
    for row in rows:
        tier = tiers[row.model, row.provider]
        every_s = EVERY_S.get(tier)
        if row.failures or row.hidden:
            every_s = min(every_s or FAILING_S, FAILING_S)
        if every_s is not None and row.heard_ms_ago >= every_s * 1000:
            found.append((row, every_s))
    found.sort(key=lambda pair: (pair[1], -pair[0].requests))
    return found
