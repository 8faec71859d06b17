"""Chat completions through the whole gateway: what a caller sees, what the ledger says after."""

import json
from decimal import Decimal
from typing import Any

import pytest

from tests.world import World


def frames(text: str) -> list[dict[str, Any]]:
    return [
        json.loads(line[6:], parse_float=Decimal)
        for line in text.splitlines()
        if line.startswith("data: {")
    ]


async def test_an_answer_is_metered_charged_and_settled_exactly(world: World) -> None:
    account = await world.account()
    answer = await world.post(account, "sandbox/echo")
    assert answer.status_code == 200
    body = json.loads(answer.text, parse_float=Decimal)
    assert body["model"] == "sandbox/echo"
    assert body["id"].startswith("chatcmpl-")
    assert "hello" in body["choices"][0]["message"]["content"]
    assert answer.headers["x-provider"] == "sandbox"
    assert answer.headers["x-generation-id"] == "gen-" + body["id"].removeprefix("chatcmpl-")
    cost = Decimal(body["usage"]["cost"])
    assert cost > 0

    assert await world.settle() == 1
    balance = await world.balance(account)
    assert balance["charged_nanos"] == cost * 10**9
    (row,) = await world.requests(account)
    assert (row["outcome"], row["estimated"], row["finish"]) == ("completed", False, "stop")
    assert await world.violations() == []


async def test_a_stream_shows_usage_only_when_asked_and_ends_with_done(world: World) -> None:
    account = await world.account()
    status, headers, text = await world.stream(account, "sandbox/story")
    assert status == 200
    assert headers["content-type"].startswith("text/event-stream")
    assert text.endswith("data: [DONE]\n\n")
    assert not any("usage" in frame for frame in frames(text))

    _, _, text = await world.stream(
        account, "sandbox/story", stream_options={"include_usage": True}
    )
    last = frames(text)[-1]
    assert last["choices"] == [] and last["usage"]["cost"] > 0
    assert {frame["id"] for frame in frames(text)} == {last["id"]}
    assert {frame["model"] for frame in frames(text)} == {"sandbox/story"}
    assert await world.settle() == 2
    assert await world.violations() == []


async def test_the_upstream_is_always_asked_for_usage(world: World) -> None:
    account = await world.account()
    await world.stream(account, "sandbox/mock-n3")
    assert world.sandbox.last_body["mock-n3"]["stream_options"] == {"include_usage": True}


async def test_unknown_fields_travel_and_gateway_fields_do_not(world: World) -> None:
    account = await world.account()
    await world.post(
        account, "sandbox/mock-n2", top_k=3, future={"a": 1}, api_base="http://evil", api_key="x"
    )
    sent = world.sandbox.last_body["mock-n2"]
    assert (sent["top_k"], sent["future"]) == (3, {"a": 1})
    assert "api_base" not in sent and "api_key" not in sent
    assert account.key not in str(world.sandbox.last_headers["mock-n2"])


async def test_the_openrouter_mount_has_its_own_shape(world: World) -> None:
    account = await world.account()
    answer = await world.post(account, path="/api/v1/chat/completions")
    body = answer.json()
    assert body["id"].startswith("gen-")
    assert body["provider"] == "Gatewayz Sandbox"
    refused = await world.post(account, "no/such", path="/api/v1/chat/completions")
    assert refused.status_code == 404
    assert refused.json()["error"]["code"] == 404


async def test_the_callers_label_is_echoed_and_never_a_key_of_money(world: World) -> None:
    account = await world.account()
    label = {"x-request-id": "same-for-ever"}
    ids = set()
    for _ in range(5):
        answer = await world.post(account, headers=label)
        assert answer.headers["x-request-id"] == "same-for-ever"
        ids.add(answer.headers["x-generation-id"])
    assert len(ids) == 5
    assert await world.settle() == 5
    assert len(await world.requests(account)) == 5


async def test_a_name_that_is_no_model_gets_up_to_three_suggestions(world: World) -> None:
    account = await world.account()
    answer = await world.post(account, "sandbox/ecko")
    assert answer.status_code == 404
    error = answer.json()["error"]
    assert error["code"] == "model_not_found"
    assert "sandbox/echo" in error["message"]
    assert await world.depth() == 0


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_both_key_headers_work(world: World, header: str) -> None:
    account = await world.account()
    value = f"Bearer {account.key}" if header == "authorization" else account.key
    answer = await world.client.post(
        "/v1/chat/completions",
        json={"model": "sandbox/echo", "messages": [{"role": "user", "content": "x"}]},
        headers={header: value},
    )
    assert answer.status_code == 200


async def test_a_generation_is_known_before_and_after_it_is_settled(world: World) -> None:
    account, stranger = await world.account(), await world.account()
    answer = await world.post(account)
    generation = answer.headers["x-generation-id"]

    async def look(path: str, who: Any) -> Any:
        return await world.client.get(path, headers=who.headers)

    for mount in ("/v1", "/api/v1"):
        before = await look(f"{mount}/generation?id={generation}", account)
        assert before.json()["data"]["state"] == "settling"
    await world.settle()
    after = (await look(f"/v1/generation?id={generation}", account)).json()["data"]
    assert (after["state"], after["outcome"]) == ("settled", "completed")
    assert after["tokens"]["input"] > 0 and after["total_cost"] > 0
    receipt = (await look(f"/v1/generation/{generation}/explain", account)).json()["data"]
    assert receipt["matches"] is True
    assert receipt["computed_nanos"] == receipt["charge_nanos"] > 0
    foreign = await look(f"/v1/generation?id={generation}", stranger)
    missing = await look("/v1/generation?id=gen-00000000000000000000000000", stranger)
    assert foreign.status_code == missing.status_code == 404
    strip = ("request_id",)
    assert {k: v for k, v in foreign.json().items() if k not in strip} == {
        k: v for k, v in missing.json().items() if k not in strip
    }


async def test_credits_and_key_tell_what_was_spent(world: World) -> None:
    account = await world.account(usd=10)
    cost = (await world.post(account)).json()["usage"]["cost"]
    await world.settle()
    credits = (await world.client.get("/v1/credits", headers=account.headers)).json()["data"]
    assert credits["total_credits"] == 10
    assert credits["total_usage"] == cost
    assert credits["balance_nanos"] == 10 * 10**9 - round(cost * 10**9)
    key = (await world.client.get("/api/v1/key", headers=account.headers)).json()["data"]
    assert key["usage"] == key["usage_daily"] == cost
    assert key["limit"] is None


async def test_health_is_always_200_and_names_each_store(world: World) -> None:
    answer = await world.client.get("/health")
    assert answer.status_code == 200
    body = answer.json()
    assert body["status"] == "ok"
    assert body["stores"] == {"postgres": "ok", "redis": "ok", "queue": "ok"}
    assert set(body) == {"status", "version", "commit", "timestamp", "stores"}
