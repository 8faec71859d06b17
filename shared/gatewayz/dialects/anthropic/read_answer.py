"""A provider's whole message → the internal form."""

from typing import Any

import orjson

from gatewayz.core.errors import InvalidRequest, UpstreamBroken
from gatewayz.dialects.anthropic.errors import decode_error_event
from gatewayz.dialects.anthropic.read_blocks import read_content
from gatewayz.dialects.anthropic.usage import read_usage
from gatewayz.dialects.anthropic.wire import FAMILY, NAME, read_stop
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import Choice, Finish, Generation
from gatewayz.dialects.openai_chat.errors import refuses
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.parts import Part, Text, ToolCall
from gatewayz.dialects.protocol import Notes

NO_MESSAGE = "The provider's answer is no message."
_READ = frozenset(
    {"id", "type", "role", "model", "content", "usage"}
    | {"stop_reason", "stop_sequence", "stop_details"}
)


def parse_message(raw: bytes, target: Target) -> JsonObject:
    """The body of an answer that is a message; UpstreamBroken for anything else."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise UpstreamBroken(NO_MESSAGE, provider=target.provider) from None
    if type(body) is not dict:
        raise UpstreamBroken(NO_MESSAGE, provider=target.provider)
    if body.get("type") == "error" or refuses(body):
        raise decode_error_event(target, body)
    if type(body.get("content")) is not list:
        raise UpstreamBroken(NO_MESSAGE, provider=target.provider)
    return body


def read_generation(raw: bytes, target: Target, notes: Notes) -> Generation:
    body = parse_message(raw, target)
    try:
        parts = read_content(body["content"], "content", family=target.family or FAMILY)
    except (InvalidRequest, TypeError, AttributeError, KeyError):
        # What is wrong in a caller's block is as wrong in a provider's.
        raise UpstreamBroken(NO_MESSAGE, provider=target.provider) from None
    raw_usage = body.get("usage")
    raw_usage = raw_usage if type(raw_usage) is dict and raw_usage else None
    try:
        usage = read_usage(raw_usage)
    except InvalidUsage:
        usage = None
    finish = read_stop(body.get("stop_reason"), body.get("stop_sequence"), body.get("stop_details"))
    native, model = body.get("id"), body.get("model")
    choice = Choice(tuple(restore(p, notes) for p in parts), restore_finish(finish, notes))
    return Generation(
        dialect=NAME,
        choices=(choice,),
        id=native if type(native) is str else None,
        model=model if type(model) is str else None,
        usage=usage,
        raw_usage=raw_usage,
        extras={k: v for k, v in body.items() if k not in _READ and v is not None},
    )


def restore(part: Part, notes: Notes) -> Any:
    """A part as the caller knows it: its own tool names, its own form of structured output."""
    if not isinstance(part, ToolCall):
        return part
    if part.name == notes.json_tool:
        return Text(part.arguments)
    name = notes.names.get(part.name)
    if name is None:
        return part
    return ToolCall(part.id, name, part.arguments, extras=part.extras)


def restore_finish(finish: Finish | None, notes: Notes) -> Finish | None:
    if finish is None or notes.json_tool is None or finish.reason != "tool_calls":
        return finish
    return Finish("stop", finish.native)
