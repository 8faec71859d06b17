"""`provider.require_parameters`: offers that would leave out a parameter are none. What each would
leave out is known by writing the request for it, whatever a catalog says.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewayz.core.settings import Settings
from tests.fakes.agent import Agent, Say
from tests.fakes.upstream import RawUpstream
from tests.sdk.test_agent_loops import raw
from tests.world import World, sandbox, world

__all__ = ["raw", "sandbox", "world"]

ROWS = """
[cheap]
name = "Cheap"
dialect = "anthropic"
base_url = "{url}/anthropic"
local = true
[plain]
name = "Plain"
dialect = "openai_chat"
base_url = "{url}/openai_chat"
local = true
drop = ["logit_bias"]
[full]
name = "Full"
dialect = "openai_chat"
base_url = "{url}/openai_chat"
local = true

[[models]]
id = "acme/all"
parameters = ["seed", "logit_bias", "max_tokens"]
[[models.offers]]
provider = "full"
native_id = "c"
input = 5
output = 5

[[models]]
id = "acme/pair"
parameters = ["seed", "temperature", "logit_bias", "max_tokens", "frequency_penalty", "top_k"]
[[models.offers]]
provider = "cheap"
native_id = "a"
input = 1
output = 1
[[models.offers]]
provider = "plain"
native_id = "b"
input = 5
output = 5
"""
STRICT: dict[str, Any] = {"provider": {"require_parameters": True}}


@pytest.fixture
def tune(raw: RawUpstream, tmp_path: Path) -> Callable[[Settings], Settings]:
    raw.play = Agent({0: Say("hi")}).play
    file = tmp_path / "providers.toml"
    file.write_text(ROWS.format(url=raw.url))
    return lambda s: replace(s, catalog=replace(s.catalog, providers_file=str(file)))


async def test_an_offer_that_would_leave_one_out_is_skipped(world: World) -> None:
    account = await world.account()
    asked: dict[str, Any] = {"seed": 7, "max_tokens": 9}
    loose = await world.post(account, "acme/pair", provider={"sort": "price"}, **asked)
    assert loose.headers["x-provider"] == "cheap"
    assert loose.headers["x-gatewayz-dropped-params"] == "seed"
    provider = {"sort": "price", "require_parameters": True}
    strict = await world.post(account, "acme/pair", provider=provider, **asked)
    assert strict.headers["x-provider"] == "plain"
    assert "x-gatewayz-dropped-params" not in strict.headers
    # What every offer takes leaves the choice as it is.
    both = await world.post(account, "acme/pair", provider=provider, max_tokens=9)
    assert both.headers["x-provider"] == "cheap"


async def test_where_every_offer_would_a_refusal_names_the_parameters(
    world: World, raw: RawUpstream
) -> None:
    account = await world.account()
    asked: dict[str, Any] = {"seed": 7, "logit_bias": {"5": 1}, "max_tokens": 9, **STRICT}
    answered = await world.post(account, "acme/pair", **asked)
    error = answered.json()["error"]
    assert (answered.status_code, error["code"]) == (404, "constraint_filtered")
    assert "seed" in error["message"] and "logit_bias" in error["message"]
    assert raw.requests == []
    # A model that takes all of them may answer in its place.
    asked |= {"models": ["acme/all"]}
    answered = await world.post(account, "acme/pair", **asked)
    assert (answered.status_code, answered.json()["model"]) == (200, "acme/all")


async def test_history_and_fields_that_are_a_gateways_are_no_parameters(world: World) -> None:
    account = await world.account()
    messages = [
        {"role": "user", "content": [
            {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}},
        ]},
        {"role": "assistant", "content": "hi", "reasoning_content": "a thought of another"},
        {"role": "user", "content": "again"},
    ]  # fmt: skip
    asked: dict[str, Any] = {"messages": messages, "max_tokens": 9, "extra_headers": {"a": "b"}}
    answered = await world.post(account, "acme/pair", **asked, **STRICT)
    assert answered.status_code == 200, answered.text


async def test_the_same_of_a_dialect_with_other_words(world: World) -> None:
    account = await world.account()
    body = {
        "model": "acme/pair", "max_tokens": 9, "top_k": 5, **STRICT,
        "messages": [{"role": "user", "content": "hello"}],
    }  # fmt: skip
    answered = await world.client.post("/api/v1/messages", json=body, headers=account.headers)
    # Only the dearer one does not know it.
    assert answered.headers["x-provider"] == "cheap"
    quoted = await world.client.post("/v1/quote", json=body, headers=account.headers)
    tried = [each["provider"] for each in quoted.json()["candidates"] if each["attempt"]]
    assert tried == ["cheap"]
