"""A Messages request → the internal form. Every known field is checked, unknown ones travel."""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects import checks
from gatewayz.dialects.anthropic.read_blocks import read_cache, read_content
from gatewayz.dialects.anthropic.wire import FAMILY, NAME, caller_headers
from gatewayz.dialects.checks import MAX_TOKENS_LIMIT, wrong
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.gateway_fields import ignored, stays_here
from gatewayz.dialects.generation import (
    FunctionTool,
    GenerationRequest,
    Reasoning,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from gatewayz.dialects.parts import Message, Opaque, Part, Role, ToolResult

MAX_STOPS = 8192
_ROLES = ("user", "assistant", "system")
_READ = frozenset(
    {
        "model", "messages", "system", "max_tokens", "temperature", "top_p", "top_k", "tools",
        "stop_sequences", "stream", "tool_choice", "thinking", "metadata", "service_tier",
        "output_config", "cache_control",
    }
)  # fmt: skip


def decode_request(
    body: JsonObject, headers: Mapping[str, str], *, counting: bool = False
) -> GenerationRequest:
    """InvalidRequest names the field that is wrong. `counting`: only tokens are to be counted,
    so that a limit need not be there."""
    model = checks.needed_text(body, "model")
    if not model:
        raise wrong("model", "must be a non-empty string")
    limit = checks.integer(body, "max_tokens", low=1, high=MAX_TOKENS_LIMIT)
    if limit is None and not counting:
        raise wrong("max_tokens", "must be an integer")
    choice, parallel = _read_choice(checks.table(body, "tool_choice"))
    config = checks.table(body, "output_config") or {}
    metadata = checks.table(body, "metadata") or {}
    session = checks.text(body, "session_id", most=256)
    return GenerationRequest(
        dialect=NAME,
        model=model,
        messages=(*_read_system(body.get("system")), *_read_messages(body.get("messages"))),
        tools=_read_tools(checks.array(body, "tools") or []),
        tool_choice=choice,
        parallel_tools=parallel,
        max_output_tokens=limit,
        temperature=checks.number(body, "temperature", low=0, high=1),
        top_p=checks.number(body, "top_p", low=0, high=1),
        top_k=checks.integer(body, "top_k"),
        stop=checks.texts(body, "stop_sequences", most=MAX_STOPS),
        response_format=_read_format(checks.table(config, "format", "output_config.")),
        reasoning=_read_reasoning(checks.table(body, "thinking"), config),
        stream=bool(checks.flag(body, "stream")),
        include_usage=True,
        user=checks.text(metadata, "user_id", "metadata.", most=512),
        session=session,
        metadata={k: v for k, v in metadata.items() if k != "user_id"} or None,
        service_tier=checks.text(body, "service_tier", most=64),
        cache=read_cache(body, ""),
        headers=caller_headers(headers),
        ignored=ignored(body),
        extras=_read_extras(body, config),
    )


def _read_extras(body: JsonObject, config: JsonObject) -> JsonObject:
    extras = {
        name: value for name, value in checks.rest(body, _READ).items() if not stays_here(name)
    }
    more = checks.rest(config, frozenset({"effort", "format"}))
    return {**extras, "output_config": more} if more else extras


def _read_system(system: Any) -> tuple[Message, ...]:
    if system is None:
        return ()
    parts = read_content(system, "system", family=FAMILY)
    return (Message("system", tuple(parts)),) if parts else ()


def _read_messages(messages: Any) -> tuple[Message, ...]:
    if type(messages) is not list or not messages:
        raise wrong("messages", "must be a non-empty array")
    out: list[Message] = []
    for position, value in enumerate(messages):
        where = f"messages[{position}]"
        message = checks.needed_table(value, where)
        role = message.get("role")
        if type(role) is not str or role not in _ROLES:
            raise wrong(where + ".role", "must be user or assistant")
        parts = read_content(message.get("content"), where + ".content", family=FAMILY)
        extras = checks.rest(message, frozenset({"role", "content"}))
        if role == "user":
            out += _read_user(parts, extras)
        else:
            named: Role = "assistant" if role == "assistant" else "system"
            out.append(Message(named, tuple(parts), extras=extras))
    return tuple(out)


def _read_user(parts: list[Part], extras: JsonObject) -> list[Message]:
    """Tool results first, in a message of their own, then what the user said."""
    results = tuple(p for p in parts if isinstance(p, ToolResult))
    said = tuple(p for p in parts if not isinstance(p, ToolResult))
    out = [Message("tool", results)] if results else []
    if said or not results:
        out.append(Message("user", said, extras=extras))
    return out


def _read_tools(tools: list[Any]) -> tuple[Tool, ...]:
    return tuple(_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))


def _read_tool(value: Any, where: str) -> Tool:
    tool, dot = checks.needed_table(value, where), where + "."
    kind = checks.text(tool, "type", dot)
    if kind is not None and kind != "custom":
        return Opaque(NAME, tool)
    known = frozenset({"type", "name", "description", "input_schema", "strict", "cache_control"})
    return FunctionTool(
        name=checks.needed_text(tool, "name", dot),
        description=checks.text(tool, "description", dot),
        parameters=checks.needed_table(tool.get("input_schema"), dot + "input_schema"),
        strict=checks.flag(tool, "strict", dot),
        cache=read_cache(tool, dot),
        extras=checks.rest(tool, known),
    )


def _read_choice(choice: JsonObject | None) -> tuple[ToolChoice | None, bool | None]:
    if choice is None:
        return None, None
    disabled = checks.flag(choice, "disable_parallel_tool_use", "tool_choice.")
    parallel = None if disabled is None else not disabled
    match choice.get("type"):
        case "auto":
            return ToolChoice("auto"), parallel
        case "none":
            return ToolChoice("none"), parallel
        case "any":
            return ToolChoice("required"), parallel
        case "tool":
            name = checks.needed_text(choice, "name", "tool_choice.")
            return ToolChoice("required", (name,)), parallel
    raise wrong("tool_choice.type", "must be auto, any, tool or none")


def _read_format(value: JsonObject | None) -> ResponseFormat | None:
    if value is None:
        return None
    if value.get("type") != "json_schema":
        raise wrong("output_config.format.type", "must be json_schema")
    schema = checks.needed_table(value.get("schema"), "output_config.format.schema")
    return ResponseFormat("json_schema", schema=schema)


def _read_reasoning(thinking: JsonObject | None, config: JsonObject) -> Reasoning | None:
    effort = checks.text(config, "effort", "output_config.")
    if thinking is None:
        return None if effort is None else Reasoning(effort)
    show = checks.text(thinking, "display", "thinking.")
    match thinking.get("type"):
        case "enabled":
            budget = checks.integer(thinking, "budget_tokens", "thinking.", low=1)
            return Reasoning(effort, budget, "on", show)
        case "adaptive":
            return Reasoning(effort, None, "adaptive", show)
        case "disabled":
            return Reasoning(effort, None, "off", show)
    raise wrong("thinking.type", "must be enabled, adaptive or disabled")
