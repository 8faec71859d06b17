"""The internal form → a Converse request for a provider.

Model and streaming stand in the path. Drops with a name what does no harm; refuses the rest.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects import checks
from gatewayz.dialects.bedrock import thinking
from gatewayz.dialects.bedrock.turns import INLINE_SYSTEM, Turns
from gatewayz.dialects.bedrock.wire import CLAUDE, family_of, write_path
from gatewayz.dialects.bedrock.write_parts import write_mark, write_spec
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import (
    FunctionTool,
    GenerationRequest,
    ResponseFormat,
    Tool,
    ToolChoice,
)
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.names import safe_name
from gatewayz.dialects.parts import Opaque, ToolCall
from gatewayz.dialects.protocol import HttpRequest, Notes
from gatewayz.dialects.rules import drop_fields

# Flags of an offer or its provider's row.
CACHE_POINTS = "cache_points"  # a model that is not of Claude's family takes cache points too
NO_CACHE_POINTS = "no_cache_points"  # one that is takes none
NO_FORMAT = "no_output_format"  # has no outputConfig.textFormat: a forced tool stands in for it
NO_SAMPLING = "no_sampling"  # refuses temperature, topP and top_k
NO_TOOL_CHOICE = "no_tool_choice"  # the model alone decides
SERVICE_TIERS = "service_tiers"  # the provider's tiers cost the same as ours
STRICT_TOOLS = "strict_tools"
TOP_K = "top_k"  # takes top_k beside the protocol, as Claude's family does
NESTED_TOP_K = "nested_top_k"  # takes inferenceConfig.topK beside the protocol
QUIRKS = thinking.QUIRKS | {
    CACHE_POINTS, INLINE_SYSTEM, NESTED_TOP_K, NO_CACHE_POINTS, NO_FORMAT, NO_SAMPLING,
    NO_TOOL_CHOICE, SERVICE_TIERS, STRICT_TOOLS, TOP_K,
}  # fmt: skip
MAX_CACHE_MARKS = 4
MAX_NAME_CHARS = 64
JSON_TOOL = "json_response"
JSON_HINT = "Respond with a single JSON object and nothing else."
NO_CALLS_HINT = "Do not call any tool in this turn."
FIELDS = "additionalModelRequestFields"
# A caller's field that means the same here whatever dialect it came with. Others of this protocol
# stay behind: they could lift the token limit that guards a balance.
GUARDRAIL = "guardrailConfig"
_METADATA = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{1,256}")
_TIERS: Mapping[str, str] = {"flex": "flex", "priority": "priority", "default": "default"}
_MIN_TOP_P = 0.95  # beside thinking


class _Writer:
    def __init__(self, request: GenerationRequest, target: Target) -> None:
        self.request = request
        self.target = target
        self.losses = Losses(request)
        self.claude = family_of(target) == CLAUDE
        self.marks = CACHE_POINTS in target.quirks or (
            self.claude and NO_CACHE_POINTS not in target.quirks
        )
        self.called = _called_names(request)
        known = {t.name for t in request.tools if isinstance(t, FunctionTool)} | set(self.called)
        sent = {name: safe_name(name, limit=MAX_NAME_CHARS) for name in known}
        self.names = {name: changed for name, changed in sent.items() if changed != name}
        self.json_tool: str | None = None
        self.fields: JsonObject = {}

    def write(self) -> HttpRequest:
        request, target = self.request, self.target
        turns = Turns(request, target, self.losses, self.names, marks=self.marks)
        turns.write()
        body: JsonObject = {"messages": turns.messages}
        system = turns.system
        self._write_tools(body, system)
        if request.response_format is not None:
            self._write_format(body, system, request.response_format)
        limit = self._write_reasoning(body)
        config = self._config(limit)
        if self.claude and request.stop:
            # The one way to learn which sequence ended a text.
            body["additionalModelResponseFieldPaths"] = ["/stop_sequence"]
        self._write_identity(body)
        self._write_extras(body)
        if system:
            body["system"] = system
        taken = {"max_output_tokens", "temperature", "top_p", "top_k", "stop", "tools"}
        taken |= {"tool_choice", "response_format", "reasoning", "user", "service_tier"}
        taken |= {"cache"} if self.marks else set()
        taken |= set() if request.parallel_tools is False else {"parallel_tools"}
        self.losses.leave(taken)
        _limit_marks(body)
        self.losses.rules(config, target, own=False)
        if config:
            body["inferenceConfig"] = config
        if self.fields:
            body[FIELDS] = self.fields
        for name in drop_fields(body, target.drop, self.losses.said):
            self.losses.drop_as(name)
        return HttpRequest(
            write_path(target, stream=request.stream),
            _dump(body),
            dropped=self.losses.names,
            notes=Notes({sent: name for name, sent in self.names.items()}, self.json_tool),
        )

    def _write_identity(self, body: JsonObject) -> None:
        user, tier = self.request.user, self.request.service_tier
        if user is not None:
            if _METADATA.fullmatch(user):
                body["requestMetadata"] = {"user_id": user}
            else:
                self.losses.drop("user")
        if tier is None or tier == "auto":
            return
        if SERVICE_TIERS in self.target.quirks and tier in _TIERS:
            body["serviceTier"] = {"type": _TIERS[tier]}
        else:
            self.losses.drop("service_tier")

    def _write_extras(self, body: JsonObject) -> None:
        guardrail = checks.table(self.request.extras, GUARDRAIL)
        if guardrail is not None:
            body[GUARDRAIL] = guardrail
        rest = {k: v for k, v in self.request.extras.items() if k != GUARDRAIL}
        self.losses.leave_extras(rest)

    # ------------------------------------------------------------------ tools

    def _write_tools(self, body: JsonObject, system: list[JsonObject]) -> None:
        """Tools must be there as long as the history holds calls, even when none may be called:
        then a sentence says so, for this protocol has no word for it."""
        request, choice = self.request, self.request.tool_choice
        tools = request.tools
        if choice is not None and (len(choice.names) > 1 or (choice.names and _is_auto(choice))):
            tools = tuple(t for t in tools if getattr(t, "name", "") in choice.names)
            choice = ToolChoice(choice.mode)
        specs: list[JsonObject] = []
        for index, tool in enumerate(tools):
            specs += self._tool(tool, f"tools[{index}]")
        silent = choice is not None and choice.mode == "none"
        if silent or not specs:
            if not self.called:
                return
            if not specs:
                specs = [self._spec(FunctionTool(name)) for name in self.called]
            system.append({"text": NO_CALLS_HINT})
            choice = None
        body["toolConfig"] = {"tools": specs}
        if choice is None:
            return
        if NO_TOOL_CHOICE not in self.target.quirks:
            body["toolConfig"]["toolChoice"] = self._choice(choice)
        elif choice.mode == "required":
            raise self.losses.refuse("tool_choice", "The model alone decides what it calls.")

    def _choice(self, choice: ToolChoice) -> JsonObject:
        if choice.names:
            name = choice.names[0]
            return {"tool": {"name": self.names.get(name, name)}}
        return {"any": {}} if choice.mode == "required" else {"auto": {}}

    def _tool(self, tool: Tool, where: str) -> list[JsonObject]:
        if isinstance(tool, Opaque):
            raise self.losses.refuse(where, f"A tool of type '{tool.kind}' is not supported.")
        if tool.custom:
            raise self.losses.refuse(where, "A tool with free text as input is not supported.")
        self.losses.leave_extras(tool.extras, "tools")
        written = [self._spec(tool)]
        if tool.cache is not None:
            # Other models that take points take them in messages only.
            if self.marks and self.claude:
                written.append(write_mark(tool.cache))
            else:
                self.losses.drop("cache")
        return written

    def _spec(self, tool: FunctionTool) -> JsonObject:
        spec = write_spec(tool, self.names.get(tool.name, tool.name))
        if tool.strict is not None:
            if STRICT_TOOLS in self.target.quirks:
                spec["strict"] = tool.strict
            elif tool.strict:
                self.losses.drop_as("tools.strict")
        return {"toolSpec": spec}

    # ------------------------------------------------------------------ output

    def _write_format(
        self, body: JsonObject, system: list[JsonObject], form: ResponseFormat
    ) -> None:
        if form.kind == "text":
            return
        if form.kind == "json_object" or form.schema is None:
            system.append({"text": JSON_HINT})
        elif NO_FORMAT in self.target.quirks:
            self._force_json(body, form.schema)
        else:
            schema: JsonObject = {"schema": _dump(form.schema).decode()}
            if form.name:
                schema["name"] = safe_name(form.name)
            if form.description:
                schema["description"] = form.description
            text = {"type": "json_schema", "structure": {"jsonSchema": schema}}
            body["outputConfig"] = {"textFormat": text}

    def _force_json(self, body: JsonObject, schema: JsonObject) -> None:
        """A tool whose arguments are the answer; the reader turns them into its text."""
        if "toolConfig" in body or NO_TOOL_CHOICE in self.target.quirks:
            what = "A schema together with tools is not supported."
            raise self.losses.refuse("response_format", what)
        self.json_tool = JSON_TOOL
        tool = FunctionTool(JSON_TOOL, "Gives the answer.", schema)
        choice = {"tool": {"name": JSON_TOOL}}
        body["toolConfig"] = {"tools": [{"toolSpec": write_spec(tool, JSON_TOOL)}]}
        body["toolConfig"]["toolChoice"] = choice

    def _write_reasoning(self, body: JsonObject) -> int | None:
        """The token limit that thinking needs, if it needs one."""
        choice = body.get("toolConfig", {}).get("toolChoice", {})
        forced = bool(choice.keys() & {"any", "tool"})
        written = thinking.write_thinking(self.request, self.target, forced=forced)
        if written is None:
            self.losses.drop("reasoning")
            return None
        self.fields, limit = written
        return limit

    def _config(self, limit: int | None) -> JsonObject:
        request = self.request
        config: JsonObject = {}
        limit = request.max_output_tokens or limit
        if limit is not None:
            config["maxTokens"] = limit
        thinks = "thinking" in self.fields
        if request.temperature is not None:
            if NO_SAMPLING in self.target.quirks or (thinks and request.temperature != 1):
                self.losses.drop("temperature")
            elif not thinks:
                config["temperature"] = min(request.temperature, 1)
        if request.top_p is not None:
            # One of the two may be set for some models; a top_p of 1 changes nothing.
            both = self.claude and "temperature" in config
            refused = thinks and request.top_p < _MIN_TOP_P
            if NO_SAMPLING not in self.target.quirks and not both and not refused:
                config["topP"] = request.top_p
            elif request.top_p != 1:
                self.losses.drop("top_p")
        if request.top_k is not None and request.top_k > 0:  # 0 is the word for no limit
            self._write_top_k(request.top_k, thinks=thinks)
        if request.stop:
            config["stopSequences"] = list(request.stop)
        return config

    def _write_top_k(self, top_k: int, *, thinks: bool) -> None:
        quirks = self.target.quirks
        if NESTED_TOP_K in quirks:
            self.fields["inferenceConfig"] = {"topK": top_k}
        elif (self.claude or TOP_K in quirks) and not thinks and NO_SAMPLING not in quirks:
            self.fields["top_k"] = top_k
        else:
            self.losses.drop("top_k")


def _called_names(request: GenerationRequest) -> list[str]:
    """The tools that were called in the history, each once."""
    names = (p.name for m in request.messages for p in m.parts if isinstance(p, ToolCall))
    return list(dict.fromkeys(names))


def _is_auto(choice: ToolChoice) -> bool:
    return choice.mode != "required"


def _limit_marks(body: Mapping[str, Any]) -> None:
    """Only the last four cache points count; more would be refused."""
    holders = [body.get("toolConfig", {}).get("tools", []), body.get("system", [])]
    holders += [message["content"] for message in body["messages"]]
    places = [(h, block) for h in holders for block in h if "cachePoint" in block]
    for holder, block in places[:-MAX_CACHE_MARKS]:
        # By identity: points of one lifetime are equal.
        holder[:] = [other for other in holder if other is not block]


def _dump(body: JsonObject) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        raise InvalidRequest("The request body cannot be written as JSON.") from None


def encode_request(request: GenerationRequest, target: Target) -> HttpRequest:
    return _Writer(request, target).write()
