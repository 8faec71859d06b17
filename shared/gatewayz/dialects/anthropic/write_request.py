"""The internal form → a Messages request for a provider.

Owns what this dialect demands and others leave open: a token limit, thinking within it, at most
four cache marks. Drops with a name what does no harm; refuses the rest.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.anthropic.hosts import VERTEX, address
from gatewayz.dialects.anthropic.turns import INLINE_SYSTEM, Turns
from gatewayz.dialects.anthropic.wire import FAMILY, NAME
from gatewayz.dialects.anthropic.write_blocks import write_cache
from gatewayz.dialects.custom_tools import as_functions
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import (
    FunctionTool,
    GenerationRequest,
    Reasoning,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.names import safe_name
from gatewayz.dialects.parts import Opaque, Part, RedactedThinking, Thinking, ToolCall
from gatewayz.dialects.protocol import HttpRequest, Notes
from gatewayz.dialects.reasoning import budget_of, effort_of
from gatewayz.dialects.web_search import as_anthropic, take_search

# Flags of an offer or its provider's row.
ADAPTIVE = "adaptive_thinking"  # takes thinking adaptive and output_config.effort
NO_SAMPLING = "no_sampling"  # refuses temperature, top_p and top_k
NO_FORMAT = "no_output_format"  # has no output_config.format: a forced tool stands in for it
STRICT_TOOLS = "strict_tools"
QUIRKS = frozenset({ADAPTIVE, NO_SAMPLING, NO_FORMAT, STRICT_TOOLS, INLINE_SYSTEM, VERTEX})
DEFAULT_MAX_TOKENS = 8192
MAX_CACHE_MARKS = 4
MAX_NAME_CHARS = 128
JSON_TOOL = "json_response"
JSON_HINT = "Respond with a single JSON object and nothing else."
NO_PARAMETERS: JsonObject = {"type": "object", "properties": {}}
# Sampling with thinking: only these survive.
_MIN_TOP_P = 0.95
_EFFORTS = {"minimal": "low"}


class _Writer:
    def __init__(self, request: GenerationRequest, target: Target) -> None:
        request, self.custom = as_functions(request)
        self.own = request.dialect == NAME
        self.search, request = (None, request) if self.own else take_search(request)
        self.request = request
        self.target = target
        self.losses = Losses(request)
        self.names = {
            name: sent
            for name in self._tool_names()
            if (sent := safe_name(name, limit=MAX_NAME_CHARS)) != name
        }
        self.json_tool: str | None = None

    def _tool_names(self) -> set[str]:
        names = {t.name for t in self.request.tools if isinstance(t, FunctionTool)}
        for message in self.request.messages:
            names |= {p.name for p in message.parts if isinstance(p, ToolCall)}
        return names

    def write(self) -> HttpRequest:
        request, target = self.request, self.target
        turns = Turns(request, target, self.losses, self.names)
        turns.write()
        limit = request.max_output_tokens or target.max_output_tokens or DEFAULT_MAX_TOKENS
        body: JsonObject = {"model": target.native_id, "max_tokens": limit}
        if turns.system:
            body["system"] = turns.system
        body["messages"] = turns.messages
        self._write_tools(body)
        if request.response_format is not None:
            self._write_format(body, request.response_format)
        if request.reasoning is not None:
            self._write_reasoning(body, request.reasoning, limit)
        self._write_sampling(body)
        if request.stop:
            body["stop_sequences"] = list(request.stop)
        self._write_identity(body)
        if request.stream:
            body["stream"] = True
        self._write_extras(body)
        taken = {"max_output_tokens", "temperature", "top_p", "top_k", "stop", "tools"}
        taken |= {"tool_choice", "parallel_tools", "response_format", "reasoning", "user"}
        self.losses.leave(taken | {"cache", "metadata", "service_tier"})
        _limit_marks(body)
        self.losses.rules(body, target, own=self.own)
        names = {sent: name for name, sent in self.names.items()}
        notes = Notes(names, self.json_tool, self.custom)
        return address(body, request, target, dropped=self.losses.names, notes=notes)

    def _write_identity(self, body: JsonObject) -> None:
        request = self.request
        metadata = dict(request.metadata or {}) if self.own else {}
        if request.user is not None:
            metadata["user_id"] = request.user
        if metadata:
            body["metadata"] = metadata
        if self.own:
            if request.service_tier is not None:
                body["service_tier"] = request.service_tier
        else:
            for name in ("metadata", "service_tier"):
                if getattr(request, name) is not None:
                    self.losses.drop(name)
        if request.cache is not None:
            body.update(write_cache(request.cache))

    def _write_extras(self, body: JsonObject) -> None:
        if not self.own:
            return self.losses.leave_extras(self.request.extras)
        for name, value in self.request.extras.items():
            if name == "output_config" and type(value) is dict:
                body[name] = {**value, **body.get(name, {})}
            else:
                body[name] = value
        return None

    # ------------------------------------------------------------------ tools

    def _write_tools(self, body: JsonObject) -> None:
        request, choice = self.request, self.request.tool_choice
        tools = request.tools
        if choice is not None and (len(choice.names) > 1 or (choice.names and _is_auto(choice))):
            tools = tuple(t for t in tools if getattr(t, "name", "") in choice.names)
            choice = ToolChoice(choice.mode)
        written = [self._tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
        if self.search is not None:
            written.append(as_anthropic(self.search, self.losses))
        if written:
            body["tools"] = written
        chosen = None if choice is None else self._choice(choice)
        if request.parallel_tools is not None and (tools or self.own):
            if chosen is None:
                chosen = {"type": "auto"} if not request.parallel_tools else None
            if chosen is not None and chosen["type"] != "none":
                chosen["disable_parallel_tool_use"] = not request.parallel_tools
        # A choice without tools is an error there and means nothing anyway.
        if chosen is not None and (tools or self.own):
            body["tool_choice"] = chosen

    def _choice(self, choice: ToolChoice) -> JsonObject:
        if choice.names:
            name = choice.names[0]
            return {"type": "tool", "name": self.names.get(name, name)}
        return {"type": "any" if choice.mode == "required" else choice.mode}

    def _tool(self, tool: Tool, where: str) -> JsonObject:
        if isinstance(tool, Opaque):
            if tool.dialect == NAME:
                return tool.raw
            raise self.losses.refuse(where, f"A tool of type '{tool.kind}' is not supported.")
        written: JsonObject = {"name": self.names.get(tool.name, tool.name)}
        if tool.description is not None:
            written["description"] = tool.description
        parameters = tool.parameters or NO_PARAMETERS
        written["input_schema"] = parameters if self.own else {"type": "object", **parameters}
        if tool.strict is not None:
            if self.own or STRICT_TOOLS in self.target.quirks:
                written["strict"] = tool.strict
            elif tool.strict:
                self.losses.drop_as("tools.strict")
        if self.own:
            written.update(tool.extras)
        else:
            self.losses.leave_extras(tool.extras, "tools")
        return {**written, **write_cache(tool.cache)}

    # ------------------------------------------------------------------ output

    def _write_format(self, body: JsonObject, form: ResponseFormat) -> None:
        if form.kind == "text":
            return
        if form.kind == "json_object" or form.schema is None:
            body.setdefault("system", []).append({"type": "text", "text": JSON_HINT})
        elif NO_FORMAT in self.target.quirks:
            self._force_json(body, form.schema)
        else:
            config = body.setdefault("output_config", {})
            config["format"] = {"type": "json_schema", "schema": form.schema}

    def _force_json(self, body: JsonObject, schema: JsonObject) -> None:
        """A tool whose arguments are the answer; the reader turns them into its text."""
        if body.get("tools"):
            raise self.losses.refuse(
                "response_format", "A schema together with tools is not supported."
            )
        self.json_tool = JSON_TOOL
        body["tools"] = [
            {
                "name": JSON_TOOL,
                "description": "Gives the answer.",
                "input_schema": {"type": "object", **schema},
            }
        ]
        body["tool_choice"] = {"type": "tool", "name": JSON_TOOL}

    def _write_reasoning(self, body: JsonObject, reasoning: Reasoning, limit: int) -> None:
        if self.own:
            return self._write_own_reasoning(body, reasoning)
        if reasoning.off:
            return None
        forced = body.get("tool_choice", {}).get("type") in ("any", "tool")
        adaptive = ADAPTIVE in self.target.quirks
        if self.target.reasons is False or (not adaptive and (forced or self._lacks_thought())):
            return self.losses.drop("reasoning")
        if adaptive:
            body["thinking"] = {"type": "adaptive"}
            effort = effort_of(reasoning)
            if effort is not None:
                config = body.setdefault("output_config", {})
                config["effort"] = _EFFORTS.get(effort, effort)
        else:
            budget = budget_of(reasoning, limit)
            if budget is None:
                return self.losses.drop("reasoning")
            body["thinking"] = {"type": "enabled", "budget_tokens": budget}
        if reasoning.show is not None:
            shown = "omitted" if reasoning.show == "omitted" else "summarized"
            body["thinking"]["display"] = shown
        return None

    def _write_own_reasoning(self, body: JsonObject, reasoning: Reasoning) -> None:
        if reasoning.effort is not None:
            body.setdefault("output_config", {})["effort"] = reasoning.effort
        if reasoning.mode is None and reasoning.budget_tokens is None:
            return
        words = {"on": "enabled", "off": "disabled", "adaptive": "adaptive", None: "enabled"}
        thinking: JsonObject = {"type": words[reasoning.mode]}
        if reasoning.budget_tokens is not None:
            thinking["budget_tokens"] = reasoning.budget_tokens
        if reasoning.show is not None:
            thinking["display"] = reasoning.show
        body["thinking"] = thinking

    def _lacks_thought(self) -> bool:
        """Whether a tool's turn goes on whose thought did not come back: it would be refused."""
        messages = self.request.messages
        if not messages or messages[-1].role != "tool":
            return False
        for message in reversed(messages[:-1]):
            if message.role == "assistant":
                family = self.target.family or FAMILY
                return not any(_is_thought(part, family) for part in message.parts)
        return False

    def _write_sampling(self, body: JsonObject) -> None:
        request = self.request
        thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
        for name in ("temperature", "top_p", "top_k"):
            value = getattr(request, name)
            if value is None:
                continue
            if self.own:
                body[name] = value
            elif name == "top_k" and value < 1:
                continue  # elsewhere the word for no limit
            elif NO_SAMPLING in self.target.quirks or (thinks and not _goes(name, value)):
                self.losses.drop(name)
            elif name == "top_p" and "temperature" in body:
                # One of the two may be set; a top_p of 1 changes nothing.
                if value != 1:
                    self.losses.drop(name)
            elif not thinks or name == "top_p":
                body[name] = min(value, 1) if name == "temperature" else value


def _is_auto(choice: ToolChoice) -> bool:
    return choice.mode != "required"


def _is_thought(part: Part, family: str) -> bool:
    """Whether it may go back to models of `family`."""
    if isinstance(part, RedactedThinking):
        return part.origin == family
    return isinstance(part, Thinking) and part.origin == family and part.signature is not None


def _goes(name: str, value: float) -> bool:
    """Whether a sampling value may stand beside thinking."""
    if name == "temperature":
        return value == 1
    return name == "top_p" and value >= _MIN_TOP_P


def _limit_marks(body: Mapping[str, Any]) -> None:
    """Only the last four cache marks count; more would be refused."""
    marked: list[JsonObject] = []
    for holder in (*body.get("tools", ()), *body.get("system", ())):
        marked.append(holder)
    for message in body["messages"]:
        if type(message["content"]) is list:
            marked += message["content"]
    marked = [block for block in marked if "cache_control" in block]
    for block in marked[:-MAX_CACHE_MARKS]:
        del block["cache_control"]


def encode_request(request: GenerationRequest, target: Target) -> HttpRequest:
    return _Writer(request, target).write()
