"""Other people's SDKs and frameworks as callers: an agent of two tool turns through each, whole and
streamed, at a model of another dialect than their own wherever there is one.
"""

import json
from pathlib import Path

import pytest

from tests.extended.callers import HERE, last_line, run
from tests.fakes.agent import Agent, Call, Say
from tests.fakes.upstream import RawUpstream
from tests.world import World

SCRIPT = {
    0: Say(
        "Let me see. ",
        (Call("call_aa", "weather", '{"city":"Zürich"}'), Call("call_bb", "look", '{"what":"x"}')),
    ),
    2: Say("", (Call("call_cc", "weather", "{}"),)),
    3: Say("It rains."),
}
NODE = ("openaiChat", "openaiResponses", "anthropic", "google", "aiSdk", "openRouter")
PYTHON = (
    "langchain_openai",
    "langchain_responses",
    "langchain_anthropic",
    "pydantic_ai",
    "litellm",
)
RUNS = (
    ("openai-chat/agent", "whole"), ("anthropic/agent", "stream"), ("google/agent", "whole"),
    ("openai-responses/agent", "stream"),
)  # fmt: skip


def _check(seen: object, agent: Agent) -> None:
    assert isinstance(seen, dict)
    assert seen["last"].endswith("It rains.")
    given = sorted((name, json.dumps(json.loads(text))) for name, text in seen["asked"])
    calls = [call for said in SCRIPT.values() for call in said.calls]
    assert given == sorted((c.name, json.dumps(json.loads(c.arguments))) for c in calls)
    heard = agent.heard[-1]
    assert [name for name, _ in heard.calls] == [call.name for call in calls]
    assert len(heard.results) == 3


@pytest.mark.parametrize("kind", NODE)
async def test_a_client_for_node_works_unchanged(
    world: World, raw: RawUpstream, extended_node: Path, kind: str
) -> None:
    account = await world.account()
    for model, how in RUNS:
        agent = Agent(SCRIPT)
        raw.play = agent.play
        command: list[str | Path] = ["node", "node_agents.mjs", kind, world.url, model, how]
        _check(last_line(await run(command, key=account.key, cwd=extended_node)), agent)
    await world.settle()
    assert await world.violations() == []


@pytest.mark.parametrize("kind", PYTHON)
async def test_a_framework_for_python_works_unchanged(
    world: World, raw: RawUpstream, extended_python: Path, kind: str
) -> None:
    account = await world.account()
    for model, how in RUNS:
        agent = Agent(SCRIPT)
        raw.play = agent.play
        script = HERE / "python_agents.py"
        command = [extended_python / "python", script, kind, world.url, model, how]
        _check(last_line(await run(command, key=account.key)), agent)
    await world.settle()
    assert await world.violations() == []


async def test_instructor_gets_the_object_it_asked_for(
    world: World, raw: RawUpstream, extended_python: Path
) -> None:
    account = await world.account()
    for model, _ in RUNS[:2]:
        agent = Agent({0: Say("", (Call("call_aa", "weather", '{"city":"Zürich"}'),))})
        raw.play = agent.play
        script = HERE / "python_agents.py"
        command = [extended_python / "python", script, "instructor", world.url, model, "whole"]
        assert last_line(await run(command, key=account.key))["last"] == "Zürich"
