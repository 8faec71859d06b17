"""Tools whose input is free text, for targets whose tools take JSON only.

Going there, such a tool becomes one with a single text field; coming back, that field's value is
the input again. Works on the form, so that every dialect may use it.
"""

from collections.abc import Collection
from dataclasses import replace

import orjson

from gatewayz.dialects.events import ArgumentsDelta, BlockStart, BlockStop, Event
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.generation import FunctionTool, Generation, GenerationRequest, Tool
from gatewayz.dialects.parts import Message, Part, ToolCall

FIELD = "input"
PARAMETERS: JsonObject = {
    "type": "object",
    "properties": {FIELD: {"type": "string"}},
    "required": [FIELD],
}


def as_functions(request: GenerationRequest) -> tuple[GenerationRequest, frozenset[str]]:
    """The request without such tools, and the names of those that were replaced."""
    names = frozenset(t.name for t in request.tools if isinstance(t, FunctionTool) and t.custom)
    called = any(_is_custom(part) for message in request.messages for part in message.parts)
    if not names and not called:
        return request, names
    messages = tuple(
        Message(m.role, tuple(map(_wrap, m.parts)), m.name, m.extras) for m in request.messages
    )
    tools = tuple(map(_as_function, request.tools))
    return replace(request, messages=messages, tools=tools), names


def _is_custom(part: Part) -> bool:
    return isinstance(part, ToolCall) and part.custom


def _wrap(part: Part) -> Part:
    if not isinstance(part, ToolCall) or not part.custom:
        return part
    text = orjson.dumps({FIELD: part.arguments}).decode()
    return replace(part, arguments=text, custom=False)


def _as_function(tool: Tool) -> Tool:
    if not isinstance(tool, FunctionTool) or not tool.custom:
        return tool
    described = tool.description
    grammar = tool.extras.get("format")
    if grammar is not None:
        # The form of the text cannot be enforced here, but it can be told.
        told = orjson.dumps(grammar).decode()
        described = f"{described or ''}\nFormat of the input: {told}".strip()
    return FunctionTool(tool.name, described, PARAMETERS, cache=tool.cache)


def _unwrap(arguments: str) -> str | None:
    """The text a model gave; None when it did not keep to the one field."""
    try:
        given = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return None
    text = given.get(FIELD) if type(given) is dict else None
    return text if type(text) is str else None


def restore(generation: Generation, names: Collection[str]) -> Generation:
    """An answer as the caller asked for it."""
    if not names:
        return generation
    choices = tuple(
        replace(choice, parts=tuple(_restored(part, names) for part in choice.parts))
        for choice in generation.choices
    )
    return replace(generation, choices=choices)


def _restored(part: Part, names: Collection[str]) -> Part:
    if not isinstance(part, ToolCall) or part.name not in names:
        return part
    text = _unwrap(part.arguments)
    return replace(part, arguments=part.arguments if text is None else text, custom=True)


class Restorer:
    """The same for a stream: holds the input of such a call back until it is whole."""

    __slots__ = ("_held", "_names")

    def __init__(self, names: Collection[str]) -> None:
        self._names = names
        self._held: dict[int, list[str]] = {}  # by choice

    def take(self, events: list[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case BlockStart(_, ToolCall() as call) if call.name in self._names:
                    self._held[event.choice] = [call.arguments]
                    opened = replace(call, arguments="", custom=True)
                    out.append(BlockStart(event.index, opened, event.choice))
                    continue
                case ArgumentsDelta() if event.choice in self._held:
                    self._held[event.choice].append(event.text)
                    continue
                case BlockStop() if event.choice in self._held:
                    given = "".join(self._held.pop(event.choice))
                    text = _unwrap(given)
                    whole = given if text is None else text
                    out.append(ArgumentsDelta(event.index, whole, event.choice))
            out.append(event)
        return out
