"""How much a model shall think: thinkingConfig ⇄ the internal form (§7).

Older models take a budget in tokens, newer ones a level; each refuses the other.
"""

import re

from gatewayz.dialects import checks
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import Reasoning, ReasoningMode
from gatewayz.dialects.google.wire import FAMILY, camel
from gatewayz.dialects.reasoning import budget_of, effort_of

# Flags of an offer or its provider's row, where the model's name does not tell.
BUDGET = "thinking_budget"
LEVEL = "thinking_level"
DYNAMIC = -1
MAX_BUDGET = 2**31 - 1
_BUDGET_MODELS = re.compile(r"gemini-(?:1|2)\b|gemini-robotics-er-1\b")
# Bounds of a budget that all models of a size take.
_MIN_TOKENS, _MAX_TOKENS, _MAX_PRO_TOKENS = 512, 24_576, 32_768
_LEAST_PRO_TOKENS = 128
_UNKNOWN_LIMIT = 65_536
_WHERE = "generationConfig.thinkingConfig."
_KNOWN = frozenset({"thinkingBudget", "thinkingLevel", "includeThoughts"})


def takes_budget(target: Target) -> bool:
    if BUDGET in target.quirks or LEVEL in target.quirks:
        return BUDGET in target.quirks
    return _BUDGET_MODELS.search(target.native_id) is not None


def read_thinking(value: JsonObject | None) -> tuple[Reasoning | None, JsonObject]:
    """What was asked, and what of it the form has no words for."""
    if value is None:
        return None, {}
    config = camel(value, _WHERE)
    budget = checks.integer(config, "thinkingBudget", _WHERE, low=DYNAMIC, high=MAX_BUDGET)
    level = (checks.text(config, "thinkingLevel", _WHERE, most=64) or "").lower()
    shown = checks.flag(config, "includeThoughts", _WHERE)
    mode: ReasoningMode | None = None
    if budget in (0, DYNAMIC):
        mode, budget = ("adaptive" if budget else "off"), None
    reasoning = Reasoning(
        effort=level if level and not level.endswith("unspecified") else None,
        budget_tokens=budget,
        mode=mode,
        show=None if shown is None else ("auto" if shown else "omitted"),
    )
    rest = checks.rest(config, _KNOWN)
    return (None if reasoning == Reasoning() else reasoning), rest


def write_own(reasoning: Reasoning) -> JsonObject:
    """As the caller of this dialect said it."""
    out: JsonObject = {}
    if reasoning.budget_tokens is not None:
        out["thinkingBudget"] = reasoning.budget_tokens
    elif reasoning.mode in ("off", "adaptive"):
        out["thinkingBudget"] = 0 if reasoning.mode == "off" else DYNAMIC
    if reasoning.effort is not None:
        out["thinkingLevel"] = reasoning.effort
    if reasoning.show is not None:
        out["includeThoughts"] = reasoning.show != "omitted"
    return out


def write_thinking(
    reasoning: Reasoning, target: Target, max_output_tokens: int | None
) -> JsonObject:
    """For a caller of another dialect, where asking for thoughts means seeing them."""
    large = "pro" in target.native_id.split("-")
    if takes_budget(target):
        limit = max_output_tokens or target.max_output_tokens or _UNKNOWN_LIMIT
        out: JsonObject = {"thinkingBudget": _budget(reasoning, limit, large=large)}
    else:
        level = _level(reasoning, large=large)
        out = {} if level is None else {"thinkingLevel": level}
    if not reasoning.off or reasoning.show is not None:
        out["includeThoughts"] = not reasoning.off and reasoning.show != "omitted"
    return out


def _budget(reasoning: Reasoning, limit: int, *, large: bool) -> int:
    if reasoning.off:
        return _LEAST_PRO_TOKENS if large else 0
    if reasoning.effort is None and reasoning.budget_tokens is None:
        return DYNAMIC
    budget = budget_of(reasoning, limit) or _MIN_TOKENS
    return min(max(budget, _MIN_TOKENS), _MAX_PRO_TOKENS if large else _MAX_TOKENS)


def _level(reasoning: Reasoning, *, large: bool) -> str | None:
    told = reasoning.effort is not None or reasoning.budget_tokens is not None
    if reasoning.mode in ("on", "adaptive") and not told:
        return None  # by itself
    effort = effort_of(reasoning)
    if effort in ("none", "minimal"):
        return "low" if large else "minimal"
    return "high" if effort in ("xhigh", "max") else effort


def is_family(origin: str, target: Target) -> bool:
    """Whether models behind `target` take back what models of `origin` signed."""
    return origin == (target.family or FAMILY)
