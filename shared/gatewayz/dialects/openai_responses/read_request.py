"""A Responses request → the internal form. Refuses what would need a store of ours."""

from typing import Any

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects import checks
from gatewayz.dialects.checks import wrong
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
from gatewayz.dialects.hidden import OMITTED
from gatewayz.dialects.openai_chat.request import MAX_USER_CHARS, TIERS
from gatewayz.dialects.openai_responses.read_items import read_input
from gatewayz.dialects.openai_responses.wire import LOGPROBS, NAME
from gatewayz.dialects.parts import Message, Opaque, Text

_READ = frozenset(
    {
        "model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls",
        "max_output_tokens", "temperature", "top_p", "top_logprobs", "text", "reasoning",
        "include", "stream", "stream_options", "user", "metadata", "service_tier",
        "prompt_cache_key", "store", "background", "previous_response_id", "conversation",
    }
)  # fmt: skip
_TEXT_READ = frozenset({"format", "verbosity"})
_REASONING_READ = frozenset({"effort", "summary", "generate_summary", "max_tokens", "enabled"})
_FUNCTION_READ = frozenset({"type", "name", "description", "parameters", "strict"})
_FORMAT_READ = frozenset({"type", "name", "schema", "strict", "description"})
MAX_TOP_LOGPROBS = 20
_NOT_STORED = "Responses are not stored here yet"


def decode_request(body: JsonObject) -> GenerationRequest:
    """InvalidRequest names the field that is wrong."""
    model = checks.text(body, "model")
    if not model:
        raise wrong("model", "must be a non-empty string")
    _refuse_state(body)
    include = checks.texts(body, "include", most=64)
    tier = checks.text(body, "service_tier")
    if tier is not None and tier not in TIERS:
        raise wrong("service_tier", f"must be one of {', '.join(TIERS)}")
    text = checks.table(body, "text") or {}
    stream = bool(checks.flag(body, "stream"))
    choice, odd_choice = _read_choice(body.get("tool_choice"))
    extras = _read_extras(body, stream=stream)
    if odd_choice is not None:
        extras["tool_choice"] = odd_choice
    if rest := [item for item in include if item != LOGPROBS]:
        extras["include"] = rest
    return GenerationRequest(
        dialect=NAME,
        model=model,
        messages=_read_messages(body),
        tools=_read_tools(body),
        tool_choice=choice,
        parallel_tools=checks.flag(body, "parallel_tool_calls"),
        max_output_tokens=checks.integer(body, "max_output_tokens", low=1),
        temperature=checks.number(body, "temperature", low=0, high=2),
        top_p=checks.number(body, "top_p", low=0, high=1),
        logprobs=True if LOGPROBS in include else None,
        top_logprobs=checks.integer(body, "top_logprobs", high=MAX_TOP_LOGPROBS),
        response_format=_read_format(checks.table(text, "format", "text.")),
        reasoning=_read_reasoning(checks.table(body, "reasoning") or {}),
        verbosity=checks.text(text, "verbosity", "text."),
        stream=stream,
        include_usage=True,
        user=checks.text(body, "user", most=MAX_USER_CHARS),
        session=checks.text(body, "session_id", most=256),
        metadata=checks.table(body, "metadata"),
        service_tier=tier,
        cache_key=checks.text(body, "prompt_cache_key"),
        ignored=ignored(body),
        extras=extras,
    )


def _refuse_state(body: JsonObject) -> None:
    """What asks us to keep or to find something that we do not keep."""
    if checks.flag(body, "store"):
        raise _stateless("store", f"{_NOT_STORED}: leave 'store' out or send false.")
    if body.get("previous_response_id") is not None:
        words = f"{_NOT_STORED}: send the earlier items in 'input' again."
        raise _stateless("previous_response_id", words)
    if body.get("conversation") is not None:
        words = f"{_NOT_STORED}, nor are conversations: send the earlier items in 'input' again."
        raise _stateless("conversation", words)
    if checks.flag(body, "background"):
        raise _stateless("background", f"{_NOT_STORED}, so none can be made in the background.")
    if body.get("prompt") is not None:
        raise _stateless("prompt", "Stored prompts are not supported: send the prompt itself.")


