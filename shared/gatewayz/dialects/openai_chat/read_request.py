"""A chat completion request → the internal form. Checks first what the pass-through checks too."""

from dataclasses import replace
from typing import Any

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
from gatewayz.dialects.openai_chat.read_message import (
    KNOWN,
    NAME,
    read_assistant,
    read_cache,
    read_content,
)
from gatewayz.dialects.openai_chat.request import ChatRequest
from gatewayz.dialects.openai_chat.request import decode_request as check_request
from gatewayz.dialects.parts import Message, Opaque, Part, ToolCall, ToolResult

_READ = frozenset(
    {
        "model", "messages", "tools", "functions", "function_call", "tool_choice",
        "parallel_tool_calls", "max_tokens", "max_completion_tokens", "temperature", "top_p",
        "top_k", "stop", "seed", "n", "presence_penalty", "frequency_penalty", "logit_bias",
        "logprobs", "top_logprobs", "response_format", "reasoning", "reasoning_effort",
        "include_reasoning", "verbosity", "stream", "stream_options", "user", "metadata",
        "service_tier", "cache_control", "prompt_cache_key",
    }
)  # fmt: skip
_MESSAGE_REST = KNOWN | {"cache_control"}


def decode_request(body: JsonObject) -> GenerationRequest:
    """InvalidRequest names the field that is wrong."""
    checked = check_request(body)
    return GenerationRequest(
        dialect=NAME,
        model=checked.model,
        messages=_read_messages(body["messages"]),
        tools=_read_tools(body),
        tool_choice=_read_choice(body),
        parallel_tools=body.get("parallel_tool_calls"),
        max_output_tokens=checked.max_output_tokens,
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        stop=_read_stop(body.get("stop")),
        seed=body.get("seed"),
        n=checked.n,
        presence_penalty=body.get("presence_penalty"),
        frequency_penalty=body.get("frequency_penalty"),
        logit_bias=body.get("logit_bias"),
        logprobs=body.get("logprobs"),
        top_logprobs=body.get("top_logprobs"),
        response_format=_read_format(body.get("response_format")),
        reasoning=_read_reasoning(body),
        verbosity=body.get("verbosity"),
        stream=checked.stream,
        include_usage=checked.include_usage,
        user=checked.user,
        session=checked.session_id,
        metadata=body.get("metadata"),
        service_tier=body.get("service_tier"),
        cache=read_cache(body, ""),
        cache_key=checks.text(body, "prompt_cache_key"),
        ignored=ignored(body),
        extras=_read_extras(body, checked),
    )


def _read_extras(body: JsonObject, checked: ChatRequest) -> JsonObject:
    extras = {
        name: value
        for name, value in body.items()
        if name not in _READ and value is not None and not stays_here(name)
    }
    # A plugin is a gateway's, but what it asks for is about the answer.
    plugins = [p for p in body.get("plugins") or () if p.get("enabled") is not False]
    if plugins:
        extras["plugins"] = plugins
    options = {k: v for k, v in (body.get("stream_options") or {}).items() if k != "include_usage"}
    return {**extras, "stream_options": options} if options and checked.stream else extras


def _read_stop(stop: Any) -> tuple[str, ...]:
    return (stop,) if type(stop) is str else tuple(stop or ())


def _read_messages(messages: list[JsonObject]) -> tuple[Message, ...]:
    out: list[Message] = []
    legacy_id = ""
    for position, message in enumerate(messages):
        where = f"messages[{position}]"
        role = message["role"]
        if role in ("tool", "function"):
            result = _read_result(message, where, legacy_id)
            before = out[-1] if out else None
            if before is not None and before.role == "tool":
                out[-1] = Message("tool", (*before.parts, result))
            else:
                out.append(Message("tool", (result,)))
            continue
        if role == "assistant":
            parts = read_assistant(message, where)
            if message.get("function_call") is not None:
                legacy_id = f"call_{position}"
                parts.append(_read_legacy_call(message, where, legacy_id))
            _number_calls(parts, position)
        else:
            parts = read_content(message.get("content"), where + ".content")
        name = checks.text(message, "name", where + ".")
        out.append(Message(role, tuple(parts), name, _message_extras(message)))
    return tuple(out)


def _message_extras(message: JsonObject) -> JsonObject:
    rest = checks.rest(message, _MESSAGE_REST)
    return {name: value for name, value in rest.items() if value not in ([], {}, "")}


def _number_calls(parts: list[Part], position: int) -> None:
    """Calls without an id get one that is the same in every turn of the conversation."""
    for index, part in enumerate(parts):
        if isinstance(part, ToolCall) and not part.id:
            parts[index] = replace(part, id=f"call_{position}_{index}")


