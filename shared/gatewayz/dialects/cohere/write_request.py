"""The internal form → a Cohere chat request for a provider.

Drops with a name what does no harm; refuses the rest.
"""

import orjson

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects import checks
from gatewayz.dialects.cohere.turns import Turns
from gatewayz.dialects.cohere.wire import PATH, sent_name
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import FunctionTool, GenerationRequest, Reasoning, Tool
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.parts import Opaque, ToolCall
from gatewayz.dialects.protocol import HttpRequest, Notes
from gatewayz.dialects.reasoning import budget_of

QUIRKS: frozenset[str] = frozenset()
MAX_STOPS = 5
MAX_TOP_K = 500
MIN_TOP_P, MAX_TOP_P = 0.01, 0.99
NO_PARAMETERS: JsonObject = {"type": "object", "properties": {}}
# A caller's fields that mean the same here whatever dialect they came with.
DOCUMENTS = "documents"
TRAVELLERS = ("citation_options", "safety_mode")
# An answer of this length has room for every budget of thoughts.
_ROOM_TOKENS = 2**20


class _Writer:
    def __init__(self, request: GenerationRequest, target: Target) -> None:
        self.request = request
        self.target = target
        self.losses = Losses(request)
        names = {tool.name for tool in request.tools if isinstance(tool, FunctionTool)}
        for message in request.messages:
            names |= {part.name for part in message.parts if isinstance(part, ToolCall)}
        sent = {name: sent_name(name) for name in names}
        self.names = {name: changed for name, changed in sent.items() if changed != name}

    def write(self) -> HttpRequest:
        request, target = self.request, self.target
        form = request.response_format
        formatted = form is not None and form.kind != "text"
        inline = bool(request.tools) or formatted
        turns = Turns(request, target, self.losses, self.names, inline=inline)
        turns.write()
        body: JsonObject = {"model": target.native_id, "messages": turns.messages}
        if turns.documents:
            body[DOCUMENTS] = turns.documents
        self._write_tools(body)
        if formatted:
            self._write_format(body)
        if request.reasoning is not None:
            self._write_thinking(body, request.reasoning)
        self._write_sampling(body)
        if request.stream:
            body["stream"] = True
        self._write_extras(body)
        taken = {"max_output_tokens", "temperature", "top_p", "top_k", "stop", "tools", "seed"}
        taken |= {"tool_choice", "response_format", "reasoning", "logprobs"}
        taken |= {"presence_penalty", "frequency_penalty"}
        taken |= set() if request.parallel_tools is False else {"parallel_tools"}
        taken |= set() if request.top_logprobs else {"top_logprobs"}
        self.losses.leave(taken)
        self.losses.rules(body, target, own=False)
        return HttpRequest(
            PATH,
            _dump(body),
            dropped=self.losses.names,
            notes=Notes({sent: name for name, sent in self.names.items()}),
        )

    def _write_extras(self, body: JsonObject) -> None:
        extras = self.request.extras
        for name in TRAVELLERS:
            if (value := extras.get(name)) is not None:
                body[name] = value
        documents = [*body.get(DOCUMENTS, ()), *(checks.array(extras, DOCUMENTS) or ())]
        if documents:
            body[DOCUMENTS] = documents
        known = (DOCUMENTS, *TRAVELLERS)
        self.losses.leave_extras({k: v for k, v in extras.items() if k not in known})

    # ------------------------------------------------------------------ tools

    def _write_tools(self, body: JsonObject) -> None:
        """A choice of some tools is made by sending only those."""
        request, choice = self.request, self.request.tool_choice
        tools = request.tools
        if choice is not None and choice.names:
            tools = tuple(t for t in tools if getattr(t, "name", "") in choice.names)
        if not tools:
            return
        body["tools"] = [self._tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
        functions = [tool for tool in tools if isinstance(tool, FunctionTool)]
        if any(tool.strict for tool in functions):
            # For all tools or none, and each must then require something.
            if all((tool.parameters or {}).get("required") for tool in functions):
                body["strict_tools"] = True
            else:
                self.losses.drop_as("tools.strict")
        if choice is not None and choice.mode != "auto":
            body["tool_choice"] = "NONE" if choice.mode == "none" else "REQUIRED"

    def _tool(self, tool: Tool, where: str) -> JsonObject:
        if isinstance(tool, Opaque):
            raise self.losses.refuse(where, f"A tool of type '{tool.kind}' is not supported.")
        if tool.custom:
            raise self.losses.refuse(where, "A tool with free text as input is not supported.")
        self.losses.leave_extras(tool.extras, "tools")
        if tool.cache is not None:
            self.losses.drop("cache")
        function: JsonObject = {"name": self.names.get(tool.name, tool.name)}
        if tool.description is not None:
            function["description"] = tool.description
        function["parameters"] = {"type": "object", **(tool.parameters or NO_PARAMETERS)}
        return {"type": "function", "function": function}

    # ------------------------------------------------------------------ output

    def _write_format(self, body: JsonObject) -> None:
        form = self.request.response_format
        if "tools" in body or self.request.extras.get(DOCUMENTS):
            what = "A format of the answer together with tools or documents is not supported."
            raise self.losses.refuse("response_format", what)
        written: JsonObject = {"type": "json_object"}
        if form is not None and form.schema is not None:
            written["json_schema"] = form.schema
        body["response_format"] = written

    def _write_thinking(self, body: JsonObject, reasoning: Reasoning) -> None:
        if self.target.reasons is False:
            if not reasoning.off:
                self.losses.drop("reasoning")
            return
        if reasoning.off:
            body["thinking"] = {"type": "disabled"}
            return
        thinking: JsonObject = {"type": "enabled"}
        limit = self.request.max_output_tokens or self.target.max_output_tokens
        stated = reasoning.budget_tokens is not None or reasoning.effort not in (None, "max")
        budget = budget_of(reasoning, limit or _ROOM_TOKENS) if stated else None
        if budget is not None:
            thinking["token_budget"] = budget
        body["thinking"] = thinking

    def _write_sampling(self, body: JsonObject) -> None:
        request = self.request
        if request.max_output_tokens is not None:
            body["max_tokens"] = request.max_output_tokens
        if request.temperature is not None:
            body["temperature"] = min(request.temperature, 1)
        if request.top_p is not None:
            body["p"] = min(max(request.top_p, MIN_TOP_P), MAX_TOP_P)
        if request.top_k is not None and request.top_k > 0:  # 0 is the word for no limit
            body["k"] = min(request.top_k, MAX_TOP_K)
        if request.stop:
            if len(request.stop) > MAX_STOPS:
                what = f"At most {MAX_STOPS} stop sequences are taken."
                raise self.losses.refuse("stop", what)
            body["stop_sequences"] = list(request.stop)
        if request.seed is not None:
            if request.seed >= 0:
                body["seed"] = request.seed
            else:
                self.losses.drop("seed")
        for name in ("presence_penalty", "frequency_penalty"):
            value = getattr(request, name)
            if value is None:
                continue
            if value < 0:
                self.losses.drop(name)
            else:
                body[name] = min(value, 1)
        if request.logprobs:
            body["logprobs"] = True


def _dump(body: JsonObject) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        raise InvalidRequest("The request body cannot be written as JSON.") from None


def encode_request(request: GenerationRequest, target: Target) -> HttpRequest:
    return _Writer(request, target).write()
