"""Every error a caller can be told: one sample each, rendered as the mounts render it."""

from typing import Any, Literal

import orjson
from pydantic import Field

from gatewayz.api.schemas.shape import Ours, Passed, RequestId
from gatewayz.core.errors import (
    Forbidden,
    GatewayError,
    InsufficientCredits,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    ProviderNotConfigured,
    StoreUnavailable,
    Unauthorized,
    UpstreamBroken,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
    final_failure,
)
from gatewayz.dialects.anthropic import errors as messages
from gatewayz.dialects.google import errors as google
from gatewayz.dialects.openai_chat.errors import encode_error

# How an error is written: by a mount (D25), or by the protocol of its route.
Form = Literal["openai", "openrouter", "anthropic", "google"]
SAMPLE_ID = "req_01M89HHCCJT9KCQZSB0ZRMMK9Z"


class ErrorBody(Ours):
    message: str
    type: str
    code: str = Field(description="lower_snake and stable: branch on this and on the status")
    param: str | None


class Error(Ours):
    """An error as /v1 writes it."""

    error: ErrorBody
    request_id: RequestId


class RoutedErrorMetadata(Passed):
    error_type: str
    code: str = Field(description="lower_snake and stable")
    request_id: RequestId


class RoutedErrorBody(Ours):
    code: int = Field(description="the HTTP status")
    message: str
    metadata: RoutedErrorMetadata


class RoutedError(Ours):
    """An error as /api/v1 writes it."""

    error: RoutedErrorBody


def _samples() -> list[GatewayError]:
    return [
        InvalidRequest("'temperature' must be between 0 and 2.", param="temperature"),
        InvalidRequest("The request body is not valid JSON.", code="invalid_json"),
        InvalidRequest(
            "A key is given twice in the JSON body.", param="model", code="duplicate_key"
        ),
        InvalidRequest(
            "The prompt does not fit: this model takes 131072 tokens.",
            code="context_length_exceeded",
            param="messages",
        ),
        InvalidRequest(
            "'logit_bias' cannot be sent to this model.",
            code="unsupported_parameter",
            param="logit_bias",
        ),
        UpstreamRejected("The provider rejected the request: image too large."),
        UpstreamRejected(
            "The provider's content policy refused the request.", code="content_filter"
        ),
        Unauthorized(),
        InsufficientCredits(
            "This request may cost up to $0.15, but only $0.02 is available."
            " With max_tokens ≤ 1300 it fits. Add credits to go on.",
            metadata={
                "required_usd": "0.15",
                "available_usd": "0.02",
                "affordable_max_tokens": 1300,
            },
        ),
        InsufficientCredits(
            "A spending limit is reached.",
            code="budget_exceeded",
            metadata={"scope": "key", "available_nanos": 0},
        ),
        Forbidden("This account is suspended.", code="account_suspended"),
        NotFound("There is no such route.", code="route_not_found"),
        NotFound(
            "Model 'sandbox/ecko' does not exist. Did you mean sandbox/echo?",
            code="model_not_found",
            param="model",
            metadata={"suggestions": ["sandbox/echo"]},
        ),
        NotFound("There is no such generation.", code="generation_not_found"),
        MethodNotAllowed("Use POST.", headers={"Allow": "POST, OPTIONS"}),
        PayloadTooLarge("The request body is larger than 33554432 bytes."),
        final_failure([UpstreamThrottled("The provider is limiting our requests; retry later.")]),
        InternalError(),
        UpstreamBroken("The provider gave no valid answer."),
        final_failure([UpstreamUnavailable("The provider is unavailable.")]),
        StoreUnavailable("Billing is not available; retry."),
        Overloaded(),
        ProviderNotConfigured("No provider of 'openai/gpt-5.4' is configured here."),
        UpstreamTimeout("The provider sent nothing for 30 s.", stage="first_token"),
    ]


SAMPLES: dict[str, GatewayError] = {error.code: error for error in _samples()}


def rendered(code: str, form: Form) -> tuple[int, Any]:
    """Status and body of this error in a form: some protocols have a status of their own."""
    if form == "anthropic":
        status, body, _ = messages.encode_error(SAMPLES[code], request_id=SAMPLE_ID)
    elif form == "google":
        status, body, _ = google.encode_error(SAMPLES[code], request_id=SAMPLE_ID)
    else:
        status, body, _ = encode_error(SAMPLES[code], style=form, request_id=SAMPLE_ID)
    return status, orjson.loads(body)
