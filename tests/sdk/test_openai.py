"""The real OpenAI SDK, in the environment a caller has, against the running gateway."""

import pytest

from tests.sdk.sessions import session
from tests.world import World


@pytest.mark.parametrize("mount", ["/v1", "/api/v1"])
async def test_an_openai_application_works_unchanged(
    world: World, client_python: str, mount: str
) -> None:
    seen = await session(world, client_python, "openai_session.py", mount)
    said = "[Gatewayz sandbox] No model was asked; you said: good morning"
    assert seen["whole"]["text"] == said
    assert seen["whole"]["model"] == "sandbox/echo"
    assert seen["whole"]["finish"] == "stop"
    assert seen["whole"]["total"] > 0
    assert seen["whole"]["cost"] > 0
    assert seen["streamed"] == {"text": said, "total": seen["whole"]["total"]}
    assert seen["streamed_by_helper"] == said
    assert seen["streamed_async"] == said
    assert seen["tools"] == {"name": "sandbox_tool", "arguments": {"sandbox": True}}
    assert seen["raw_headers"]["label"] == "mine"
    assert seen["raw_headers"]["provider"] == "sandbox"
    assert "sandbox/echo" in seen["models"]


async def test_the_sdk_raises_the_error_class_an_application_expects(
    world: World, client_python: str
) -> None:
    seen = await session(world, client_python, "openai_session.py", "/v1", usd="0.05")
    expected = {
        "unknown_model": ("NotFoundError", 404, "model_not_found"),
        "wrong_key": ("AuthenticationError", 401, "invalid_api_key"),
        "wrong_field": ("BadRequestError", 400, "invalid_request"),
        "too_dear": ("APIStatusError", 402, "insufficient_credits"),
        "upstream_fails": ("InternalServerError", 503, "all_providers_failed"),
        "upstream_throttles": ("RateLimitError", 429, "upstream_rate_limited"),
    }
    for step, (kind, status, code) in expected.items():
        assert (seen[step]["class"], seen[step]["status"], seen[step]["code"]) == (
            kind,
            status,
            code,
        ), seen[step]
    assert seen["cut_stream"]["class"] == "APIError"
