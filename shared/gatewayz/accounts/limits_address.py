"""Limits by address: one counter in Redis, shared by all instances, with a stand-in within the
process while Redis is away.

Guarantees that a call is counted once, by Redis's clock. IPv6 counts by its /64, which one machine
has whole. Addresses are kept as hashes only.
"""

import hashlib
import ipaddress
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gatewayz.accounts.limits_local import LocalLimits
from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, RateLimited
from gatewayz.stores.redis import RedisScripts

LIMIT = "limit_v1"
IPV6_NETWORK = 64
# How much of a limit one container grants by itself while Redis is away.
LOCAL_SHARE = 2
Way = Literal["rate", "window", "day"]


@dataclass(frozen=True, slots=True)
class Rule:
    """At most `limit` in `period_s`. `rate`: a bucket that refills evenly (GCRA); `window`: from
    the first call on; `day`: in a UTC day. `closed`: refuses while Redis is away."""

    kind: str
    limit: int
    period_s: int
    way: Way
    closed: bool = False


class Verdict(NamedTuple):
    """`reset_s`: until the whole limit is there again; `retry_s`: until one more call is."""

    allowed: bool
    limit: int
    remaining: int
    reset_s: int
    retry_s: int


def subject_of(ip: str | None) -> str:
    """What an address counts as; all that have none count as one."""
    try:
        address = ipaddress.ip_address((ip or "").partition("%")[0])
    except ValueError:
        return "none"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, IPV6_NETWORK), strict=False))
    return str(address)


def key_of(kind: str, subject: str) -> str:
    digest = hashlib.blake2s(subject.encode(), digest_size=16).hexdigest()
    return f"limit:{{{kind}:{digest}}}"


async def count(
    redis: RedisScripts,
    rule: Rule,
    subject: str,
    *,
    local: LocalLimits | None = None,
    percent: int = 100,
    calls: int = 1,
) -> Verdict:
    """Count one call of `subject` and judge it. `percent` of the limit is granted (velocity mode);
    `calls`: it and those before it that were let in and not told (a `rate` only).

    While Redis is away: `local` grants a part of it; without one the rule's `closed` decides.
    """
    limit = max(1, rule.limit * percent // 100)
    key = key_of(rule.kind, subject)
    try:
        reply = await redis.script(LIMIT, [key], [rule.way, 0, limit, rule.period_s * 1000, calls])
    except DependencyError:
        if rule.closed or local is None:
            return Verdict(not rule.closed, limit, 0, rule.period_s, rule.period_s)
        part = max(1, limit // LOCAL_SHARE)
        wait_s = local.take(key, part, rule.period_s)
        return Verdict(wait_s <= 0, part, 0, rule.period_s, -int(-max(wait_s, 0.0) // 1))
    allowed, remaining, reset_ms, retry_ms = map(int, reply)
    return Verdict(bool(allowed), limit, remaining, -(-reset_ms // 1000), -(-retry_ms // 1000))


def refusal(rule: Rule, verdict: Verdict, message: str, code: str) -> RateLimited:
    """The 429 of a verdict, with the headers that clients read."""
    return RateLimited(
        message,
        code=code,
        headers=headers_of(verdict, reason=rule.kind) | {"Retry-After": str(retry_s(verdict))},
        metadata={"limit": verdict.limit, "period_s": rule.period_s},
    )


def retry_s(verdict: Verdict) -> int:
    return max(1, verdict.retry_s)


def headers_of(verdict: Verdict, *, reason: str, mode: str = "normal") -> dict[str, str]:
    """`RateLimit-*`, and the older form whose reset is a moment (unix seconds)."""
    moment = clock.now_ms() // 1000 + verdict.reset_s
    return {
        "RateLimit-Limit": str(verdict.limit),
        "RateLimit-Remaining": str(verdict.remaining),
        "RateLimit-Reset": str(verdict.reset_s),
        "X-RateLimit-Limit": str(verdict.limit),
        "X-RateLimit-Remaining": str(verdict.remaining),
        "X-RateLimit-Reset": str(moment),
        "X-RateLimit-Reason": reason,
        "X-RateLimit-Mode": mode,
    }
