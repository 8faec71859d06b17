"""The internal form → a generateContent request for a provider.

Drops with a name what does no harm; refuses the rest. Streams are always asked for as events.
"""

import re
from collections.abc import Callable
from typing import Any

import orjson

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.custom_tools import as_functions
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import (
    FunctionTool,
    GenerationRequest,
    ResponseFormat,
    ToolChoice,
)
from gatewayz.dialects.google import thinking
from gatewayz.dialects.google.read_request import CONFIG, TOOL_CONFIG
from gatewayz.dialects.google.schema import from_json_schema
from gatewayz.dialects.google.turns import NO_CALL_IDS, RESULT_PARTS, Turns
from gatewayz.dialects.google.wire import NAME, write_path
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.names import safe_name
from gatewayz.dialects.parts import Extras, Opaque, ToolCall
from gatewayz.dialects.protocol import HttpRequest, Notes
from gatewayz.dialects.rules import apply_rules, drop_fields
from gatewayz.dialects.speech import FILE, SAMPLES, speech_for_google, take_speech
from gatewayz.dialects.web_search import as_google, take_search

# Flags of an offer or its provider's row.
OPENAPI_SCHEMA = "openapi_schema"  # knows only the older language of schemas
PLAIN_COUNT = "plain_count"  # counts a request that is not wrapped in another
QUIRKS = frozenset(
    {OPENAPI_SCHEMA, PLAIN_COUNT, NO_CALL_IDS, RESULT_PARTS, thinking.BUDGET, thinking.LEVEL}
)
MAX_STOPS = 5
_MAX_SEED = 2**31 - 1
_TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]{0,63}")
_IMAGE_CONFIG = {"aspect_ratio": "aspectRatio", "image_size": "imageSize"}
_SAMPLING = {
    "temperature": "temperature",
    "top_p": "topP",
    "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
    "logprobs": "responseLogprobs",
}


def sent_name(name: str) -> str:
    """A tool's name as this protocol takes it: it begins like a word."""
    if _TOOL_NAME.fullmatch(name):
        return name
    made = safe_name(name)
    return made if _TOOL_NAME.fullmatch(made) else safe_name("." + name)


