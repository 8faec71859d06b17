"""A chat completion request. The hot path's own checks accept and refuse the same bodies (D46)."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gatewayz.api.schemas.shape import Passed
from gatewayz.dialects.openai_chat.request import (
    MAX_CHOICES,
    MAX_STOPS,
    MAX_TOKENS_LIMIT,
    MAX_USER_CHARS,
)

Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS_LIMIT)]
Choices = Annotated[int, Field(ge=1, le=MAX_CHOICES)]
Object = dict[str, Any]
Label = Annotated[str, Field(max_length=MAX_USER_CHARS)]
Word = Annotated[str, Field(max_length=64)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]


class Part(Passed):
    """A part of a message: text, image_url, input_audio, file, …"""

    type: str


class Message(Passed):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[Part] | None = None


class Tool(Passed):
    type: str


class Plugin(Passed):
    id: str


class StreamOptions(Passed):
    include_usage: bool | None = Field(
        None, description="send a last frame with usage and cost; /api/v1 always does"
    )


class ChatRequest(Passed):
    """Known fields are checked and nothing is coerced; unknown fields travel to the provider.
    Fields meant for a gateway (`api_key`, `base_url`, `provider`, …) never do.
    """

    model: Annotated[str, Field(min_length=1, description="id or alias of a model")]
    messages: Annotated[list[Message], Field(min_length=1)]
    max_tokens: Tokens | None = Field(
        None, description="most output tokens; without it the answer may take what credit pays for"
    )
    max_completion_tokens: Tokens | None = None
    n: Choices | None = None
    best_of: Choices | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=2**31 - 1)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Share | None = None
    min_p: Share | None = None
    top_a: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] | None = None
    stream: bool | None = Field(None, description="answer by server-sent events")
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    store: bool | None = None
    parallel_tool_calls: bool | None = None
    logit_bias: Object | None = None
    response_format: Object | None = None
    prediction: Object | None = None
    audio: Object | None = None
    metadata: Object | None = None
    web_search_options: Object | None = None
    modalities: list[Any] | None = None
    functions: list[Any] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | Object | None = None
    function_call: str | Object | None = None
    stop: str | Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    user: Label | None = Field(None, description="your name for a person; kept only as a hash")
    safety_identifier: Label | None = None
    session_id: Annotated[str, Field(max_length=256)] | None = None
    service_tier: Literal["auto", "default"] | None = None
    reasoning_effort: Word | None = None
    reasoning: Object | None = Field(
        None, description="effort, max_tokens, enabled, exclude, summary: as the model takes it"
    )
    include_reasoning: bool | None = None
    cache_control: Object | None = Field(
        None, description="here or on a part: everything before it may be cached"
    )
    plugins: list[Plugin] | None = Field(
        None, description="`web` searches the web where the model can; others are refused by name"
    )
    transforms: list[Any] | None = None
    verbosity: Word | None = None
