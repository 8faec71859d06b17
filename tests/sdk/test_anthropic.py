"""The real Anthropic SDK against the running gateway, over a provider of another dialect."""

from tests.sdk.sessions import session
from tests.world import World


async def test_an_anthropic_application_works_unchanged(world: World, client_python: str) -> None:
    seen = await session(world, client_python, "anthropic_session.py", usd="0.05")
    said = "[Gatewayz sandbox] No model was asked; you said: good morning"
    assert seen["whole"]["text"] == said
    assert seen["whole"]["id"].startswith("msg_")
    assert (seen["whole"]["model"], seen["whole"]["stop"]) == ("sandbox/echo", "end_turn")
    assert seen["whole"]["input"] > 0 and seen["whole"]["output"] > 0
    assert seen["streamed"] == {
        "text": said,
        "stop": "end_turn",
        "output": seen["whole"]["output"],
    }
    assert seen["tools"] == {
        "name": "sandbox_tool",
        "input": {"sandbox": True},
        "stop": "tool_use",
    }
    assert seen["unknown_model"] == {
        "class": "NotFoundError",
        "status": 404,
        "type": "not_found_error",
    }
    assert seen["wrong_key"]["class"] == "AuthenticationError"
    assert seen["wrong_field"]["class"] == "BadRequestError"
    assert seen["upstream_fails"]["status"] in (503, 529)
    assert seen["cut_stream"].get("ended") != "cleanly"
