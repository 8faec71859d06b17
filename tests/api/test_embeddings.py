"""Embeddings, rerank and moderations through the gateway: answers, failover, money, refusals."""

import base64
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gatewayz.core.settings import Settings
from gatewayz.local.sandbox import Sandbox
from tests.world import Account, World

ROWS = """
[down]
name = "Down"
dialect = "openai_chat"
base_url = "{url}"
local = true
endpoints = ["embeddings"]
[up]
name = "Up"
dialect = "openai_chat"
base_url = "{url}"
local = true
endpoints = ["embeddings", "rerank", "moderations"]
[few]
name = "Few"
dialect = "openai_chat"
base_url = "{url}"
local = true
endpoints = ["embeddings"]
[few.embeddings]
max_items = 3
[chats]
name = "Chats"
dialect = "openai_chat"
base_url = "{url}"
local = true

[[models]]
id = "acme/vectors"
output_modalities = ["embeddings"]
[[models.offers]]
provider = "down"
native_id = "embed-err503"
input = 1
[[models.offers]]
provider = "up"
native_id = "embed"
input = 2

[[models]]
id = "acme/few"
output_modalities = ["embeddings"]
[[models.offers]]
provider = "few"
native_id = "embed"
input = 2

[[models]]
id = "acme/dead"
output_modalities = ["embeddings"]
[[models.offers]]
provider = "down"
native_id = "embed-err500"
input = 9

[[models]]
id = "acme/ranks"
output_modalities = ["rerank"]
[[models.offers]]
provider = "up"
native_id = "rerank-usage.tokens"
input = 5

[[models]]
id = "acme/nowhere"
output_modalities = ["rerank"]
[[models.offers]]
provider = "chats"
native_id = "rerank"
input = 5

[[models]]
id = "acme/judge"
output_modalities = ["moderation"]
[[models.offers]]
provider = "up"
native_id = "moderation"
input = 3

[[models]]
id = "acme/both"
output_modalities = ["text", "embeddings"]
[[models.offers]]
provider = "up"
native_id = "embed-b4"
input = 2
output = 4
"""


@pytest.fixture
def tune(sandbox: tuple[Sandbox, str], tmp_path: Path) -> Callable[[Settings], Settings]:
    file = tmp_path / "providers.toml"
    file.write_text(ROWS.format(url=sandbox[1] + "/v1"))

    def tuned(settings: Settings) -> Settings:
        return replace(settings, catalog=replace(settings.catalog, providers_file=str(file)))

    return tuned


async def post(world: World, account: Account, path: str, **body: Any) -> Any:
    return await world.client.post(path, json=body, headers=account.headers)


async def settled(world: World, account: Account) -> dict[str, Any]:
    """The newest request, after everything is settled and adds up."""
    await world.settle()
    assert await world.violations() == []
    return (await world.requests(account))[0]


async def test_more_inputs_than_one_call_takes_are_one_answer_and_one_charge(
    world: World,
) -> None:
    account = await world.account()
    texts = [f"good day number {number}" for number in range(20)]
    at_once = await post(world, account, "/v1/embeddings", model="sandbox/embed", input=texts)
    parted = await post(world, account, "/v1/embeddings", model="acme/few", input=texts)
    assert (at_once.status_code, parted.status_code) == (200, 200), parted.text
    assert parted.json()["data"] == at_once.json()["data"]
    tokens = at_once.json()["usage"]["prompt_tokens"]
    assert parted.json()["usage"]["prompt_tokens"] == tokens
    row = await settled(world, account)
    assert row["charge_nanos"] == tokens * 2000
    assert row["lines"] == [["input", tokens, 2_000_000_000]]


