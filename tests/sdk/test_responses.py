"""The real OpenAI SDK on /responses and /completions, over a provider of another dialect."""

import pytest

from tests.sdk.sessions import session
from tests.world import World

SAID = "[Gatewayz sandbox] No model was asked; you said: good morning"
CALL = {"name": "sandbox_tool", "arguments": {"sandbox": True}, "id": "call_sandbox"}


@pytest.mark.parametrize("mount", ["/v1", "/api/v1"])
async def test_an_application_of_responses_and_completions_works_unchanged(
    world: World, client_python: str, mount: str
) -> None:
    seen = await session(world, client_python, "responses_session.py", mount)
    whole, streamed = seen["whole"], seen["streamed"]
    assert whole["id"].startswith("resp_")
    assert (whole["model"], whole["status"], whole["text"]) == ("sandbox/echo", "completed", SAID)
    assert whole["instructions"] == "be kind"
    assert whole["total"] > 0 and whole["cost"] > 0
    assert streamed == {
        "text": SAID,
        "said": SAID,
        "total": whole["total"],
        "first": "response.created",
        "last": "response.completed",
        "numbered": True,
    }
    assert seen["streamed_by_helper"] == SAID
    assert seen["tools"] == seen["tools_streamed"] == CALL
    assert seen["next_turn"] == SAID
    assert seen["completion"]["id"].startswith("cmpl-" if mount == "/v1" else "gen-")
    assert (seen["completion"]["text"], seen["completion"]["finish"]) == (SAID, "stop")
    assert seen["completion_streamed"] == {
        "text": SAID,
        "finish": "stop",
        "total": seen["completion"]["total"],
    }


async def test_the_sdk_raises_the_error_class_an_application_expects(
    world: World, client_python: str
) -> None:
    seen = await session(world, client_python, "responses_session.py", "/v1")
    expected = {
        "unknown_model": ("NotFoundError", 404, "model_not_found"),
        "wrong_key": ("AuthenticationError", 401, "invalid_api_key"),
        "wrong_field": ("BadRequestError", 400, "invalid_request"),
        "stored": ("BadRequestError", 400, "unsupported_parameter"),
        "upstream_fails": ("InternalServerError", 503, "all_providers_failed"),
        "completion_of_tokens": ("BadRequestError", 400, "unsupported_parameter"),
    }
    for step, wanted in expected.items():
        assert (seen[step]["class"], seen[step]["status"], seen[step]["code"]) == wanted, seen[step]
    assert seen["stored"]["param"] == "previous_response_id"
    assert seen["completion_cut"]["class"] == "APIError"
    cut = seen["cut_stream"]
    assert cut.get("class") == "APIError" or cut == {"last": "response.failed", "completed": False}
