"""Every route and what stands in the API document about it: one table, held equal to the
applications' own routes by a test. Who adds a route adds a row.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from gatewayz.api.schemas.account import CreditsAnswer, KeyAnswer
from gatewayz.api.schemas.chat_answer import (
    ChatCompletion,
    ChatFrame,
    RoutedChunk,
    RoutedCompletion,
)
from gatewayz.api.schemas.chat_request import ChatRequest
from gatewayz.api.schemas.completions import (
    CompletionsAnswer,
    CompletionsFrame,
    CompletionsRequest,
    RoutedCompletionsAnswer,
    RoutedCompletionsChunk,
)
from gatewayz.api.schemas.errors import Form
from gatewayz.api.schemas.generation import GenerationAnswer, ReceiptAnswer
from gatewayz.api.schemas.google import (
    ContentFrame,
    ContentFrames,
    CountTokensAnswer,
    CountTokensRequest,
    GenerateContentAnswer,
    GenerateContentRequest,
)
from gatewayz.api.schemas.messages import (
    CountAnswer,
    CountRequest,
    MessagesAnswer,
    MessagesEvent,
    MessagesRequest,
)
from gatewayz.api.schemas.models import (
    EndpointsAnswer,
    Model,
    ModelList,
    ProviderList,
    RoutedModelAnswer,
    RoutedModelList,
)
from gatewayz.api.schemas.responses import ResponsesAnswer, ResponsesEvent, ResponsesRequest
from gatewayz.api.schemas.status import Health

OPENAI_MOUNT, OPENROUTER_MOUNT, GOOGLE_MOUNT = "/v1", "/api/v1", "/v1beta"


@dataclass(frozen=True, slots=True)
class Parameter:
    """In the path always required; a path parameter may hold `/` where its route says so."""

    name: str
    place: Literal["path", "query"]
    meaning: str
    example: str
    required: bool = True
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path. `answer` is its 200; None where `media` is no JSON of ours.

    `frame`: the events of its stream; `says_done`: it ends with [DONE]. `errors`: codes, samples
    of which are in schemas/errors.py.
    """

    path: str
    tag: str
    summary: str
    answer: type[BaseModel] | None
    method: Literal["get", "post"] = "get"
    detail: str = ""
    request: type[BaseModel] | None = None
    frame: type[BaseModel] | None = None
    says_done: bool = False
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[str, ...] = ()
    public: bool = False
    media: str = "application/json"
    answer_headers: tuple[str, ...] = ("X-Request-ID",)

    @property
    def form(self) -> Form:
        """How its errors are written."""
        if self.path.endswith(("/messages", "/messages/count_tokens")):
            return "anthropic"
        if self.path.startswith(GOOGLE_MOUNT + "/"):
            return "google"
        return "openrouter" if self.path.startswith(OPENROUTER_MOUNT + "/") else "openai"

    @property
    def name(self) -> str:
        return "_".join([self.method, *re.findall(r"\w+", self.path)])


ALWAYS = ("method_not_allowed", "internal_error")
WITH_KEY = (*ALWAYS, "invalid_api_key", "account_suspended", "billing_unavailable")
CHAT_ERRORS = (
    *WITH_KEY,
    "invalid_request",
    "invalid_json",
    "duplicate_key",
    "context_length_exceeded",
    "unsupported_parameter",
    "upstream_rejected",
    "content_filter",
    "insufficient_credits",
    "budget_exceeded",
    "model_not_found",
    "request_too_large",
    "upstream_rate_limited",
    "upstream_invalid_response",
    "all_providers_failed",
    "overloaded",
    "provider_not_configured",
    "upstream_timeout",
)
COUNT_ERRORS = (
    *WITH_KEY, "invalid_request", "invalid_json", "duplicate_key", "request_too_large",
    "overloaded",
)  # fmt: skip
COUNT_DETAIL = "An estimate from the text alone: no provider is asked, nothing is charged."
CHAT_DETAIL = """\
Resolves the model, holds credit for the worst case, tries the model's offers one after the other
until one answers, charges what the provider's usage says. With `stream` the answer comes as
server-sent events; comments (lines with a colon) keep a silent connection open. A failure before
the first content has a true status. A caller who leaves is charged for what was used."""

AVAILABLE = Parameter(
    "available", "query", "`all`: also what this gateway has no credential for", "all",
    required=False, choices=("all",),
)  # fmt: skip
AUTHOR = Parameter("author", "path", "the part of a model id before the slash", "sandbox")
SLUG = Parameter("slug", "path", "the part after it", "echo")
MODEL_ID = Parameter("model_id", "path", "a model id or alias; its slash stays", "sandbox/echo")
GENERATION = "any id that an answer had: gen-…, req_…, chatcmpl-…"
SAMPLE_GENERATION = "gen-01M89HHCCJT9KCQZSB0ZRMMK9Z"


def _on_both(path: str, *rest: Any, **more: Any) -> Iterator[Operation]:
    for mount in (OPENAI_MOUNT, OPENROUTER_MOUNT):
        yield Operation(mount + path, *rest, **more)


GENERATION_HEADERS = (
    "X-Request-ID", "X-Generation-Id", "X-Provider", "X-Gatewayz-Dropped-Params",
)  # fmt: skip


