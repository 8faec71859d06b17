"""Streams through the whole gateway: nothing held back, cut short unseen, or left unpaid."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gatewayz.core.settings import Settings
from tests.world import Account, World, eventually

PATIENCE_S = 20


async def release(world: World, lock: str, count: int = 1) -> None:
    async with httpx.AsyncClient(base_url=sandbox_url(world)) as client:
        for _ in range(count):
            await client.post(f"/lockstep/{lock}/release")


def sandbox_url(world: World) -> str:
    return world.settings.catalog.sandbox_url.removesuffix("/v1")


class Reader:
    """The lines of one stream, as they come."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines: AsyncIterator[str] = answer.aiter_lines()

    async def until(self, text: str) -> list[str]:
        """Lines up to and with the first that contains `text`; fails when it never comes."""
        seen: list[str] = []
        async with asyncio.timeout(PATIENCE_S):
            async for line in self._lines:
                seen.append(line)
                if text in line:
                    return seen
        raise AssertionError(f"the stream ended before {text!r}: {seen}")

    async def rest(self) -> list[str]:
        async with asyncio.timeout(PATIENCE_S):
            return [line async for line in self._lines if line]


def opened(world: World, account: Account, model: str, **body: Any) -> Any:
    content = {
        "model": model,
        "messages": [{"role": "user", "content": "hello"}],
        "stream": True,
    } | body
    return world.client.stream(
        "POST", "/v1/chat/completions", json=content, headers=account.headers
    )


def last_frame(text: str) -> Any:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")][-1]


async def test_every_chunk_reaches_the_caller_before_the_next_one_exists(world: World) -> None:
    account = await world.account()
    await release(world, "steps")
    async with opened(world, account, "sandbox/mock-n5-lockstep.steps") as answer:
        reader = Reader(answer)
        await reader.until("Gatewayz sandbox")
        for word in ("w1", "w2", "w3", "w4"):
            await release(world, "steps")
            await reader.until(word)
        await release(world, "steps", 3)
        assert (await reader.rest())[-1] == "data: [DONE]"


class TestASlowStart:
    @pytest.fixture
    def tune(self) -> Callable[[Settings], Settings]:
        return lambda s: replace(s, http=replace(s.http, status_hold_s=0.05, keepalive_s=0.05))

    async def test_the_status_is_held_for_a_while_and_then_comments_keep_the_line_open(
        self, world: World
    ) -> None:
        account = await world.account()
        async with opened(world, account, "sandbox/mock-n2-lockstep.slow") as answer:
            assert answer.status_code == 200
            reader = Reader(answer)
            for _ in range(3):
                await reader.until(": keepalive")
            await release(world, "slow", 6)
            await reader.until("Gatewayz sandbox")
            assert (await reader.rest())[-1] == "data: [DONE]"
        await world.settle()
        assert await world.violations() == []

    @pytest.mark.parametrize(
        ("path", "last"), [("/v1", '"code":"all_providers_failed"'), ("/api/v1", "data: [DONE]")]
    )
    async def test_a_failure_after_the_status_is_an_error_frame_and_free(
        self, world: World, path: str, last: str
    ) -> None:
        account = await world.account()
        status, _, text = await world.stream(
            account, "sandbox/mock-t600-err503", path=f"{path}/chat/completions"
        )
        assert status == 200
        assert ": keepalive" in text
        assert last in text.strip().splitlines()[-1]
        assert "error" in last_frame(text)
        await world.settle()
        assert (await world.balance(account))["charged_nanos"] == 0
        assert await world.violations() == []


async def test_a_failure_before_the_first_token_has_a_true_status(world: World) -> None:
    account = await world.account()
    status, _, text = await world.stream(account, "sandbox/mock-errin0")
    assert (status, json.loads(text)["error"]["code"]) == (503, "all_providers_failed")


async def test_a_long_answer_outgrows_its_hold_and_is_paid_in_full(world: World) -> None:
    account = await world.account(usd=1)
    _, _, text = await world.stream(
        account, "sandbox/mock-n9000", stream_options={"include_usage": True}
    )
    usage = last_frame(text)["usage"]
    assert usage["completion_tokens"] == 9000
    await world.settle()
    assert (await world.balance(account))["charged_nanos"] == round(usage["cost"] * 10**9)
    (row,) = await world.requests(account)
    assert row["cause"] is None
    assert await world.violations() == []


async def test_an_answer_that_outgrows_the_balance_ends_with_length_and_is_paid(
    world: World,
) -> None:
    account = await world.account(usd="0.0063")
    _, _, text = await world.stream(
        account, "sandbox/mock-n20000-b8", stream_options={"include_usage": True}
    )
    frames = [json.loads(x[6:]) for x in text.splitlines() if x.startswith("data: {")]
    assert frames[-2]["choices"][0]["finish_reason"] == "length"
    assert text.endswith("data: [DONE]\n\n")
    await world.settle()
    balance = await world.balance(account)
    assert 0 < balance["charged_nanos"] <= 6_300_000
    (row,) = await world.requests(account)
    assert (row["outcome"], row["estimated"], row["finish"]) == ("completed", True, "length")
    await eventually(lambda: no_holds(world))
    assert await world.violations() == []


async def no_holds(world: World) -> bool:
    await world.sweep()
    return (await world.balance(world.accounts[0]))["held_nanos"] == 0


async def test_a_whole_answer_without_a_limit_gets_one_that_the_balance_can_pay(
    world: World,
) -> None:
    account = await world.account(usd="0.01")
    answer = await world.post(account, "sandbox/mock-n7")
    assert answer.status_code == 200
    sent = world.sandbox.last_body["mock-n7"]["max_tokens"]
    assert 1_000 < sent < 2_000  # a quarter of a cent at $1.50 per million
    rich = await world.account(usd=10)
    await world.post(rich, "sandbox/mock-n8")
    assert "max_tokens" not in world.sandbox.last_body["mock-n8"]
