"""What was asked of reasoning → the fields of a model's own request that say so.

Each maker's models have words of their own; which ones, the family or a flag of the row tells.
"""

from collections.abc import Mapping

from gatewayz.dialects.bedrock.wire import CLAUDE, family_of
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import GenerationRequest, Reasoning
from gatewayz.dialects.parts import Part, RedactedThinking, Thinking
from gatewayz.dialects.reasoning import budget_of, effort_of

# Flags of an offer or its provider's row.
ADAPTIVE = "adaptive_thinking"  # takes thinking adaptive and output_config.effort
EFFORT = "reasoning_effort"  # takes reasoning_effort low, medium and high, and always reasons
EFFORT_CONFIG = "reasoning_config"  # takes reasoningConfig.maxReasoningEffort
QUIRKS = frozenset({ADAPTIVE, EFFORT, EFFORT_CONFIG})
DEFAULT_MAX_TOKENS = 8192
_THREE_STEPS: Mapping[str, str] = {
    "none": "low",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


def write_thinking(
    request: GenerationRequest, target: Target, *, forced: bool
) -> tuple[JsonObject, int | None] | None:
    """Fields of additionalModelRequestFields and the token limit they need; None when the target
    cannot be asked. `forced`: the tool choice leaves no room for thought."""
    reasoning = request.reasoning
    if reasoning is None:
        return {}, None
    if target.reasons is False:
        return ({}, None) if reasoning.off else None
    effort = effort_of(reasoning)
    if EFFORT in target.quirks:
        return ({} if effort is None else {"reasoning_effort": _step(effort)}), None
    if EFFORT_CONFIG in target.quirks:
        return {"reasoningConfig": _config(request, effort)}, None
    if reasoning.off:
        return {}, None
    if family_of(target) != CLAUDE:
        return None
    if ADAPTIVE in target.quirks:
        return _adaptive(reasoning, effort), None
    if forced or _lacks_thought(request, target):
        return None
    limit = request.max_output_tokens or target.max_output_tokens or DEFAULT_MAX_TOKENS
    budget = budget_of(reasoning, limit)
    if budget is None:
        return None
    thinking = {"type": "enabled", "budget_tokens": budget, **_display(reasoning)}
    return {"thinking": thinking}, limit


def _step(effort: str) -> str:
    return _THREE_STEPS.get(effort, "medium")


def _config(request: GenerationRequest, effort: str | None) -> JsonObject:
    if effort == "none":
        return {"type": "disabled"}
    step = "medium" if effort is None else _step(effort)
    # The highest step is refused together with a token limit, and the limit guards a balance.
    if step == "high" and request.max_output_tokens is not None:
        step = "medium"
    return {"type": "enabled", "maxReasoningEffort": step}


def _adaptive(reasoning: Reasoning, effort: str | None) -> JsonObject:
    fields: JsonObject = {"thinking": {"type": "adaptive", **_display(reasoning)}}
    if effort is not None:
        fields["output_config"] = {"effort": "low" if effort == "minimal" else effort}
    return fields


def _display(reasoning: Reasoning) -> JsonObject:
    if reasoning.show is None:
        return {}
    return {"display": "omitted" if reasoning.show == "omitted" else "summarized"}


def _lacks_thought(request: GenerationRequest, target: Target) -> bool:
    """Whether a tool's turn goes on whose thought did not come back: it would be refused."""
    messages = request.messages
    if not messages or messages[-1].role != "tool":
        return False
    for message in reversed(messages[:-1]):
        if message.role == "assistant":
            return not any(may_return(part, family_of(target)) for part in message.parts)
    return False


def may_return(part: Part, family: str) -> bool:
    """Whether a thought may go back to models of `family`: only they can check its signature."""
    if isinstance(part, RedactedThinking):
        return part.origin == family
    return isinstance(part, Thinking) and part.origin == family and part.signature is not None
