"""Errors of the Converse protocol, named by a header or by a stream's exception.

Classifies with the rules of openai_chat/errors.py: what reaches a caller of an upstream's text is
decided there and nowhere else.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.core.errors import UpstreamError
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.openai_chat.errors import decode_error as classify

NAME_HEADER = "x-amzn-errortype"
# Where a name says more than the status that comes with it; in a stream there is no status.
_STATUS_OF_NAME: Mapping[str, int] = {
    "AccessDeniedException": 403,
    "ExpiredTokenException": 403,
    "IncompleteSignatureException": 403,
    "InternalServerException": 500,
    "InvalidSignatureException": 403,
    "MissingAuthenticationTokenException": 403,
    "ModelErrorException": 500,
    "ModelNotReadyException": 503,
    "ModelStreamErrorException": 500,
    "ModelTimeoutException": 504,
    "ResourceNotFoundException": 404,
    "ServiceQuotaExceededException": 429,
    "ServiceUnavailableException": 503,
    "ThrottlingException": 429,
    "TooManyRequestsException": 429,
    "UnrecognizedClientException": 403,
    "ValidationException": 400,
}
NO_SUCH_MODEL, OUR_ACCOUNT, UNKNOWN_FAILURE = 404, 401, 502
# What stands behind a refusal of status 400. Only the beginning counts: further on, the provider
# may be quoting a caller.
_NO_MODEL = re.compile(
    r"The provided model identifier is invalid|Invocation of model ID \S+ with on-demand"
    r"|The model ID .{0,100} (?:is not supported|doesn't exist)",
    re.IGNORECASE,
)
_OUR_FAULT = re.compile(r"Operation not allowed", re.IGNORECASE)
_TOO_LONG = re.compile(
    r"input is too long|input length and .{0,20}max_tokens.{0,20} exceed|too many input tokens"
    r"|maximum (?:input|sequence) length|exceeds? the model'?s? .{0,20}context",
    re.IGNORECASE,
)
CONTEXT_CODE = "context_length_exceeded"


def decode_error(
    target: Target, status: int, headers: Mapping[str, str], body: bytes
) -> UpstreamError:
    """The failure an HTTP answer of status ≥ 300 stands for; header names are lower case."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    said = parsed if type(parsed) is dict else {}
    name = headers.get(NAME_HEADER) or said.get("__type")
    error = _decode(target, status, headers, _short(name), said)
    error.upstream_status = status
    return error


def decode_exception(target: Target, name: str | None, payload: bytes) -> UpstreamError:
    """The failure an exception inside a stream stands for (F37)."""
    try:
        parsed = orjson.loads(payload)
    except orjson.JSONDecodeError:
        parsed = None
    said = parsed if type(parsed) is dict else {}
    known = _short(name)
    return _decode(target, UNKNOWN_FAILURE, {}, known[:1].upper() + known[1:], said)


def _decode(
    target: Target, status: int, headers: Mapping[str, str], name: str, said: JsonObject
) -> UpstreamError:
    status = _STATUS_OF_NAME.get(name, status)
    text = _message(said)
    codes = {"code": name} if name else {}
    if status == 400:
        if _NO_MODEL.match(text):
            status = NO_SUCH_MODEL
        elif _OUR_FAULT.match(text):
            status = OUR_ACCOUNT
        elif _TOO_LONG.search(text):
            codes["type"] = CONTEXT_CODE
    body = orjson.dumps({"message": text, **codes})
    return classify(target.provider, status, headers, body, target.errors)


def _message(said: JsonObject) -> str:
    for key in ("message", "Message", "originalMessage"):
        value = said.get(key)
        if type(value) is str and value:
            return value
    return ""


def _short(name: Any) -> str:
    """ "ValidationException" of "com.example#ValidationException:http://example.com/"."""
    return name.partition(":")[0].rpartition("#")[2] if type(name) is str else ""
