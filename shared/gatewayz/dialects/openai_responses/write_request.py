"""The internal form → a Responses request for a provider. Always asks it to store nothing.

Drops with a name what does no harm; refuses what this protocol cannot say (stop sequences, several
choices) and the tools that only other protocols have.
"""

from typing import Any

import orjson

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import (
    FunctionTool,
    GenerationRequest,
    Reasoning,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from gatewayz.dialects.hidden import OMITTED
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.names import safe_name
from gatewayz.dialects.openai_responses.wire import ENCRYPTED, LOGPROBS, NAME, PATH
from gatewayz.dialects.openai_responses.write_items import CACHE_BREAKPOINT, THOUGHTS_BACK, Items
from gatewayz.dialects.openai_responses.write_parts import texts_of
from gatewayz.dialects.parts import Opaque, ToolCall
from gatewayz.dialects.protocol import HttpRequest, Notes
from gatewayz.dialects.reasoning import effort_of
from gatewayz.dialects.web_search import as_responses, take_search

REASONING_OBJECT = "reasoning_object"  # takes reasoning.max_tokens and reasoning.enabled
QUIRKS = frozenset({CACHE_BREAKPOINT, THOUGHTS_BACK, REASONING_OBJECT})
NO_PARAMETERS: JsonObject = {"type": "object", "properties": {}}
# Dialects whose metadata and tiers mean the same here.
_KIN = (NAME, "openai_chat")


class _Writer:
    def __init__(self, request: GenerationRequest, target: Target) -> None:
        self.own = request.dialect == NAME
        self.search, request = (None, request) if self.own else take_search(request)
        self.request = request
        self.target = target
        self.losses = Losses(request)
        self.names: dict[str, str] = {}
        if not self.own:
            named = {name: safe_name(name) for name in self._tool_names()}
            self.names = {name: sent for name, sent in named.items() if sent != name}
        self.items = Items(request, target, self.losses, self.names)

    def _tool_names(self) -> set[str]:
        names = {t.name for t in self.request.tools if isinstance(t, FunctionTool)}
        for message in self.request.messages:
            names |= {p.name for p in message.parts if isinstance(p, ToolCall)}
        return names

    def write(self) -> HttpRequest:
        request, target = self.request, self.target
        body: JsonObject = {"model": target.native_id, **self._input(), "store": False}
        taken = {"max_output_tokens", "temperature", "top_p", "tools", "tool_choice"}
        for name in ("max_output_tokens", "temperature", "top_p", "top_logprobs", "user"):
            if (value := getattr(request, name)) is not None:
                body[name] = value
        self._write_tools(body)
        self._write_text(body)
        self._write_reasoning(body)
        self._write_include(body)
        if request.dialect in _KIN:
            for name in ("metadata", "service_tier"):
                if (value := getattr(request, name)) is not None:
                    body[name] = value
            taken |= {"metadata", "service_tier"}
        if request.cache_key is not None:
            body["prompt_cache_key"] = request.cache_key
        if request.stream:
            body["stream"] = True
        self._write_extras(body)
        taken |= {"top_logprobs", "logprobs", "user", "parallel_tools", "response_format"}
        self.losses.leave(taken | {"verbosity", "reasoning", "cache_key"})
        self.losses.rules(body, target, own=self.own)
        try:
            raw = orjson.dumps(body)
        except TypeError:
            raise InvalidRequest("The request body cannot be written as JSON.") from None
        notes = Notes({sent: name for name, sent in self.names.items()})
        return HttpRequest(PATH, raw, dropped=self.losses.names, notes=notes)

    def _input(self) -> JsonObject:
        """A leading system prompt stands where servers that know no such items find it."""
        messages = self.request.messages
        start = 0
        out: JsonObject = {}
        if len(messages) > 1 and messages[0].role == "system" and not messages[0].extras:
            texts = texts_of(messages[0].parts)
            if texts is not None and len(texts) == 1 and texts[0] and messages[0].name is None:
                out["instructions"] = texts[0]
                start = 1
        items: list[JsonObject] = []
        for position in range(start, len(messages)):
            items += self.items.write(messages[position], f"messages[{position}]")
        return {**out, "input": items}

    def _write_text(self, body: JsonObject) -> None:
        request = self.request
        text: JsonObject = {}
        if request.response_format is not None:
            text["format"] = _write_format(request.response_format)
        if request.verbosity is not None:
            text["verbosity"] = request.verbosity
        if text:
            body["text"] = text

    def _write_reasoning(self, body: JsonObject) -> None:
        reasoning = self.request.reasoning
        if reasoning is None:
            return
        if self.target.reasons is False:
            self.losses.drop("reasoning")
            return
        if self.own or REASONING_OBJECT in self.target.quirks:
            written = _reasoning_object(reasoning)
            if reasoning.show == OMITTED and REASONING_OBJECT in self.target.quirks:
                written["exclude"] = True
        else:
            effort = effort_of(reasoning)
            written = _said(effort="xhigh" if effort == "max" else effort)
            if reasoning.show not in (None, OMITTED):
                words = ("auto", "concise", "detailed")
                written["summary"] = reasoning.show if reasoning.show in words else "auto"
        if written:
            body["reasoning"] = written

    def _write_include(self, body: JsonObject) -> None:
        request = self.request
        include = list(request.extras.get("include") or ()) if self.own else []
        reasoning = request.reasoning
        thinks = reasoning is not None and not reasoning.off and self.target.reasons is not False
        # Nothing is stored there, so this is the only way for a thought to come back.
        if thinks and not self.own:
            include.append(ENCRYPTED)
        if request.logprobs:
            include.append(LOGPROBS)
        if include:
            body["include"] = include

    def _write_extras(self, body: JsonObject) -> None:
        if not self.own:
            return self.losses.leave_extras(self.request.extras)
        for name, value in self.request.extras.items():
            if name in ("text", "reasoning") and type(value) is dict:
                body[name] = {**value, **body.get(name, {})}
            elif name != "include":
                body[name] = value
        return None

    # ------------------------------------------------------------------ tools

    def _write_tools(self, body: JsonObject) -> None:
        request, choice = self.request, self.request.tool_choice
        tools = request.tools
        if choice is not None and choice.names and not self.own:
            subset = len(choice.names) > 1 or choice.mode != "required"
            if subset:
                tools = tuple(t for t in tools if getattr(t, "name", "") in choice.names)
                choice = ToolChoice(choice.mode)
        written = [self._tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
        if self.search is not None:
            written.append(as_responses(self.search, self.losses))
        if written:
            body["tools"] = written
        if choice is not None:
            body["tool_choice"] = self._choice(choice)
        if request.parallel_tools is not None:
            body["parallel_tool_calls"] = request.parallel_tools

    def _tool(self, tool: Tool, where: str) -> JsonObject:
        if isinstance(tool, Opaque):
            if tool.dialect == NAME:
                return tool.raw
            raise self.losses.refuse(where, f"A tool of type '{tool.kind}' is not supported.")
        if tool.cache is not None:
            self.losses.drop("cache")
        written: JsonObject = {
            "type": "custom" if tool.custom else "function",
            "name": self.names.get(tool.name, tool.name),
            **_said(description=tool.description),
        }
        if not tool.custom:
            written.update(_said(parameters=tool.parameters, strict=tool.strict))
            if not self.own:
                # Left out, strictness is on here, and off wherever the request came from.
                written.setdefault("parameters", NO_PARAMETERS)
                written.setdefault("strict", False)
        if self.own:
            return {**written, **tool.extras}
        self.losses.leave_extras(tool.extras, "tools")
        return written

    def _choice(self, choice: ToolChoice) -> Any:
        named = [self._name_choice(name) for name in choice.names]
        if not named:
            return choice.mode
        if len(named) == 1 and choice.mode == "required":
            return named[0]
        return {"type": "allowed_tools", "mode": choice.mode, "tools": named}

    def _name_choice(self, name: str) -> JsonObject:
        tools = self.request.tools
        custom = any(isinstance(t, FunctionTool) and t.custom and t.name == name for t in tools)
        return {"type": "custom" if custom else "function", "name": self.names.get(name, name)}


def _said(**fields: Any) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def _write_format(form: ResponseFormat) -> JsonObject:
    if form.kind != "json_schema":
        return {"type": form.kind}
    return {
        "type": "json_schema",
        "name": form.name or "answer",
        **_said(schema=form.schema, strict=form.strict, description=form.description),
    }


def _reasoning_object(reasoning: Reasoning) -> JsonObject:
    shown = None if reasoning.show == OMITTED else reasoning.show
    written = _said(effort=reasoning.effort, summary=shown)
    if reasoning.budget_tokens is not None:
        written["max_tokens"] = reasoning.budget_tokens
    if reasoning.mode is not None:
        written["enabled"] = reasoning.mode != "off"
    return written


def encode_request(request: GenerationRequest, target: Target) -> HttpRequest:
    return _Writer(request, target).write()
