"""Attempts that are few by nature: signing in, registering, trying a code.

Counted before anything is looked up, by address and, where named, by account as well; refused with
429 and Retry-After. While Redis is away each container grants a part of them.
"""

from collections.abc import Mapping

from gatewayz.accounts.limits_address import Rule, count, refusal, subject_of
from gatewayz.accounts.limits_local import LocalLimits
from gatewayz.stores.redis import RedisScripts

MINUTE_S, HOUR_S = 60, 3600
RULES: Mapping[str, Rule] = {
    rule.kind: rule
    for rule in (
        Rule("login", 10, 15 * MINUTE_S, "window"),
        Rule("register", 3, HOUR_S, "window"),
        Rule("reset", 3, HOUR_S, "window"),
        Rule("invite", 20, HOUR_S, "window"),
        # Codes that nobody has; an account by itself has twenty.
        Rule("coupon", 60, HOUR_S, "window"),
        Rule("code", 10, 15 * MINUTE_S, "window"),
    )
}
_local = LocalLimits()


async def allow(
    kind: str, ip: str | None, *, redis: RedisScripts, account: str | None = None
) -> None:
    """Count one attempt of `kind` (a name in RULES) from `ip`; RateLimited when it is one too many.

    With `account` its attempts are counted too, from wherever they come: neither many addresses
    nor many accounts help.
    """
    await _count(kind, ip, redis, account, calls=1)


async def check(kind: str, ip: str | None, *, redis: RedisScripts) -> None:
    """RateLimited when no attempt of `kind` is left; counts nothing. For what counts only when it
    fails: `allow` then."""
    await _count(kind, ip, redis, None, calls=0)


async def _count(
    kind: str, ip: str | None, redis: RedisScripts, account: str | None, *, calls: int
) -> None:
    rule = RULES[kind]
    subjects = ["ip:" + subject_of(ip)]
    if account is not None:
        subjects.append("account:" + account)
    for subject in subjects:
        verdict = await count(redis, rule, subject, local=_local if calls else None, calls=calls)
        if not verdict.allowed:
            raise refusal(rule, verdict, "Too many attempts. Try again later.", "too_many_attempts")
