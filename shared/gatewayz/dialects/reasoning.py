"""Efforts and budgets of reasoning, either into the other (§7)."""

from collections.abc import Mapping

from gatewayz.dialects.generation import Reasoning

MIN_BUDGET_TOKENS = 1024
_BUDGETS: Mapping[str, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
}
_EFFORTS = ((2048, "low"), (10_000, "medium"), (24_000, "high"))
DEFAULT_EFFORT = "medium"


def budget_of(reasoning: Reasoning, max_output_tokens: int) -> int | None:
    """The budget in tokens within an answer of `max_output_tokens`; None when none fits in."""
    budget = reasoning.budget_tokens
    if budget is None:
        effort = reasoning.effort or DEFAULT_EFFORT
        budget = max_output_tokens if effort == "max" else _BUDGETS.get(effort, 8192)
    budget = min(budget, max_output_tokens - MIN_BUDGET_TOKENS)
    return budget if budget >= MIN_BUDGET_TOKENS else None


def effort_of(reasoning: Reasoning) -> str | None:
    """The effort; None when nothing was said that an effort could be taken from."""
    if reasoning.off:
        return "none"
    if reasoning.effort is not None:
        return reasoning.effort
    if reasoning.budget_tokens is not None:
        within = (effort for most, effort in _EFFORTS if reasoning.budget_tokens <= most)
        return next(within, "xhigh")
    return DEFAULT_EFFORT if reasoning.mode == "on" else None
