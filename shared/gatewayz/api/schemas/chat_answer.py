"""Chat completions and the frames of a stream, as each mount writes them (D25)."""

from typing import Any, Literal

from pydantic import Field, RootModel

from gatewayz.api.schemas.errors import ErrorBody
from gatewayz.api.schemas.shape import ChatId, Count, GenerationId, Ours, Passed, UnixSeconds, Usd


class CostDetails(Passed):
    upstream_inference_cost: Usd | None = Field(
        description="what the provider says the answer cost, where it says so"
    )
    upstream_inference_prompt_cost: Usd | None = Field(
        None, description="on /api/v1: of `cost`, what is not for what was written"
    )
    upstream_inference_completions_cost: Usd | None = Field(
        None, description="on /api/v1: of `cost`, what is for what was written"
    )


class ChatUsage(Passed):
    """Tokens as they were billed, and what the request cost."""

    prompt_tokens: Count
    completion_tokens: Count
    total_tokens: Count
    cost: Usd
    cost_details: CostDetails
    estimated: bool | None = Field(None, description="the provider sent no usage: we counted")


class AnswerMessage(Passed):
    role: str
    content: str | None = None


class ChatChoice(Passed):
    index: Count
    message: AnswerMessage
    finish_reason: str | None
    logprobs: Any = None


class ChatCompletion(Passed):
    id: ChatId
    object: Literal["chat.completion"]
    created: UnixSeconds
    model: str
    choices: list[ChatChoice] = Field(min_length=1)
    usage: ChatUsage


class RoutedCompletion(ChatCompletion):
    """The same at /api/v1, with the provider's name."""

    id: GenerationId
    provider: str


class ChunkChoice(Passed):
    index: Count
    delta: dict[str, Any]
    finish_reason: str | None = None
    logprobs: Any = None


class ChatCompletionChunk(Passed):
    """One frame of a stream. Without choices it carries the usage."""

    id: ChatId
    object: Literal["chat.completion.chunk"]
    created: UnixSeconds
    model: str
    choices: list[ChunkChoice]
    usage: ChatUsage | None = None


class ErrorFrame(Ours):
    """The last frame of a stream that failed after its first content; no [DONE] follows."""

    error: ErrorBody


class ChatFrame(RootModel[ChatCompletionChunk | ErrorFrame]):
    """What the data of an event is."""


class RoutedChunk(ChatCompletionChunk):
    """The same at /api/v1. A failure is a frame with `error` and finish_reason `error`, then
    comes [DONE]."""

    id: GenerationId
    provider: str | None = None
    error: dict[str, Any] | None = None
