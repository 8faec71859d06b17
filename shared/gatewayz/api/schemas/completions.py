"""The legacy Completions protocol: requests, answers and frames, as each mount writes them."""

from typing import Annotated, Any, Literal

from pydantic import Field, RootModel

from gatewayz.api.schemas.chat_answer import ChatUsage, ErrorFrame
from gatewayz.api.schemas.chat_request import (
    Choices,
    Label,
    Object,
    Penalty,
    Share,
    StreamOptions,
    Tokens,
)
from gatewayz.api.schemas.shape import CompletionId, Count, GenerationId, Passed, UnixSeconds
from gatewayz.dialects.openai_chat.request import MAX_STOPS
from gatewayz.dialects.openai_completions.read_request import MAX_LOGPROBS, MAX_PROMPTS

TokenIds = Annotated[list[int], Field(min_length=1)]


class CompletionsRequest(Passed):
    """Known fields are checked and nothing is coerced. Several prompts, token ids, `suffix`,
    `echo`, `best_of` and `logprobs` need a provider that has this protocol itself.
    """

    model: Annotated[str, Field(min_length=1, description="id or alias of a model")]
    prompt: (
        str
        | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
        | TokenIds
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS)]
    )
    suffix: str | None = None
    max_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    n: Choices | None = None
    best_of: Choices | None = None
    echo: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=MAX_LOGPROBS)] | None = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: Object | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    stream: bool | None = Field(None, description="answer by server-sent events")
    stream_options: StreamOptions | None = None
    user: Label | None = Field(None, description="your name for a person; kept only as a hash")
    session_id: Annotated[str, Field(max_length=256)] | None = None


class CompletionChoice(Passed):
    text: str
    index: Count
    logprobs: Any
    finish_reason: str | None


class CompletionsAnswer(Passed):
    id: CompletionId
    object: Literal["text_completion"]
    created: UnixSeconds
    model: str
    choices: Annotated[list[CompletionChoice], Field(min_length=1)]
    usage: ChatUsage


class RoutedCompletionsAnswer(CompletionsAnswer):
    """The same at /api/v1, with the provider's name."""

    id: GenerationId
    provider: str


class CompletionsChunk(Passed):
    """One frame of a stream. Without choices it carries the usage."""

    id: CompletionId
    object: Literal["text_completion"]
    created: UnixSeconds
    model: str
    choices: list[CompletionChoice]
    usage: ChatUsage | None = None


class CompletionsFrame(RootModel[CompletionsChunk | ErrorFrame]):
    """What the data of an event is."""


class RoutedCompletionsChunk(CompletionsChunk):
    """The same at /api/v1. A failure is a frame with `error` and finish_reason `error`, then
    comes [DONE]."""

    id: GenerationId
    provider: str
    error: Object | None = None
