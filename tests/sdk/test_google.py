"""The real Gemini SDK against the running gateway, over a provider of another dialect."""

import pytest

from tests.sdk.sessions import session
from tests.world import World

SAID = "[Gatewayz sandbox] No model was asked; you said: good morning"
CALL = {"name": "sandbox_tool", "args": {"sandbox": True}}


@pytest.mark.parametrize("way", ["default", "v1beta", "cloud"])
async def test_a_gemini_application_works_unchanged(
    world: World, client_python: str, way: str
) -> None:
    seen = await session(world, client_python, "google_session.py", way)
    whole = seen["whole"]
    assert whole["id"].startswith("gen-")
    assert (whole["model"], whole["text"], whole["finish"]) == ("sandbox/echo", SAID, "STOP")
    assert whole["total"] > 0
    assert seen["streamed"] == {"text": SAID, "total": whole["total"], "finish": "STOP"}
    assert seen["streamed_async"] == seen["chat"] == SAID
    assert seen["function_call"] == CALL
    assert seen["function_call_streamed"] == [CALL]
    assert seen["count"] > 0


async def test_its_errors_are_those_an_application_expects(
    world: World, client_python: str
) -> None:
    seen = await session(world, client_python, "google_session.py", "default")
    expected = {
        "unknown_model": ("ClientError", 404, "NOT_FOUND"),
        "count_unknown_model": ("ClientError", 404, "NOT_FOUND"),
        "wrong_key": ("ClientError", 401, "UNAUTHENTICATED"),
        "wrong_field": ("ClientError", 400, "INVALID_ARGUMENT"),
        "upstream_fails": ("ServerError", 503, "UNAVAILABLE"),
    }
    for step, wanted in expected.items():
        assert (seen[step]["class"], seen[step]["code"], seen[step]["status"]) == wanted, seen[step]
    assert seen["cut_stream"].get("ended") != "cleanly"