async def test_both_encodings_are_the_same_vectors_in_every_form_of_input(world: World) -> None:
    account = await world.account()
    for given in ("good day", ["good day", "bye"], [1, 2, 3], [[1, 2], [3]]):
        asked = {"model": "sandbox/embed", "input": given, "dimensions": 8}
        plain = await post(world, account, "/v1/embeddings", **asked)
        packed = await post(world, account, "/v1/embeddings", encoding_format="base64", **asked)
        assert (plain.status_code, packed.status_code) == (200, 200), plain.text
        for one, other in zip(plain.json()["data"], packed.json()["data"], strict=True):
            raw = base64.b64decode(other["embedding"])
            assert list(struct.unpack("<8f", raw)) == one["embedding"]
    texts = ["the blue sky", "a blue sky", "engine oil"]
    near = await post(world, account, "/v1/embeddings", model="sandbox/embed", input=texts)
    sky, other_sky, oil = (entry["embedding"] for entry in near.json()["data"])

    def likeness(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    assert likeness(sky, other_sky) > likeness(sky, oil)


async def test_another_offer_of_the_same_model_takes_over_and_is_what_is_paid(
    world: World,
) -> None:
    account = await world.account()
    asked = {"model": "acme/vectors", "input": "good day", "provider": {"order": ["down", "up"]}}
    answer = await post(world, account, "/v1/embeddings", **asked)
    assert (answer.status_code, answer.headers["x-provider"]) == (200, "up")
    row = await settled(world, account)
    assert [(a["provider"], a["error"]) for a in row["attempts"]] == [
        ("down", "UpstreamUnavailable"),
        ("up", None),
    ]
    tokens = answer.json()["usage"]["prompt_tokens"]
    assert row["lines"] == [["input", tokens, 2_000_000_000]]
    assert (row["charge_nanos"], row["estimated"]) == (tokens * 2000, False)


async def test_no_other_model_ever_takes_over(world: World) -> None:
    account = await world.account()
    answer = await post(
        world, account, "/api/v1/embeddings", model="acme/dead", input="x",
        models=["acme/vectors"], route="fallback",
    )  # fmt: skip
    assert (answer.status_code, answer.json()["error"]["metadata"]["code"]) == (
        503,
        "all_providers_failed",
    )
    row = await settled(world, account)
    assert (row["charge_nanos"], row["lines"], row["outcome"]) == (0, [], "failed")


@pytest.mark.parametrize(
    ("path", "body", "lines"),
    [
        (
            "/v1/embeddings",
            {
                "model": "sandbox/embed",
                "input": [
                    {
                        "content": [
                            {"type": "text", "text": "a picture"},
                            {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}},
                        ]
                    }
                ],
            },
            {"input": 100_000_000, "image_in": 300_000_000},
        ),
        (
            "/v1/rerank",
            {"model": "sandbox/rerank", "query": "q", "documents": ["x"] * 101},
            {"search": 1_000_000_000_000},
        ),
        (
            "/v2/rerank",
            {"model": "acme/ranks", "query": "q", "documents": ["some words", "more words"]},
            {"input": 5_000_000_000},
        ),
        ("/v1/moderations", {"model": "acme/judge", "input": "hello"}, {"input": 3_000_000_000}),
    ],
    ids=["images", "searches", "tokens", "moderation"],
)
async def test_usage_is_billed_by_its_class(
    world: World, path: str, body: dict[str, Any], lines: dict[str, int]
) -> None:
    account = await world.account()
    answer = await post(world, account, path, **body)
    assert answer.status_code == 200, answer.text
    row = await settled(world, account)
    assert {name: price for name, _, price in row["lines"]} == lines
    nanos = -(-sum(units * price for _, units, price in row["lines"]) // 10**6)
    assert row["charge_nanos"] == nanos > 0
    assert answer.json()["usage"]["cost"] == nanos / 1e9
    generation = answer.headers["x-generation-id"]
    receipt = await world.client.get(
        f"/v1/generation/{generation}/explain", headers=account.headers
    )
    assert receipt.json()["data"]["matches"] is True
    if path == "/v1/rerank":
        assert answer.json()["usage"]["search_units"] == 2
        assert row["lines"][0][1] == 2


@pytest.mark.parametrize("state", ["nousage", "zerousage", "usage.neg"])
async def test_missing_or_false_usage_is_estimated_and_never_above_the_hold(
    world: World, state: str
) -> None:
    account = await world.account()
    for path, body in (
        ("/v1/embeddings", {"model": f"sandbox/embed-{state}", "input": ["some words"] * 3}),
        (
            "/v1/rerank",
            {"model": f"sandbox/rerank-{state}", "query": "q", "documents": ["d"] * 101},
        ),
    ):
        answer = await post(world, account, path, **body)
        assert answer.status_code == 200, answer.text
        assert answer.json()["usage"]["estimated"] is True
        row = await settled(world, account)
        assert row["estimated"] is True
        assert row["charge_nanos"] > 0
        assert row["from_held_nanos"] == row["charge_nanos"]
    assert row["lines"] == [["search", 2, 1_000_000_000_000]]


async def test_free_moderation_stays_free_and_is_still_one_request(world: World) -> None:
    account = await world.account()
    for _ in range(3):
        answer = await post(
            world, account, "/v1/moderations",
            model="sandbox/moderation", input=["I will hurt you", "good day"],
        )  # fmt: skip
        assert [result["flagged"] for result in answer.json()["results"]] == [True, False]
        assert answer.json()["usage"]["cost"] == 0
    await settled(world, account)
    rows = await world.requests(account)
    assert [(row["charge_nanos"], row["outcome"]) for row in rows] == [(0, "completed")] * 3
    credits = await world.client.get("/v1/credits", headers=account.headers)
    assert credits.json()["data"]["total_usage"] == 0
    # Any id an answer had finds its request.
    found = await world.client.get(
        "/v1/generation", params={"id": answer.json()["id"]}, headers=account.headers
    )
    assert found.json()["data"]["id"] == answer.headers["x-generation-id"]


async def test_who_names_no_moderation_model_gets_one_that_can_be_asked(world: World) -> None:
    account = await world.account()
    answer = await post(world, account, "/v1/moderations", input="I will kill you")
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0]["flagged"] is True
    assert answer.json()["model"] in ("sandbox/moderation", "acme/judge")


