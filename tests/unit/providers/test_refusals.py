"""Every shape in which providers refuse (providers.md §2.5): recorded ones by their own row, the
rest as documented. What each means decides whether another offer is tried, and who is told what."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from gatewayz.core.errors import (
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
from gatewayz.dialects.openai_chat.errors import refuses
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.registry import CALLS, UPSTREAMS
from gatewayz.providers.config import load_providers

ROWS = load_providers()
KEPT = Path(__file__).resolve().parents[2] / "recordings" / "providers" / "errors.json"
RECORDED: list[dict[str, Any]] = json.loads(KEPT.read_text())

REJECTED, AUTH, MISSING = UpstreamRejected, UpstreamAuth, UpstreamModelMissing
THROTTLED, UNAVAILABLE = UpstreamThrottled, UpstreamUnavailable
# provider, dialect, status → what it means; the n-th recording of the same three.
MEANINGS: dict[tuple[str, str, int], tuple[type[UpstreamError], str]] = {
    ("anthropic", "anthropic", 400): (REJECTED, "upstream_rejected"),
    ("anthropic", "anthropic", 401): (AUTH, ""),
    ("anthropic", "anthropic", 404): (MISSING, ""),
    ("aws-bedrock", "bedrock", 404): (MISSING, ""),
    ("aws-bedrock", "bedrock", 400): (MISSING, ""),
    ("aws-bedrock", "bedrock", 503): (UNAVAILABLE, ""),
    ("azure-ai-foundry", "openai_chat", 401): (AUTH, ""),
    ("azure-openai", "openai_chat", 404): (MISSING, ""),
    ("azure-openai", "openai_chat", 422): (REJECTED, "upstream_rejected"),
    ("cohere", "cohere", 400): (REJECTED, "context_length_exceeded"),
    ("cohere", "cohere", 401): (AUTH, ""),
    ("deepseek", "openai_chat", 400): (REJECTED, "context_length_exceeded"),
    ("doubleword", "openai_chat", 400): (REJECTED, "upstream_rejected"),
    ("doubleword", "openai_chat", 404): (MISSING, ""),
    ("google", "google", 400): (REJECTED, "upstream_rejected"),
    ("google", "google", 403): (AUTH, ""),
    ("google", "google", 429): (THROTTLED, ""),
    ("google-vertex", "google", 400): (REJECTED, "upstream_rejected"),
    ("google-vertex", "google", 404): (MISSING, ""),
    ("groq", "openai_chat", 401): (AUTH, ""),
    ("groq", "openai_chat", 404): (MISSING, ""),
    ("huggingface", "openai_chat", 422): (REJECTED, "upstream_rejected"),
    ("hyperbolic", "openai_chat", 422): (REJECTED, "upstream_rejected"),
    ("llamacpp", "openai_chat", 401): (AUTH, ""),
    ("llamacpp", "openai_chat", 500): (UNAVAILABLE, ""),
    ("mistral", "openai_chat", 400): (MISSING, ""),
    ("mistral", "openai_chat", 401): (AUTH, ""),
    ("ollama-cloud", "openai_chat", 400): (REJECTED, "context_length_exceeded"),
    ("ollama-cloud", "openai_chat", 401): (AUTH, ""),
    ("openai", "openai_chat", 401): (AUTH, ""),
    ("openai", "openai_chat", 403): (MISSING, ""),
    ("openai", "openai_responses", 400): (MISSING, ""),
    ("openai", "openai_responses", 401): (AUTH, ""),
    ("openrouter", "openai_chat", 400): (REJECTED, "upstream_rejected"),
    ("openrouter", "openai_chat", 404): (MISSING, ""),
    ("openrouter", "openai_chat", 429): (THROTTLED, ""),
    ("perplexity", "openai_chat", 400): (REJECTED, "context_length_exceeded"),
    ("perplexity", "openai_chat", 401): (AUTH, ""),
    ("xai", "openai_chat", 400): (REJECTED, "upstream_rejected"),
}


def key(entry: dict[str, Any]) -> tuple[str, str, int]:
    return entry["provider"], entry["dialect"], entry["status"]


def decode(
    slug: str, status: int, body: Any, *, dialect: str = "", headers: dict[str, str] | None = None
) -> UpstreamError:
    row = ROWS[slug]
    dialect = dialect or row.dialect
    raw = body.encode() if isinstance(body, str) else orjson.dumps(body)
    known = {name.lower(): value for name, value in (headers or {}).items()}
    return UPSTREAMS[dialect].decode_error(row.target("m", dialect=dialect), status, known, raw)


@pytest.mark.parametrize("entry", RECORDED, ids=lambda e: "-".join(map(str, key(e))))
def test_a_recorded_refusal_means_what_it_says(entry: dict[str, Any]) -> None:
    provider, dialect, status = key(entry)
    error = decode(provider, status, entry["body"], dialect=dialect, headers=entry["headers"])
    expected, code = MEANINGS[provider, dialect, status]
    assert type(error) is expected, error.message
    assert error.provider == provider
    assert error.upstream_status == status
    if code:
        assert error.code == code


def test_every_recorded_refusal_has_its_meaning_and_none_is_left_over() -> None:
    assert {key(entry) for entry in RECORDED} == MEANINGS.keys()


@pytest.mark.parametrize("entry", RECORDED, ids=lambda e: "-".join(map(str, key(e))))
def test_F44_only_a_refusal_of_the_request_tells_its_reason(entry: dict[str, Any]) -> None:
    provider, dialect, status = key(entry)
    error = decode(provider, status, entry["body"], dialect=dialect, headers=entry["headers"])
    if not isinstance(error, UpstreamRejected):
        assert "provider" in error.message.lower()
        assert len(error.message) < 80


# (row, status, body, headers) → meaning; shapes of the facts that no recording shows.
DOCUMENTED: list[tuple[str, int, Any, dict[str, str], type[UpstreamError]]] = [
    ("openai", 429, {"error": {"code": "insufficient_quota"}}, {}, AUTH),
    ("openai", 429, {"error": {"code": "rate_limit_exceeded"}}, {"retry-after-ms": "6"}, THROTTLED),
    ("openai", 400, {"error": {"code": "content_filter", "message": "x"}}, {}, REJECTED),
    ("openai", 500, "<html>", {}, UNAVAILABLE),
    ("openai", 504, "", {}, UpstreamTimeout),
    ("anthropic", 529, {"type": "error", "error": {"type": "overloaded_error"}}, {}, UNAVAILABLE),
    ("anthropic", 429, {"type": "error", "error": {"type": "rate_limit_error"}}, {}, THROTTLED),
    (
        "google", 400,
        {"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.",
                   "status": "INVALID_ARGUMENT",
                   "details": [{"reason": "API_KEY_INVALID"}]}},
        {}, AUTH,
    ),
    (
        "aws-bedrock", 429, {"message": "Too many requests"},
        {"x-amzn-errortype": "ThrottlingException:http://x"}, THROTTLED,
    ),
    (
        "aws-bedrock", 403, {"message": "The security token included in the request is expired"},
        {"x-amzn-errortype": "ExpiredTokenException"}, AUTH,
    ),
    ("xai", 400, {"code": "invalid-argument", "error": "Incorrect API key provided: x"}, {}, AUTH),
    ("xai", 404, {"code": "not-found", "error": "The model grok-2 was retired."}, {}, MISSING),
    ("mistral", 401, {"message": "No API key found in request"}, {}, AUTH),
    ("mistral", 422, {"detail": [{"loc": ["body"], "msg": "x", "type": "y"}]}, {}, REJECTED),
    ("cohere", 429, {"id": "x", "message": "You are using a Trial key"}, {}, THROTTLED),
    ("cohere", 498, {"message": "blocked"}, {}, AUTH),
    ("deepseek", 402, {"error": {"message": "Insufficient Balance"}}, {}, AUTH),
    ("groq", 400, {"error": {"code": "tool_use_failed", "failed_generation": "x"}}, {},
     UpstreamBroken),
    ("groq", 498, {"error": {"message": "Flex tier capacity exceeded"}}, {}, UNAVAILABLE),
    ("groq", 413, {"error": {"message": "Request too large for model"}}, {}, REJECTED),
    ("groq", 400, {"error": {"code": "model_decommissioned"}}, {}, MISSING),
    ("venice", 401, {"error": "Authentication failed"}, {}, AUTH),
    ("venice", 503, {"error": "The model is at capacity"}, {}, UNAVAILABLE),
    ("huggingface", 422, {"error": "Template error", "error_type": "template_error"}, {}, REJECTED),
    ("hyperbolic", 400, {"object": "error", "message": "x", "code": 400}, {}, REJECTED),
    ("zai", 429, {"error": {"code": "1113", "message": "Insufficient balance"}}, {}, AUTH),
    ("zai", 429, {"error": {"code": "1302", "message": "High concurrency"}}, {}, THROTTLED),
    ("zai", 400, {"error": {"code": "1261", "message": "Prompt too long"}}, {}, REJECTED),
    ("zai", 400, {"error": {"code": "1301", "message": "unsafe"}}, {}, REJECTED),
    ("cloudflare-workers-ai", 429,
     {"errors": [{"code": 4006, "message": "you have used up your daily free allocation"}],
      "success": False}, {}, AUTH),
    ("cloudflare-workers-ai", 400, {"errors": [{"code": 5006, "message": "bad"}]}, {}, REJECTED),
    ("alibaba-dashscope", 400,
     {"error": {"code": "data_inspection_failed", "message": "inappropriate"}}, {}, REJECTED),
    ("alibaba-dashscope", 400, {"error": {"code": "Arrearage", "message": "x"}}, {}, AUTH),
    ("alibaba-dashscope", 403, {"error": {"code": "AllocationQuota.FreeTierOnly"}}, {},
     UpstreamExhausted),
    ("alibaba-dashscope", 429, {"code": "Throttling.AllocationQuota", "message": "x",
                                "request_id": "r"}, {}, UpstreamExhausted),
    ("moonshot", 429, {"error": {"type": "exceeded_current_quota_error"}}, {}, AUTH),
    ("moonshot", 429, {"error": {"type": "engine_overloaded_error"}}, {}, UNAVAILABLE),
    ("chutes", 429, {"detail": "Infrastructure is at maximum capacity"}, {}, THROTTLED),
    ("akash", 400, {"error": {"message": "litellm.BadRequestError: x", "code": "400"}}, {},
     REJECTED),
    ("voyage", 400, {"detail": "Model x is not supported."}, {}, REJECTED),
    ("openrouter", 402, {"error": {"code": 402, "message": "Insufficient credits"}}, {}, AUTH),
    (
        "openrouter", 429,
        {"error": {"code": 429, "message": "Provider returned error",
                   "metadata": {"raw": '{"error":{}}', "provider_name": "x"}}},
        {}, THROTTLED,
    ),
    ("minimax", 429, {"type": "error", "error": {"type": "rate_limit_error"}}, {}, THROTTLED),
    ("minimax", 200, {"base_resp": {"status_code": 1002, "status_msg": "rate"}}, {}, THROTTLED),
    ("minimax", 200, {"base_resp": {"status_code": 1004, "status_msg": "login"}}, {}, AUTH),
    ("minimax", 200, {"base_resp": {"status_code": 1008, "status_msg": "balance"}}, {}, AUTH),
    ("minimax", 200, {"base_resp": {"status_code": 1027, "status_msg": "unsafe"}}, {}, REJECTED),
    ("minimax", 200, {"base_resp": {"status_code": 2013, "status_msg": "bad"}}, {}, REJECTED),
    ("minimax", 200, {"base_resp": {"status_code": 1, "status_msg": "?"}}, {}, UpstreamBroken),
]  # fmt: skip


@pytest.mark.parametrize(("slug", "status", "body", "headers", "expected"), DOCUMENTED)
def test_a_documented_refusal_means_what_it_says(
    slug: str, status: int, body: Any, headers: dict[str, str], expected: type[UpstreamError]
) -> None:
    error = decode(slug, status, body, headers=headers)
    assert type(error) is expected, error.message
    assert error.provider == slug


@pytest.mark.parametrize("dialect", ["anthropic", "openai_chat", "openai_completions"])
@pytest.mark.parametrize("client", ["anthropic", "openai_chat", "openai_completions"])
def test_a_refusal_within_an_answer_of_status_200_is_one_whole_and_streamed(
    dialect: str, client: str
) -> None:
    raw = orjson.dumps({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "x"}})
    asked: dict[str, dict[str, Any]] = {
        "openai_completions": {"prompt": "?"},
        "openai_chat": {"messages": [{"role": "user", "content": "?"}]},
        "anthropic": {"messages": [{"role": "user", "content": "?"}], "max_tokens": 9},
    }
    target = replace(ROWS["minimax"].target("m", dialect=dialect), drop=frozenset())
    call = CALLS[client]({"model": "m", **asked[client]}, {})
    exchange = call.exchange(dialect, target, Reply("req_01M8AB0SA8HFQ5X34VCFEB5ZN2", "m"), None)
    with pytest.raises(UpstreamThrottled):
        exchange.read_answer(raw)
    stream = exchange.open_stream()
    assert stream.feed(b"data: " + raw + b"\n\n") == b""
    assert isinstance(stream.error, UpstreamThrottled)


def test_an_answer_whose_own_status_is_zero_is_an_answer() -> None:
    assert not refuses({"base_resp": {"status_code": 0, "status_msg": ""}})
    assert not refuses({"base_resp": None})


JUNK = ("", "<html>", "[]", '"x"', "{}", '{"error": 5}', '{"errors": [7]}', "null")


@pytest.mark.parametrize("slug", sorted(ROWS))
def test_no_row_reads_a_refusal_as_an_answer_or_fails_on_junk(slug: str) -> None:
    for status in (400, 401, 402, 403, 404, 408, 413, 422, 429, 500, 503, 529):
        for body in JUNK:
            error = decode(slug, status, body)
            assert isinstance(error, UpstreamError)
            assert error.provider == slug
