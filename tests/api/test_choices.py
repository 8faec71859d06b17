"""Several answers or prompts in one request: from a provider that can give them at once, else from
several calls that are one answer, one hold and one charge.
"""

import json
from collections.abc import Sequence
from typing import Any

import openai
import pytest

from tests.fakes.agent import IN, OUT, Agent, Say, Script
from tests.fakes.upstream import Act, Play, RawRequest, RawUpstream, Step, answer
from tests.sdk.test_agent_loops import raw, tune
from tests.world import World, sandbox, world

__all__ = ["raw", "sandbox", "tune", "world"]

SINGLE = ("anthropic/agent", "bedrock/agent", "cohere/agent", "openai-responses/agent")
SEVERAL = ("openai-chat/agent", "google/agent")
COST = IN * 500 + OUT * 1500


def said_of(body: Any) -> Script:
    """The model says which prompt it read."""
    text = json.dumps(body)
    name = next(name for name in ("alpha", "beta", "gamma", "hello") if name in text)
    return {0: Say(f"about {name} it is")}


def playing(agent: Agent) -> Play:
    """Answers that say that their connection ends with them, as this upstream's do."""

    def play(request: RawRequest) -> Sequence[Step]:
        return [
            step.replace(b"\r\n", b"\r\nconnection: close\r\n", 1)
            for step in agent.play(request)
            if isinstance(step, bytes)
        ]

    return play


async def _settled(world: World) -> list[dict[str, Any]]:
    await world.settle()
    await world.sweep()
    assert await world.violations() == []
    assert (await world.balance(world.accounts[0]))["held_nanos"] == 0
    return await world.requests(world.accounts[0])


def several(request: RawRequest) -> Sequence[Step]:
    """A chat model that gives as many answers as it is asked for."""
    (whole,) = Agent({0: Say("hi")}).play(request)
    assert isinstance(whole, bytes)
    if not request.line.split()[1].startswith("/openai_chat/"):
        return [whole]
    body = json.loads(whole.partition(b"\r\n\r\n")[2])
    body["choices"] = [{**body["choices"][0], "index": k} for k in range(request.json["n"])]
    return [answer(json.dumps(body).encode())]


async def test_several_answers_come_from_who_can_give_them(world: World, raw: RawUpstream) -> None:
    account = await world.account()
    raw.play = several
    answered = await world.post(account, "openai-chat/agent", n=2, max_tokens=9)
    assert answered.status_code == 200
    assert len(answered.json()["choices"]) == 2
    assert raw.requests[-1].json["n"] == 2
    answered = await world.post(account, "google/agent", n=2, max_tokens=9)
    assert answered.status_code == 200
    assert raw.requests[-1].json["generationConfig"]["candidateCount"] == 2
    assert len(raw.requests) == 2


async def test_one_answer_instead_of_several_is_a_failed_attempt(
    world: World, raw: RawUpstream
) -> None:
    account = await world.account()
    raw.play = Agent({0: Say("hi")}).play
    answered = await world.post(account, "openai-chat/agent", n=2, max_tokens=9)
    assert answered.status_code == 502
    assert answered.json()["error"]["code"] == "upstream_invalid_response"
    assert [row["charge_nanos"] for row in await _settled(world)] == [0]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
async def test_who_gives_one_answer_is_asked_for_each_and_charged_once(
    world: World, raw: RawUpstream, path: str
) -> None:
    account = await world.account()
    raw.play = playing(Agent(said_of))
    client = openai.AsyncOpenAI(
        base_url=world.url + path.removesuffix("/chat/completions"), api_key=account.key,
        max_retries=0,
    )  # fmt: skip
    for model in SINGLE:
        raw.requests.clear()
        asked: Any = {
            "model": model, "n": 3, "max_tokens": 9,
            "messages": [{"role": "user", "content": "hello"}],
        }  # fmt: skip
        whole = await client.chat.completions.create(**asked)
        assert len(raw.requests) == 3
        assert [choice.index for choice in whole.choices] == [0, 1, 2]
        assert {choice.message.content for choice in whole.choices} == {"about hello it is"}
        assert {choice.finish_reason for choice in whole.choices} == {"stop"}
        assert whole.usage is not None
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (3 * IN, 3 * OUT)
        texts = ["", "", ""]
        finishes: list[Any] = [None] * 3
        usage: Any = None
        stream = await client.chat.completions.create(
            stream=True, stream_options={"include_usage": True}, **asked
        )
        async for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
                finishes[choice.index] = choice.finish_reason or finishes[choice.index]
        assert (texts, finishes) == (["about hello it is"] * 3, ["stop"] * 3)
        assert (usage.prompt_tokens, usage.completion_tokens) == (3 * IN, 3 * OUT)
    rows = await _settled(world)
    assert len(rows) == 2 * len(SINGLE)
    assert {row["charge_nanos"] for row in rows} == {3 * COST}


