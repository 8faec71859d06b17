"""What a target cannot take of a request: named when it does no harm, refused when it does (§6).

Owns the words callers know their fields by. Guarantees that no field goes missing in silence.
"""

from collections.abc import Collection, Mapping
from typing import Any

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.rules import apply_rules, refusal

# Losing one of these changes what the caller gets back, so it is never dropped.
HARMFUL = ("tools", "tool_choice", "stop", "response_format", "n")
HARMLESS = (
    "parallel_tools",
    "max_output_tokens",
    "temperature",
    "top_p",
    "top_k",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "reasoning",
    "verbosity",
    "user",
    "metadata",
    "service_tier",
    "cache",
    "cache_key",
)
# Fields beyond the form that promise something of the answer.
HARMFUL_EXTRAS: Mapping[str, frozenset[str]] = {
    "openai_chat": frozenset({"web_search_options", "audio", "modalities", "plugins"}),
    "openai_responses": frozenset({"tool_choice"}),
    "openai_completions": frozenset({"web_search_options"}),
    "anthropic": frozenset({"container", "mcp_servers"}),
    "google": frozenset(
        {
            "cachedContent",
            "generationConfig.responseModalities",
            "generationConfig.speechConfig",
            "generationConfig.imageConfig",
            "generationConfig.responseMimeType",
            "generationConfig.responseSchema",
            "generationConfig.responseFormat",
        }
    ),
}
# Where a dialect's word for a field is not the form's.
WORDS: Mapping[str, Mapping[str, str]] = {
    "openai_chat": {
        "parallel_tools": "parallel_tool_calls",
        "max_output_tokens": "max_tokens",
        "reasoning": "reasoning_effort",
        "cache": "cache_control",
        "cache_key": "prompt_cache_key",
    },
    "openai_completions": {"max_output_tokens": "max_tokens", "top_logprobs": "logprobs"},
    "openai_responses": {
        "parallel_tools": "parallel_tool_calls",
        "response_format": "text.format",
        "verbosity": "text.verbosity",
        "logprobs": "include",
        "cache_key": "prompt_cache_key",
    },
    "anthropic": {
        "parallel_tools": "tool_choice.disable_parallel_tool_use",
        "max_output_tokens": "max_tokens",
        "stop": "stop_sequences",
        "response_format": "output_config.format",
        "reasoning": "thinking",
        "user": "metadata.user_id",
        "cache": "cache_control",
    },
    "google": {
        "max_output_tokens": "generationConfig.maxOutputTokens",
        "temperature": "generationConfig.temperature",
        "top_p": "generationConfig.topP",
        "top_k": "generationConfig.topK",
        "stop": "generationConfig.stopSequences",
        "seed": "generationConfig.seed",
        "n": "generationConfig.candidateCount",
        "presence_penalty": "generationConfig.presencePenalty",
        "frequency_penalty": "generationConfig.frequencyPenalty",
        "logprobs": "generationConfig.responseLogprobs",
        "top_logprobs": "generationConfig.logprobs",
        "response_format": "generationConfig.responseSchema",
        "reasoning": "generationConfig.thinkingConfig",
        "tool_choice": "toolConfig.functionCallingConfig",
        "service_tier": "serviceTier",
    },
}
# A field of any target's wire → the form's name for it: rows speak of the target's.
FIELDS: Mapping[str, str] = {
    **dict.fromkeys(("max_tokens", "max_completion_tokens", "maxTokens"), "max_output_tokens"),
    "maxOutputTokens": "max_output_tokens",
    "topP": "top_p",
    "p": "top_p",
    "topK": "top_k",
    "k": "top_k",
    "stop_sequences": "stop",
    "stopSequences": "stop",
    "candidateCount": "n",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "responseLogprobs": "logprobs",
    **dict.fromkeys(("reasoning_effort", "thinking", "thinkingConfig"), "reasoning"),
    "parallel_tool_calls": "parallel_tools",
    "toolConfig": "tool_choice",
    "prompt_cache_key": "cache_key",
    **dict.fromkeys(("responseSchema", "responseJsonSchema"), "response_format"),
}


def word(request: GenerationRequest, name: str) -> str:
    """The caller's own word for a field of the form."""
    return WORDS.get(request.dialect, {}).get(name, name)


class Losses:
    """Collects what a writer leaves out of `request`; `names` is in order and without doubles."""

    __slots__ = ("_names", "_request")

    def __init__(self, request: GenerationRequest) -> None:
        self._request = request
        self._names: dict[str, None] = dict.fromkeys(request.ignored)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._names)

    def drop(self, name: str) -> None:
        """`name` is a field of the form."""
        self._names[word(self._request, name)] = None

    def drop_as(self, words: str) -> None:
        """`words` are the caller's."""
        self._names[words] = None

    def refuse(self, where: str, what: str = "The parameter is not supported.") -> InvalidRequest:
        """The error for a part that must not get lost; `where` is its place in the request."""
        return refusal(where, what)

    def rules(self, body: JsonObject, target: Target, *, own: bool) -> None:
        """Apply a provider's row to the written body, and name what it drops in the caller's
        words: those of the body itself when the dialects are the same."""

        for name in apply_rules(body, target, str if own else self.said):
            self.drop_as(name)

    def said(self, name: str) -> str:
        """The caller's word for a field of the target's wire."""
        return word(self._request, FIELDS.get(name, name))

    def leave(self, taken: Collection[str]) -> None:
        """Drop all harmless fields that are set and not `taken`; InvalidRequest for others."""
        request = self._request
        for name in HARMFUL:
            value = getattr(request, name)
            if name not in taken and value and (name != "n" or value != 1):
                raise self.refuse(word(request, name))
        for name in HARMLESS:
            if name not in taken and getattr(request, name) is not None:
                self.drop(name)

    def leave_extras(self, extras: Mapping[str, Any], place: str = "") -> None:
        """Drop fields beyond the form, found at `place`, that another dialect does not know."""
        harmful = HARMFUL_EXTRAS.get(self._request.dialect, frozenset())
        for name, value in extras.items():
            if not place and name in harmful and not _says_nothing(name, value):
                raise self.refuse(name)
            if value is not None:
                self._names[f"{place}.{name}" if place else name] = None


def _says_nothing(name: str, value: Any) -> bool:
    return value is None or value == [] or (name == "modalities" and value == ["text"])