def _read_result(message: JsonObject, where: str, legacy_id: str) -> ToolResult:
    call_id = checks.text(message, "tool_call_id", where + ".")
    if call_id is None:
        if message["role"] == "tool":
            raise wrong(where + ".tool_call_id", "must be a string")
        call_id = legacy_id or "call_0"
    parts = read_content(message.get("content"), where + ".content")
    name = checks.text(message, "name", where + ".")
    mark = read_cache(message, where + ".")
    return ToolResult(call_id, tuple(parts), name=name, cache=mark, extras=_message_extras(message))


def _read_legacy_call(message: JsonObject, where: str, call_id: str) -> ToolCall:
    call = checks.needed_table(message["function_call"], where + ".function_call")
    name = checks.needed_text(call, "name", where + ".function_call.")
    return ToolCall(call_id, name, checks.text(call, "arguments", where + ".function_call.") or "")


def _read_tools(body: JsonObject) -> tuple[Tool, ...]:
    tools = [_read_tool(tool, f"tools[{i}]") for i, tool in enumerate(body.get("tools") or ())]
    for index, function in enumerate(body.get("functions") or ()):
        where = f"functions[{index}]"
        tools.append(_read_function(checks.needed_table(function, where), where, {}))
    return tuple(tools)


def _read_tool(tool: JsonObject, where: str) -> Tool:
    kind = tool["type"]
    if kind == "function":
        function = checks.needed_table(tool.get("function"), where + ".function")
        return _read_function(function, where + ".function", tool)
    if kind == "custom":
        custom = checks.needed_table(tool.get("custom"), where + ".custom")
        return FunctionTool(
            name=checks.needed_text(custom, "name", where + ".custom."),
            description=checks.text(custom, "description", where + ".custom."),
            custom=True,
            extras=checks.rest(custom, frozenset({"name", "description"})),
        )
    return Opaque(NAME, tool)


def _read_function(function: JsonObject, where: str, tool: JsonObject) -> FunctionTool:
    dot = where + "."
    return FunctionTool(
        name=checks.needed_text(function, "name", dot),
        description=checks.text(function, "description", dot),
        parameters=checks.table(function, "parameters", dot),
        strict=checks.flag(function, "strict", dot),
        cache=read_cache(tool, dot),
        extras=checks.rest(function, frozenset({"name", "description", "parameters", "strict"})),
    )


def _read_choice(body: JsonObject) -> ToolChoice | None:
    choice = body.get("tool_choice")
    if choice is None:
        choice = body.get("function_call")
        if type(choice) is dict:
            choice = {"type": "function", "function": choice}
    match choice:
        case None:
            return None
        case "auto":
            return ToolChoice("auto")
        case "none":
            return ToolChoice("none")
        case "required" | "any":
            return ToolChoice("required")
        case {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": list(tools)}}:
            return ToolChoice("auto", tuple(map(_choice_name, tools)))
        case {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": list(tools)}}:
            return ToolChoice("required", tuple(map(_choice_name, tools)))
        case {"type": "function" | "custom"}:
            return ToolChoice("required", (_choice_name(choice),))
    raise wrong("tool_choice", "must be auto, none, required, a function or allowed_tools")


def _choice_name(choice: Any) -> str:
    inner = choice.get(choice.get("type")) if type(choice) is dict else None
    name = inner.get("name") if type(inner) is dict else None
    if type(name) is not str:
        raise wrong("tool_choice", "must name a function")
    return name


def _read_format(value: JsonObject | None) -> ResponseFormat | None:
    if value is None:
        return None
    kind = value.get("type")
    if kind == "json_schema":
        held = checks.needed_table(value.get("json_schema"), "response_format.json_schema")
        dot = "response_format.json_schema."
        return ResponseFormat(
            "json_schema",
            schema=checks.table(held, "schema", dot),
            name=checks.text(held, "name", dot),
            description=checks.text(held, "description", dot),
            strict=checks.flag(held, "strict", dot),
        )
    if kind in ("text", "json_object"):
        return ResponseFormat(kind)
    raise wrong("response_format.type", "must be text, json_object or json_schema")


def _read_reasoning(body: JsonObject) -> Reasoning | None:
    effort = body.get("reasoning_effort")
    held = checks.table(body, "reasoning") or {}
    if effort is None:
        effort = checks.text(held, "effort", "reasoning.")
    budget = checks.integer(held, "max_tokens", "reasoning.", low=1)
    enabled = checks.flag(held, "enabled", "reasoning.")
    show = checks.text(held, "summary", "reasoning.")
    hidden = checks.flag(held, "exclude", "reasoning.")
    if hidden or checks.flag(body, "include_reasoning") is False:
        show = OMITTED
    if enabled is None and effort is None and budget is None and show is None:
        return None
    mode = None if enabled is None else ("on" if enabled else "off")
    return Reasoning(effort, budget, mode, show)  # type: ignore[arg-type]