@pytest.mark.parametrize("behaviour", ["empty", "half", "html", "err500"])
async def test_a_failed_answer_costs_nothing(world: World, behaviour: str) -> None:
    account = await world.account()
    for path, kind, body in (
        ("/v1/embeddings", "embed", {"input": "x"}),
        ("/v2/rerank", "rerank", {"query": "q", "documents": ["x"]}),
        ("/v1/moderations", "moderation", {"input": "x"}),
    ):
        answer = await post(world, account, path, model=f"sandbox/{kind}-{behaviour}", **body)
        assert answer.status_code in (502, 503), answer.text
        row = await settled(world, account)
        assert (row["charge_nanos"], row["outcome"]) == (0, "failed")


MESSAGES = [{"role": "user", "content": "x"}]
ROUTES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": MESSAGES},
    "/v1/messages": {"messages": MESSAGES, "max_tokens": 5},
    "/v1/responses": {"input": "x"},
    "/v1/completions": {"prompt": "x"},
    "/v1/embeddings": {"input": "x"},
    "/v2/embed": {"texts": ["x"]},
    "/v1/rerank": {"query": "x", "documents": ["x"]},
    "/v2/rerank": {"query": "x", "documents": ["x"]},
    "/v1/moderations": {"input": "x"},
}


async def test_a_model_of_another_kind_is_refused_with_the_right_route(world: World) -> None:
    account = await world.account()
    right = {
        "sandbox/echo": "/v1/chat/completions",
        "sandbox/embed": "/v1/embeddings",
        "sandbox/rerank": "/v1/rerank",
        "sandbox/moderation": "/v1/moderations",
    }
    kinds = {"/v2/embed": "/v1/embeddings", "/v2/rerank": "/v1/rerank"}
    generative = {"/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"}
    for path, body in ROUTES.items():
        for model, where in right.items():
            mine = kinds.get(path, path)
            if where == mine or (path in generative and model == "sandbox/echo"):
                continue
            answer = await post(world, account, path, model=model, **body)
            assert answer.status_code == 400, (path, model, answer.text)
            assert f"use {where}." in answer.text
    assert await world.requests(account) == []


