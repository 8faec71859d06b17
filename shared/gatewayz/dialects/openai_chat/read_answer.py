"""A provider's whole chat completion → the internal form."""

import hashlib

from gatewayz.core.errors import InvalidRequest, UpstreamBroken
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import Choice, Generation
from gatewayz.dialects.openai_chat.answer import NO_COMPLETION, decode_answer
from gatewayz.dialects.openai_chat.finishes import read_finish
from gatewayz.dialects.openai_chat.mend import mend_message
from gatewayz.dialects.openai_chat.read_message import NAME, read_assistant
from gatewayz.dialects.openai_chat.think_tags import QUIRKS as TAGGED
from gatewayz.dialects.openai_chat.think_tags import split
from gatewayz.dialects.openai_chat.usage import InvalidUsage, read_usage
from gatewayz.dialects.parts import Part, Text, Thinking, ToolCall

_READ = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "service_tier", "x_groq", "error"}
)


def read_generation(raw: bytes, target: Target) -> Generation:
    try:
        return _read(raw, target)
    except (InvalidRequest, TypeError, AttributeError, KeyError):
        # What is wrong in a caller's message is as wrong in a provider's.
        raise UpstreamBroken(NO_COMPLETION, provider=target.provider) from None


def _read(raw: bytes, target: Target) -> Generation:
    answer = decode_answer(raw, target.usage, provider=target.provider, error_map=target.errors)
    body = answer.body
    try:
        usage = read_usage(answer.usage, target.usage)
    except InvalidUsage:
        usage = None
    prefix = hashlib.blake2s(raw).hexdigest()[:12]
    created, model, tier = body.get("created"), body.get("model"), body.get("service_tier")
    choices = tuple(
        _choice(choice, f"{prefix}_{index}", target) for index, choice in enumerate(body["choices"])
    )
    return Generation(
        dialect=NAME,
        choices=choices,
        id=answer.native_id,
        model=model if type(model) is str else None,
        created_s=created if type(created) is int else None,
        usage=usage,
        raw_usage=answer.usage,
        stated_cost=answer.stated_cost,
        service_tier=tier if type(tier) is str else None,
        extras={k: v for k, v in body.items() if k not in _READ and v is not None},
    )


def _choice(choice: JsonObject, prefix: str, target: Target) -> Choice:
    message = dict(choice["message"])
    mend_message(message, prefix)
    function = message.get("function_call")
    if type(function) is dict and function.get("name") and not message.get("tool_calls"):
        call = {"id": f"call_{prefix}_0", "type": "function", "function": function}
        message["tool_calls"] = [call]
    parts = _untag(read_assistant(message, "choices[].message", family=target.family), target)
    called = any(isinstance(part, ToolCall) for part in parts)
    logprobs = choice.get("logprobs")
    return Choice(
        parts=tuple(parts),
        finish=read_finish(choice.get("finish_reason") or "stop", choice, called),
        logprobs=logprobs if type(logprobs) is dict else None,
    )


def _untag(parts: list[Part], target: Target) -> list[Part]:
    """Thoughts that stand in the text, put in front of it."""
    if not target.quirks & TAGGED:
        return parts
    out: list[Part] = []
    for part in parts:
        if not isinstance(part, Text):
            out.append(part)
            continue
        for is_thought, piece in split(part.text, target.quirks):
            out.append(Thinking(piece) if is_thought else Text(piece, part.citations))
    return out
