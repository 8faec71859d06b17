"""Every route and what stands in the API document about it: one table, held equal to the
applications' own routes by a test. Who adds a route adds a row.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from gatewayz.api.account_operations import ACCOUNT_OPERATIONS
from gatewayz.api.billing_operations import BILLING_OPERATIONS
from gatewayz.api.grant_operations import GRANT_OPERATIONS
from gatewayz.api.health_operations import HEALTH_OPERATIONS
from gatewayz.api.limit_operations import LIMIT_OPERATIONS
from gatewayz.api.model_operations import MODEL_OPERATIONS
from gatewayz.api.notice_operations import NOTICE_OPERATIONS
from gatewayz.api.operation import (
    ALWAYS,
    OPENAI_MOUNT,
    OPENROUTER_MOUNT,
    WITH_KEY,
    Operation,
    Parameter,
    on_both,
)
from gatewayz.api.own_operations import OWN_OPERATIONS
from gatewayz.api.people_operations import PEOPLE_OPERATIONS
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
from gatewayz.api.schemas.embeddings import (
    EmbedAnswer,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    EmbedRequest,
    RoutedEmbeddingsAnswer,
)
from gatewayz.api.schemas.generation import GenerationAnswer, ReceiptAnswer
from gatewayz.api.schemas.google import (
    ContentFrame,
    ContentFrames,
    CountTokensAnswer,
    CountTokensRequest,
    GenerateContentAnswer,
    GenerateContentRequest,
)
from gatewayz.api.schemas.limit_errors import LIMIT_CODES
from gatewayz.api.schemas.messages import (
    CountAnswer,
    CountRequest,
    MessagesAnswer,
    MessagesEvent,
    MessagesRequest,
)
from gatewayz.api.schemas.moderations import (
    ModerationsAnswer,
    ModerationsRequest,
    RoutedModerationsAnswer,
)
from gatewayz.api.schemas.rerank import RerankAnswer, RerankRequest, RoutedRerankAnswer
from gatewayz.api.schemas.responses import ResponsesAnswer, ResponsesEvent, ResponsesRequest
from gatewayz.api.schemas.status import Health
from gatewayz.api.telemetry_operations import TELEMETRY_OPERATIONS
from gatewayz.api.usage_operations import USAGE_OPERATIONS

__all__ = ["OPERATIONS", "Operation", "Parameter"]

GOOGLE_MOUNTS = ("/v1beta", "/v1", "/v1beta1/{place}")


CHAT_ERRORS = (
    *WITH_KEY,
    "invalid_request",
    "invalid_json",
    "duplicate_key",
    "invalid_base64",
    "context_length_exceeded",
    "unsupported_parameter",
    "upstream_rejected",
    "content_filter",
    "insufficient_credits",
    "budget_exceeded",
    "subscription_past_due",
    *LIMIT_CODES,
    "model_not_found",
    "constraint_filtered",
    "privacy_restricted",
    "region_restricted",
    "idempotency_key_reused",
    "idempotency_in_progress",
    "request_too_large",
    "upstream_rate_limited",
    "upstream_invalid_response",
    "all_providers_failed",
    "overloaded",
    "provider_not_configured",
    "upstream_timeout",
    "wrong_endpoint",
    "model_not_allowed",
    "provider_not_allowed",
    "provider_key_refused",
)
# What writes nothing has no content that could be refused, and no stream.
WHOLE_ERRORS = tuple(
    code for code in CHAT_ERRORS if code not in ("content_filter", "invalid_base64")
)
COUNT_ERRORS = (
    *WITH_KEY, "invalid_request", "invalid_json", "duplicate_key", "model_not_found",
    "request_too_large", "overloaded",
)  # fmt: skip
WHOLE_DETAIL = """\
Resolves the model, holds credit for the upper estimate, tries the offers of this very model one
after the other until one answers, charges what the provider's usage says, by class: tokens, image
tokens, searches. What a provider does not state is estimated, never above the hold."""
COUNT_DETAIL = "An estimate from the text alone: no provider is asked, nothing is charged."
CHAT_DETAIL = """\
Resolves the model, holds credit for the worst case, tries the model's offers one after the other
until one answers, charges what the provider's usage says. With `stream` the answer comes as
server-sent events; comments (lines with a colon) keep a silent connection open. A failure before
the first content has a true status. A caller who leaves is charged for what was used."""

GENERATION = "any id that an answer had: gen-…, req_…, chatcmpl-…"
SAMPLE_GENERATION = "gen-01M89HHCCJT9KCQZSB0ZRMMK9Z"


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


def _whole(path: str, summary: str, request: type[BaseModel], answer: type[BaseModel]) -> Operation:
    return Operation(
        path, "embeddings", summary, answer,
        method="post", detail=WHOLE_DETAIL, request=request, errors=WHOLE_ERRORS,
        answer_headers=GENERATION_HEADERS,
    )  # fmt: skip


def _count(path: str, request: type[BaseModel], answer: type[BaseModel], **more: Any) -> Operation:
    return Operation(
        path, "chat", "Count the tokens of a prompt", answer,
        method="post", detail=COUNT_DETAIL, request=request, errors=COUNT_ERRORS,
        answer_headers=("X-Gatewayz-Estimated",), **more,
    )  # fmt: skip


ALT = Parameter(
    "alt", "query", "`sse`: server-sent events; else one JSON array", "json", required=False
)
IN_PATH = Parameter("model", "path", "a model id or alias; its slash stays", "sandbox/echo")
PLACE = Parameter(
    "place", "path", "`publishers/{maker}`, and a project before it that is not looked at: the"
    " model's id is `{maker}/{model}`", "publishers/sandbox",
)  # fmt: skip
SHORT = Parameter("model", "path", "the part of a model id after its slash", "echo")


def _google(mount: str) -> Iterator[Operation]:
    """The same three methods wherever a client of this dialect looks for them."""
    models = mount + "/models/{model}"
    known = (PLACE, SHORT) if PLACE.name in mount else (IN_PATH,)
    asked = GenerateContentRequest
    yield _generation(
        models + ":generateContent", "Generate content",
        asked, GenerateContentAnswer, None, parameters=known,
    )  # fmt: skip
    yield _generation(
        models + ":streamGenerateContent", "Generate content as a stream",
        asked, ContentFrames, ContentFrame, parameters=(*known, ALT),
    )  # fmt: skip
    yield _count(models + ":countTokens", CountTokensRequest, CountTokensAnswer, parameters=known)


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
    *[operation for mount in GOOGLE_MOUNTS for operation in _google(mount)],
    _whole("/v1/embeddings", "Create embeddings", EmbeddingsRequest, EmbeddingsAnswer),
    _whole("/api/v1/embeddings", "Create embeddings", EmbeddingsRequest, RoutedEmbeddingsAnswer),
    _whole("/v2/embed", "Create embeddings", EmbedRequest, EmbedAnswer),
    _whole("/v1/rerank", "Rank documents", RerankRequest, RerankAnswer),
    _whole("/api/v1/rerank", "Rank documents", RerankRequest, RoutedRerankAnswer),
    _whole("/v2/rerank", "Rank documents", RerankRequest, RerankAnswer),
    _whole("/v1/moderations", "Judge texts", ModerationsRequest, ModerationsAnswer),
    _whole("/api/v1/moderations", "Judge texts", ModerationsRequest, RoutedModerationsAnswer),
    *MODEL_OPERATIONS,
    *on_both("/credits", "account", "Show the account's credit", CreditsAnswer, errors=WITH_KEY),
    *on_both("/key", "account", "Show the calling key", KeyAnswer, errors=WITH_KEY),
    *ACCOUNT_OPERATIONS,
    *USAGE_OPERATIONS,
    *OWN_OPERATIONS,
    *GRANT_OPERATIONS,
    *NOTICE_OPERATIONS,
    *on_both(
        "/generation", "usage", "Look a request up", GenerationAnswer,
        detail="Known from its admission on; only to the account that sent it.",
        parameters=(Parameter("id", "query", GENERATION, SAMPLE_GENERATION),),
        errors=(*WITH_KEY, "invalid_request", "generation_not_found"),
    ),
    *on_both(
        "/generation/{id}/explain", "usage", "Explain a charge", ReceiptAnswer,
        detail="The receipt: the charge recomputed from units × the price pinned at admission.",
        parameters=(Parameter("id", "path", GENERATION, SAMPLE_GENERATION),),
        errors=(*WITH_KEY, "generation_not_found"),
    ),
    *BILLING_OPERATIONS,
    *LIMIT_OPERATIONS,
    *[
        Operation(path, "status", "Is it up", Health, errors=ALWAYS, public=True)
        for path in ("/health", "/v1/health")
    ],
    *HEALTH_OPERATIONS,
    *TELEMETRY_OPERATIONS,
    Operation(
        "/openapi.json", "status", "This document", None, errors=ALWAYS, public=True,
    ),
    Operation(
        "/docs", "status", "This document to read", None,
        errors=ALWAYS, public=True, media="text/html",
    ),
    *PEOPLE_OPERATIONS,
)  # fmt: skip
