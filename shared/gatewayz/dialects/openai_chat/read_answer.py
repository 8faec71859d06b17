"""A provider's whole chat completion → the internal form."""

import hashlib
from typing import Any

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
from gatewayz.dialects.parts import Audio, Part, Source, Text, Thinking, ToolCall
from gatewayz.dialects.protocol import NO_NOTES, Notes
from gatewayz.dialects.speech import MIME, SAMPLES

_READ = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "service_tier", "x_groq", "error"}
)


def read_generation(raw: bytes, target: Target, notes: Notes = NO_NOTES) -> Generation:
    try:
        return _read(raw, target, notes)
    except (InvalidRequest, TypeError, AttributeError, KeyError):
        # What is wrong in a caller's message is as wrong in a provider's.
        raise UpstreamBroken(NO_COMPLETION, provider=target.provider) from None


def _read(raw: bytes, target: Target, notes: Notes) -> Generation:
    answer = decode_answer(raw, target.usage, provider=target.provider, error_map=target.errors)
    body = answer.body
    try:
        usage = read_usage(answer.usage, target.usage)
    except InvalidUsage:
        usage = None
    prefix = hashlib.blake2s(raw).hexdigest()[:12]
    created, model, tier = body.get("created"), body.get("model"), body.get("service_tier")
    choices = tuple(
        _choice(choice, f"{prefix}_{index}", target, notes)
        for index, choice in enumerate(body["choices"])
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


def _choice(choice: JsonObject, prefix: str, target: Target, notes: Notes) -> Choice:
    message = dict(choice["message"])
    mend_message(message, prefix)
    function = message.get("function_call")
    if type(function) is dict and function.get("name") and not message.get("tool_calls"):
        call = {"id": f"call_{prefix}_0", "type": "function", "function": function}
        message["tool_calls"] = [call]
    parts = _untag(read_assistant(message, "choices[].message", family=target.family), target)
    parts += read_sound(message.get("audio"), notes)
    called = any(isinstance(part, ToolCall) for part in parts)
    logprobs = choice.get("logprobs")
    return Choice(
        parts=tuple(parts),
        finish=read_finish(choice.get("finish_reason") or "stop", choice, called),
        logprobs=logprobs if type(logprobs) is dict else None,
    )


def read_sound(sound: Any, notes: Notes) -> list[Part]:
    """What was spoken, with its own text in front of it for who asked in another dialect."""
    if type(sound) is not dict or type(sound.get("data")) is not str or not sound["data"]:
        return []
    form = notes.audio or "wav"
    mime = MIME if form == SAMPLES else f"audio/{form}"
    extras = {name: value for name, value in sound.items() if name != "data"}
    part = Audio(Source("data", sound["data"], mime), form, extras=extras)
    told = sound.get("transcript")
    return [Text(told), part] if notes.audio and type(told) is str and told else [part]


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
