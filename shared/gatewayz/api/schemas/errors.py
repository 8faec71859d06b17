"""Every error a caller can be told: one sample each, rendered as the mounts render it."""

from typing import Any, Literal

import orjson
from pydantic import Field

from gatewayz.api.schemas.limit_errors import limit_samples
from gatewayz.api.schemas.people_errors import people_samples
from gatewayz.api.schemas.shape import Ours, Passed, RequestId
from gatewayz.api.schemas.usage_errors import usage_samples
from gatewayz.core.errors import (
    Conflict,
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
    RateLimited,
    SealingNotConfigured,
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
from gatewayz.dialects.cohere.write_error import encode_cohere_error
from gatewayz.dialects.google import errors as google
from gatewayz.dialects.openai_chat.errors import encode_error

# How an error is written: by a mount (D25), or by the protocol of its route.
Form = Literal["openai", "openrouter", "anthropic", "google", "cohere"]
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


def _billing_samples() -> list[GatewayError]:
    return [
        InvalidRequest(
            "amount must be from 500 to 99999999 cents", code="invalid_amount", param="amount"
        ),
        InvalidRequest("Credit is sold in usd.", code="unsupported_currency", param="currency"),
        InvalidRequest("There is no such price.", code="unknown_price", param="price_id"),
        InvalidRequest("There is no such plan on sale.", code="unknown_plan", param="plan"),
        InvalidRequest(
            "Developer is no upgrade of Team.", code="wrong_direction", param="price_id"
        ),
        InvalidRequest("Save a card first.", code="no_payment_method"),
        NotFound("Payments are not configured here.", code="payments_not_configured"),
        NotFound("There is no such payment.", code="payment_not_found"),
        NotFound("Of this payment there is no receipt.", code="receipt_not_found"),
        NotFound("There is no such plan.", code="plan_not_found"),
        NotFound("There is no such destination.", code="destination_not_found"),
        NotFound("This account has no subscription.", code="subscription_not_found"),
        NotFound("There is no such partner code.", code="trial_code_not_found"),
        Conflict("This account has a subscription already.", code="already_subscribed"),
        Conflict("A trial is for once.", code="trial_already_used"),
        RateLimited(
            "Too many codes were tried; try again in an hour.",
            code="too_many_attempts",
            headers={"Retry-After": "3600"},
        ),
        Conflict("Trials are for accounts that have not paid yet.", code="not_a_new_customer"),
        Forbidden(
            "Save a card first, or verify your e-mail address: nothing is charged.",
            code="verification_required",
        ),
    ]


def _late_samples() -> list[GatewayError]:
    """What fails behind the door."""
    return [
        final_failure([UpstreamThrottled("The provider is limiting our requests; retry later.")]),
        InternalError(),
        UpstreamBroken("The provider gave no valid answer."),
        final_failure([UpstreamUnavailable("The provider is unavailable.")]),
        StoreUnavailable("Billing is not available; retry."),
        Overloaded(),
        ProviderNotConfigured("No provider of 'openai/gpt-5.4' is configured here."),
        UpstreamTimeout("The provider sent nothing for 30 s.", stage="first_token"),
    ]


def _request_samples() -> list[GatewayError]:
    """What a caller wrote."""
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
        InvalidRequest(
            "'sandbox/embed' is an embedding model: use /v1/embeddings.",
            code="wrong_endpoint",
            param="model",
            metadata={"endpoint": "/v1/embeddings"},
        ),
        InvalidRequest(
            "The data is not valid base64.", code="invalid_base64", param="messages.0.content.1"
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
    ]


def _own_samples() -> list[GatewayError]:
    return [
        NotFound("There is no such provider key.", code="provider_key_not_found"),
        InvalidRequest("There is no such provider.", code="unknown_provider", param="provider"),
        InvalidRequest(
            "Example cannot be called with a key of your own here.",
            code="provider_takes_no_keys",
            param="provider",
        ),
        Conflict("An account keeps at most 50 provider keys.", code="provider_key_limit"),
        Forbidden(
            "The provider refused your own key for it. Look at /user/provider-keys.",
            code="provider_key_refused",
        ),
        SealingNotConfigured(),
        Forbidden("Invalid code or code_verifier.", code="invalid_grant"),
    ]


def _samples() -> list[GatewayError]:
    return [
        *_own_samples(),
        *limit_samples(),
        *_billing_samples(),
        *people_samples(),
        *usage_samples(),
        *_request_samples(),
        Forbidden("This account is suspended.", code="account_suspended"),
        Forbidden(
            "The subscription of this account is past_due and it has no other credit."
            " Renew it, or add credits.",
            code="subscription_past_due",
            metadata={"plan_status": "past_due"},
        ),
        Forbidden("This key lacks the scope 'keys:write'.", code="insufficient_scope"),
        Forbidden("This key is not allowed from this address.", code="ip_not_allowed"),
        Forbidden("This key is not allowed from this site.", code="referrer_not_allowed"),
        Forbidden("This key may not use 'sandbox/echo'.", code="model_not_allowed", param="model"),
        Forbidden(
            "This key may use none of the providers of 'sandbox/echo'.",
            code="provider_not_allowed",
            param="model",
        ),
        NotFound("There is no such key.", code="key_not_found"),
        Conflict("Another key of this account has the name.", code="key_name_taken", param="name"),
        RateLimited("At most 10 keys are made within an hour.", headers={"Retry-After": "1800"}),
        InsufficientCredits(
            "Keys for live and staging need credit. Keys for test are free.",
            code="payment_required",
        ),
        NotFound("There is no such route.", code="route_not_found"),
        NotFound(
            "Model 'sandbox/ecko' does not exist. Did you mean sandbox/echo?",
            code="model_not_found",
            param="model",
            metadata={"suggestions": ["sandbox/echo"]},
        ),
        NotFound("There is no such generation.", code="generation_not_found"),
        NotFound("Nothing is known of this model.", code="health_not_found"),
        NotFound("'acme' is no provider here.", code="provider_not_found", param="provider"),
        NotFound(
            "No offer of 'sandbox/echo' is left: 1 because it is not among the allowed providers.",
            code="constraint_filtered",
            metadata={"excluded_by": ["only"]},
        ),
        NotFound(
            "No offer of 'sandbox/echo' keeps the data policy asked for.",
            code="privacy_restricted",
            metadata={"excluded_by": ["data_policy:zdr"]},
        ),
        Forbidden(
            "No offer of 'sandbox/echo' is in the region asked for.",
            code="region_restricted",
            metadata={"excluded_by": ["region"]},
        ),
        Conflict(
            "This Idempotency-Key was used for another request.", code="idempotency_key_reused"
        ),
        Conflict(
            "The request with this Idempotency-Key has not come to an end.",
            code="idempotency_in_progress",
        ),
        MethodNotAllowed("Use POST.", headers={"Allow": "POST, OPTIONS"}),
        PayloadTooLarge("The request body is larger than 33554432 bytes."),
        *_late_samples(),
    ]


SAMPLES: dict[str, GatewayError] = {error.code: error for error in _samples()}


def rendered(code: str, form: Form) -> tuple[int, Any]:
    """Status and body of this error in a form: some protocols have a status of their own."""
    if form == "anthropic":
        status, body, _ = messages.encode_error(SAMPLES[code], request_id=SAMPLE_ID)
    elif form == "cohere":
        status, body, _ = encode_cohere_error(SAMPLES[code], style="openai", request_id=SAMPLE_ID)
    elif form == "google":
        status, body, _ = google.encode_error(SAMPLES[code], request_id=SAMPLE_ID)
    else:
        status, body, _ = encode_error(SAMPLES[code], style=form, request_id=SAMPLE_ID)
    return status, orjson.loads(body)
