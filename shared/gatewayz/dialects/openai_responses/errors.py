"""Errors of the Responses protocol in and out. Classifies with the rules of openai_chat/errors.py:
what reaches a caller of an upstream's text is decided there and nowhere else.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.openai_chat.errors import decode_error as classify
from gatewayz.dialects.openai_chat.errors import decode_error_object

# Codes of failed responses, which have no HTTP status, that blame the request.
_OF_REQUEST = re.compile(
    r"invalid_(?!api_key)|image_|unsupported_|empty_image|failed_to_download|context_length"
    r"|bio_policy|content_filter|string_above_max"
)


def decode_error(
    target: Target, status: int, headers: Mapping[str, str], body: bytes
) -> UpstreamError:
    return classify(target.provider, status, headers, body, target.errors)


def decode_failure(target: Target, error: Any) -> UpstreamError:
    """The failure in an `error` event or in the `error` of a failed response (F37)."""
    error = error if type(error) is dict else {"message": str(error or "")}
    code = error.get("code")
    if type(code) is str and _OF_REQUEST.match(code):
        return classify(target.provider, 400, {}, orjson.dumps({"error": error}), target.errors)
    return decode_error_object(target.provider, {"error": error}, target.errors)


def failed_error(error: GatewayError) -> JsonObject:
    """The `error` of a failed response: its codes are a closed list."""
    code = "server_error"
    if error.code == "context_length_exceeded":
        code = error.code
    elif error.status == 429:
        code = "rate_limit_exceeded"
    elif error.status < 500:
        code = "invalid_prompt"
    return {"code": code, "message": error.message}


def error_event(error: GatewayError) -> JsonObject:
    """The fields of an `error` event."""
    return {"code": error.code, "message": error.message, "param": error.param}
