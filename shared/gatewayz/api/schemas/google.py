"""The generateContent protocol: requests, answers, chunks of a stream, counts and errors."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field, RootModel
from pydantic.alias_generators import to_camel

from gatewayz.api.schemas.shape import Count, GenerationId, Ours, Passed, Usd
from gatewayz.dialects.checks import MAX_TOKENS_LIMIT
from gatewayz.dialects.google.read_request import MAX_CHOICES

Object = dict[str, Any]
Objects = list[Object] | Object
Penalty = Annotated[float, Field(ge=-2, le=2, allow_inf_nan=False)]


class Camel(Passed):
    """Requests may write their names in snake_case too."""

    model_config = ConfigDict(extra="allow", strict=True, alias_generator=to_camel)


class Instruction(Camel):
    parts: Objects = Field(description="text, inlineData, fileData, functionCall, …")


class Content(Instruction):
    role: str | None = Field(None, description="`user` or `model`")


class GenerationConfig(Camel):
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[float, Field(ge=0, le=2**31 - 1)] | None = None
    candidate_count: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS_LIMIT)] | None = None
    stop_sequences: list[str] | None = None
    seed: Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    response_logprobs: bool | None = None
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_mime_type: str | None = None
    response_schema: Object | None = None
    response_json_schema: Object | None = None
    thinking_config: Object | None = None


class GenerateContentRequest(Camel):
    """Known fields are checked and nothing is coerced. The model stands in the path. A field that
    the chosen provider cannot take is named in X-Gatewayz-Dropped-Params, or refused when leaving
    it out changes the answer.
    """

    contents: Annotated[list[Content], Field(min_length=1)] | Content
    system_instruction: str | Instruction | None = None
    generation_config: GenerationConfig | None = None
    tools: Objects | None = None
    tool_config: Object | None = None
    safety_settings: Any = None
    service_tier: Annotated[str, Field(max_length=64)] | None = None
    session_id: Annotated[str, Field(max_length=256)] | None = None


class WrappedRequest(Camel):
    generate_content_request: Object = Field(description="a GenerateContentRequest")


class CountTokensRequest(RootModel[GenerateContentRequest | WrappedRequest]):
    """What is to be counted: a request, or one inside another."""


class CountTokensAnswer(Camel):
    total_tokens: Count
    prompt_tokens_details: list[Object]


class UsageMetadata(Camel):
    """Tokens as they were billed, and what the request cost."""

    prompt_token_count: Count
    candidates_token_count: Count | None = None
    total_token_count: Count
    cost: Usd


class Candidate(Camel):
    index: Count
    content: Object
    finish_reason: str | None = None


class ContentChunk(Camel):
    """An answer with a piece of the text; the last one has the finish reason and the usage."""

    candidates: list[Candidate] | None = Field(
        None, description="absent when the prompt was refused: `promptFeedback` says why"
    )
    usage_metadata: UsageMetadata | None = None
    model_version: str
    response_id: GenerationId


class GenerateContentAnswer(ContentChunk):
    usage_metadata: UsageMetadata


class GoogleErrorBody(Ours):
    code: int = Field(description="the HTTP status")
    message: str
    status: str
    details: list[Object] = Field(
        description="the `reason` of the ErrorInfo is our code in upper case: branch on it"
    )


class GoogleError(Ours):
    """An error as /v1beta writes it."""

    error: GoogleErrorBody


class ContentFrame(RootModel[ContentChunk | GoogleError]):
    """What the data of an event is, or an item of the array; an error is the last one."""


class ContentFrames(RootModel[list[ContentFrame]]):
    """A stream as one JSON array."""
