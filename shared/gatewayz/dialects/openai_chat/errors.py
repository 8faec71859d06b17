"""Errors of OpenAI-compatible servers in, errors of ours out, in both styles (D25, D26).

Guarantees that no upstream text reaches a caller unless it explains a rejected request, and then
only cleaned: short, printable, with everything that could be a credential masked (F39, F44).
"""

import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from gatewayz.core.errors import (
    GatewayError,
    UpstreamAuth,
    UpstreamBroken,
    UpstreamError,
    UpstreamExhausted,
    UpstreamModelMissing,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gatewayz.core.log import redact
from gatewayz.dialects.form import JsonObject, Style

MAX_RETRY_AFTER_S = 300.0
NONSENSE_RETRY_AFTER_S = 5.0
MAX_REASON_CHARS = 300

# What the values of a provider's `errors` table may be.
ERROR_CLASSES: Mapping[str, type[UpstreamError]] = {
    "Rejected": UpstreamRejected,
    "Auth": UpstreamAuth,
    "Throttled": UpstreamThrottled,
    "Exhausted": UpstreamExhausted,
    "Unavailable": UpstreamUnavailable,
    "ModelNotFound": UpstreamModelMissing,
    "Broken": UpstreamBroken,
}
# Codes and types that mean the same at every provider that uses them.
_KNOWN_CODES: Mapping[str, type[UpstreamError]] = {
    "invalid_api_key": UpstreamAuth,
    "authentication_error": UpstreamAuth,
    "insufficient_quota": UpstreamAuth,
    "billing_not_active": UpstreamAuth,
    "1113": UpstreamAuth,
    "model_not_found": UpstreamModelMissing,
    "model_decommissioned": UpstreamModelMissing,
    "DeploymentNotFound": UpstreamModelMissing,
    "rate_limit_exceeded": UpstreamThrottled,
    "overloaded_error": UpstreamUnavailable,
    # Another sample of the same model usually succeeds.
    "tool_use_failed": UpstreamBroken,
}
_CONTEXT_OVERFLOW = re.compile(
    r"context_length_exceeded|maximum context length|prompt is too long|prompt too long"
    r"|exceeds the maximum number of tokens|too[_ ]many[_ ](?:prompt[_ ])?tokens|input token count"
    r"|exceed_context_size|input tokens exceeded|token limit reached",
    re.IGNORECASE,
)
_CONTENT_POLICY = re.compile(
    r"content[_ ]filter|content[_ ](?:management[_ ])?policy|data_inspection_failed|moderation"
    r"|safety system",
    re.IGNORECASE,
)
# Only at the beginning: further on, a provider may be quoting what a caller wrote, and nobody
# shall make us distrust our own credential.
_NO_CREDENTIAL = re.compile(
    r"(?:API_KEY_INVALID|(?:invalid|incorrect|no) api[ _-]?key|api key not valid"
    r"|insufficient (?:balance|credits))",
    re.IGNORECASE,
)
# Our credential is good, but not for this model.
_NO_ACCESS = re.compile(
    r"you are not allowed to sample from this model"
    r"|(?:you don't|your \S+ does not|project \S+ does not) have access to (?:the )?model",
    re.IGNORECASE,
)
_LOOKS_SECRET = re.compile(r"(?=[A-Za-z_\-.+/=]*[0-9])[A-Za-z0-9_\-.+/=]{20,}")
_OPENROUTER_TYPES = {
    400: "invalid_request",
    401: "authentication",
    402: "payment_required",
    403: "permission_denied",
    404: "not_found",
    413: "payload_too_large",
    422: "unprocessable",
    429: "rate_limit_exceeded",
    500: "server",
    502: "provider_unavailable",
    503: "provider_overloaded",
    504: "timeout",
}


def decode_error(
    provider: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    error_map: Mapping[str, str],
) -> UpstreamError:
    """The failure an HTTP answer of status ≥ 300 stands for; header names are lower case."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError:
        parsed = None
    return _classify(provider, status, _names(parsed), headers, error_map)


def decode_error_object(
    provider: str, chunk: JsonObject, error_map: Mapping[str, str] | None = None
) -> UpstreamError:
    """The failure that an error object inside a 200 answer or stream stands for (F37)."""
    names = _names(chunk)
    status = names.status if 400 <= names.status < 600 else 502
    return _classify(provider, status, names, {}, error_map or {})


def refuses(body: JsonObject) -> bool:
    """Whether an answer of status 200 says that it is none: by an error object, or by a status of
    its own (`base_resp`)."""
    if body.get("error") or body.get("object") == "error":
        return True
    status = body.get("base_resp")
    return type(status) is dict and bool(status.get("status_code"))


class _Names:
    """What an error body says: its codes, its text and, sometimes, its own HTTP status."""

    __slots__ = ("codes", "param", "status", "text")

    def __init__(self) -> None:
        self.codes: list[str] = []
        self.text = ""
        self.param: str | None = None
        self.status = 0


def _names(body: Any) -> _Names:
    names = _Names()
    if type(body) is list and body:
        body = body[0]
    if type(body) is not dict:
        return names
    error, several = body.get("error"), body.get("errors")
    inner = error if type(error) is dict else body
    if inner is body and type(several) is list and several and type(several[0]) is dict:
        inner = several[0]
    if inner is body and type(status := body.get("base_resp")) is dict:
        inner = {"code": status.get("status_code"), "message": status.get("status_msg")}
    for key in ("code", "type", "status", "error_type"):
        value = inner.get(key)
        if isinstance(value, str):
            names.codes.append(value)
            value = int(value) if value.isdigit() and len(value) == 3 else 0
        elif type(value) is int:
            names.codes.append(str(value))
        if type(value) is int and 400 <= value < 600 and key in ("code", "status"):
            names.status = value
    if type(status := inner.get("status_code")) is int:
        names.status = status
    message = inner.get("message") or inner.get("detail") or body.get("errors")
    if isinstance(error, str):
        message = error
    if not isinstance(message, str):
        message = orjson.dumps(message).decode() if message else ""
    names.text = (_relayed(inner) or message)[:4000]
    param = inner.get("param")
    names.param = param if isinstance(param, str) and param.isprintable() else None
    return names


def _relayed(error: JsonObject) -> str:
    """The reason given by whoever stands behind a provider that is itself a gateway."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if type(metadata) is dict else None
    if type(raw) is not str:
        return ""
    try:
        return _names(orjson.loads(raw)).text
    except orjson.JSONDecodeError:
        return ""


def _classify(
    provider: str,
    status: int,
    names: _Names,
    headers: Mapping[str, str],
    error_map: Mapping[str, str],
) -> UpstreamError:
    evidence = " ".join([*names.codes, names.text])
    chosen: type[UpstreamError] | None = None
    for code in (*names.codes, str(status)):
        mapped = ERROR_CLASSES.get(error_map.get(code, ""))
        chosen = mapped or chosen or _KNOWN_CODES.get(code)
    if chosen is None:
        chosen = _by_status(status, names, evidence)
    if chosen is UpstreamRejected:
        return _rejected(provider, status, names, evidence)
    if chosen is UpstreamTimeout:
        return UpstreamTimeout("The provider timed out.", stage="total", provider=provider)
    return chosen(
        _OUR_WORDS[chosen],
        provider=provider,
        upstream_status=status,
        retry_after_s=retry_after_s(headers),
    )


def _by_status(status: int, names: _Names, evidence: str) -> type[UpstreamError]:
    if status in (401, 402) or (status < 500 and _NO_CREDENTIAL.match(names.text)):
        return UpstreamAuth
    if status == 403 and _NO_ACCESS.match(names.text):
        return UpstreamModelMissing
    if status == 403:
        return UpstreamRejected if _CONTENT_POLICY.search(evidence) else UpstreamAuth
    if status == 404:
        return UpstreamModelMissing
    if status in (408, 504, 524):
        return UpstreamTimeout
    if status == 429:
        return UpstreamThrottled
    if status in (409, 425) or status >= 500:
        # Some servers answer 500 to a prompt that is too long; any other would refuse it too.
        return UpstreamRejected if _CONTEXT_OVERFLOW.search(evidence) else UpstreamUnavailable
    return UpstreamRejected if status >= 400 else UpstreamBroken


_OUR_WORDS: Mapping[type[UpstreamError], str] = {
    UpstreamAuth: "The provider refused our credential.",
    UpstreamThrottled: "The provider is limiting our requests; retry later.",
    UpstreamExhausted: "Our allowance at the provider is used up; retry later.",
    UpstreamUnavailable: "The provider is unavailable.",
    UpstreamModelMissing: "The provider does not serve this model any more.",
    UpstreamBroken: "The provider gave no valid answer.",
}


def _rejected(provider: str, status: int, names: _Names, evidence: str) -> UpstreamRejected:
    code, message = "upstream_rejected", "The provider rejected the request"
    if _CONTEXT_OVERFLOW.search(evidence):
        code, message = "context_length_exceeded", "The prompt is too long for this model"
    elif _CONTENT_POLICY.search(evidence):
        code, message = "content_filter", "The provider's content policy refused the request"
    reason = clean_reason(names.text)
    error = UpstreamRejected(
        f"{message}: {reason}" if reason else f"{message}.",
        provider=provider,
        upstream_status=status,
        code=code,
    )
    error.param = clean_reason(names.param) if names.param else None
    return error


def clean_reason(text: str) -> str:
    """Upstream text fit for a caller: one line, short, nothing in it that could be a secret."""
    masked = _LOOKS_SECRET.sub("***", redact(text[: 4 * MAX_REASON_CHARS]))
    line = " ".join("".join(c if c.isprintable() else " " for c in masked).split())
    return line if len(line) <= MAX_REASON_CHARS else line[: MAX_REASON_CHARS - 1] + "…"


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds the provider asks us to wait, within 0–300; None when it names none (D33, F38)."""
    milliseconds, seconds = headers.get("retry-after-ms"), headers.get("retry-after")
    if milliseconds is not None:
        return _bounded(milliseconds, 1000.0)
    if seconds is None:
        return None
    if not seconds[:1].isalpha():
        return _bounded(seconds, 1.0)
    try:
        # A date is compared with the answer's own: its clock is the one that made it.
        until, now = parsedate_to_datetime(seconds), parsedate_to_datetime(headers["date"])
        return _bounded(str((until - now).total_seconds()), 1.0)
    except (KeyError, ValueError, TypeError):
        return NONSENSE_RETRY_AFTER_S


def _bounded(text: str, per_second: float) -> float:
    try:
        seconds = float(text) / per_second
    except ValueError:
        return NONSENSE_RETRY_AFTER_S
    if not seconds >= 0:  # negative or NaN
        return NONSENSE_RETRY_AFTER_S
    return min(seconds, MAX_RETRY_AFTER_S)


def error_object(error: GatewayError, style: Style, request_id: str | None = None) -> JsonObject:
    """The value of `error` in a body or frame."""
    if style == "openai":
        return {
            "message": error.message,
            "type": error.type,
            "code": error.code,
            "param": error.param,
        }
    kind = _OPENROUTER_TYPES.get(error.status, "unmapped")
    if error.code == "context_length_exceeded":
        kind = error.code
    elif error.code == "content_filter":
        kind = "content_policy_violation"
    metadata = {"error_type": kind, "code": error.code, **error.metadata}
    if request_id is not None:
        metadata["request_id"] = request_id
    return {"code": error.status, "message": error.message, "metadata": metadata}


def encode_error(
    error: GatewayError, *, style: Style, request_id: str | None
) -> tuple[int, bytes, dict[str, str]]:
    """(status, body, headers) of an answer that is an error."""
    body: JsonObject = {"error": error_object(error, style, request_id)}
    if request_id is not None and style == "openai":
        body["request_id"] = request_id
    headers = {"content-type": "application/json", **error.headers}
    return error.status, orjson.dumps(body, default=str), headers
