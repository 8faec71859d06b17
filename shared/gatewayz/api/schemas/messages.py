"""The Messages protocol: requests, answers and the events of a stream."""

from typing import Annotated, Any, Literal

from pydantic import Field

from gatewayz.api.schemas.shape import Count, MessageId, Ours, Passed, RequestId, Usd
from gatewayz.dialects.anthropic.read_request import MAX_STOPS
from gatewayz.dialects.checks import MAX_TOKENS_LIMIT

Object = dict[str, Any]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Block(Passed):
    """A block of content: text, image, document, tool_use, tool_result, thinking, …"""

    type: str


class TurnMessage(Passed):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]


class TurnMetadata(Passed):
    user_id: Annotated[str, Field(max_length=512)] | None = Field(
        None, description="your name for a person; kept only as a hash"
    )


Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS_LIMIT)]


class CountRequest(Passed):
    """A MessagesRequest whose prompt is to be counted; nothing is generated."""

    model: Annotated[str, Field(min_length=1, description="id or alias of a model")]
    max_tokens: Tokens = Field(1, description="not needed here")
    messages: Annotated[list[TurnMessage], Field(min_length=1)]
    system: str | list[Block] | None = None
    temperature: Share | None = None
    top_p: Share | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    stop_sequences: Annotated[list[str], Field(max_length=MAX_STOPS)] | None = None
    stream: bool | None = Field(None, description="answer by server-sent events")
    tools: list[Object] | None = None
    tool_choice: Object | None = None
    thinking: Object | None = None
    output_config: Object | None = None
    metadata: TurnMetadata | None = None
    service_tier: Annotated[str, Field(max_length=64)] | None = None
    session_id: Annotated[str, Field(max_length=256)] | None = None


class MessagesRequest(CountRequest):
    """Known fields are checked and nothing is coerced. A field that the chosen provider cannot
    take is named in X-Gatewayz-Dropped-Params, or refused when leaving it out changes the answer.
    """

    max_tokens: Tokens


class CountAnswer(Ours):
    input_tokens: Count


class MessagesUsage(Passed):
    """Tokens as they were billed, and what the request cost."""

    input_tokens: Count
    output_tokens: Count
    cost: Usd


class MessagesAnswer(Passed):
    id: MessageId
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[Block]
    stop_reason: str | None
    stop_sequence: str | None
    usage: MessagesUsage


class MessagesEvent(Passed):
    """One event of a stream; `message_stop` ends a whole answer, `error` a failed one. The cost
    is in the usage of `message_delta`.
    """

    type: Literal[
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    ]


class MessagesErrorBody(Ours):
    type: str
    message: str
    code: str = Field(description="lower_snake and stable: branch on this and on the status")


class MessagesError(Ours):
    """An error as /messages writes it."""

    type: Literal["error"]
    error: MessagesErrorBody
    request_id: RequestId
