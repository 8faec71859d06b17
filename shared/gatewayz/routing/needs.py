"""What a request needs of an offer: its size, what it uses, what it shows. Pure.

Reads a client's body of any dialect, once, and only for what decides where it may go; the
dialects check it, this never refuses.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

JsonObject = Mapping[str, Any]

# A caller's field → the parameter that an offer must support, in OpenRouter's words. What every
# model takes (messages, stream, user, …) is not named.
PARAMETERS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "top_a": "top_a",
    "min_p": "min_p",
    "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty",
    "repetition_penalty": "repetition_penalty",
    "max_tokens": "max_tokens",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "logit_bias": "logit_bias",
    "logprobs": "logprobs",
    "top_logprobs": "top_logprobs",
    "seed": "seed",
    "stop": "stop",
    "stop_sequences": "stop",
    "tools": "tools",
    "functions": "tools",
    "tool_choice": "tool_choice",
    "toolConfig": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
    "response_format": "response_format",
    "reasoning": "reasoning",
    "reasoning_effort": "reasoning",
    "thinking": "reasoning",
    "include_reasoning": "include_reasoning",
    "verbosity": "verbosity",
    "web_search_options": "web_search_options",
    "prediction": "prediction",
}
# The same where a dialect keeps them in an object of their own.
NESTED: Mapping[str, str] = {
    "temperature": "temperature",
    "topP": "top_p",
    "topK": "top_k",
    "frequencyPenalty": "frequency_penalty",
    "presencePenalty": "presence_penalty",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "responseSchema": "structured_outputs",
    "responseJsonSchema": "structured_outputs",
    "thinkingConfig": "reasoning",
    "responseLogprobs": "logprobs",
    "seed": "seed",
}
# Losing one of these silently changes what the answer is: offers without go behind those with.
DECISIVE = frozenset({"tools", "response_format", "structured_outputs", "verbosity"})
# The kind of a content part → what the model must be able to read.
PARTS: Mapping[str, str] = {
    "image_url": "image",
    "image": "image",
    "input_image": "image",
    "input_audio": "audio",
    "audio": "audio",
    "video_url": "video",
    "video": "video",
    "file": "file",
    "input_file": "file",
    "document": "file",
}


@dataclass(frozen=True, slots=True)
class Needs:
    """`prompt_tokens` is the upper estimate; `max_output_tokens` the caller's own limit."""

    prompt_tokens: int
    max_output_tokens: int | None = None
    parameters: frozenset[str] = frozenset()
    input_modalities: frozenset[str] = frozenset()  # besides text
    output_modalities: frozenset[str] = frozenset()  # besides text


def read_needs(
    body: JsonObject, *, prompt_tokens: int, max_output_tokens: int | None = None
) -> Needs:
    """The needs of a request in any client dialect; unreadable parts are taken for none."""
    parameters = {
        PARAMETERS[name]
        for name in body
        if name in PARAMETERS and body[name] is not None and body[name] not in ([], "none")
    }
    _read_formats(body, parameters)
    config = body.get("generationConfig")
    if type(config) is dict:
        parameters |= {NESTED[name] for name in config if name in NESTED}
        if config.get("responseMimeType") == "application/json":
            parameters.add("response_format")
    wanted = body.get("modalities") or (config or {}).get("responseModalities") or ()
    shown = {str(each).lower() for each in wanted} if type(wanted) is list else set()
    return Needs(
        prompt_tokens,
        max_output_tokens,
        frozenset(parameters),
        frozenset(_modalities(body)),
        frozenset(shown - {"text"}),
    )


def _read_formats(body: JsonObject, parameters: set[str]) -> None:
    """A JSON schema asks for more than JSON; "text" asks for nothing."""
    text = body.get("text")  # where one dialect keeps its format
    config = body.get("output_config")
    asked = body.get("response_format") or body.get("output_format")
    if type(text) is dict:
        asked = asked or text.get("format")
        if text.get("verbosity") is not None:
            parameters.add("verbosity")
    if type(config) is dict:
        asked = asked or config.get("format")
    kind = asked.get("type") if type(asked) is dict else None
    if kind == "json_schema":
        parameters |= {"response_format", "structured_outputs"}
    elif kind == "json_object":
        parameters.add("response_format")
    else:
        parameters.discard("response_format")


def _modalities(body: JsonObject) -> set[str]:
    found: set[str] = set()
    for field in ("messages", "input", "contents"):
        messages = body.get(field)
        if type(messages) is not list:
            continue
        for message in messages:
            if type(message) is not dict:
                continue
            parts = message.get("content") if field != "contents" else message.get("parts")
            if type(parts) is list:
                _read_parts(parts, found)
    return found


def _read_parts(parts: list[Any], found: set[str]) -> None:
    for part in parts:
        if type(part) is not dict:
            continue
        kind = PARTS.get(part.get("type", "")) if type(part.get("type")) is str else None
        if kind is not None:
            found.add(kind)
        inner = part.get("content")
        if type(inner) is list:  # the result of a tool may show pictures
            _read_parts(inner, found)
        for name in ("inlineData", "inline_data", "fileData", "file_data"):
            if type(data := part.get(name)) is dict:
                mime = str(data.get("mimeType") or data.get("mime_type") or "")
                top = mime.partition("/")[0]
                if top in ("image", "audio", "video"):
                    found.add(top)
                elif mime and top != "text":
                    found.add("file")
