"""What limits leave a caller, as headers, and a refusal as its caller is told it."""

from collections.abc import Mapping
from datetime import UTC, datetime

from gatewayz.accounts.limits import Trial
from gatewayz.accounts.limits_anonymous import ANONYMOUS
from gatewayz.accounts.principals import Principal
from gatewayz.billing.credits import StalePrincipal
from gatewayz.billing.refusals import TRIAL_LIMIT, LimitReached, Shown
from gatewayz.core import clock
from gatewayz.core.errors import Forbidden, GatewayError, InsufficientCredits, RateLimited
from gatewayz.core.money import usd_text
from gatewayz.net.asgi import RawHeaders
from gatewayz.routing.plan import Plan

# What was read a while ago refuses nobody; what was read just now does.
FRESH_S = 1.0
NEVER_S = 86_400
PERIODS = {"m": "minute", "h": "hour", "D": "day", "M": "month", "T": "key"}
CODES: Mapping[str, str] = {
    "rm": "rate_limit_exceeded",
    "rh": "hourly_quota_exceeded",
    "rD": "daily_quota_exceeded",
    "rM": "monthly_quota_exceeded",
    "rT": "request_quota_exceeded",
    "rc": "concurrent_request_limit",
}
TOKENS_CODE = "token_rate_limit"


def shown(left: Shown, trial: Trial | None) -> RawHeaders:
    """Headers of every answer to a caller with limits: the tightest of requests, of tokens and of
    money (US dollars), and what a trial leaves. `RateLimit-Reset` is seconds, `X-RateLimit-Reset-*`
    a unix time."""
    requests, tokens, of_trial, budget = left
    headers: RawHeaders = []
    now_ms = clock.now_ms() + 999  # a moment is rounded up
    if requests:
        limit, remaining, wait = requests.encode().split(b" ")
        wait_ms = int(wait)
        headers = [
            (b"ratelimit-limit", limit),
            (b"ratelimit-remaining", remaining),
            (b"ratelimit-reset", b"%d" % ((wait_ms + 999) // 1000)),
            (b"x-ratelimit-limit-requests", limit),
            (b"x-ratelimit-remaining-requests", remaining),
            (b"x-ratelimit-reset-requests", b"%d" % ((now_ms + wait_ms) // 1000)),
        ]
    if tokens:
        limit, remaining, wait = tokens.encode().split(b" ")
        headers += (
            (b"x-ratelimit-limit-tokens", limit),
            (b"x-ratelimit-remaining-tokens", remaining),
            (b"x-ratelimit-reset-tokens", b"%d" % ((now_ms + int(wait)) // 1000)),
        )
    if budget:
        limit_nanos, left_nanos, _ = budget.split(" ")
        headers += (
            (b"x-budget-limit", usd_text(int(limit_nanos)).encode()),
            (b"x-budget-remaining", usd_text(int(left_nanos)).encode()),
        )
    if trial is not None:
        headers += _of_trial(trial, of_trial)
    return headers


def last_shown(principal: Principal) -> RawHeaders:
    """The same as it was lately in this process, for an answer that was given before admission."""
    seen = principal.limits.seen
    return shown(seen[-1], principal.limits.trial) if seen else []


def _of_trial(trial: Trial, left: str) -> RawHeaders:
    headers = [
        (b"x-trial-expired", b"false" if trial.active else b"true"),
        (b"x-trial-end-date", _iso(trial.ends_at_ms)),
    ]
    nanos, requests, tokens = left.split(" ") if left else ("0", "0", "0")
    if trial.active and not left:
        return headers
    return [
        *headers,
        (b"x-trial-remaining-tokens", tokens.encode()),
        (b"x-trial-remaining-requests", requests.encode()),
        (b"x-trial-remaining-credits", usd_text(int(nanos)).encode()),
    ]


def refused(principal: Principal, error: GatewayError, *, fresh: bool) -> GatewayError:
    """A refusal of admission with what the caller has to know; StalePrincipal when the limits it
    rests on were read a while ago."""
    limit = error if isinstance(error, LimitReached) else None
    if limit is None and not _of_a_limit(error):
        return error
    if not fresh and clock.monotonic_s() - principal.read_s > FRESH_S:
        raise StalePrincipal
    trial = principal.limits.trial
    if limit is None:
        error.headers |= _text(_of_trial(trial, "")) if trial is not None else {}
        return error
    unit, period = limit.what[0], limit.what[1]
    kind = "tokens" if unit == "t" else "requests"
    wait_s = max(1, -(-limit.retry_ms // 1000)) if limit.retry_ms > 0 else NEVER_S
    if period == "c":
        message = f"At most {limit.limit} requests may run at once; wait for one to end."
    else:
        message = f"The limit of {limit.limit} {kind} a {PERIODS[period]} is reached."
    headers = _text(shown(limit.shown, trial)) | {
        "Retry-After": str(wait_s),
        "X-RateLimit-Limit": str(limit.limit),
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(clock.now_ms() // 1000 + wait_s),
        "X-RateLimit-Scope": limit.scope.removeprefix("requests:").removeprefix("tokens:"),
    }
    return RateLimited(
        message,
        code=TOKENS_CODE if unit == "t" else CODES[limit.what],
        headers=headers,
        metadata={"limit_type": f"{kind}_{PERIODS.get(period, 'concurrent')}",
                  "limit_value": limit.limit, "retry_after": wait_s},
    )  # fmt: skip


def check_free(principal: Principal, plan: Plan, *, fresh: bool) -> None:
    """Without credit of any kind, only what costs nothing is served: to nobody in particular, and
    after a trial until a payment. Forbidden, or InsufficientCredits (`trial_expired`)."""
    trial = principal.limits.trial
    anonymous = principal.key_id == ANONYMOUS
    if not anonymous and (trial is None or trial.active):
        return
    prices = [offer.price for offer in (*plan.offers, *plan.spare)]
    if all(price is not None and not any(price.nanos_per_million.values()) for price in prices):
        return
    if anonymous:
        raise Forbidden(
            "Without a key only models that cost nothing are served.",
            code="anonymous_model_restricted",
        )
    if not fresh and clock.monotonic_s() - principal.read_s > FRESH_S:
        raise StalePrincipal
    assert trial is not None
    raise InsufficientCredits(
        "The trial is over. Add credits; until then models that cost nothing are served.",
        code="trial_expired",
        headers=_text(_of_trial(trial, "")),
        metadata={"trial_status": "expired", "available_nanos": 0},
    )


def _iso(at_ms: int) -> bytes:
    moment = datetime.fromtimestamp(at_ms / 1000, tz=UTC)
    return moment.isoformat(timespec="milliseconds").encode()


def _of_a_limit(error: GatewayError) -> bool:
    return isinstance(error, InsufficientCredits) and error.code in ("budget_exceeded", TRIAL_LIMIT)


def _text(headers: RawHeaders) -> dict[str, str]:
    return {name.decode(): value.decode() for name, value in headers}
