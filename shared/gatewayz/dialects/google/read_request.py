"""A generateContent request → the internal form. Every known field is checked, unknown ones travel.

`model` and `stream` stand in the body as wire.Call puts them there, since clients say both in the
path. Extras of inner objects have their path as name: "generationConfig.speechConfig".
"""

from dataclasses import replace
from typing import Any

from gatewayz.dialects import checks
from gatewayz.dialects.checks import MAX_TOKENS_LIMIT, wrong
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.generation import (
    ChoiceMode,
    FunctionTool,
    GenerationRequest,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from gatewayz.dialects.google.read_parts import read_part
from gatewayz.dialects.google.schema import to_json_schema
from gatewayz.dialects.google.thinking import read_thinking
from gatewayz.dialects.google.wire import NAME, belongs_here, camel, ignored_of, items
from gatewayz.dialects.openai_chat.request import TIERS
from gatewayz.dialects.parts import Message, Opaque, Part, Text, Thinking, ToolCall, ToolResult

CONFIG = "generationConfig."
TOOL_CONFIG = "toolConfig."
MAX_CHOICES = 8
_ROLES = ("user", "model", "function")
_READ = frozenset({"model", "stream", "contents", "systemInstruction", "tools", "toolConfig",
                   "generationConfig", "serviceTier"})  # fmt: skip
_READ_CONFIG = frozenset(
    {
        "temperature", "topP", "topK", "candidateCount", "maxOutputTokens", "stopSequences",
        "seed", "presencePenalty", "frequencyPenalty", "responseLogprobs", "logprobs",
        "thinkingConfig",
    }
)  # fmt: skip
_FORMAT_FIELDS = ("responseMimeType", "responseSchema", "responseJsonSchema")
_FUNCTION = frozenset({"name", "description", "parameters", "parametersJsonSchema"})
_MODES: tuple[str, ...] = ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED")
_CHOICES: dict[str, ChoiceMode] = {"ANY": "required", "NONE": "none"}
_PLAIN_TIERS = (*TIERS, "standard", "unspecified")


def decode_request(body: JsonObject) -> GenerationRequest:
    """InvalidRequest names the field that is wrong."""
    body = camel(body)
    model = checks.needed_text(body, "model").removeprefix("models/")
    if not model:
        raise wrong("model", "must be a non-empty string")
    config = camel(checks.table(body, "generationConfig") or {}, CONFIG)
    form, plain = _read_format(config)
    reasoning, thoughts = read_thinking(checks.table(config, "thinkingConfig", CONFIG))
    choice, held = _read_choice(checks.table(body, "toolConfig"))
    extras = _read_extras(body, config, plain)
    extras |= {f"{CONFIG}thinkingConfig": thoughts} if thoughts else {}
    extras |= {TOOL_CONFIG + name: value for name, value in held.items()}
    return GenerationRequest(
        dialect=NAME,
        model=model,
        messages=(*_read_system(body), *_read_contents(items(body.get("contents")))),
        tools=_read_tools(items(body.get("tools"))),
        tool_choice=choice,
        max_output_tokens=checks.integer(
            config, "maxOutputTokens", CONFIG, low=1, high=MAX_TOKENS_LIMIT
        ),
        temperature=checks.number(config, "temperature", CONFIG, low=0, high=2),
        top_p=checks.number(config, "topP", CONFIG, low=0, high=1),
        top_k=_read_top_k(config),
        stop=checks.texts(config, "stopSequences", CONFIG),
        seed=checks.integer(config, "seed", CONFIG, low=-(2**63), high=2**63 - 1),
        n=checks.integer(config, "candidateCount", CONFIG, low=1, high=MAX_CHOICES) or 1,
        presence_penalty=checks.number(config, "presencePenalty", CONFIG, low=-2, high=2),
        frequency_penalty=checks.number(config, "frequencyPenalty", CONFIG, low=-2, high=2),
        logprobs=checks.flag(config, "responseLogprobs", CONFIG),
        top_logprobs=checks.integer(config, "logprobs", CONFIG, high=20),
        response_format=form,
        reasoning=reasoning,
        stream=bool(checks.flag(body, "stream")),
        include_usage=True,
        session=checks.text(body, "sessionId", most=256),
        service_tier=_read_tier(body),
        ignored=ignored_of(body),
        extras=extras,
    )


def _read_top_k(config: JsonObject) -> int | None:
    value = config.get("topK")
    if type(value) is float and value.is_integer():
        config = {"topK": int(value)}  # its own clients hold it as a float
    return checks.integer(config, "topK", CONFIG)


def _read_tier(body: JsonObject) -> str | None:
    tier = checks.text(body, "serviceTier", most=64)
    # Other tiers have other prices, which no offer states: served, they would be billed wrong.
    if tier is not None and tier.lower().rpartition("service_tier_")[2] not in _PLAIN_TIERS:
        raise wrong("serviceTier", "must be standard")
    return tier


def _read_extras(body: JsonObject, config: JsonObject, plain: frozenset[str]) -> JsonObject:
    extras = {
        name: value for name, value in checks.rest(body, _READ).items() if not belongs_here(name)
    }
    for name, value in checks.rest(config, _READ_CONFIG | plain).items():
        if name == "responseModalities" and _is_text_only(value):
            continue  # what every answer is
        extras[CONFIG + name] = value
    return extras


def _is_text_only(value: Any) -> bool:
    return type(value) is list and [str(item).upper() for item in value] == ["TEXT"]


def _read_format(config: JsonObject) -> tuple[ResponseFormat | None, frozenset[str]]:
    """The format, and the fields that it says all of."""
    mime = checks.text(config, "responseMimeType", CONFIG)
    schema = checks.table(config, "responseJsonSchema", CONFIG)
    older = checks.table(config, "responseSchema", CONFIG)
    if schema is None and older is not None:
        schema = to_json_schema(older)
    fields = frozenset(_FORMAT_FIELDS)
    if mime == "application/json" or (mime is None and schema is not None):
        kind = ResponseFormat("json_object" if schema is None else "json_schema", schema=schema)
        return kind, fields
    if mime in ("text/plain", "", None) and schema is None:
        return (ResponseFormat("text") if mime == "text/plain" else None), fields
    return None, frozenset()


# ---------------------------------------------------------------------- contents


def _read_system(body: JsonObject) -> tuple[Message, ...]:
    value = body.get("systemInstruction")
    if value is None:
        return ()
    if type(value) is str:
        return (Message("system", (Text(value),)),)
    parts, extras = _read_content(value, "systemInstruction")
    return (Message("system", parts, extras=extras),) if parts else ()


def _read_content(value: Any, where: str) -> tuple[tuple[Part, ...], JsonObject]:
    content = camel(checks.needed_table(value, where), where + ".")
    parts = items(content.get("parts"))
    if type(parts) is not list:
        raise wrong(where + ".parts", "must be an array")
    read = [read_part(p, f"{where}.parts[{i}]") for i, p in enumerate(parts)]
    return tuple(read), checks.rest(content, frozenset({"role", "parts"}))


def _read_contents(contents: Any) -> tuple[Message, ...]:
    if type(contents) is not list or not contents:
        raise wrong("contents", "must be a non-empty array")
    reader = _Conversation()
    for position, value in enumerate(contents):
        where = f"contents[{position}]"
        role = checks.needed_table(value, where).get("role")
        if role is not None and role not in _ROLES:
            raise wrong(where + ".role", "must be user or model")
        parts, extras = _read_content(value, where)
        if role == "model":
            reader.answer(parts, extras, position)
        else:
            reader.user(parts, extras)
    return tuple(reader.messages)


class _Conversation:
    """Gives calls the ids they lack, the same in every turn, and finds them for their results."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._open: list[ToolCall] = []  # calls without a result so far

    def answer(self, parts: tuple[Part, ...], extras: JsonObject, position: int) -> None:
        """Clients keep a streamed answer as one content a chunk: they are one message again."""
        numbered = [
            replace(part, id=f"call_{position}_{index}")
            if isinstance(part, ToolCall) and not part.id
            else part
            for index, part in enumerate(parts)
        ]
        before = self.messages[-1] if self.messages else None
        if before is not None and before.role == "assistant" and before.extras == extras:
            numbered = [*before.parts, *numbered]
            self.messages.pop()
        else:
            self._open = []
        self._open += [part for part in numbered if isinstance(part, ToolCall)]
        self.messages.append(Message("assistant", tuple(_joined(numbered)), extras=extras))

    def user(self, parts: tuple[Part, ...], extras: JsonObject) -> None:
        """Tool results first, in a message of their own, then what the user said."""
        results: tuple[Part, ...] = tuple(
            self._matched(p) for p in parts if isinstance(p, ToolResult)
        )
        told = tuple(p for p in parts if not isinstance(p, ToolResult))
        if results:
            before = self.messages[-1] if self.messages else None
            if before is not None and before.role == "tool" and before.extras == extras:
                results = (*before.parts, *results)
                self.messages.pop()
            self.messages.append(Message("tool", results, extras={} if told else extras))
        if told or not results:
            self.messages.append(Message("user", told, extras=extras))

    def _matched(self, result: ToolResult) -> ToolResult:
        """By id, else by name in the order of the calls."""
        for call in self._open:
            if call.id == result.call_id if result.call_id else call.name == result.name:
                self._open.remove(call)
                return result if result.call_id else replace(result, call_id=call.id)
        return result if result.call_id else replace(result, call_id=f"call_{result.name}")


def _joined(parts: list[Part]) -> list[Part]:
    """Pieces of one thought as one: only whole is it worth its signature."""
    out: list[Part] = []
    for part in parts:
        before = out[-1] if out else None
        if (
            isinstance(part, Thinking)
            and isinstance(before, Thinking)
            and before.signature is None
            and before.id is None
            and not before.extras
        ):
            out[-1] = replace(part, text=before.text + part.text)
        else:
            out.append(part)
    return out


# ---------------------------------------------------------------------- tools


def _read_tools(tools: Any) -> tuple[Tool, ...]:
    if tools is None:
        return ()
    if type(tools) is not list:
        raise wrong("tools", "must be an array")
    out: list[Tool] = []
    for index, value in enumerate(tools):
        where = f"tools[{index}]"
        tool = camel(checks.needed_table(value, where), where + ".")
        functions = items(tool.get("functionDeclarations")) or []
        if type(functions) is not list:
            raise wrong(where + ".functionDeclarations", "must be an array")
        for position, function in enumerate(functions):
            out.append(_read_function(function, f"{where}.functionDeclarations[{position}]"))
        for name, held in tool.items():
            if name != "functionDeclarations" and held is not None:
                out.append(Opaque(NAME, {name: held}))
    return tuple(out)


def _read_function(value: Any, where: str) -> FunctionTool:
    dot = where + "."
    function = camel(checks.needed_table(value, where), dot)
    schema = checks.table(function, "parametersJsonSchema", dot)
    older = checks.table(function, "parameters", dot)
    return FunctionTool(
        name=checks.needed_text(function, "name", dot),
        description=checks.text(function, "description", dot),
        parameters=to_json_schema(older) if schema is None else schema,
        extras=checks.rest(function, _FUNCTION),
    )


def _read_choice(value: JsonObject | None) -> tuple[ToolChoice | None, JsonObject]:
    """The choice, and what else the tools' configuration says."""
    config = camel(value or {}, TOOL_CONFIG)
    rest = checks.rest(config, frozenset({"functionCallingConfig"}))
    where = TOOL_CONFIG + "functionCallingConfig"
    calling = camel(checks.table(config, "functionCallingConfig", TOOL_CONFIG) or {}, where)
    names = checks.texts(calling, "allowedFunctionNames", where + ".", most=512)
    mode = calling.get("mode")
    if type(mode) is int and 0 <= mode < len(_MODES):
        mode = _MODES[mode]
    mode = mode.upper() if type(mode) is str else mode
    if mode is not None and mode not in _MODES:
        raise wrong(where + ".mode", f"must be one of {', '.join(_MODES[1:])}")
    more = checks.rest(calling, frozenset({"mode", "allowedFunctionNames"}))
    if mode == "VALIDATED" and not names:
        more["mode"] = mode
    if more:
        rest["functionCallingConfig"] = more
    if mode in (None, "MODE_UNSPECIFIED") and not names:
        return None, rest
    return ToolChoice(_CHOICES.get(mode or "", "auto"), names), rest