async def test_a_model_that_does_several_things_is_asked_for_each(world: World) -> None:
    account = await world.account()
    answer = await post(world, account, "/v1/embeddings", model="acme/both", input="x")
    assert answer.status_code == 200
    # Its text is another upstream's business: it is asked, and not refused by us.
    answer = await post(
        world, account, "/v1/chat/completions", model="acme/both", messages=MESSAGES
    )
    assert "wrong_endpoint" not in answer.text


async def test_a_model_whose_providers_do_not_serve_this_says_so(world: World) -> None:
    account = await world.account()
    answer = await post(
        world, account, "/v1/rerank", model="acme/nowhere", query="q", documents=["x"]
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "provider_not_configured")


async def test_without_enough_credit_nothing_is_sent_and_no_limit_is_advised(
    world: World,
) -> None:
    account = await world.account(usd="0.000001")
    before = world.sandbox.requests
    answer = await post(
        world, account, "/v1/embeddings", model="sandbox/embed", input="many words " * 2000
    )
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (402, "insufficient_credits")
    assert "max_tokens" not in error["message"]
    assert world.sandbox.requests == before
    small = await post(world, account, "/v1/embeddings", model="sandbox/embed", input="x")
    assert small.status_code == 200


async def test_errors_come_in_the_form_of_the_route(world: World) -> None:
    account = await world.account()
    asked = {"model": "sandbox/rerank", "query": "", "documents": ["x"]}
    plain = await post(world, account, "/v1/rerank", **asked)
    assert plain.json()["error"] == {
        "message": "'query' must not be empty.", "type": "invalid_request_error",
        "code": "invalid_request", "param": "query",
    }  # fmt: skip
    routed = await post(world, account, "/api/v1/rerank", **asked)
    assert routed.json()["error"]["code"] == 400
    cohere = await post(world, account, "/v2/rerank", **asked)
    assert cohere.status_code == 400
    assert {k: v for k, v in cohere.json().items() if k != "id"} == {
        "message": "'query' must not be empty.", "code": "invalid_request", "param": "query",
    }  # fmt: skip
    nobody = await world.client.post("/v2/rerank", json=asked)
    assert (nobody.status_code, nobody.json()["code"]) == (401, "invalid_api_key")
    got = await world.client.get("/v1/embeddings", headers=account.headers)
    assert (got.status_code, got.headers["allow"]) == (405, "POST, OPTIONS")
    asks = {"origin": "https://page.example", "access-control-request-method": "POST"}
    assert (await world.client.options("/v2/rerank", headers=asks)).status_code == 204


async def test_what_a_provider_does_not_take_is_named(world: World) -> None:
    account = await world.account()
    answer = await post(
        world, account, "/v1/embeddings", model="acme/vectors", input="x", input_type="query"
    )
    assert answer.headers["x-gatewayz-dropped-params"] == "input_type"
    assert "input_type" not in world.sandbox.last_body["embed"]


async def test_the_embedding_models_are_listed_for_both_mounts(world: World) -> None:
    for mount in ("/v1", "/api/v1"):
        answer = await world.client.get(f"{mount}/embeddings/models")
        listed = {item["id"]: item for item in answer.json()["data"]}
        assert {"sandbox/embed", "acme/vectors"} <= listed.keys()
        assert not {"sandbox/echo", "sandbox/rerank", "sandbox/moderation"} & listed.keys()
        item = listed["sandbox/embed"]
        assert item["architecture"]["output_modalities"] == ["embeddings"]
        assert item["pricing"]["prompt"] == "0.0000001"
        assert item["context_length"] == 8192
        everything = await world.client.get(f"{mount}/embeddings/models?available=all")
        ids = {entry["id"] for entry in everything.json()["data"]}
        assert {"openai/text-embedding-3-small", "cohere/embed-v4.0"} <= ids
        one = await world.client.get(f"{mount}/embeddings/models?limit=1&offset=1")
        assert len(one.json()["data"]) == 1
