"""Where accounts have their own requests traced, as it is asked and answered."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Kind = Literal["langfuse", "phoenix", "arize", "braintrust", "otlp"]


class DestinationRequest(BaseModel):
    """A service that takes traces by OTLP. Its key is kept sealed and never shown again."""

    model_config = ConfigDict(extra="forbid")

    kind: Kind
    endpoint: str | None = Field(None, max_length=2000, pattern=r"^https?://[!-~]+$")
    key: str | None = Field(None, min_length=1, max_length=1000, pattern=r"^[!-~]+$")
    secret: str | None = Field(None, min_length=1, max_length=1000, pattern=r"^[!-~]+$")
    project: str | None = Field(None, min_length=1, max_length=200, pattern=r"^[ -~]+$")
    sampling: float = Field(1.0, ge=0, le=1)
    enabled: bool = True


class Destination(BaseModel):
    name: str
    kind: Kind
    endpoint: str
    key: str
    sampling: float
    enabled: bool
    sent: int
    failed: int
    last_error: str | None
    sent_at_ms: int | None
    updated_at_ms: int


class DestinationAnswer(BaseModel):
    destination: Destination


class DestinationList(BaseModel):
    destinations: list[Destination]


class DestinationDeleted(BaseModel):
    deleted: bool


class ReportPassedOn(BaseModel):
    passed_on: bool
