"""A provider of the Messages protocol that an operator's own file adds, reached by applications of
two protocols; cached input is billed by its classes.
"""

from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from gatewayz.core.settings import Settings
from tests.fakes.messages import TEXT, play
from tests.fakes.upstream import RawUpstream
from tests.world import Account, World

SECRET = "credential-of-the-provider"
PROVIDERS = """
[mine]
name = "Mine"
dialect = "anthropic"
base_url = "{url}/v1"
credential = "TEST_MESSAGES_KEY"
auth = "header:x-api-key"
local = true
[[models]]
id = "mine/*"
provider = "mine"
native_id = "*"
input = 3
output = 15
cache_read = 0.3
cache_write_5m = 3.75
cache_write_1h = 6
"""
# Units of fakes/messages.py × nano-USD per token of the classes above.
LINES = {
    "input": (10, 3_000),
    "cache_read": (2_000, 300),
    "cache_write_5m": (300, 3_750),
    "cache_write_1h": (400, 6_000),
    "output": (20, 15_000),
}
CHARGE_NANOS = sum(units * price for units, price in LINES.values())
SYSTEM: list[Any] = [
    {
        "type": "text",
        "text": "Be kind. " * 1000,
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    }
]
ASKED: list[Any] = [{"role": "user", "content": "good morning"}]


@pytest.fixture
def upstream() -> Iterator[RawUpstream]:
    raw = RawUpstream()
    raw.play = play
    yield raw
    raw.stop()


@pytest.fixture
def tune(
    upstream: RawUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Settings], Settings]:
    monkeypatch.setenv("TEST_MESSAGES_KEY", SECRET)
    file = tmp_path / "providers.toml"
    file.write_text(PROVIDERS.format(url=upstream.url))
    return lambda s: replace(s, catalog=replace(s.catalog, providers_file=str(file)))


@dataclass
class Caller:
    """One account and its applications."""

    world: World
    account: Account
    messages: anthropic.AsyncAnthropic
    chat: openai.AsyncOpenAI

    async def receipt(self) -> Any:
        """Of the only request so far, after everything is settled."""
        await self.world.settle()
        (row,) = await self.world.requests(self.account)
        answer = await self.world.client.get(
            f"/v1/generation/{row['request_id']}/explain", headers=self.account.headers
        )
        return answer.json()["data"]

    async def check_charge(self) -> None:
        receipt = await self.receipt()
        lines = {
            line["class"]: (line["units"], round(line["usd_per_million"] * 1000))
            for line in receipt["lines"]
        }
        assert lines == LINES
        assert (receipt["charge_nanos"], receipt["matches"]) == (CHARGE_NANOS, True)
        assert receipt["outcome"] == "completed"
        balance = await self.world.balance(self.account)
        assert balance["charged_nanos"] == CHARGE_NANOS
        assert await self.world.violations() == []


@pytest.fixture
async def caller(world: World) -> AsyncIterator[Caller]:
    account = await world.account()
    messages = anthropic.AsyncAnthropic(base_url=world.url, api_key=account.key, max_retries=0)
    chat = openai.AsyncOpenAI(base_url=world.url + "/v1", api_key=account.key, max_retries=0)
    yield Caller(world, account, messages, chat)
    await messages.close()
    await chat.close()


async def test_an_anthropic_application_gets_what_its_provider_said(
    caller: Caller, upstream: RawUpstream
) -> None:
    answer = await caller.messages.messages.create(
        model="mine/some-model",
        max_tokens=50,
        system=SYSTEM,
        messages=ASKED,
        extra_headers={"anthropic-beta": "extended-cache-ttl-2025-04-11"},
    )
    (block,) = answer.content
    assert block.type == "text" and block.text == TEXT
    assert answer.id.startswith("msg_") and answer.id != "msg_upstream"
    assert (answer.model, answer.stop_reason) == ("mine/some-model", "end_turn")
    assert answer.usage.cache_creation is not None
    assert answer.usage.cache_creation.ephemeral_1h_input_tokens == 400
    (sent,) = upstream.requests
    assert sent.line.startswith("POST /v1/messages ")
    assert sent.json["system"] == SYSTEM
    assert (sent.json["model"], sent.json["max_tokens"]) == ("some-model", 50)
    assert sent.headers["x-api-key"] == SECRET
    # The application reads the answer as its own version of the protocol has it.
    version = caller.messages.default_headers["anthropic-version"]
    assert sent.headers["anthropic-version"] == version
    assert sent.headers["anthropic-beta"] == "extended-cache-ttl-2025-04-11"
    assert caller.account.key not in str(sent)
    await caller.check_charge()


async def test_it_streams_to_an_anthropic_application(caller: Caller) -> None:
    async with caller.messages.messages.stream(
        model="mine/some-model", max_tokens=50, system=SYSTEM, messages=ASKED
    ) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert text == TEXT
    assert (final.model, final.stop_reason) == ("mine/some-model", "end_turn")
    assert final.usage.cache_read_input_tokens == 2000
    assert final.usage.output_tokens == 20
    await caller.check_charge()


async def test_an_openai_application_reaches_it_too(caller: Caller, upstream: RawUpstream) -> None:
    answer = await caller.chat.chat.completions.create(
        model="mine/some-model",
        max_tokens=50,
        messages=[{"role": "system", "content": SYSTEM}, *ASKED],
    )
    (choice,) = answer.choices
    assert (choice.message.content, choice.finish_reason) == (TEXT, "stop")
    assert answer.id.startswith("chatcmpl-")
    _check_chat_usage(answer.usage)
    (sent,) = upstream.requests
    assert sent.line.startswith("POST /v1/messages ")
    assert sent.json["system"] == SYSTEM
    assert sent.headers["x-api-key"] == SECRET
    await caller.check_charge()


async def test_it_streams_to_an_openai_application(caller: Caller) -> None:
    text, usage = "", None
    stream = await caller.chat.chat.completions.create(
        model="mine/some-model",
        max_tokens=50,
        messages=[{"role": "system", "content": SYSTEM}, *ASKED],
        stream=True,
        stream_options={"include_usage": True},
    )
    async for chunk in stream:
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
        usage = chunk.usage or usage
    assert text == TEXT
    _check_chat_usage(usage)
    await caller.check_charge()


async def test_its_outage_is_told_in_the_words_of_each_protocol(caller: Caller) -> None:
    with pytest.raises(anthropic.APIStatusError) as told:
        await caller.messages.messages.create(model="mine/busy", max_tokens=50, messages=ASKED)
    body: Any = told.value.body
    assert (told.value.status_code, body["error"]["type"]) == (529, "overloaded_error")
    with pytest.raises(openai.InternalServerError) as failed:
        await caller.chat.chat.completions.create(model="mine/busy", messages=ASKED)
    assert (failed.value.status_code, failed.value.code) == (503, "all_providers_failed")
    await caller.world.settle()
    assert (await caller.world.balance(caller.account))["charged_nanos"] == 0
    assert await caller.world.violations() == []


def _check_chat_usage(usage: Any) -> None:
    """This protocol's input count has the cached tokens in it."""
    assert (usage.prompt_tokens, usage.completion_tokens) == (2710, 20)
    assert usage.prompt_tokens_details.cached_tokens == 2000
