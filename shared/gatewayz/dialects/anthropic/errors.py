"""Errors of the Messages protocol in and out. Classifies with the rules of openai_chat/errors.py:
what reaches a caller of an upstream's text is decided there and nowhere else.
"""

from collections.abc import Mapping

import orjson

from gatewayz.core.errors import GatewayError, Overloaded, UpstreamAuth, UpstreamError
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.openai_chat.errors import decode_error as classify

OVERLOADED_STATUS = 529
_STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": OVERLOADED_STATUS,
}
_TYPE_OF_STATUS = {status: kind for kind, status in _STATUS_OF_TYPE.items()}
# An account without money answers 400: the caller can do nothing about it.
_NO_MONEY = b"credit balance is too low"


def decode_error(
    target: Target, status: int, headers: Mapping[str, str], body: bytes
) -> UpstreamError:
    if _NO_MONEY in body:
        return UpstreamAuth(
            "The provider refused our credential.",
            provider=target.provider,
            upstream_status=status,
        )
    return classify(target.provider, status, headers, body, target.errors)


def decode_error_event(target: Target, data: JsonObject) -> UpstreamError:
    """The failure that an error object in a 200 answer or a stream stands for (F37)."""
    error = data.get("error")
    kind = error.get("type") if type(error) is dict else None
    status = _STATUS_OF_TYPE.get(kind, 502) if type(kind) is str else 502
    return decode_error(target, status, {}, orjson.dumps(data))


def error_object(error: GatewayError) -> JsonObject:
    """The value of `error` in a body or event."""
    return {"type": _kind(error), "message": error.message, "code": error.code}


def _kind(error: GatewayError) -> str:
    if _is_overload(error):
        return "overloaded_error"
    if error.status in _TYPE_OF_STATUS:
        return _TYPE_OF_STATUS[error.status]
    return "invalid_request_error" if error.status < 500 else "api_error"


def _is_overload(error: GatewayError) -> bool:
    return error.status == 503 and isinstance(error, UpstreamError | Overloaded)


def encode_error(
    error: GatewayError, *, request_id: str | None
) -> tuple[int, bytes, dict[str, str]]:
    """(status, body, headers) of an answer that is an error."""
    body: JsonObject = {"type": "error", "error": error_object(error), "request_id": request_id}
    headers = {"content-type": "application/json", **error.headers}
    if request_id is not None:
        headers["request-id"] = request_id
    status = OVERLOADED_STATUS if _is_overload(error) else error.status
    return status, orjson.dumps(body, default=str), headers
