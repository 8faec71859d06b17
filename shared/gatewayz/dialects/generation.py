"""The internal form of a request and of a whole answer, between any two dialects.

A reader fills what it finds and leaves the rest None: no default is ever invented. What the form
does not name travels in `extras` of the `dialect` it came from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.parts import CacheMark, Extras, Message, Opaque, Part
from gatewayz.pricing.usage import Usage

Effort: TypeAlias = str  # one of EFFORTS, or a newer word that travels as it came
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
ReasoningMode = Literal["on", "off", "adaptive"]
FormatKind = Literal["text", "json_object", "json_schema"]
ChoiceMode = Literal["auto", "none", "required"]
FinishReason = Literal[
    "stop",
    "stop_sequence",
    "length",
    "context",  # the model's context is full
    "tool_calls",
    "content_filter",  # refused, by the model or a filter
    "pause",  # a turn of server tools that wants to be continued
    "error",
]


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """`parameters` is JSON Schema; None when the tool takes none. `custom`: its input is text."""

    name: str
    description: str | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None
    custom: bool = False
    cache: CacheMark | None = None
    extras: Extras = field(default_factory=dict)


Tool: TypeAlias = FunctionTool | Opaque


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """`names` restricts the choice to these tools; "required" with one name forces that tool."""

    mode: ChoiceMode
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    kind: FormatKind
    schema: JsonObject | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What was asked: an effort, a budget in tokens, a mode, whether thoughts are shown.

    `show`: None as the target likes, else its word ("summarized", "omitted", "auto", …).
    """

    effort: Effort | None = None
    budget_tokens: int | None = None
    mode: ReasoningMode | None = None
    show: str | None = None

    @property
    def off(self) -> bool:
        return self.mode == "off" or self.effort == "none"


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """`extras` here and below belong to `dialect`. `headers` are those of the caller that a
    provider of the same dialect may get (lower case, allow-listed by the reader). `ignored` names
    fields that no provider may get and nobody here acts on."""

    dialect: str
    model: str
    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tools: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int = 1
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: JsonObject | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    response_format: ResponseFormat | None = None
    reasoning: Reasoning | None = None
    verbosity: str | None = None
    stream: bool = False
    include_usage: bool = False
    user: str | None = None
    session: str | None = None
    metadata: JsonObject | None = None
    service_tier: str | None = None
    cache: CacheMark | None = None
    cache_key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finish:
    """`native` is the provider's word; `stop` the sequence that ended the text, if it says so."""

    reason: FinishReason
    native: str | None = None
    stop: str | None = None
    details: Any = None


@dataclass(frozen=True, slots=True)
class Choice:
    """`logprobs` in the shape of OpenAI's chat completions, the richest of all."""

    parts: tuple[Part, ...]
    finish: Finish | None = None
    logprobs: JsonObject | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Generation:
    """A whole answer. `usage` is what is billed, `raw_usage` what the provider wrote; `usage` None
    with a `raw_usage` means that it cannot be true. `stated_cost` is in USD."""

    dialect: str
    choices: tuple[Choice, ...]
    id: str | None = None
    model: str | None = None
    created_s: int | None = None
    usage: Usage | None = None
    raw_usage: JsonObject | None = None
    stated_cost: float | None = None
    service_tier: str | None = None
    extras: Extras = field(default_factory=dict)
