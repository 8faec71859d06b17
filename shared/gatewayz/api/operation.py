"""What a row of the API document is: an operation, its parameters, and the errors many share."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel

from gatewayz.api.schemas.errors import Form

OPENAI_MOUNT, OPENROUTER_MOUNT, COHERE_MOUNT = "/v1", "/api/v1", "/v2"


@dataclass(frozen=True, slots=True)
class Parameter:
    """In the path always required; a path parameter may hold `/` where its route says so.

    `example` is what the recorded examples were asked with; "" leaves the parameter out. `schema`
    is its JSON schema where it is more than text.
    """

    name: str
    place: Literal["path", "query"]
    meaning: str
    example: str = ""
    required: bool = True
    choices: tuple[str, ...] = ()
    schema: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `answer` is its `status`; None where `media` is no JSON of ours.

    `frame`: the events of its stream; `says_done`: it ends with [DONE]. `errors`: codes, samples
    of which are in schemas/errors.py. `refusal`: a body of its own that a 400 may have.
    """

    path: str
    tag: str
    summary: str
    answer: type[BaseModel] | None
    method: Literal["get", "post", "put", "patch", "delete"] = "get"
    status: int = 200
    detail: str = ""
    request: type[BaseModel] | None = None
    body_needed: bool = True
    refusal: type[BaseModel] | None = None
    frame: type[BaseModel] | None = None
    says_done: bool = False
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[str, ...] = ()
    public: bool = False
    media: str = "application/json"
    also_media: tuple[str, ...] = ()
    answer_headers: tuple[str, ...] = ("X-Request-ID",)

    @property
    def form(self) -> Form:
        """How its errors are written."""
        if self.path.endswith(("/messages", "/messages/count_tokens")):
            return "anthropic"
        if self.path.startswith(COHERE_MOUNT + "/"):
            return "cohere"
        if "/models/{model}:" in self.path:
            return "google"
        return "openrouter" if self.path.startswith(OPENROUTER_MOUNT + "/") else "openai"

    @property
    def name(self) -> str:
        return "_".join([self.method, *re.findall(r"\w+", self.path)])


ALWAYS = ("method_not_allowed", "internal_error")
WITH_KEY = (
    *ALWAYS, "invalid_api_key", "account_suspended", "billing_unavailable",
    "insufficient_scope", "ip_not_allowed", "referrer_not_allowed",
)  # fmt: skip


def on_both(path: str, *rest: Any, **more: Any) -> Iterator[Operation]:
    """The same on both mounts."""
    for mount in (OPENAI_MOUNT, OPENROUTER_MOUNT):
        yield Operation(mount + path, *rest, **more)
