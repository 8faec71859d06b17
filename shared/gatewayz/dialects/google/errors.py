"""Errors of generateContent in and out. Classifies with the rules of openai_chat/errors.py: what
reaches a caller of an upstream's text is decided there and nowhere else.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.core.errors import GatewayError, UpstreamAuth, UpstreamError
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.openai_chat.errors import MAX_RETRY_AFTER_S
from gatewayz.dialects.openai_chat.errors import decode_error as classify

_TYPES = "type.googleapis.com/google.rpc."
DOMAIN = "gatewayz"
_STATUS: Mapping[int, str] = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    502: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
# Refusals of our own account or place, in answers of status 400. Only words of the provider's own
# at the beginning count: further on, it may be quoting a caller.
_OURS = re.compile(r"API key (?:not valid|expired)|User location is not supported", re.IGNORECASE)
_OUR_REASONS = frozenset(
    {"API_KEY_INVALID", "API_KEY_EXPIRED", "API_KEY_SERVICE_BLOCKED", "BILLING_DISABLED",
     "CONSUMER_SUSPENDED", "SERVICE_DISABLED"}
)  # fmt: skip
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")


def decode_error(
    target: Target, status: int, headers: Mapping[str, str], body: bytes
) -> UpstreamError:
    """The failure an HTTP answer of status ≥ 300 stands for; header names are lower case."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    inner = _inner(parsed)
    if _is_ours(inner) and not _mapped(inner, target):
        return UpstreamAuth(
            "The provider refused our credential.",
            provider=target.provider,
            upstream_status=status,
        )
    error = classify(target.provider, status, headers, body, target.errors)
    wait_s = _retry_delay_s(inner)
    if wait_s is not None and error.retry_after_s is None:
        error.retry_after_s = wait_s
    return error


def decode_error_object(target: Target, chunk: JsonObject) -> UpstreamError:
    """The failure that an error object in a 200 answer or a stream stands for (F37)."""
    code = _inner(chunk).get("code")
    status = code if type(code) is int and 400 <= code < 600 else 502
    return decode_error(target, status, {}, orjson.dumps(chunk, default=str))


def _inner(parsed: Any) -> JsonObject:
    if type(parsed) is list and parsed:
        parsed = parsed[0]
    error = parsed.get("error") if type(parsed) is dict else None
    return error if type(error) is dict else {}


def _mapped(inner: JsonObject, target: Target) -> bool:
    return str(inner.get("status")) in target.errors


def _details(inner: JsonObject) -> list[JsonObject]:
    details = inner.get("details")
    return [d for d in details if type(d) is dict] if type(details) is list else []


def _is_ours(inner: JsonObject) -> bool:
    message = inner.get("message")
    if type(message) is str and _OURS.match(message):
        return True
    return any(str(detail.get("reason")) in _OUR_REASONS for detail in _details(inner))


def _retry_delay_s(inner: JsonObject) -> float | None:
    for detail in _details(inner):
        found = _SECONDS.fullmatch(str(detail.get("retryDelay")))
        if found is not None:
            return min(float(found[1]), MAX_RETRY_AFTER_S)
    return None


def error_object(error: GatewayError, request_id: str | None = None) -> JsonObject:
    """The value of `error` in a body or chunk."""
    known = error.metadata.items()
    info: JsonObject = {"@type": _TYPES + "ErrorInfo", "reason": error.code.upper()}
    info["domain"] = DOMAIN
    if known:
        info["metadata"] = {name: _text(value) for name, value in known}
    details: list[JsonObject] = [info]
    if error.param is not None:
        violation = {"field": error.param, "description": error.message}
        details.append({"@type": _TYPES + "BadRequest", "fieldViolations": [violation]})
    wait_s = error.headers.get("Retry-After", "")
    if wait_s.isdecimal():
        details.append({"@type": _TYPES + "RetryInfo", "retryDelay": f"{wait_s}s"})
    if request_id is not None:
        details.append({"@type": _TYPES + "RequestInfo", "requestId": request_id})
    fallback = "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL"
    return {
        "code": error.status,
        "message": error.message,
        "status": _STATUS.get(error.status, fallback),
        "details": details,
    }


def _text(value: Any) -> str:
    return value if type(value) is str else orjson.dumps(value, default=str).decode()


def encode_error(
    error: GatewayError, *, request_id: str | None
) -> tuple[int, bytes, dict[str, str]]:
    """(status, body, headers) of an answer that is an error."""
    body = {"error": error_object(error, request_id)}
    headers = {"content-type": "application/json; charset=UTF-8", **error.headers}
    return error.status, orjson.dumps(body), headers
