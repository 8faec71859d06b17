"""The public lists, through the whole gateway: what they show is what can be asked for."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gatewayz.core.settings import Settings
from tests.world import World

LLAMA = "meta-llama/llama-3.3-70b-instruct"
OPERATOR = """
[[models]]
id = "acme/unpriced"
provider = "sandbox"
native_id = "echo-n1"
"""


@pytest.fixture(autouse=True)
def only_groq_has_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    for slug in ("OPENAI", "TOGETHER", "FIREWORKS", "CEREBRAS", "DEEPSEEK", "MISTRAL", "XAI"):
        monkeypatch.delenv(f"{slug}_API_KEY", raising=False)
    monkeypatch.setenv("GROQ_API_KEY", "gsk_test")


@pytest.fixture
def tune(tmp_path: Path) -> Callable[[Settings], Settings]:
    path = tmp_path / "operator.toml"
    path.write_text(OPERATOR)

    def with_operators_file(settings: Settings) -> Settings:
        return replace(settings, catalog=replace(settings.catalog, providers_file=str(path)))

    return with_operators_file


async def test_the_list_needs_no_key_and_every_listed_model_is_known_to_chat(world: World) -> None:
    answer = await world.client.get("/v1/models")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    items = {item["id"]: item for item in answer.json()["data"]}
    assert {"sandbox/echo", "sandbox/story", LLAMA} <= items.keys()
    assert "acme/unpriced" not in items
    account = await world.account()
    for model, item in items.items():
        if item["sandbox"] and item["architecture"]["output_modalities"] == ["text"]:
            assert (await world.post(account, model)).status_code == 200


async def test_what_a_credential_is_missing_for_is_shown_only_when_asked(world: World) -> None:
    chat = "deepseek/deepseek-chat"
    shown = {m["id"] for m in (await world.client.get("/api/v1/models")).json()["data"]}
    assert chat not in shown
    answer = await world.client.get("/api/v1/models", params={"available": "all"})
    items = {m["id"]: m for m in answer.json()["data"]}
    assert items[chat]["available"] is False
    assert items[LLAMA]["available"] is True
    assert items["acme/unpriced"]["pricing"] == {"prompt": "-1", "completion": "-1"}
    assert answer.json()["total_count"] == len(items)

    account = await world.account()
    refused = await world.post(account, chat)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "provider_not_configured"


async def test_an_unpriced_model_is_not_served(world: World) -> None:
    account = await world.account()
    assert (await world.post(account, "acme/unpriced")).status_code == 503
    assert await world.violations() == []


async def test_listed_prices_are_the_ones_that_are_charged(world: World) -> None:
    item = (await world.client.get("/v1/models/sandbox/mock-in1000-out50")).json()
    assert (item["id"], item["available"]) == ("sandbox/mock-in1000-out50", True)
    account = await world.account()
    body = json.loads((await world.post(account, item["id"])).text, parse_float=str)
    assert body["usage"]["prompt_tokens"] == 1000
    assert item["pricing"]["prompt"] == "0.0000005"
    assert item["pricing"]["completion"] == "0.0000015"
    assert body["usage"]["cost"] == "0.000575"  # 1000 × 0.0000005 + 50 × 0.0000015


async def test_one_model_its_endpoints_and_the_providers_can_be_read(world: World) -> None:
    for path in (f"/v1/models/{LLAMA}", "/v1/models/llama-3.3-70b", f"/api/v1/model/{LLAMA}"):
        body = (await world.client.get(path)).json()
        assert body.get("data", body)["id"] == LLAMA
    escaped = await world.client.get("/v1/models/" + LLAMA.replace("/", "%2F"))
    assert escaped.json()["id"] == LLAMA
    for mount in ("/v1", "/api/v1"):
        path = f"{mount}/models/{LLAMA}/endpoints"
        mine = (await world.client.get(path)).json()["data"]["endpoints"]
        assert [endpoint["tag"] for endpoint in mine] == ["groq"]
    for path in ("/v1/provider", "/v1/providers", "/api/v1/providers"):
        items = {p["slug"]: p for p in (await world.client.get(path)).json()["data"]}
        assert items["groq"]["available"] is True
        assert items["xai"]["available"] is False


async def test_an_unknown_model_is_a_404_in_the_shape_of_its_mount(world: World) -> None:
    answer = await world.client.get("/v1/models/llama-3.3-70b-instrct")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "model_not_found"
    assert LLAMA in error["message"]
    answer = await world.client.get("/api/v1/model/nobody/nothing")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, 404)


async def test_a_wrong_filter_is_refused(world: World) -> None:
    answer = await world.client.get("/v1/models", params={"available": "some"})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "available"
