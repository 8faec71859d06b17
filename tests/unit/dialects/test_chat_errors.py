"""Errors of providers in, errors of ours out (D25, D26, F38, F39, F44)."""

from typing import Any

import orjson
import pytest

from gatewayz.core.errors import (
    InsufficientCredits,
    InternalError,
    InvalidRequest,
    NotFound,
    RateLimited,
    Unauthorized,
    UpstreamAuth,
    UpstreamBroken,
    UpstreamError,
    UpstreamModelMissing,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
)
from gatewayz.dialects.openai_chat.errors import (
    MAX_REASON_CHARS,
    clean_reason,
    decode_error,
    encode_error,
    retry_after_s,
)
from tests.unit.dialects.recorded import Recording, recordings

ERRORS = [r for r in recordings() if r.status >= 400]
BY_STATUS: dict[int, type[UpstreamError]] = {
    400: UpstreamRejected,
    401: UpstreamAuth,
    403: UpstreamAuth,
    404: UpstreamModelMissing,
    422: UpstreamRejected,
    429: UpstreamThrottled,
    500: UpstreamUnavailable,
}


def decode(status: int, body: Any = b"", errors: dict[str, str] | None = None) -> UpstreamError:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    return decode_error("acme", status, {}, raw, errors or {})


@pytest.mark.parametrize("recording", ERRORS, ids=[r.name for r in ERRORS])
def test_recorded_errors_get_the_class_of_their_status(recording: Recording) -> None:
    error = decode_error("acme", recording.status, recording.headers, recording.raw, {})
    # Refused for one model only: the credential is good for others.
    one_model = b"not allowed to sample from this model" in recording.raw
    assert type(error) is (UpstreamModelMissing if one_model else BY_STATUS[recording.status])
    assert (error.provider, error.upstream_status) == ("acme", recording.status)


@pytest.mark.parametrize(
    ("status", "kind"),
    [(302, UpstreamBroken), (402, UpstreamAuth), (408, UpstreamTimeout), (409, UpstreamUnavailable),
     (413, UpstreamRejected), (418, UpstreamRejected), (425, UpstreamUnavailable),
     (498, UpstreamRejected), (502, UpstreamUnavailable), (503, UpstreamUnavailable),
     (504, UpstreamTimeout), (524, UpstreamTimeout), (529, UpstreamUnavailable)],
)  # fmt: skip
@pytest.mark.parametrize("body", [b"", b"<html>Bad gateway</html>", b"{}", b"[]", b"null", b"\xff"])
def test_the_status_decides_when_the_body_says_nothing(
    status: int, kind: type[UpstreamError], body: bytes
) -> None:
    assert type(decode(status, body)) is kind


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (400, {"error": {"code": 400, "status": "INVALID_ARGUMENT", "message": "API_KEY_INVALID"}},
         UpstreamAuth),
        (400, {"code": "invalid-argument", "error": "Incorrect API key provided: ab***"},
         UpstreamAuth),
        (400, {"error": {"code": "model_not_found", "message": "x"}}, UpstreamModelMissing),
        (429, {"error": {"code": "insufficient_quota", "message": "x"}}, UpstreamAuth),
        (429, {"error": {"code": "1113", "message": "no balance"}}, UpstreamAuth),
        (403, {"error": {"message": "Your input was flagged by moderation"}}, UpstreamRejected),
        (500, {"error": {"message": "This model's maximum context length is 5"}}, UpstreamRejected),
        (400, {"error": {"code": "tool_use_failed", "message": "x"}}, UpstreamBroken),
    ],
)  # fmt: skip
def test_what_the_body_says_outweighs_the_status(
    status: int, body: Any, kind: type[UpstreamError]
) -> None:
    assert type(decode(status, body)) is kind


def test_F39_a_caller_cannot_make_us_distrust_our_credential_by_having_itself_quoted() -> None:
    for quoted in ("invalid api key", "API_KEY_INVALID", "insufficient balance", "no api key"):
        error = decode(400, {"error": {"message": f"Invalid value: '{quoted}' for service_tier"}})
        assert type(error) is UpstreamRejected


def test_a_providers_row_names_codes_of_its_own() -> None:
    body = {"error": {"code": "retired", "type": "odd", "message": "x"}}
    assert type(decode(400, body, {"retired": "ModelNotFound"})) is UpstreamModelMissing
    assert type(decode(400, body, {"odd": "Throttled"})) is UpstreamThrottled