def _stateless(param: str, words: str) -> InvalidRequest:
    return InvalidRequest(words, param=param, code="unsupported_parameter")


def _read_extras(body: JsonObject, *, stream: bool) -> JsonObject:
    extras = {
        name: value
        for name, value in body.items()
        if name not in _READ and value is not None and not stays_here(name)
    }
    checks.text(body, "safety_identifier")
    if checks.text(body, "truncation") == "disabled":  # as everywhere
        del extras["truncation"]
    for name, known in (("text", _TEXT_READ), ("reasoning", _REASONING_READ)):
        if rest := checks.rest(checks.table(body, name) or {}, known):
            extras[name] = rest
    if options := checks.table(body, "stream_options"):
        extras.update({"stream_options": options} if stream else {})
    return extras


def _read_messages(body: JsonObject) -> tuple[Message, ...]:
    instructions = checks.text(body, "instructions")
    if body.get("input") is None and instructions is None:
        raise wrong("input", "must be a string or an array of items")
    given = read_input([] if body.get("input") is None else body["input"])
    if instructions:
        return (Message("system", (Text(instructions),)), *given)
    if not given:
        raise wrong("input", "must not be empty")
    return given


def _read_tools(body: JsonObject) -> tuple[Tool, ...]:
    tools = checks.array(body, "tools") or []
    return tuple(_read_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))


def _read_tool(value: Any, where: str) -> Tool:
    tool = checks.needed_table(value, where)
    dot = where + "."
    kind = checks.needed_text(tool, "type", dot)
    if kind not in ("function", "custom"):
        return Opaque(NAME, tool)
    return FunctionTool(
        name=checks.needed_text(tool, "name", dot),
        description=checks.text(tool, "description", dot),
        parameters=checks.table(tool, "parameters", dot) if kind == "function" else None,
        strict=checks.flag(tool, "strict", dot),
        custom=kind == "custom",
        extras=checks.rest(tool, _FUNCTION_READ),
    )


def _read_choice(choice: Any) -> tuple[ToolChoice | None, Any]:
    """The choice, or what only this dialect can choose."""
    match choice:
        case None:
            return None, None
        case "auto" | "none" | "required":
            return ToolChoice(choice), None
        case {"type": "function" | "custom", "name": str(name)}:
            return ToolChoice("required", (name,)), None
        case {"type": "allowed_tools", "mode": "auto" | "required" as mode, "tools": list(tools)}:
            names = [_allowed_name(tool) for tool in tools]
            if None not in names:
                return ToolChoice(mode, tuple(map(str, names))), None
            return None, choice
        case {"type": str(kind)} if kind not in ("function", "custom", "allowed_tools"):
            return None, choice
    raise wrong("tool_choice", "must be auto, none, required, a tool or allowed_tools")


def _allowed_name(tool: Any) -> str | None:
    """The name of a function in a list of allowed tools; None for any other tool."""
    match tool:
        case {"type": "function" | "custom", "name": str(name)}:
            return name
    return None


def _read_format(value: JsonObject | None) -> ResponseFormat | None:
    if value is None:
        return None
    dot = "text.format."
    match value.get("type"):
        case "text" | "json_object" as kind:
            return ResponseFormat(kind)
        case "json_schema":
            if rest := checks.rest(value, _FORMAT_READ):
                raise wrong(dot + next(iter(rest)), "is not known")
            return ResponseFormat(
                "json_schema",
                schema=checks.table(value, "schema", dot),
                name=checks.text(value, "name", dot),
                description=checks.text(value, "description", dot),
                strict=checks.flag(value, "strict", dot),
            )
    raise wrong("text.format.type", "must be text, json_object or json_schema")


def _read_reasoning(held: JsonObject) -> Reasoning | None:
    dot = "reasoning."
    effort = checks.text(held, "effort", dot)
    show = checks.text(held, "summary", dot) or checks.text(held, "generate_summary", dot)
    budget = checks.integer(held, "max_tokens", dot, low=1)
    enabled = checks.flag(held, "enabled", dot)
    if checks.flag(held, "exclude", dot):
        show = OMITTED
    if effort is None and show is None and budget is None and enabled is None:
        return None
    if enabled is None:
        return Reasoning(effort, budget, None, show)
    return Reasoning(effort, budget, "on" if enabled else "off", show)
