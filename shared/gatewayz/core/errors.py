"""The one tree of errors. Owns status, code and type of everything a caller can be told.

GatewayError
├── RequestError     the caller can mend it (4xx)
├── UpstreamError    a provider failed (attempts read the class, callers see `final_failure`)
├── DependencyError  one of our own stores failed (503)
└── InternalError    500: the body says nothing, the log says everything
Rendering per client dialect stands in `dialects/*/errors.py`.
"""

from collections.abc import Mapping
from typing import Any, Literal

TimeoutStage = Literal["connect", "first_token", "idle", "total"]

MAX_ECHO_CHARS = 64


def echo(text: str) -> str:
    """Caller's text as it may stand in a message: printable ASCII, at most 64 characters."""
    if len(text) <= MAX_ECHO_CHARS and text.isascii() and text.isprintable():
        return text
    shown = text[:MAX_ECHO_CHARS].encode("ascii", "backslashreplace").decode()
    return "".join(c if c.isprintable() else "?" for c in shown)[:MAX_ECHO_CHARS]


class GatewayError(Exception):
    """Base of all errors that have an answer. `code` is lower_snake and stable (D26)."""

    status = 500
    code = "internal_error"
    type = "server_error"
    retryable = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        if code is not None:
            self.code = code
        self.param = param
        self.headers: dict[str, str] = dict(headers or {})
        self.metadata: dict[str, Any] = dict(metadata or {})

    @property
    def metric(self) -> str:
        """Low-cardinality name for metrics and logs."""
        return type(self).__name__


# ---------------------------------------------------------------- the caller can mend it


class RequestError(GatewayError):
    type = "invalid_request_error"


class InvalidRequest(RequestError):
    status, code = 400, "invalid_request"


class Unauthorized(RequestError):
    """One text for every kind of bad key (F84): nothing tells a caller how close a guess was."""

    status, code, type = 401, "invalid_api_key", "authentication_error"

    def __init__(self) -> None:
        super().__init__(
            "Invalid API key. Send it as 'Authorization: Bearer gw_…' or 'x-api-key'.",
            headers={"WWW-Authenticate": "Bearer"},
        )


class SignInRefused(RequestError):
    """One text for every token and link that is no good."""

    status, code, type = 401, "invalid_token", "authentication_error"

    def __init__(self) -> None:
        super().__init__(
            "This token or link is not good, or not any more: sign in again.",
            headers={"WWW-Authenticate": "Bearer"},
        )


class InsufficientCredits(RequestError):
    status, code, type = 402, "insufficient_credits", "insufficient_quota"


class Forbidden(RequestError):
    status, code, type = 403, "forbidden", "permission_error"


class NotFound(RequestError):
    status, code = 404, "not_found"


class MethodNotAllowed(RequestError):
    status, code = 405, "method_not_allowed"


class Conflict(RequestError):
    status, code = 409, "conflict"


class PayloadTooLarge(RequestError):
    status, code = 413, "request_too_large"


class RateLimited(RequestError):
    status, code, type = 429, "rate_limit_exceeded", "rate_limit_error"
    retryable = True


# ---------------------------------------------------------------- a provider failed


class UpstreamError(GatewayError):
    """A failed attempt. `message` is ours; upstream text is never echoed raw (F39, F44)."""

    status, code, type = 502, "upstream_invalid_response", "upstream_error"
    retryable = True

    def __init__(
        self,
        message: str,
        *,
        provider: str = "",
        upstream_status: int | None = None,
        retry_after_s: float | None = None,
        code: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code, metadata=metadata)
        self.provider = provider
        self.upstream_status = upstream_status
        self.retry_after_s = retry_after_s


class UpstreamRejected(UpstreamError):
    """The provider refuses this request, and any other would too: the caller must change it."""

    status, code, type = 400, "upstream_rejected", "invalid_request_error"
    retryable = False


class UpstreamAuth(UpstreamError):
    """Our credential was refused: our fault, never the caller's."""

    status, code = 503, "all_providers_failed"


class UpstreamThrottled(UpstreamError):
    status, code, type = 429, "upstream_rate_limited", "rate_limit_error"


class UpstreamExhausted(UpstreamThrottled):
    """Our allowance at the provider is used up: waiting a moment does not help."""


class UpstreamUnavailable(UpstreamError):
    status, code = 503, "all_providers_failed"


class UpstreamModelMissing(UpstreamError):
    status, code = 503, "all_providers_failed"


class UpstreamBroken(UpstreamError):
    """An answer that is no answer: HTML, half JSON, a cut stream."""

    status, code = 502, "upstream_invalid_response"


class UpstreamTimeout(UpstreamError):
    status, code, type = 504, "upstream_timeout", "timeout_error"

    def __init__(self, message: str, *, stage: TimeoutStage, provider: str = "") -> None:
        super().__init__(message, provider=provider)
        self.stage = stage
        self.metadata["stage"] = stage


# ---------------------------------------------------------------- our own stores and ourselves


class DependencyError(GatewayError):
    status, code, type = 503, "billing_unavailable", "server_error"
    retryable = True

    def __init__(self, message: str, *, retry_after_s: int = 5) -> None:
        super().__init__(message, headers={"Retry-After": str(retry_after_s)})


class StoreUnavailable(DependencyError):
    """The store was not reached: nothing was applied."""


class StoreTimeout(DependencyError):
    """The store did not answer in time: the call may or may not have been applied."""


class SealingNotConfigured(GatewayError):
    """No key to seal customers' secrets with: accounts/sealing.py."""

    status, code, type = 503, "encryption_not_configured", "server_error"

    def __init__(self) -> None:
        super().__init__("This deployment keeps no provider keys: it has no key to seal them with.")


class Overloaded(GatewayError):
    """This process has as many requests as it can carry (D38)."""

    status, code, type = 503, "overloaded", "server_error"
    retryable = True

    def __init__(self) -> None:
        super().__init__("This instance is full or stopping; retry.", headers={"Retry-After": "1"})


class ProviderNotConfigured(GatewayError):
    status, code, type = 503, "provider_not_configured", "server_error"


class InternalError(GatewayError):
    def __init__(self, message: str = "Internal error. The incident was logged.") -> None:
        super().__init__(message)


def first_of(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """One of the failures of work that was done side by side. (`except*` would not do: what it
    raises comes out in another group before Python 3.11.4.)"""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def final_failure(failures: list[UpstreamError]) -> UpstreamError:
    """The error a caller sees when every attempt failed; the last cause decides (D26).

    A rejected request is the caller's to mend. Mixed causes are 503 with Retry-After.
    """
    last = failures[-1]
    if isinstance(last, UpstreamRejected) or len({type(f) for f in failures}) == 1:
        error = last
    else:
        error = UpstreamUnavailable("All providers of this model failed; retry.")
    if error.status in (429, 503):
        wait_s = max(1, min(300, round(last.retry_after_s or 1)))
        error.headers["Retry-After"] = str(wait_s)
    return error
