"""A provider's whole Cohere chat answer → the internal form."""

from typing import Any

import orjson

from gatewayz.core.errors import UpstreamBroken
from gatewayz.dialects.cohere.citations import is_in_text, read_citation
from gatewayz.dialects.cohere.errors import decode_error_object, decode_failed_finish
from gatewayz.dialects.cohere.usage import read_counts
from gatewayz.dialects.cohere.wire import FAILED_FINISHES, NAME, read_finish, read_logprobs
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import Choice, Generation
from gatewayz.dialects.parts import Citation, Opaque, Part, Text, Thinking, ToolCall
from gatewayz.dialects.protocol import Notes

NO_MESSAGE = "The provider's answer is no message."
_READ = frozenset({"id", "message", "finish_reason", "usage", "logprobs"})


def read_generation(raw: bytes, target: Target, notes: Notes) -> Generation:
    """UpstreamBroken for what is no answer; the failure's own class where one ended it."""
    try:
        body = orjson.loads(raw)
        reason = body.get("finish_reason")
        if reason in FAILED_FINISHES:
            raise decode_failed_finish(target, reason, body)
        if type(body.get("message")) is str:
            raise decode_error_object(target, body)
        parts = _read_parts(body["message"], notes)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
        raise UpstreamBroken(NO_MESSAGE, provider=target.provider) from None
    called = any(isinstance(part, ToolCall) for part in parts)
    usage, raw_usage = read_counts(body.get("usage"))
    native = body.get("id")
    choice = Choice(parts, read_finish(reason, called_tools=called), _logprobs(body))
    return Generation(
        dialect=NAME,
        choices=(choice,),
        id=native if type(native) is str else None,
        usage=usage,
        raw_usage=raw_usage,
        extras={k: v for k, v in body.items() if k not in _READ and v is not None},
    )


def _read_parts(message: JsonObject, notes: Notes) -> tuple[Part, ...]:
    parts: list[Part] = []
    if plan := message.get("tool_plan"):
        parts.append(Thinking(words(plan), origin=NAME))
    content = message.get("content") or ()
    items = [{"type": "text", "text": content}] if type(content) is str else content
    cited = _citations(message, items)
    for index, item in enumerate(items):
        match item:
            case {"type": "text", "text": str(text)}:
                if text:
                    parts.append(Text(text, tuple(cited.get(index, ()))))
            case {"type": "thinking", "thinking": str(text)}:
                if text:
                    parts.append(Thinking(text, origin=NAME))
            case dict():
                parts.append(Opaque(NAME, item))
            case _:
                raise TypeError
    for call in message.get("tool_calls") or ():
        function = call["function"]
        arguments = words(function.get("arguments") or "")
        parts.append(read_call(call, notes, arguments))
    return tuple(parts)


def read_call(call: JsonObject, notes: Notes, arguments: str = "") -> ToolCall:
    name = words(call["function"]["name"])
    return ToolCall(words(call["id"]), notes.names.get(name, name), arguments)


def _citations(message: JsonObject, items: Any) -> dict[int, list[Citation]]:
    """By the number of the content item whose text they belong to."""
    texts = [i for i, item in enumerate(items) if item["type"] == "text"]
    found: dict[int, list[Citation]] = {}
    for item in message.get("citations") or ():
        index = item.get("content_index", texts[0] if texts else None)
        if is_in_text(item) and index in texts:
            found.setdefault(index, []).append(read_citation(item))
    return found


def _logprobs(body: JsonObject) -> JsonObject | None:
    items = body.get("logprobs")
    if type(items) is not list or not items:
        return None
    return {"content": [found for item in items if (found := read_logprobs(item))]}


def words(value: Any) -> str:
    """TypeError for what is no text."""
    if type(value) is not str:
        raise TypeError
    return value
