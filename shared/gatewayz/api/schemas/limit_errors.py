"""How refusals by limits read, one of each code."""

from gatewayz.core.errors import Conflict, Forbidden, GatewayError, InsufficientCredits, RateLimited

# Codes of limits that a request for inference may meet, besides `budget_exceeded`.
LIMIT_CODES = (
    "rate_limit_exceeded", "hourly_quota_exceeded", "daily_quota_exceeded",
    "monthly_quota_exceeded", "request_quota_exceeded", "token_rate_limit",
    "concurrent_request_limit", "trial_limit_reached", "trial_expired",
    "anonymous_daily_limit", "anonymous_model_restricted",
)  # fmt: skip


def limit_samples() -> list[GatewayError]:
    return [
        *(
            RateLimited(message, code=code, headers={"Retry-After": wait})
            for code, wait, message in (
                ("hourly_quota_exceeded", "36", "The limit of 1000 requests an hour is reached."),
                ("daily_quota_exceeded", "3600", "The limit of 25000 requests a day is reached."),
                ("monthly_quota_exceeded", "86400", "The limit of 9 requests a month is reached."),
                ("request_quota_exceeded", "86400", "The limit of 9 requests a key is reached."),
                ("token_rate_limit", "12", "The limit of 10000 tokens a minute is reached."),
                ("concurrent_request_limit", "1",
                 "At most 20 requests may run at once; wait for one to end."),
                ("anonymous_daily_limit", "3600",
                 "Without a key 3 requests a day are served. Make a key to go on."),
            )
        ),
        InsufficientCredits(
            "The trial's limit of tokens is reached. Add credits to go on.",
            code="trial_limit_reached",
            metadata={"scope": "trial:tokens", "limit": 1_000_000},
        ),
        InsufficientCredits(
            "The trial is over. Add credits; until then models that cost nothing are served.",
            code="trial_expired",
            metadata={"trial_status": "expired"},
        ),
        Forbidden(
            "Without a key only models that cost nothing are served.",
            code="anonymous_model_restricted",
        ),
        Conflict(
            "At most 200 end users of an account have limits of their own.", code="too_many_limits"
        ),
    ]  # fmt: skip