def test_rejections_say_why_and_get_a_code() -> None:
    for body, code in (
        ({"error": {"message": "maximum context length is 5 tokens"}}, "context_length_exceeded"),
        ({"error": {"code": "content_filter", "message": "no"}}, "content_filter"),
        (
            {"error": {"message": "temperature is wrong", "param": "temperature"}},
            "upstream_rejected",
        ),
        ({"detail": [{"loc": ["body"], "msg": "temperature is wrong"}]}, "upstream_rejected"),
        ({"message": "temperature is wrong"}, "upstream_rejected"),
        ({"errors": [{"message": "temperature is wrong"}]}, "upstream_rejected"),
    ):
        error = decode(400, body)
        assert error.code == code
        assert code != "upstream_rejected" or "temperature is wrong" in error.message
        assert not error.retryable


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500, 503])
def test_F39_text_of_other_failures_is_never_shown(status: int) -> None:
    error = decode(status, {"error": {"message": "SECRET detail of the provider"}})
    assert "SECRET" not in str(error) + str(error.metadata)


@pytest.mark.parametrize(
    "secret",
    ["Bearer sk-abcdefghijklmnop1234", "sk-proj-AbCdEf0123456789xyz", "0123456789abcdef" * 2,
     "AKIAIOSFODNN7EXAMPLE", "gsk_abcdefghijklmnopqrst12"],
)  # fmt: skip
def test_F44_credentials_in_upstream_text_are_masked(secret: str) -> None:
    shown = str(decode(400, {"error": {"message": f"bad header 'Authorization: {secret}' here"}}))
    assert secret not in shown
    assert secret.split("-")[-1] not in shown
    assert "here" in shown


def test_reasons_are_one_short_printable_line() -> None:
    shown = clean_reason("a\n\r\t\x00\x1b[31mb " + "long words " * 200)
    assert shown.isprintable() and len(shown) <= MAX_REASON_CHARS
    assert shown.startswith("a")


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "1"}, 1),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "3600"}, 300),
        ({"retry-after": "NaN"}, 5),
        ({"retry-after": "-5"}, 5),
        ({"retry-after": "soon"}, 5),
        ({"retry-after": ""}, 5),
        ({"retry-after": "inf"}, 5),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after-ms": "x", "retry-after": "1"}, 5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 5),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT",
          "date": "Wed, 21 Oct 2015 07:27:30 GMT"}, 30),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT",
          "date": "Thu, 22 Oct 2015 07:27:30 GMT"}, 5),
    ],
)  # fmt: skip
def test_F38_retry_after_is_bounded_and_nonsense_is_five_seconds(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_s(headers) == seconds


# ---------------------------------------------------------------- writing


def test_D25_the_openai_style_is_openai_to_the_letter() -> None:
    error = NotFound("No such model.", code="model_not_found", param="model")
    status, raw, headers = encode_error(error, style="openai", request_id="req_1")
    assert status == 404 and headers["content-type"] == "application/json"
    assert orjson.loads(raw) == {
        "error": {"message": "No such model.", "type": "invalid_request_error",
                  "code": "model_not_found", "param": "model"},
        "request_id": "req_1",
    }  # fmt: skip


def test_D25_the_openrouter_style_has_a_number_and_metadata() -> None:
    error = RateLimited("Slow down.", headers={"Retry-After": "3"}, metadata={"limit": 5})
    status, raw, headers = encode_error(error, style="openrouter", request_id="req_1")
    assert (status, headers["Retry-After"]) == (429, "3")
    assert orjson.loads(raw)["error"] == {
        "code": 429, "message": "Slow down.",
        "metadata": {"error_type": "rate_limit_exceeded", "code": "rate_limit_exceeded",
                     "limit": 5, "request_id": "req_1"},
    }  # fmt: skip


def test_every_error_can_be_written_in_both_styles() -> None:
    errors = [
        InvalidRequest("x"), Unauthorized(), InsufficientCredits("x"), InternalError(),
        UpstreamTimeout("x", stage="idle"), UpstreamRejected("x", code="content_filter"),
    ]  # fmt: skip
    for error in errors:
        for style in ("openai", "openrouter"):
            status, raw, _ = encode_error(error, style=style, request_id=None)
            assert status == error.status
            assert orjson.loads(raw)["error"]["message"] == error.message
