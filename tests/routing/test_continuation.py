"""Opt-in continuation: a stream that is cut goes on at another offer, and says so."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.upstream import Act
from tests.faults.scene import Scene, content_of, error_of, frames_of
from tests.routing.fleet import (
    COUNT,
    DONE,
    ROLE,
    STOP,
    Fleet,
    chunk,
    event_stream,
    fleet,
    refusal,
    tool_chunk,
)

HEAD = event_stream()
ORDER = {"order": ["one", "two", "six"], "fallback_max_price_ratio": "any"}


@pytest.fixture
def three() -> Iterator[Fleet]:
    yield from fleet("one", "two", "six")


@pytest.fixture
def providers_file(three: Fleet, tmp_path: Path) -> str:
    three.model("f/m", ("one", 1), ("two", 2), ("six", 6))
    file = tmp_path / "providers.toml"
    file.write_text(three.text)
    return str(file)


def cut(*words: str) -> list[Any]:
    return [HEAD, ROLE, *[chunk({"content": word}) for word in words], Act.CUT]


def rest(*words: str) -> list[Any]:
    return [HEAD, ROLE, *[chunk({"content": word}) for word in words], STOP + COUNT + DONE]


async def stream(world: Scene, account: Any, **body: Any) -> str:
    asked = {"provider": ORDER, "stream_continuation": True} | body
    status, _, text = await world.stream(account, "f/m", **asked)
    assert status == 200
    return text


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/chat/completions"])
async def test_the_answer_goes_on_at_another_offer(world: Scene, three: Fleet, path: str) -> None:
    account = await world.account()
    three.play("one", stream=cut("Once ", "upon "))
    three.play("two", stream=rest("a ", "time."))
    text = await stream(
        world, account, path=path, max_tokens=100, stream_options={"include_usage": True}
    )
    assert content_of(text) == "Once upon a time." and text.endswith("data: [DONE]\n\n")
    assert error_of(text) is None
    frames = frames_of(text)
    (mark,) = [f["gatewayz_continuation"] for f in frames if "gatewayz_continuation" in f]
    assert mark == {"from": "one", "to": "two", "reason": "UpstreamBroken", "leg": 2}
    assert len({f["id"] for f in frames}) == 1
    sent = three.upstreams["two"].requests[-1].json["messages"]
    assert sent[-2] == {"role": "assistant", "content": "Once upon "}
    assert sent[-1]["role"] == "user", "a user's turn at the end: no prefill"
    assert three.upstreams["two"].requests[-1].json["max_tokens"] < 100
    row = await world.one(account)
    assert (row["outcome"], row["offer"], row["finish"]) == ("completed", "two/m", "stop")
    assert [a.get("cut") for a in row["attempts"]] == ["UpstreamBroken", None]
    # Each leg at its own offer's price; the second by its own usage.
    prices = {line[2] for line in row["lines"]}
    assert prices == {10**9, 2 * 10**9}
    second = [line for line in row["lines"] if line[2] == 2 * 10**9]
    assert {line[0]: line[1] for line in second} == {"input": 10, "output": 2}
    usage = next(f["usage"] for f in frames if f.get("usage"))
    assert usage["cost"] == pytest.approx(row["charge_nanos"] / 10**9)
    shown = usage["prompt_tokens"] + usage["completion_tokens"]
    assert shown == sum(line[1] for line in row["lines"])


async def test_it_may_be_cut_twice(world: Scene, three: Fleet) -> None:
    account = await world.account()
    three.play("one", stream=cut("a "))
    three.play("two", stream=cut("b "))
    three.play("six", stream=rest("c"))
    text = await stream(world, account)
    assert content_of(text) == "a b c" and text.endswith("data: [DONE]\n\n")
    row = await world.one(account)
    assert [a["provider"] for a in row["attempts"]] == ["one", "two", "six"]
    assert len({line[2] for line in row["lines"]}) == 3


async def test_when_nobody_goes_on_it_ends_as_a_cut_does(world: Scene, three: Fleet) -> None:
    account = await world.account()
    three.play("one", stream=cut("a ", "b "))
    three.play("two", refusal(500))
    three.play("six", refusal(500))
    text = await stream(world, account)
    assert error_of(text) is not None and content_of(text) == "a b " and "[DONE]" not in text
    row = await world.one(account)
    assert (row["outcome"], row["offer"]) == ("cut", "one/m")
    assert {line[2] for line in row["lines"]} == {10**9}
    assert [a.get("cut") for a in row["attempts"]] == ["UpstreamBroken", None, None]


@pytest.mark.parametrize(
    ("body", "first"),
    [
        ({"stream_continuation": False}, cut("a ")),
        ({"response_format": {"type": "json_object"}}, cut('{"a":')),
        ({"tools": [{"type": "function", "function": {"name": "look"}}]}, cut("a ")),
        ({}, [HEAD, ROLE, tool_chunk("", first=True), tool_chunk('{"a'), Act.CUT]),
    ],
)
async def test_tool_calls_and_structured_output_are_never_continued(
    world: Scene, three: Fleet, body: dict[str, Any], first: list[Any]
) -> None:
    account = await world.account()
    three.play("one", stream=first)
    text = await stream(world, account, **body)
    assert error_of(text) is not None and three.calls == ["one"]
    assert (await world.one(account))["outcome"] == "cut"
