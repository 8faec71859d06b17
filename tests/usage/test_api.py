"""The routes of usage through a running gateway: requests are made, settled, and looked at."""

from decimal import Decimal
from typing import Any

import orjson
import pytest

from gatewayz.accounts.labels import hashed_label, tags_in
from gatewayz.usage.receipts import verify, verify_chain
from tests.world import Account, World

BODY = {"model": "sandbox/echo", "messages": [{"role": "user", "content": "Hi there"}]}


async def asked(world: World, account: Account, count: int = 3, **fields: Any) -> list[str]:
    ids = []
    for _ in range(count):
        answer = await world.post(account, **(BODY | fields))
        assert answer.status_code == 200, answer.text
        ids.append(answer.headers["x-generation-id"])
    await world.settle()
    return ids


async def get(world: World, account: Account, path: str, **params: Any) -> Any:
    answer = await world.client.get(path, headers=account.headers, params=params)
    assert answer.status_code == 200, answer.text
    return orjson.loads(answer.content)


async def query(world: World, account: Account, **fields: Any) -> Any:
    answer = await world.client.post("/v1/analytics/query", headers=account.headers, json=fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["data"]


async def test_the_log_pages_through_every_request_once(world: World) -> None:
    account = await world.account()
    ids = await asked(world, account, 5)
    seen: list[str] = []
    cursor = None
    while True:
        page = await get(world, account, "/v1/requests", limit=2, **({"cursor": cursor} if cursor
                                                                       else {}))  # fmt: skip
        seen += [row["id"] for row in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == ids[::-1]
    oldest = await get(world, account, "/v1/requests", order="oldest", limit=10)
    assert [row["id"] for row in oldest["data"]] == ids
    stranger = await world.account()
    assert (await get(world, stranger, "/v1/requests"))["data"] == []


async def test_the_log_is_filtered_by_what_callers_know(world: World) -> None:
    account = await world.account()
    await asked(world, account, 1)
    mine = await asked(world, account, 1, user="ada", stream=True)
    await asked(world, account, 1, model="sandbox/story")
    for params, count in (
        ({"model": "sandbox/echo"}, 2), ({"model": "sandbox/echo,sandbox/story"}, 3),
        ({"end_user": "ada"}, 1), ({"end_user": hashed_label(account.id, "ada")}, 1),
        ({"stream": "true"}, 1), ({"provider": "nobody"}, 0), ({"outcome": "completed"}, 3),
        ({"provider": "sandbox"}, 3), ({"failed": "true"}, 0),
        ({"api_key_id": account.key_id}, 3), ({"min_usage": "100"}, 0), ({"max_usage": "1"}, 3),
        ({"from": "2099-01-01"}, 0), ({"to": "2020-01-01", "from": "2019-01-01"}, 0),
    ):  # fmt: skip
        page = await get(world, account, "/v1/requests", **params)
        assert len(page["data"]) == count, params
    found = (await get(world, account, "/v1/requests", end_user="ada"))["data"]
    assert [row["id"] for row in found] == mine


@pytest.mark.parametrize(
    "params",
    [{"cursor": "nonsense"}, {"stream": "maybe"}, {"min_usage": "-1"}, {"from": "yesterday"},
     {"min_total_ms": "x"}, {"from": "2026-02-01", "to": "2026-01-01"}],
)  # fmt: skip
async def test_a_filter_that_means_nothing_is_refused(world: World, params: Any) -> None:
    account = await world.account()
    answer = await world.client.get("/v1/requests", headers=account.headers, params=params)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "invalid_request"


async def test_analytics_say_what_the_ledger_says(world: World) -> None:
    account = await world.account()
    before = (await world.balance(account))["balance_nanos"]
    await asked(world, account, 4)
    await asked(world, account, 2, model="sandbox/story", user="ada")
    spent = before - (await world.balance(account))["balance_nanos"]
    answer = await world.client.post(
        "/v1/analytics/query", headers=account.headers,
        json={"metrics": ["usage", "request_count", "tokens_total", "latency_p50"],
              "dimensions": ["model"], "granularity": "day"},
    )  # fmt: skip
    rows = orjson.loads(answer.content)["data"]["data"]
    exact = [Decimal(part.split(b",")[0].split(b"}")[0].decode())
             for part in answer.content.split(b'"usage":')[1:]]  # fmt: skip
    assert sum(exact) * 10**9 == spent
    assert {row["model"]: row["request_count"] for row in rows} == {
        "sandbox/echo": 4,
        "sandbox/story": 2,
    }
    assert all(row["date"] == row["date__day"] and row["latency_p50"] >= 0 for row in rows)
    kept = await query(
        world, account, metrics=["request_count"],
        filters=[{"field": "end_user", "operator": "eq", "value": "ada"}],
    )  # fmt: skip
    assert kept["data"] == [{"request_count": 2}]
    none = await query(
        world, account, metrics=["request_count"], dimensions=["end_user"],
        filters=[{"field": "end_user", "operator": "in", "value": ["x"], "include_unset": True}],
    )  # fmt: skip
    assert none["data"] == [{"end_user": None, "request_count": 4}]


async def test_what_may_be_asked_is_told_and_everything_else_is_refused(world: World) -> None:
    account = await world.account()
    await asked(world, account, 1)
    meta = (await get(world, account, "/v1/analytics/meta"))["data"]
    metrics = [metric["name"] for metric in meta["metrics"]]
    for dimension in meta["dimensions"]:
        for granularity in (None, *(each["name"] for each in meta["granularities"])):
            found = await query(
                world, account, metrics=metrics[:16], dimensions=[dimension["name"]],
                granularity=granularity,
            )  # fmt: skip
            assert len(found["data"]) == 1
    assert len((await query(world, account, metrics=metrics[16:]))["data"][0]) == len(metrics[16:])
    refused: tuple[dict[str, Any], ...] = (
        {"metrics": ["usage; drop table"]}, {"metrics": ["usage"], "dimensions": ["password"]},
        {"metrics": []}, {"metrics": ["usage"], "granularity": "second"},
        {"metrics": ["usage"], "filters": [{"field": "model", "operator": "eq", "value": ["a"]}]},
        {"metrics": ["usage"], "order_by": {"field": "model"}},
        {"metrics": ["usage"], "time_range": {"start": "2020-01-01", "end": "2026-01-01"}},
    )  # fmt: skip
    for wrong in refused:
        answer = await world.client.post("/v1/analytics/query", headers=account.headers, json=wrong)
        assert answer.status_code == 400, wrong


async def test_every_settled_request_has_a_receipt_that_anybody_can_check(world: World) -> None:
    account = await world.account()
    ids = await asked(world, account, 3)
    keys = (await get(world, account, "/v1/receipts/keys"))["keys"]
    verdicts = []
    for id in ids:
        found = (await get(world, account, f"/v1/receipts/{id}"))["data"]
        assert found["intact"]
        verdict = verify(found["jws"], keys)
        assert verdict.valid
        assert verdict.receipt == found["receipt"]
        assert verdict.hash == found["hash"]
        verdicts.append(verdict)
    assert [each.receipt["number"] for each in verdicts] == [1, 2, 3]
    assert verify_chain(verdicts) == []
    assert verdicts[0].receipt["route"][0]["provider"] == "sandbox"
    stranger = await world.account()
    answer = await world.client.get(f"/v1/receipts/{ids[0]}", headers=stranger.headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "receipt_not_found")


async def test_a_request_is_found_by_its_tags_and_its_keys_tags(world: World) -> None:
    account = await world.account()
    (plain,) = await asked(world, account, 1)
    answer = await world.client.post(
        "/v1/chat/completions", json=BODY,
        headers=account.headers | {"x-gatewayz-tags": "nightly, eval run, , nightly"},
    )  # fmt: skip
    await world.settle()
    tagged = answer.headers["x-generation-id"]
    (row,) = (await get(world, account, "/v1/requests", tag="eval run"))["data"]
    assert (row["id"], row["tags"]) == (tagged, ["eval run", "nightly"])
    rows = (await query(world, account, metrics=["request_count"], dimensions=["tag"]))["data"]
    counts = {each["tag"]: each["request_count"] for each in rows}
    assert counts == {"eval run": 1, "nightly": 1, None: 1}
    assert plain != tagged


@pytest.mark.parametrize(
    ("header", "tags"),
    [(b"", []), (b"a", ["a"]), (b"b,a,b", ["a", "b"]), (b"a\tb,c", ["c"]), (b"\xc3\xa9", []),
     (b"x" * 65, []), (b"x" * 64, ["x" * 64]), (b",".join(b"%d" % n for n in range(20)),
      ["0", "1", "10", "11", "12", "13", "14", "15"])],
)  # fmt: skip
def test_tags_are_short_plain_and_few(header: bytes, tags: list[str]) -> None:
    assert tags_in(header) == tags


async def test_feedback_is_kept_once_for_each_kind_and_only_for_ones_own(world: World) -> None:
    account, stranger = await world.account(), await world.account()
    (id,) = await asked(world, account, 1)
    body = {"generation_id": id, "category": "formatting", "comment": "no table"}
    for path in ("/v1/generation/feedback", "/api/v1/generation/feedback"):
        answer = await world.client.post(path, headers=account.headers, json=body)
        assert answer.json() == {"data": {"success": True}}
    refused = await world.client.post(
        "/v1/generation/feedback", headers=stranger.headers, json=body
    )
    assert refused.status_code == 404
    unknown = await world.client.post(
        "/v1/generation/feedback", headers=account.headers, json=body | {"category": "rude"}
    )
    assert unknown.status_code == 400
