"""OpenRouter's contract of the model routes: its own schemas hold for our answers, and every
parameter of its queries is taken. The schemas stand in data/openrouter_models.json.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from gatewayz.api.model_operations import MODEL_OPERATIONS
from gatewayz.core.settings import Settings
from tests.world import World

CONTRACT = json.loads((Path(__file__).parent / "data" / "openrouter_models.json").read_text())
OPERATOR = """
[acme]
name = "Acme"
dialect = "openai_chat"
base_url = "https://api.acme.example/v1"
credential = "ACME_API_KEY"
data = { trains = false, zdr = true, confidential = true }
region = "eu"

[[models]]
id = "acme/one"
name = "Acme One"
created = "2026-03-05"
input_modalities = ["text", "image"]
parameters = ["max_tokens", "tools"]
[[models.offers]]
provider = "acme"
native_id = "one-large"
context = 100000
max_output = 8000
input = 0.5
output = 1.5
cache_read = 0.05
[[models.offers]]
provider = "sandbox"
native_id = "echo"
context = 50000
input = 0.4
output = 9

[[models]]
id = "acme/gift"
provider = "acme"
native_id = "gift"
free = true

[[models]]
id = "acme/unpriced"
provider = "acme"
native_id = "unpriced"
"""


@pytest.fixture
def tune(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], Settings]:
    monkeypatch.setenv("ACME_API_KEY", "secret")
    path = tmp_path / "operator.toml"
    path.write_text(OPERATOR)

    def with_operators_file(settings: Settings) -> Settings:
        return replace(settings, catalog=replace(settings.catalog, providers_file=str(path)))

    return with_operators_file


def check(path: str, answer: Any) -> None:
    schema = {**CONTRACT["answers"][path], "components": CONTRACT["components"]}
    problems = [
        f"{e.json_path}: {e.message[:200]}"
        for e in Draft202012Validator(schema).iter_errors(answer)
    ]
    assert not problems, "\n".join(problems[:20])


def test_the_schemas_refuse_what_is_not_theirs() -> None:
    with pytest.raises(AssertionError, match="total_count"):
        check("/models", {"data": [], "links": {"next": None}})
    with pytest.raises(AssertionError, match="prompt"):
        check("/endpoints/zdr", {"data": [{"pricing": {"completion": "0"}}]})


async def test_every_answer_is_what_openrouters_own_schema_says(world: World) -> None:
    account = await world.account()
    calls = {
        "/models": "/models?available=all&output_modalities=all",
        "/models/count": "/models/count",
        "/models/user": "/models/user",
        "/model/{author}/{slug}": "/model/acme/one",
        "/models/{author}/{slug}/endpoints": "/models/acme/one/endpoints?available=all",
        "/providers": "/providers",
        "/endpoints/zdr": "/endpoints/zdr",
    }
    assert calls.keys() == CONTRACT["answers"].keys()
    for path, call in calls.items():
        answer = await world.client.get(f"/api/v1{call}", headers=account.headers)
        assert answer.status_code == 200, (path, answer.text)
        check(path, answer.json())
        # The other mount has the same, for clients that do not know which one they use.
        other = await world.client.get(f"/v1{call}", headers=account.headers)
        assert other.status_code == 200, (path, other.text)


async def test_offers_that_keep_nothing_are_listed_and_found(world: World) -> None:
    listed = (await world.client.get("/api/v1/endpoints/zdr")).json()["data"]
    mine = [each for each in listed if each["model_id"] == "acme/one"]
    assert [each["tag"] for each in mine] == ["acme"]
    assert mine[0]["data_policy"]["zero_data_retention"] is True
    for query in ("zdr=true&region=eu", "is_private=true"):
        found = (await world.client.get(f"/v1/models?{query}")).json()["data"]
        assert {"acme/one", "acme/gift"} <= {item["id"] for item in found}, query


async def test_the_list_has_real_models_and_its_exact_prices(world: World) -> None:
    answer = await world.client.get("/api/v1/models", params={"available": "all"})
    items = {item["id"]: item for item in answer.json()["data"]}
    assert len(items) == answer.json()["total_count"] > 500
    assert items["acme/one"]["pricing"] == {
        "prompt": "0.0000005", "completion": "0.0000015", "input_cache_read": "0.00000005",
    }  # fmt: skip
    assert items["acme/gift"]["pricing"] == {"prompt": "0", "completion": "0"}
    assert items["acme/unpriced"]["pricing"]["prompt"] == "-1"


def sample(schema: dict[str, Any], name: str) -> Any:
    if "enum" in schema:
        return schema["enum"][0]
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    if "integer" in kinds or "number" in kinds:
        return schema.get("minimum", 0)
    return "true" if name.startswith("use_rss") else "text"


@pytest.mark.parametrize("path", [path for path, query in CONTRACT["queries"].items() if query])
def test_every_parameter_of_its_queries_is_described_here(path: str) -> None:
    (operation,) = [o for o in MODEL_OPERATIONS if o.path == f"/api/v1{path}"]
    ours = {p.name: p for p in operation.parameters}
    for parameter in CONTRACT["queries"][path]:
        mine, theirs = ours[parameter["name"]], parameter["schema"]
        if "enum" in theirs and mine.choices:
            assert set(theirs["enum"]) <= set(mine.choices)


async def test_every_parameter_of_its_queries_is_taken(world: World) -> None:
    for parameter in CONTRACT["queries"]["/models"]:
        name, schema = parameter["name"], parameter["schema"]
        for value in schema.get("enum", [sample(schema, name)]):
            answer = await world.client.get("/api/v1/models", params={name: value})
            assert answer.status_code == 200, (name, value, answer.text)
            if not name.startswith("use_rss"):
                continue
            if name == "use_rss":
                assert answer.headers["content-type"].startswith("application/rss+xml")


async def test_pages_follow_each_other_to_the_end(world: World) -> None:
    whole = (await world.client.get("/api/v1/models?available=all")).json()
    url, seen, calls = "/api/v1/models?available=all&limit=400", [], 0
    while url:
        page = (await world.client.get(url)).json()
        assert page["total_count"] == whole["total_count"]
        seen += [item["id"] for item in page["data"]]
        url, calls = page["links"]["next"], calls + 1
    assert seen == [item["id"] for item in whole["data"]]
    assert calls > 1
    default = (await world.client.get("/api/v1/models?available=all&offset=1")).json()
    assert len(default["data"]) == 500


async def test_a_count_is_of_the_list_with_the_same_filters(world: World) -> None:
    for query in ("", "available=all", "q=acme", "available=all&output_modalities=all",
                  "available=all&output_modalities=embeddings"):  # fmt: skip
        count = (await world.client.get(f"/api/v1/models/count?{query}")).json()["data"]["count"]
        listed = (await world.client.get(f"/api/v1/models?{query}")).json()
        assert count == listed["total_count"] == len(listed["data"]), query


async def test_endpoints_are_the_offers_with_their_own_price_and_policy(world: World) -> None:
    data = (await world.client.get("/api/v1/models/acme/one/endpoints")).json()["data"]
    first, second = data["endpoints"]
    assert (first["tag"], second["tag"]) == ("acme", "sandbox")
    assert (first["pricing"]["prompt"], second["pricing"]["prompt"]) == ("0.0000005", "0.0000004")
    assert (first["max_completion_tokens"], second["context_length"]) == (8000, 50_000)
    assert first["status"] == 0
    assert first["uptime_last_30m"] is first["latency_last_30m"] is None


async def test_a_model_is_found_by_alias_and_variant(world: World) -> None:
    floor = (await world.client.get("/api/v1/model/acme/one:floor")).json()["data"]
    assert (floor["id"], floor["pricing"]["prompt"]) == ("acme/one:floor", "0.0000005")
    gift = (await world.client.get("/api/v1/model/acme/gift:free")).json()["data"]
    assert gift["pricing"] == {"prompt": "0", "completion": "0"}
    paid = await world.client.get("/api/v1/model/acme/one:free")
    assert (paid.status_code, paid.json()["error"]["code"]) == (404, 404)
    unknown = await world.client.get("/api/v1/model/acme/two")
    assert unknown.json()["error"]["metadata"]["code"] == "model_not_found"


async def test_the_feed_is_rss_of_the_newest(world: World) -> None:
    from xml.etree import ElementTree

    answer = await world.client.get("/api/v1/models?use_rss=true&available=all&limit=3")
    items = ElementTree.fromstring(answer.text).findall("channel/item")
    assert len(items) == 3
    dates = [item.findtext("pubDate") for item in items]
    assert all(dates)
    links = [item.findtext("link") or "" for item in items]
    assert all(link.startswith(world.url + "/v1/models/") for link in links)
    chats = await world.client.get(
        "/api/v1/models?use_rss=true&use_rss_chat_links=true&available=all&limit=1"
    )
    assert "/chat?models=" in chats.text
