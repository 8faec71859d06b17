"""The Responses protocol: requests, answers and the events of a stream."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gatewayz.api.schemas.chat_answer import CostDetails
from gatewayz.api.schemas.chat_request import Label, Object, Share, Tokens, Tool
from gatewayz.api.schemas.shape import Count, Passed, ResponseId, UnixSeconds, Usd
from gatewayz.dialects.openai_responses.read_request import MAX_TOP_LOGPROBS


class ResponsesRequest(Passed):
    """Known fields are checked and nothing is coerced. Nothing is stored: what refers to an earlier
    response is refused. A field that the chosen provider cannot take is named in
    X-Gatewayz-Dropped-Params, or refused when leaving it out changes the answer.
    """

    model: Annotated[str, Field(min_length=1, description="id or alias of a model")]
    input: str | list[Object] | None = Field(
        None, description="a text, or messages, calls, their outputs and reasoning items in order"
    )
    instructions: str | None = None
    max_output_tokens: Tokens | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Share | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=MAX_TOP_LOGPROBS)] | None = None
    tools: list[Tool] | None = None
    tool_choice: str | Object | None = None
    parallel_tool_calls: bool | None = None
    text: Object | None = Field(None, description="`format` and `verbosity`")
    reasoning: Object | None = Field(None, description="`effort`, `summary`, `max_tokens`")
    include: list[str] | None = None
    stream: bool | None = Field(None, description="answer by server-sent events")
    stream_options: Object | None = None
    store: Literal[False] | None = Field(None, description="responses are not stored")
    background: Literal[False] | None = None
    previous_response_id: None = Field(
        None, description="responses are not stored: send the earlier items in `input`"
    )
    metadata: Object | None = None
    service_tier: Literal["auto", "default"] | None = None
    user: Label | None = Field(None, description="your name for a person; kept only as a hash")
    safety_identifier: str | None = None
    session_id: Annotated[str, Field(max_length=256)] | None = None
    prompt_cache_key: str | None = None
    truncation: str | None = None


class OutputItem(Passed):
    """message, reasoning, function_call, custom_tool_call, …"""

    type: str


class ResponsesUsage(Passed):
    """Tokens as they were billed, and what the request cost."""

    input_tokens: Count
    output_tokens: Count
    total_tokens: Count
    cost: Usd
    cost_details: CostDetails
    estimated: bool | None = Field(None, description="the provider sent no usage: we counted")


class ResponsesAnswer(Passed):
    """The request's settings are repeated in it."""

    id: ResponseId
    object: Literal["response"]
    created_at: UnixSeconds
    status: Literal["completed", "incomplete", "failed"]
    error: Any
    incomplete_details: Object | None
    model: str
    output: list[OutputItem]
    store: Literal[False]
    usage: ResponsesUsage


class ResponsesEvent(Passed):
    """One event of a stream, numbered from 0. `response.completed` and `response.incomplete` end a
    whole answer and carry it with its usage, `response.failed` ends a failed one.
    """

    type: str
    sequence_number: Count
