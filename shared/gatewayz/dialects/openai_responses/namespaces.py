"""Tools in named groups, which only this protocol has: plain tools for every other target, and the
calls of them given back with their group's name.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.generation import FunctionTool, GenerationRequest, Tool
from gatewayz.dialects.openai_responses.wire import NAME
from gatewayz.dialects.parts import Message, Opaque, Part, ToolCall
from gatewayz.dialects.protocol import Reply

KIND = "namespace"
JOINT = "__"
# Name as it is sent → (group, name).
Spaces = Mapping[str, tuple[str, str]]


def flattened(request: GenerationRequest) -> GenerationRequest:
    """The request with every group opened; its history names the tools as they are sent."""
    if not any(isinstance(tool, Opaque) and tool.kind == KIND for tool in request.tools):
        return request
    tools: list[Tool] = []
    for tool in request.tools:
        tools += _opened(tool)
    return replace(request, tools=tuple(tools), messages=tuple(map(_renamed, request.messages)))


def _opened(tool: Tool) -> list[Tool]:
    inner = tool.raw.get("tools") if isinstance(tool, Opaque) and tool.kind == KIND else None
    if not isinstance(tool, Opaque) or type(inner) is not list:
        return [tool]
    group = str(tool.raw.get("name"))
    return [_member(group, held) for held in inner if type(held) is dict]


def _member(group: str, held: JsonObject) -> Tool:
    custom, name = held.get("type") == "custom", held.get("name")
    if type(name) is not str or (not custom and held.get("type") != "function"):
        return Opaque(NAME, held)
    parameters, strict = held.get("parameters"), held.get("strict")
    description = held.get("description")
    return FunctionTool(
        name=group + JOINT + name,
        description=description if type(description) is str else None,
        parameters=parameters if type(parameters) is dict and not custom else None,
        strict=strict if type(strict) is bool else None,
        custom=custom,
    )


def _renamed(message: Message) -> Message:
    if not any(isinstance(p, ToolCall) and KIND in p.extras for p in message.parts):
        return message
    return replace(message, parts=tuple(map(_joined, message.parts)))


def _joined(part: Part) -> Part:
    if not isinstance(part, ToolCall) or type(group := part.extras.get(KIND)) is not str:
        return part
    extras = {name: value for name, value in part.extras.items() if name != KIND}
    return replace(part, name=group + JOINT + part.name, extras=extras)


def spaces_of(reply: Reply) -> Spaces:
    """The groups of the request that is answered, from what its answer repeats of it."""
    echo: Any = getattr(reply, "echo", {})
    found: dict[str, tuple[str, str]] = {}
    for tool in echo.get("tools") or ():
        if type(tool) is dict and tool.get("type") == KIND:
            for held in tool.get("tools") or ():
                if type(held) is dict:
                    group, name = str(tool.get("name")), str(held.get("name"))
                    found[group + JOINT + name] = (group, name)
    return found