async def test_a_client_of_another_dialect_gets_all_its_candidates(
    world: World, raw: RawUpstream
) -> None:
    account = await world.account()
    raw.play = playing(Agent(said_of))
    body = {
        "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
        "generationConfig": {"candidateCount": 2, "maxOutputTokens": 9},
    }
    path = "/v1beta/models/anthropic/agent:generateContent"
    answered = await world.client.post(path, json=body, headers=account.headers)
    candidates = answered.json()["candidates"]
    assert [c["content"]["parts"][0]["text"] for c in candidates] == ["about hello it is"] * 2
    assert answered.json()["usageMetadata"]["promptTokenCount"] == 2 * IN
    # Streamed as this dialect's clients ask for it, with and without server-sent events.
    path = path.replace("generateContent", "streamGenerateContent")
    for query in ("", "?alt=sse"):
        answered = await world.client.post(path + query, json=body, headers=account.headers)
        chunks = (
            [json.loads(line[6:]) for line in answered.text.splitlines() if line[:6] == "data: "]
            if query
            else answered.json()
        )
        texts = ["", ""]
        for candidate in (c for chunk in chunks for c in chunk.get("candidates", ())):
            for part in candidate.get("content", {}).get("parts", ()):
                texts[candidate.get("index", 0)] += part.get("text", "")
        assert texts == ["about hello it is"] * 2


async def test_every_prompt_of_a_completion_is_answered_in_its_place(
    world: World, raw: RawUpstream
) -> None:
    account = await world.account()
    raw.play = playing(Agent(said_of))
    client = openai.AsyncOpenAI(
        base_url=world.url + "/v1", api_key=account.key, max_retries=0, timeout=20
    )
    prompts = ["alpha", "beta", "gamma"]
    expected = [f"about {name} it is" for name in prompts]
    for model in (*SINGLE, *SEVERAL):
        asked: Any = {"model": model, "prompt": prompts, "max_tokens": 9}
        whole = await client.completions.create(**asked)
        assert [choice.index for choice in whole.choices] == [0, 1, 2], model
        assert [choice.text for choice in whole.choices] == expected, model
        assert whole.usage is not None
        assert (whole.usage.prompt_tokens, whole.usage.completion_tokens) == (3 * IN, 3 * OUT)
        texts = ["", "", ""]
        async for chunk in await client.completions.create(stream=True, **asked):
            for choice in chunk.choices:
                texts[choice.index] += choice.text
        assert texts == expected, model
    rows = await _settled(world)
    assert len(rows) == 2 * 6
    assert {row["charge_nanos"] for row in rows} == {3 * COST}


async def test_each_of_several_prompts_may_have_several_answers(
    world: World, raw: RawUpstream
) -> None:
    account = await world.account()
    raw.play = playing(Agent(said_of))
    asked = {"path": "/v1/completions", "prompt": ["alpha", "beta"], "n": 2, "max_tokens": 9}
    one_by_one = await world.post(account, "anthropic/agent", **asked)
    texts = [choice["text"] for choice in one_by_one.json()["choices"]]
    assert texts == ["about alpha it is"] * 2 + ["about beta it is"] * 2
    assert len(raw.requests) == 4
    raw.requests.clear()
    await world.post(account, "openai-chat/agent", **asked)
    # Who gives several answers at once reads each prompt once.
    assert [request.json["n"] for request in raw.requests] == [2, 2]


async def test_what_no_call_could_do_is_a_400_before_anything_is_held(
    world: World, raw: RawUpstream
) -> None:
    account = await world.account()
    refused = (
        ({"prompt": ["a", "b"], "echo": True}, "echo"),
        ({"prompt": [[1, 2], [3]]}, "prompt"),
        ({"prompt": ["a", "b"], "suffix": "end"}, "suffix"),
    )
    for fields, param in refused:
        answered = await world.post(
            account, "openai-chat/agent", path="/v1/completions", max_tokens=9, **fields
        )
        assert (answered.status_code, answered.json()["error"]["param"]) == (400, param)
    # More calls than one request may be; who could give them at once is named.
    answered = await world.post(account, "anthropic/agent", n=65, max_tokens=9)
    error = answered.json()["error"]
    assert (answered.status_code, error["param"]) == (400, "n")
    assert "These do: " in error["message"]
    assert raw.requests == []
    assert (await world.balance(account))["held_nanos"] == 0