class _Writer:
    def __init__(self, request: GenerationRequest, target: Target) -> None:
        request, self.custom = as_functions(request)
        self.own = request.dialect == NAME
        self.search, request = (None, request) if self.own else take_search(request)
        self.speech, request = (None, request) if self.own else take_speech(request)
        self.request = request
        self.target = target
        self.losses = Losses(request)
        self.older = OPENAPI_SCHEMA in target.quirks
        names = {name: sent_name(name) for name in self._tool_names()}
        self.names = {name: sent for name, sent in names.items() if sent != name}

    def _tool_names(self) -> set[str]:
        names = {t.name for t in self.request.tools if isinstance(t, FunctionTool)}
        for message in self.request.messages:
            names |= {part.name for part in message.parts if isinstance(part, ToolCall)}
        return names

    def write(self) -> HttpRequest:
        request = self.request
        turns = Turns(request, self.target, self.losses, self.names)
        turns.write()
        body: JsonObject = {"contents": turns.contents}
        if turns.system:
            body["systemInstruction"] = {"parts": turns.system}
        self._write_tools(body)
        config = self._config()
        if self.own:
            if request.service_tier is not None:
                body["serviceTier"] = request.service_tier
            self._write_extras(body, config)
        else:
            self._write_speech(config)
            self.losses.leave_extras(_take_modalities(request.extras, config))
        taken = {*_SAMPLING, "tools", "tool_choice", "max_output_tokens", "top_k", "stop", "seed"}
        taken |= {"n", "top_logprobs", "response_format", "reasoning"}
        taken |= {"service_tier"} if self.own else set()
        taken |= set() if request.parallel_tools is False else {"parallel_tools"}
        self.losses.leave(taken)
        said = str if self.own else self.losses.said
        for name in apply_body_rules(body, config, self.target, said):
            self.losses.drop_as(name)
        method = "streamGenerateContent" if request.stream else "generateContent"
        return HttpRequest(
            write_path(self.target, method),
            dump(body),
            dropped=self.losses.names,
            notes=Notes(
                {sent: name for name, sent in self.names.items()},
                custom=self.custom,
                audio=self.speech.format if self.speech is not None else "",
            ),
        )

    def _write_speech(self, config: JsonObject) -> None:
        speech = self.speech
        if speech is None:
            return
        given = (SAMPLES,) if self.request.stream else (SAMPLES, FILE)
        if speech.format not in given:
            what = f"Only {' and '.join(given)} can be given."
            raise self.losses.refuse(speech.where, what)
        config |= speech_for_google(speech)

    def _write_extras(self, body: JsonObject, config: JsonObject) -> None:
        for name, value in self.request.extras.items():
            if name.startswith(CONFIG):
                _merge(config, name.removeprefix(CONFIG), value)
            elif name.startswith(TOOL_CONFIG):
                held = body.setdefault("toolConfig", {})
                _merge(held, name.removeprefix(TOOL_CONFIG), value)
            else:
                body[name] = value

    # ------------------------------------------------------------------ tools

    def _write_tools(self, body: JsonObject) -> None:
        functions: list[JsonObject] = []
        tools: list[JsonObject] = []
        for index, tool in enumerate(self.request.tools):
            where = f"tools[{index}]"
            if isinstance(tool, FunctionTool):
                if not functions:
                    tools.append({"functionDeclarations": functions})
                functions.append(self._function(tool))
            elif isinstance(tool, Opaque) and tool.dialect == NAME:
                tools.append(tool.raw)
            else:
                what = f"A tool of type '{tool.kind}' is not supported."
                raise self.losses.refuse(where, what)
        if self.search is not None:
            tools.append(as_google(self.search, self.losses))
        if tools:
            body["tools"] = tools
        choice = self.request.tool_choice
        # A choice without functions is an error there and means nothing anyway.
        if choice is not None and (functions or self.own):
            body["toolConfig"] = {"functionCallingConfig": self._choice(choice)}

    def _choice(self, choice: ToolChoice) -> JsonObject:
        mode = {"auto": "AUTO", "none": "NONE", "required": "ANY"}[choice.mode]
        if not choice.names:
            return {"mode": mode}
        names = [self.names.get(name, name) for name in choice.names]
        mode = "VALIDATED" if choice.mode == "auto" else mode
        return {"mode": mode, "allowedFunctionNames": names}

    def _function(self, tool: FunctionTool) -> JsonObject:
        if tool.cache is not None:
            self.losses.drop("cache")
        if tool.strict:
            self.losses.drop_as("tools.strict")
        written: JsonObject = {"name": self.names.get(tool.name, tool.name)}
        if tool.description is not None:
            written["description"] = tool.description
        if tool.parameters is not None:
            if not self.older:
                written["parametersJsonSchema"] = tool.parameters
            elif tool.parameters.get("properties"):  # an object without any is refused
                written["parameters"] = from_json_schema(tool.parameters)
        if self.own:
            return {**written, **tool.extras}
        self.losses.leave_extras(tool.extras, "tools")
        return written

    # ------------------------------------------------------------------ configuration

    def _config(self) -> JsonObject:
        request = self.request
        config: JsonObject = {}
        for name, word in _SAMPLING.items():
            if (value := getattr(request, name)) is not None:
                config[word] = value
        if request.top_k is not None and (request.top_k > 0 or self.own):
            config["topK"] = request.top_k
        if request.top_logprobs is not None and (request.top_logprobs or self.own):
            config["logprobs"] = request.top_logprobs
        if request.max_output_tokens is not None:
            config["maxOutputTokens"] = request.max_output_tokens
        if request.n != 1:
            config["candidateCount"] = request.n
        if request.seed is not None:
            if self.own or abs(request.seed) <= _MAX_SEED:
                config["seed"] = request.seed
            else:
                self.losses.drop("seed")
        if request.stop:
            if len(request.stop) > MAX_STOPS and not self.own:
                raise self.losses.refuse("stop", f"At most {MAX_STOPS} stop sequences are taken.")
            config["stopSequences"] = list(request.stop)
        if request.response_format is not None:
            config |= self._format(request.response_format)
        self._write_reasoning(config)
        return config

    def _format(self, form: ResponseFormat) -> JsonObject:
        if form.kind == "text":
            return {"responseMimeType": "text/plain"} if self.own else {}
        written: JsonObject = {"responseMimeType": "application/json"}
        if form.schema is not None:
            if self.older:
                written["responseSchema"] = from_json_schema(form.schema)
            else:
                written["responseJsonSchema"] = form.schema
        return written

    def _write_reasoning(self, config: JsonObject) -> None:
        reasoning = self.request.reasoning
        if reasoning is None:
            return
        if self.own:
            config["thinkingConfig"] = thinking.write_own(reasoning)
        elif self.target.reasons is False:
            if not reasoning.off:
                self.losses.drop("reasoning")
        else:
            limit = self.request.max_output_tokens
            config["thinkingConfig"] = thinking.write_thinking(reasoning, self.target, limit)


def _merge(holder: JsonObject, name: str, value: Any) -> None:
    before = holder.get(name)
    both = type(before) is dict and type(value) is dict
    holder[name] = {**before, **value} if both else value  # type: ignore[dict-item]


def apply_body_rules(
    body: JsonObject, config: JsonObject, target: Target, said: Callable[[str], str] = str
) -> list[str]:
    """A provider's row names fields of the configuration and of the body alike."""
    inner = apply_rules(config, target, _in_config if said is str else said)
    dropped = drop_fields(body, target.drop, said)
    if config:
        body["generationConfig"] = config
    return [*dropped, *inner]


def _take_modalities(extras: Extras, config: JsonObject) -> Extras:
    """Pictures in an answer, asked for as chat completions do; what is left of the extras."""
    shown = extras.get("modalities")
    if type(shown) is not list or not {"image"} <= set(map(str, shown)) <= {"image", "text"}:
        return extras
    config["responseModalities"] = [str(each).upper() for each in shown]
    left = {name: value for name, value in extras.items() if name != "modalities"}
    image = left.get("image_config")
    if type(image) is dict and image.keys() <= _IMAGE_CONFIG.keys():
        config["imageConfig"] = {_IMAGE_CONFIG[name]: value for name, value in image.items()}
        del left["image_config"]
    return left


def _in_config(name: str) -> str:
    return CONFIG + name


def dump(body: JsonObject) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        raise InvalidRequest("The request body cannot be written as JSON.") from None


def encode_request(request: GenerationRequest, target: Target) -> HttpRequest:
    return _Writer(request, target).write()
