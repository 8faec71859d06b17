"""What the models are made of: objects of ours are closed, objects that pass through are open."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Ours(BaseModel):
    """An object that only we write: every field is named."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Passed(BaseModel):
    """An object whose unknown fields travel between caller and provider as they are."""

    model_config = ConfigDict(extra="allow", strict=True)


Usd = Annotated[
    float, Field(description="US dollars: an exact decimal number; read it as a decimal, not float")
]
Count = Annotated[int, Field(ge=0)]
UnixSeconds = Annotated[int, Field(ge=0, description="seconds since 1970")]
Milliseconds = Annotated[int, Field(ge=0, description="milliseconds")]
RequestId = Annotated[str, Field(pattern="^req_[0-9A-HJKMNP-TV-Z]{26}$")]
GenerationId = Annotated[str, Field(pattern="^gen-[0-9A-HJKMNP-TV-Z]{26}$")]
ChatId = Annotated[str, Field(pattern="^chatcmpl-[0-9A-HJKMNP-TV-Z]{26}$")]
CompletionId = Annotated[str, Field(pattern="^cmpl-[0-9A-HJKMNP-TV-Z]{26}$")]
ResponseId = Annotated[str, Field(pattern="^resp_[0-9A-HJKMNP-TV-Z]{26}$")]
ModerationId = Annotated[str, Field(pattern="^modr-[0-9A-HJKMNP-TV-Z]{26}$")]
MessageId = Annotated[str, Field(pattern="^msg_[0-9A-HJKMNP-TV-Z]{26}$")]
PerToken = Annotated[
    str,
    Field(
        pattern=r"^(-1|[0-9]+(\.[0-9]+)?)$",
        description="US dollars per token as exact decimal text; -1 when no price is known",
    ),
]
