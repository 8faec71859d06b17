"""Several answers at once: they come from a provider that can give them, or a 400 names some."""

from tests.fakes.agent import Agent, Say
from tests.fakes.upstream import RawUpstream
from tests.sdk.test_agent_loops import raw, tune
from tests.world import World, sandbox, world

__all__ = ["raw", "sandbox", "tune", "world"]


async def test_several_answers_come_from_who_can_give_them(world: World, raw: RawUpstream) -> None:
    account = await world.account()
    raw.play = Agent({0: Say("hi")}).play
    answer = await world.post(account, "openai-chat/agent", n=2, max_tokens=9)
    assert answer.status_code == 200
    assert raw.requests[-1].json["n"] == 2
    answer = await world.post(account, "google/agent", n=2, max_tokens=9)
    assert answer.status_code == 200
    assert raw.requests[-1].json["generationConfig"]["candidateCount"] == 2


async def test_where_nobody_can_a_400_names_the_field_and_who_can(
    world: World, raw: RawUpstream
) -> None:
    account = await world.account()
    for model in ("anthropic/agent", "bedrock/agent", "cohere/agent", "openai-responses/agent"):
        answer = await world.post(account, model, n=2, max_tokens=9)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"]) == (400, "n"), answer.text
        assert error["code"] == "unsupported_parameter"
        assert "These do: " in error["message"]
    prompts = {"path": "/v1/completions", "prompt": ["a", "b"], "max_tokens": 9}
    answer = await world.post(account, "openai-chat/agent", **prompts)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt")
    assert raw.requests == []
    assert (await world.balance(account))["held_nanos"] == 0


async def test_counting_for_an_unknown_model_is_a_404_in_every_dialect_that_counts(
    world: World,
) -> None:
    account = await world.account()
    answer = await world.post(account, "no/such", path="/v1/messages/count_tokens")
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "not_found_error")
    answer = await world.client.post(
        "/v1/models/no/such:countTokens",
        json={"contents": [{"parts": [{"text": "hi"}]}]},
        headers=account.headers,
    )
    assert (answer.status_code, answer.json()["error"]["status"]) == (404, "NOT_FOUND")
