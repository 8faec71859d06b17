"""Departures of OpenAI-compatible providers in what they take: one flag, one implementation each.

A flag stands in a provider's row or one of its variants. Works on the finished body and never
changes what the caller handed in. No flag means one brand.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from gatewayz.dialects.form import JsonObject

SHORT_CALL_IDS = "short_call_ids"  # takes ids of tool calls of nine letters and digits only
NO_NAMES = "no_names"  # refuses `name` in messages
NAMED_TOOL_ALONE = "named_tool_alone"  # refuses a tool choice that is an object
PLAIN_SCHEMAS = "plain_schemas"  # refuses words about a schema within one

_SHORT_ID_CHARS = 9
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ABOUT_SCHEMAS = ("$schema", "$id", "$comment")


def short_id(call_id: str) -> str:
    """Nine letters and digits; the same for the same id in every turn, itself if it is short."""
    if len(call_id) == _SHORT_ID_CHARS and call_id.isascii() and call_id.isalnum():
        return call_id
    number = int.from_bytes(hashlib.blake2s(call_id.encode("utf-8", "replace")).digest()[:8])
    made = []
    for _ in range(_SHORT_ID_CHARS):
        number, rest = divmod(number, len(_LETTERS))
        made.append(_LETTERS[rest])
    return "".join(made)


def _shorten_ids(body: JsonObject, _: list[str]) -> None:
    _change_messages(body, _with_short_ids)


def _with_short_ids(message: JsonObject) -> JsonObject:
    call_id, calls = message.get("tool_call_id"), message.get("tool_calls")
    changed: JsonObject = {}
    if type(call_id) is str:
        changed["tool_call_id"] = short_id(call_id)
    if type(calls) is list:
        changed["tool_calls"] = [_with_short_id(call) for call in calls]
    return {**message, **changed} if changed else message


def _with_short_id(call: Any) -> Any:
    if type(call) is not dict or type(call.get("id")) is not str:
        return call
    return {**call, "id": short_id(call["id"])}


def _leave_names(body: JsonObject, lost: list[str]) -> None:
    messages = body.get("messages")
    if type(messages) is list and any(type(m) is dict and "name" in m for m in messages):
        _change_messages(body, _without_name)
        lost.append("messages.name")


def _without_name(message: JsonObject) -> JsonObject:
    if "name" not in message:
        return message
    return {name: value for name, value in message.items() if name != "name"}


def _change_messages(body: JsonObject, change: Callable[[JsonObject], JsonObject]) -> None:
    messages = body.get("messages")
    if type(messages) is list:
        body["messages"] = [change(m) if type(m) is dict else m for m in messages]


def _send_named_tool_alone(body: JsonObject, _: list[str]) -> None:
    """A choice of one function is made by sending only that one."""
    choice, tools = body.get("tool_choice"), body.get("tools")
    if type(choice) is not dict or type(tools) is not list:
        return
    function = choice.get("function")
    wanted = function.get("name") if type(function) is dict else None
    alone = [tool for tool in tools if _name_of(tool) == wanted]
    if wanted is not None and alone:
        body["tools"], body["tool_choice"] = alone, "required"


def _name_of(tool: Any) -> Any:
    function = tool.get("function") if type(tool) is dict else None
    return function.get("name") if type(function) is dict else None


def _clean_schemas(body: JsonObject, _: list[str]) -> None:
    for name in ("tools", "response_format"):
        if name in body:
            body[name] = _cleaned(body[name])


def _cleaned(value: Any) -> Any:
    if type(value) is list:
        return [_cleaned(item) for item in value]
    if type(value) is not dict:
        return value
    # Below `properties` such a word is a field of the caller's own.
    return {
        name: _fields_cleaned(inner) if name == "properties" else _cleaned(inner)
        for name, inner in value.items()
        if name not in _ABOUT_SCHEMAS
    }


def _fields_cleaned(fields: Any) -> Any:
    if type(fields) is not dict:
        return _cleaned(fields)
    return {name: _cleaned(inner) for name, inner in fields.items()}


_CHANGES: Mapping[str, Callable[[JsonObject, list[str]], None]] = {
    SHORT_CALL_IDS: _shorten_ids,
    NO_NAMES: _leave_names,
    NAMED_TOOL_ALONE: _send_named_tool_alone,
    PLAIN_SCHEMAS: _clean_schemas,
}
QUIRKS = frozenset(_CHANGES)


def apply_quirks(body: JsonObject, quirks: frozenset[str]) -> tuple[str, ...]:
    """Change the top level of `body` in place; what lies below it is copied where it changes. The
    caller's names of what is not sent."""
    lost: list[str] = []
    for name in sorted(quirks & QUIRKS):
        _CHANGES[name](body, lost)
    return tuple(lost)
