"""Items → messages: turns of an assistant and of tools are put together, in the order they stand.

What the form has no name for stays whole, as a part that only this dialect knows.
"""

from dataclasses import replace
from typing import Any

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects import checks
from gatewayz.dialects.checks import wrong
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_responses.read_parts import (
    Signatures,
    read_content,
    read_reasoning,
)
from gatewayz.dialects.openai_responses.wire import FAMILY, NAME
from gatewayz.dialects.parts import (
    Image,
    Message,
    Opaque,
    Part,
    Role,
    Source,
    Text,
    ToolCall,
    ToolResult,
)

_ROLES: dict[str, Role] = {
    "user": "user",
    "assistant": "assistant",
    "system": "system",
    "developer": "developer",
}
_MESSAGE_KNOWN = frozenset({"type", "role", "content", "id", "status"})
_CALL_KNOWN = frozenset({"type", "id", "call_id", "name", "arguments", "input", "status"})
_RESULT_KNOWN = frozenset({"type", "id", "call_id", "name", "output", "status"})
_PICTURE_KNOWN = frozenset({"type", "status", "result", "output_format"})


def read_input(value: Any) -> tuple[Message, ...]:
    """The `input` of a request."""
    if type(value) is str:
        return (Message("user", (Text(value),)),)
    if type(value) is not list:
        raise wrong("input", "must be a string or an array of items")
    messages: list[Message] = []
    signatures: Signatures = {}
    for index, item in enumerate(value):
        where = f"input[{index}]"
        _add(messages, checks.needed_table(item, where), where, signatures)
    if not signatures:
        return tuple(messages)
    return tuple(sign(message, signatures) for message in messages)


def sign(message: Message, signatures: Signatures) -> Message:
    """The message with the signatures of its tool calls back in their places."""
    return replace(message, parts=tuple(_sign(part, signatures) for part in message.parts))


def _sign(part: Part, signatures: Signatures) -> Part:
    if not isinstance(part, ToolCall) or part.id not in signatures:
        return part
    origin, signature = signatures[part.id]
    return replace(part, signature=signature, origin=origin)


def _add(messages: list[Message], item: JsonObject, where: str, signatures: Signatures) -> None:
    kind = item.get("type")
    if kind in (None, "message"):
        role = _ROLES.get(item["role"]) if type(item.get("role")) is str else None
        if role is None:
            raise wrong(where + ".role", "must be user, assistant, system or developer")
        if role != "assistant":
            parts = read_content(item.get("content"), where + ".content")
            extras = checks.rest(item, _MESSAGE_KNOWN)
            messages.append(Message(role, tuple(parts), extras=extras))
            return
    if kind in ("function_call_output", "custom_tool_call_output"):
        _join(messages, "tool", [_read_result(item, where + ".")])
        return
    _join(messages, "assistant", read_item(item, where, signatures=signatures))


def _join(messages: list[Message], role: Role, parts: list[Part]) -> None:
    """Into the message before, if that is of the same role."""
    if not parts:
        return
    before = messages[-1] if messages else None
    if before is not None and before.role == role:
        messages[-1] = Message(role, (*before.parts, *parts))
    else:
        messages.append(Message(role, tuple(parts)))


def read_item(
    item: JsonObject, where: str, *, signatures: Signatures, family: str = FAMILY
) -> list[Part]:
    """The parts of something that an assistant said or did."""
    dot = where + "."
    match item.get("type"):
        case None | "message":
            return _read_message(item, dot)
        case "reasoning":
            part = read_reasoning(item, dot, family=family, signatures=signatures)
            return [] if part is None else [part]
        case "function_call" | "custom_tool_call":
            return [read_call(item, dot)]
        case "item_reference":
            raise InvalidRequest(
                "Items are not stored here, so they cannot be referred to: send the item itself.",
                param=where,
                code="unsupported_parameter",
            )
        case "image_generation_call":
            picture = read_picture(item)
            return [Opaque(NAME, item) if picture is None else picture]
        case kind if type(kind) is not str:
            raise wrong(dot + "type", "must be a string")
    return [Opaque(NAME, item)]


def _read_message(item: JsonObject, dot: str) -> list[Part]:
    parts = read_content(item.get("content"), dot + "content")
    rest = checks.rest(item, _MESSAGE_KNOWN)
    if not rest:
        return parts
    # A turn's items become one message, so what an item says of itself goes to its texts.
    return [replace(p, extras={**p.extras, **rest}) if isinstance(p, Text) else p for p in parts]


def read_call(item: JsonObject, dot: str) -> ToolCall:
    custom = item["type"] == "custom_tool_call"
    return ToolCall(
        id=checks.text(item, "call_id", dot) or checks.needed_text(item, "id", dot),
        name=checks.needed_text(item, "name", dot),
        arguments=checks.text(item, "input" if custom else "arguments", dot) or "",
        custom=custom,
        extras=checks.rest(item, _CALL_KNOWN),
    )


def read_picture(item: JsonObject) -> Image | None:
    """The picture an item holds; None when it holds none."""
    data = item.get("result")
    if type(data) is not str or not data:
        return None
    form = item.get("output_format")
    mime = f"image/{form}" if type(form) is str else "image/png"
    return Image(Source("data", data, mime), extras=checks.rest(item, _PICTURE_KNOWN))


def _read_result(item: JsonObject, dot: str) -> ToolResult:
    output = item.get("output")
    return ToolResult(
        checks.needed_text(item, "call_id", dot),
        () if output == "" else tuple(read_content(output, dot + "output")),
        name=checks.text(item, "name", dot),
        extras=checks.rest(item, _RESULT_KNOWN),
    )
