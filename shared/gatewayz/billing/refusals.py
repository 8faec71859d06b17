"""Why the admission script refused a request, as an error that says what would fit."""

from typing import Any

from gatewayz.core.errors import InsufficientCredits, RateLimited

TRIAL_LIMIT = "trial_limit_reached"
BUDGET_EXCEEDED = "budget_exceeded"
# What limits leave: requests, tokens, the trial, money; each as the script words it, or ''.
Shown = tuple[str, str, str, str]
UNITS = {"p": "credit", "n": "credit", "r": "requests", "u": "tokens", "t": "tokens"}


class LimitReached(RateLimited):
    """A rate is used up; `shown` is what all limits leave. Nothing was counted."""

    def __init__(self, reply: list[str]) -> None:
        what, limit, scope = reply[1].split(" ", 2)
        self.what, self.limit, self.scope = what, int(limit), scope
        self.retry_ms = int(reply[2])
        self.shown: Shown = (reply[6], reply[7], reply[8], reply[9])
        super().__init__("A rate limit is reached.")


def over_budget(reply: list[str]) -> InsufficientCredits:
    what, limit, scope = reply[1].split(" ", 2)
    metadata: dict[str, Any] = {"scope": scope, "limit": int(limit)}
    if what[0] in "np":
        metadata["available_nanos"] = max(0, int(reply[2]))
    else:
        metadata |= {"available_nanos": 0, "available": max(0, int(reply[2]))}
    if reply[0] == "TRIAL":
        return InsufficientCredits(
            f"The trial's limit of {UNITS[what[0]]} is reached. Add credits to go on.",
            code=TRIAL_LIMIT,
            metadata=metadata,
        )
    return InsufficientCredits(
        "A spending limit is reached.", code="budget_exceeded", metadata=metadata
    )


def periods_of(named: str) -> tuple[tuple[str, str], ...]:
    """(scope, period) of what the script names."""
    if not named:
        return ()
    pairs = (field.rpartition("|") for field in named.split("\n"))
    return tuple((scope, period) for scope, _, period in pairs)


def too_poor(available_nanos: int, code: str | None = None) -> InsufficientCredits:
    return InsufficientCredits(
        "Not enough credits for this request.",
        code=code,
        metadata={"available_nanos": available_nanos},
    )
