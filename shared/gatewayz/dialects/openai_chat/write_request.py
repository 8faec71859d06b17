"""The internal form → a chat completion request for a provider.

The body is written as a caller would write it, then goes through the pass-through's own rules.
"""

from dataclasses import replace
from typing import Any

from gatewayz.core.errors import echo
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
from gatewayz.dialects.openai_chat.quirks import QUIRKS as BODY_QUIRKS
from gatewayz.dialects.openai_chat.read_message import NAME
from gatewayz.dialects.openai_chat.request import PLUGINS, ChatRequest, forward_request
from gatewayz.dialects.openai_chat.think_tags import QUIRKS as TAG_QUIRKS
from gatewayz.dialects.openai_chat.thoughts import details, texts
from gatewayz.dialects.openai_chat.write_message import write_cache, write_call, write_part
from gatewayz.dialects.parts import (
    File,
    Image,
    Message,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from gatewayz.dialects.protocol import HttpRequest, Notes
from gatewayz.dialects.reasoning import effort_of
from gatewayz.dialects.speech import Speech, speech_for_chat, take_speech
from gatewayz.dialects.web_search import WebSearch, as_chat_options, take_search

# Flags of a provider's row, on top of the plain protocol.
CACHE_CONTROL = "cache_control"  # marks on parts and tools are read
REASONING_OBJECT = "reasoning_object"  # takes reasoning{effort,max_tokens,enabled,exclude}
DETAILS_BACK = "reasoning_details_back"  # wants its reasoning_details again
CONTENT_BACK = "reasoning_content_back"  # wants its reasoning_content again
TEXT_ONLY = "text_content"  # refuses arrays where a string says the same
TOP_K = "top_k"
CUSTOM_TOOLS = "custom_tools"  # has tools whose input is free text
WEB_SEARCH = "web_search_options"  # searches the web when asked so
AUDIO = "audio"  # has models that speak
QUIRKS = (
    TAG_QUIRKS
    | BODY_QUIRKS
    | {
        CACHE_CONTROL,
        REASONING_OBJECT,
        DETAILS_BACK,
        CONTENT_BACK,
        TEXT_ONLY,
        TOP_K,
        CUSTOM_TOOLS,
        PLUGINS,
        WEB_SEARCH,
        AUDIO,
    }
)
# With all of them a request may go through as it came.
ALL_EXTENSIONS = frozenset({CACHE_CONTROL, REASONING_OBJECT, DETAILS_BACK, PLUGINS})
_SAMPLING = (
    "temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "logit_bias",
    "logprobs", "top_logprobs", "verbosity", "user",
)  # fmt: skip
_OWN = ("metadata", "service_tier", "top_k")


class _Writer:
    def __init__(self, request: GenerationRequest, target: Target) -> None:
        self.custom: frozenset[str] = frozenset()
        self.own = request.dialect == NAME
        if not self.own and CUSTOM_TOOLS not in target.quirks:
            request, self.custom = as_functions(request)
        self.search: WebSearch | None = None
        if (not self.own or "plugins" in request.extras) and PLUGINS not in target.quirks:
            self.search, request = take_search(request)
        self.speech: Speech | None = None
        if not self.own and AUDIO in target.quirks:
            self.speech, request = take_speech(request)
        self.request = request
        self.target = target
        self.losses = Losses(request)

    def write(self) -> HttpRequest:
        request, target = self.request, self.target
        messages: list[JsonObject] = []
        for position, message in enumerate(request.messages):
            messages += self._message(message, f"messages[{position}]")
        body: JsonObject = {"model": request.model, "messages": messages}
        taken = {"max_output_tokens", "n", "stop", "tools", "tool_choice", "response_format"}
        for name in (*_SAMPLING, *self._extra_fields()):
            if (value := getattr(request, name)) is not None:
                body[name] = value
                taken.add(name)
        self._write_tools(body)
        taken |= {"parallel_tools", "reasoning", "cache", "cache_key"}
        self._write_rest(body)
        self._write_extras(body)
        self.losses.leave(taken)
        checked = ChatRequest(
            body=body,
            model=request.model,
            stream=request.stream,
            include_usage=request.include_usage,
            max_output_tokens=request.max_output_tokens,
            n=request.n,
            prompt_tokens_estimate=0,
            user=None,
            session_id=None,
        )
        passed = forward_request(checked, target)
        for name in passed.dropped:
            self.losses.drop_as(name if self.own else self.losses.said(name))
        notes = Notes(custom=self.custom, audio=self.speech.format if self.speech else "")
        return replace(passed, dropped=self.losses.names, notes=notes)

    def _write_extras(self, body: JsonObject) -> None:
        extras = self.request.extras
        if not self.own:
            self.losses.leave_extras(extras)
        else:
            body.update(extras)
            for plugin in body.pop("plugins", ()) if PLUGINS not in self.target.quirks else ():
                where = f"plugins[{extras['plugins'].index(plugin)}]"
                raise self.losses.refuse(where, f"No plugin '{echo(plugin['id'])}' is known here.")
        if self.speech is not None:
            body |= speech_for_chat(self.speech)
        if self.search is not None:
            if WEB_SEARCH not in self.target.quirks:
                raise self.losses.refuse(self.search.where, "Searching the web is not supported.")
            body["web_search_options"] = as_chat_options(self.search, self.losses)

    def _extra_fields(self) -> tuple[str, ...]:
        if self.own:
            return _OWN
        return ("top_k",) if TOP_K in self.target.quirks else ()

    def _write_rest(self, body: JsonObject) -> None:
        request = self.request
        if request.n != 1:
            body["n"] = request.n
        if request.stop:
            body["stop"] = list(request.stop)
        if request.response_format is not None:
            body["response_format"] = _write_format(request.response_format)
        if request.reasoning is not None:
            self._write_reasoning(body, request.reasoning)
        if request.cache is not None:
            body.update(self._cache(request.cache))
        if request.cache_key is not None:
            body["prompt_cache_key"] = request.cache_key
        if request.stream:
            body["stream"] = True

    def _cache(self, mark: Any) -> JsonObject:
        if mark is None:
            return {}
        if CACHE_CONTROL in self.target.quirks:
            return write_cache(mark)
        self.losses.drop("cache")
        return {}

    def _write_reasoning(self, body: JsonObject, reasoning: Reasoning) -> None:
        if self.target.reasons is False:
            return self.losses.drop("reasoning")
        if REASONING_OBJECT in self.target.quirks:
            body["reasoning"] = _reasoning_object(reasoning)
            return None
        effort = effort_of(reasoning)
        if effort is not None:
            body["reasoning_effort"] = "xhigh" if effort == "max" and not self.own else effort
        return None

    # ------------------------------------------------------------------ tools

    def _write_tools(self, body: JsonObject) -> None:
        request, choice = self.request, self.request.tool_choice
        tools = request.tools
        if choice is not None and choice.names and not self.own and len(choice.names) > 1:
            tools = tuple(t for t in tools if getattr(t, "name", "") in choice.names)
            choice = ToolChoice(choice.mode)
        if tools:
            body["tools"] = [self._tool(tool, f"tools[{i}]") for i, tool in enumerate(tools)]
        if choice is not None:
            body["tool_choice"] = _write_choice(choice, request.tools)
        if request.parallel_tools is not None:
            body["parallel_tool_calls"] = request.parallel_tools

    def _tool(self, tool: Tool, where: str) -> JsonObject:
        if isinstance(tool, Opaque):
            if tool.dialect == NAME:
                return tool.raw
            raise self.losses.refuse(where, f"A tool of type '{tool.kind}' is not supported.")
        if tool.custom:
            held = {"name": tool.name, **_said(description=tool.description)}
            return {"type": "custom", "custom": {**held, **self._extras(tool.extras, "tools")}}
        function = {
            "name": tool.name,
            **_said(description=tool.description, parameters=tool.parameters, strict=tool.strict),
            **self._extras(tool.extras, "tools"),
        }
        return {"type": "function", "function": function, **self._cache(tool.cache)}

    def _extras(self, extras: Any, place: str) -> JsonObject:
        if self.own:
            return dict(extras)
        self.losses.leave_extras(extras, place)
        return {}

    # ------------------------------------------------------------------ messages

    def _message(self, message: Message, where: str) -> list[JsonObject]:
        if message.role == "tool":
            return self._results(message, where)
        written: JsonObject = {"role": message.role}
        if message.role == "assistant":
            self._write_assistant(written, message, where)
        else:
            written["content"] = self._content(message.parts, where)
        if message.name is not None:
            written["name"] = message.name
        return [{**written, **self._extras(message.extras, "messages")}]

    def _joins(self, parts: list[Text]) -> bool:
        """Whether texts become one string, which more servers take than an array."""
        if TEXT_ONLY in self.target.quirks:
            return True
        return not self.own and not any(self._cache(part.cache) for part in parts)

    def _content(self, parts: tuple[Part, ...], where: str, joint: str = "\n\n") -> Any:
        if len(parts) == 1 and isinstance(parts[0], Text):
            only = parts[0]
            marked = only.cache is not None and CACHE_CONTROL in self.target.quirks
            if not marked and not (only.extras and self.own):
                self._cache(only.cache)
                return only.text
        texts_only = [p for p in parts if isinstance(p, Text)]
        if len(texts_only) == len(parts) and self._joins(texts_only):
            return joint.join(part.text for part in texts_only)
        return [self._part(part, f"{where}.content[{i}]") for i, part in enumerate(parts)]

    def _part(self, part: Part, where: str) -> JsonObject:
        if not self.own:
            if isinstance(part, Image | File) and part.source.kind == "id":
                raise self.losses.refuse(where, "A file id of another provider means nothing.")
            if isinstance(part, File) and part.source.kind == "url":
                raise self.losses.refuse(where, "Files are taken as data, not by address.")
        written = write_part(part)
        if written is None:
            kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
            raise self.losses.refuse(where, f"A part of type '{kind}' is not supported.")
        extras = self._extras(getattr(part, "extras", {}), "messages.content")
        return {**written, **extras, **self._cache(getattr(part, "cache", None))}

    def _results(self, message: Message, where: str) -> list[JsonObject]:
        """One message each; pictures, which tool messages cannot hold, follow as a user's."""
        out: list[JsonObject] = []
        shown: list[JsonObject] = []
        for index, result in enumerate(message.parts):
            place = f"{where}.content[{index}]"
            if not isinstance(result, ToolResult):
                raise self.losses.refuse(place, "Only tool results may stand here.")
            texts_only = [p for p in result.parts if isinstance(p, Text)]
            others = [p for p in result.parts if not isinstance(p, Text)]
            if others and not self.own:
                shown.append({"type": "text", "text": f"Content of tool call {result.call_id}:"})
                shown += [self._part(p, place) for p in others]
                texts_only.append(Text("(see the following message)"))
            parts = result.parts if self.own else tuple(texts_only)
            written = {
                "role": "tool",
                "tool_call_id": result.call_id,
                "content": self._content(parts, place) if parts else "",
                **({} if result.name is None or not self.own else {"name": result.name}),
                **self._cache(result.cache),
                **self._extras(result.extras, "messages.content"),
            }
            out.append(written)
        if shown:
            out.append({"role": "user", "content": shown})
        return out

    def _write_assistant(self, written: JsonObject, message: Message, where: str) -> None:
        thoughts: list[Thinking | RedactedThinking] = []
        content: list[Part] = []
        calls: list[JsonObject] = []
        for index, part in enumerate(message.parts):
            if isinstance(part, Thinking | RedactedThinking):
                thoughts.append(part)
            elif isinstance(part, ToolCall):
                extras = self._extras(part.extras, "messages.tool_calls")
                calls.append({**write_call(self._unsigned(part)), **extras})
            elif isinstance(part, Refusal):
                written["refusal"] = part.text
            elif isinstance(part, Opaque) and part.dialect != NAME:
                what = f"A block of type '{part.kind}' is not supported."
                raise self.losses.refuse(f"{where}.content[{index}]", what)
            else:
                content.append(part)
        written["content"] = self._content(tuple(content), where, "") if content else None
        if not content and not calls and "refusal" not in written:
            written["content"] = ""  # null would need a call or a refusal beside it
        if calls:
            written["tool_calls"] = calls
        if thoughts:
            self._write_thoughts(written, thoughts)

    def _unsigned(self, call: ToolCall) -> ToolCall:
        """Without a proof of thought that the target's models did not make."""
        # Who sells many makers' models hands their proofs on.
        if call.signature is None or self.target.family == call.origin:
            return call
        if not self.target.family and DETAILS_BACK in self.target.quirks:
            return call
        self.losses.drop_as(
            "messages.tool_calls.extra_content" if self.own else "messages.thinking"
        )
        return replace(call, signature=None)

    def _write_thoughts(
        self, written: JsonObject, thoughts: list[Thinking | RedactedThinking]
    ) -> None:
        if DETAILS_BACK in self.target.quirks:
            written["reasoning_details"] = details(thoughts)
        elif CONTENT_BACK in self.target.quirks:
            written["reasoning_content"] = "".join(texts(thoughts))
        else:
            self.losses.drop_as("messages.reasoning" if self.own else "messages.thinking")


def _said(**fields: Any) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def _write_choice(choice: ToolChoice, tools: tuple[Tool, ...]) -> Any:
    named = [_name_choice(name, tools) for name in choice.names]
    if not named:
        return choice.mode
    if len(named) == 1 and choice.mode == "required":
        return named[0]
    return {"type": "allowed_tools", "allowed_tools": {"mode": choice.mode, "tools": named}}


def _name_choice(name: str, tools: tuple[Tool, ...]) -> JsonObject:
    custom = any(isinstance(t, FunctionTool) and t.custom and t.name == name for t in tools)
    kind = "custom" if custom else "function"
    return {"type": kind, kind: {"name": name}}


def _write_format(form: ResponseFormat) -> JsonObject:
    if form.kind != "json_schema":
        return {"type": form.kind}
    schema = _said(
        name=form.name or "answer",
        description=form.description,
        schema=form.schema,
        strict=form.strict,
    )
    return {"type": "json_schema", "json_schema": schema}


def _reasoning_object(reasoning: Reasoning) -> JsonObject:
    written = _said(effort=reasoning.effort, max_tokens=reasoning.budget_tokens)
    if reasoning.mode is not None:
        written["enabled"] = reasoning.mode != "off"
    if reasoning.show == "omitted":
        written["exclude"] = True
    elif reasoning.show is not None:
        written["summary"] = reasoning.show
    return written


def encode_request(request: GenerationRequest, target: Target) -> HttpRequest:
    return _Writer(request, target).write()