def _generation(
    path: str,
    summary: str,
    request: type[BaseModel],
    answer: type[BaseModel],
    frame: type[BaseModel] | None,
    **more: Any,
) -> Operation:
    return Operation(
        path, "chat", summary, answer,
        method="post", detail=CHAT_DETAIL, request=request, frame=frame, errors=CHAT_ERRORS,
        answer_headers=GENERATION_HEADERS, **more,
    )  # fmt: skip


def _count(path: str, request: type[BaseModel], answer: type[BaseModel], **more: Any) -> Operation:
    return Operation(
        path, "chat", "Count the tokens of a prompt", answer,
        method="post", detail=COUNT_DETAIL, request=request, errors=COUNT_ERRORS,
        answer_headers=("X-Gatewayz-Estimated",), **more,
    )  # fmt: skip


def _google(method: str) -> str:
    return f"{GOOGLE_MOUNT}/models/{{model}}:{method}"


ALT = Parameter(
    "alt", "query", "`sse`: server-sent events; else one JSON array", "json", required=False
)
IN_PATH = Parameter("model", "path", "a model id or alias; its slash stays", "sandbox/echo")

OPERATIONS: tuple[Operation, ...] = (
    _generation(
        "/v1/chat/completions", "Create a chat completion",
        ChatRequest, ChatCompletion, ChatFrame, says_done=True,
    ),
    _generation(
        "/api/v1/chat/completions", "Create a chat completion",
        ChatRequest, RoutedCompletion, RoutedChunk, says_done=True,
    ),
    *[
        operation
        for mount in (OPENAI_MOUNT, OPENROUTER_MOUNT)
        for operation in (
            _generation(
                f"{mount}/messages", "Create a message",
                MessagesRequest, MessagesAnswer, MessagesEvent,
            ),
            _count(f"{mount}/messages/count_tokens", CountRequest, CountAnswer),
            _generation(
                f"{mount}/responses", "Create a response",
                ResponsesRequest, ResponsesAnswer, ResponsesEvent,
            ),
        )
    ],
    _generation(
        "/v1/completions", "Complete a prompt",
        CompletionsRequest, CompletionsAnswer, CompletionsFrame, says_done=True,
    ),
    _generation(
        "/api/v1/completions", "Complete a prompt",
        CompletionsRequest, RoutedCompletionsAnswer, RoutedCompletionsChunk, says_done=True,
    ),
    _generation(
        _google("generateContent"), "Generate content",
        GenerateContentRequest, GenerateContentAnswer, None, parameters=(IN_PATH,),
    ),
    _generation(
        _google("streamGenerateContent"), "Generate content as a stream",
        GenerateContentRequest, ContentFrames, ContentFrame, parameters=(IN_PATH, ALT),
    ),
    _count(
        _google("countTokens"), CountTokensRequest, CountTokensAnswer, parameters=(IN_PATH,)
    ),
    Operation(
        "/v1/models", "models", "List models", ModelList,
        parameters=(AVAILABLE,), errors=(*ALWAYS, "invalid_request"), public=True,
    ),
    Operation(
        "/api/v1/models", "models", "List models", RoutedModelList,
        parameters=(AVAILABLE,), errors=(*ALWAYS, "invalid_request"), public=True,
    ),
    *_on_both(
        "/models/{author}/{slug}/endpoints", "models", "List the offers of a model",
        EndpointsAnswer,
        detail="In the order in which they are tried.",
        parameters=(AUTHOR, SLUG, AVAILABLE),
        errors=(*ALWAYS, "invalid_request", "model_not_found"), public=True,
    ),
    Operation(
        "/v1/models/{model_id}", "models", "Show a model", Model,
        parameters=(MODEL_ID,), errors=(*ALWAYS, "model_not_found"), public=True,
    ),
    Operation(
        "/api/v1/model/{author}/{slug}", "models", "Show a model", RoutedModelAnswer,
        parameters=(AUTHOR, SLUG), errors=(*ALWAYS, "model_not_found"), public=True,
    ),
    *[
        Operation(path, "models", "List providers", ProviderList, errors=ALWAYS, public=True)
        for path in ("/v1/provider", "/v1/providers", "/api/v1/providers")
    ],
    *_on_both("/credits", "account", "Show the account's credit", CreditsAnswer, errors=WITH_KEY),
    *_on_both("/key", "account", "Show the calling key", KeyAnswer, errors=WITH_KEY),
    *_on_both(
        "/generation", "usage", "Look a request up", GenerationAnswer,
        detail="Known from its admission on; only to the account that sent it.",
        parameters=(Parameter("id", "query", GENERATION, SAMPLE_GENERATION),),
        errors=(*WITH_KEY, "invalid_request", "generation_not_found"),
    ),
    *_on_both(
        "/generation/{id}/explain", "usage", "Explain a charge", ReceiptAnswer,
        detail="The receipt: the charge recomputed from units × the price pinned at admission.",
        parameters=(Parameter("id", "path", GENERATION, SAMPLE_GENERATION),),
        errors=(*WITH_KEY, "generation_not_found"),
    ),
    *[
        Operation(path, "status", "Is it up", Health, errors=ALWAYS, public=True)
        for path in ("/health", "/v1/health")
    ],
    Operation(
        "/openapi.json", "status", "This document", None, errors=ALWAYS, public=True,
    ),
    Operation(
        "/docs", "status", "This document to read", None,
        errors=ALWAYS, public=True, media="text/html",
    ),
)  # fmt: skip