async def test_one_call_that_fails_is_the_failure_of_all_and_costs_nothing(
    world: World, raw: RawUpstream
) -> None:
    account = await world.account()
    good = playing(Agent(said_of))

    def play(request: RawRequest) -> Sequence[Step]:
        if b"beta" in request.body:
            return [answer(b'{"error":{"message":"no"}}', status="500 Internal Server Error")]
        return good(request)

    raw.play = play
    asked: Any = {"path": "/v1/completions", "prompt": ["alpha", "beta"], "max_tokens": 9}
    answered = await world.post(account, "openai-chat/agent", **asked)
    assert answered.status_code == 503
    status, _, text = await world.stream(account, "openai-chat/agent", **asked)
    assert (status, "about" in text) == (503, False)
    rows = await _settled(world)
    assert [row["charge_nanos"] for row in rows] == [0, 0]


async def test_a_stream_of_which_one_breaks_never_ends_cleanly(
    world: World, raw: RawUpstream
) -> None:
    account = await world.account()
    good = playing(Agent(said_of))

    def play(request: RawRequest) -> Sequence[Step]:
        (whole,) = good(request)
        assert isinstance(whole, bytes)
        if b"beta" not in request.body:
            return [whole]
        head, _, body = whole.partition(b"\r\n\r\n")
        lines = [line for line in head.split(b"\r\n") if not line.startswith(b"content-length")]
        return [b"\r\n".join(lines) + b"\r\n\r\n" + body[:300], Act.CUT]

    raw.play = play
    asked: Any = {"path": "/v1/completions", "prompt": ["alpha", "beta"], "max_tokens": 9}
    status, _, text = await world.stream(account, "openai-chat/agent", **asked)
    assert "[DONE]" not in text
    assert '"error"' in text
    assert status in (200, 502)
    await _settled(world)


async def test_more_calls_than_run_at_once_all_come_in_order(
    world: World, raw: RawUpstream
) -> None:
    account = await world.account()

    def script(body: Any) -> Script:
        text = json.dumps(body)
        return {0: Say(next(f"is {k:02}" for k in range(20) if f"number {k:02}" in text))}

    raw.play = playing(Agent(script))
    prompts = [f"number {k:02}" for k in range(20)]
    asked: Any = {"path": "/v1/completions", "prompt": prompts, "max_tokens": 9}
    answered = await world.post(account, "anthropic/agent", **asked)
    assert [c["text"] for c in answered.json()["choices"]] == [f"is {k:02}" for k in range(20)]
    _, _, stream = await world.stream(account, "anthropic/agent", **asked)
    texts = [""] * 20
    for line in stream.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                texts[choice["index"]] += choice["text"]
    assert texts == [f"is {k:02}" for k in range(20)]
    rows = await _settled(world)
    assert [row["charge_nanos"] for row in rows] == [20 * COST] * 2


async def test_the_hold_is_for_every_call(world: World, raw: RawUpstream) -> None:
    raw.play = playing(Agent(said_of))
    account = await world.account(usd="0.01")  # one answer of 5,000 tokens at 1,500 each
    asked: Any = {"max_tokens": 5000}
    alone = await world.post(account, "anthropic/agent", **asked)
    assert alone.status_code == 200
    await world.settle()
    together = await world.post(account, "anthropic/agent", n=2, **asked)
    assert together.status_code == 402
    assert together.json()["error"]["code"] == "insufficient_credits"


async def test_counting_for_an_unknown_model_is_a_404_in_every_dialect_that_counts(
    world: World,
) -> None:
    account = await world.account()
    answered = await world.post(account, "no/such", path="/v1/messages/count_tokens")
    assert (answered.status_code, answered.json()["error"]["type"]) == (404, "not_found_error")
    answered = await world.client.post(
        "/v1/models/no/such:countTokens",
        json={"contents": [{"parts": [{"text": "hi"}]}]},
        headers=account.headers,
    )
    assert (answered.status_code, answered.json()["error"]["status"]) == (404, "NOT_FOUND")
