"""The system prompt of a key: said for requests without one, in every dialect, and paid for."""

from typing import Any

import pytest

from gatewayz.inference.instructions import instruct
from tests import world as worlds
from tests.world import Account, World

sandbox, world, tune = worlds.sandbox, worlds.world, worlds.tune
SAID = "Answer in verse."
TURN = {"role": "user", "content": "hello"}


@pytest.mark.parametrize(
    ("dialect", "body", "after"),
    [
        ("openai_chat", {"messages": [TURN]},
         {"messages": [{"role": "system", "content": SAID}, TURN]}),
        ("openai_chat", {"messages": [{"role": "system", "content": "x"}, TURN]}, None),
        ("openai_chat", {"messages": [TURN, {"role": "developer", "content": "x"}]}, None),
        ("openai_chat", {"messages": "wrong"}, None),
        ("openai_chat", {}, None),
        ("openai_responses", {"input": "hello"}, {"input": "hello", "instructions": SAID}),
        ("openai_responses", {"input": "hello", "instructions": "x"}, None),
        ("openai_responses", {"input": [{"role": "developer", "content": "x"}]}, None),
        ("anthropic", {"messages": [TURN]}, {"messages": [TURN], "system": SAID}),
        ("anthropic", {"messages": [TURN], "system": [{"type": "text", "text": "x"}]}, None),
        ("google", {"contents": []},
         {"contents": [], "systemInstruction": {"parts": [{"text": SAID}]}}),
        ("google", {"contents": [], "system_instruction": {"parts": []}}, None),
        ("openai_completions", {"prompt": "hello"}, None),
    ],
)  # fmt: skip
def test_only_who_says_nothing_is_told(
    dialect: str, body: dict[str, Any], after: dict[str, Any] | None
) -> None:
    before = dict(body)
    assert instruct(body, dialect, SAID) is (after is not None)
    assert body == (after or before)


async def key_with(world: World, preferences: Any) -> Any:
    account = await world.account()
    answer = await world.client.post(
        "/user/api-keys",
        json={"key_name": "k", "environment_tag": "test", "preferences": preferences},
        headers=account.headers,
    )
    return account, answer


CALLS = [
    ("/v1/chat/completions", {"messages": [TURN]}),
    ("/v1/responses", {"input": "hello"}),
    ("/v1/messages", {"messages": [TURN], "max_tokens": 100}),
    ("/v1beta/models/sandbox/echo:generateContent", {"contents": [{"parts": [{"text": "hello"}]}]}),
]


@pytest.mark.parametrize(("path", "body"), CALLS, ids=lambda value: str(value)[:12])
async def test_it_reaches_the_provider_from_every_dialect_and_is_billed(
    world: World, path: str, body: dict[str, Any]
) -> None:
    account, made = await key_with(world, {"system_prompt": SAID * 20})
    told = Account(account.id, made.json()["api_key"], "")
    tokens = []
    for caller in (account, told):
        answer = await world.client.post(
            path, json={"model": "sandbox/echo", **body}, headers=caller.headers
        )
        assert answer.status_code == 200, answer.text
        await world.settle()
        row = (await world.requests(account))[0]
        tokens.append(sum(units for name, units, _ in row["lines"] if name == "input"))
        assert (SAID in repr(world.sandbox.last_body)) is (caller is told)
    assert tokens[1] > tokens[0] + 20


async def test_a_system_prompt_that_is_none_is_refused(world: World) -> None:
    for wrong in (7, ["x"], "x" * 16_001):
        _, answer = await key_with(world, {"system_prompt": wrong})
        assert answer.status_code == 400, wrong


async def test_preferences_of_routing_and_a_system_prompt_stand_together(world: World) -> None:
    account, made = await key_with(world, {"system_prompt": SAID, "only": ["sandbox"]})
    assert made.status_code == 200, made.text
    told = Account(account.id, made.json()["api_key"], "")
    assert (await world.post(told)).status_code == 200
    shown = (await world.client.get("/user/api-keys", headers=account.headers)).json()["keys"]
    kept = next(key for key in shown if key["key_name"] == "k")["preferences"]
    assert kept == {"system_prompt": SAID, "only": ["sandbox"]}
