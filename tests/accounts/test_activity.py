"""What an account asked for: the web client's two routes and OpenRouter's, from one ledger."""

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from gatewayz.core.ids import ulid
from tests.world import Account, World


async def get(world: World, who: Account, path: str, **query: Any) -> Any:
    answer = await world.client.get(path, params=query, headers=who.headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_requests_are_listed_with_their_app_and_summed_by_day(world: World) -> None:
    owner, other = await world.account(), await world.account()
    for model in ("sandbox/echo", "sandbox/echo", "sandbox/story"):
        headers = {"x-title": "Reader", "http-referer": "https://reader.example"}
        assert (await world.post(owner, model, headers=headers)).status_code == 200
    await world.post(other)
    await world.settle()
    whole = await get(world, owner, "/user/activity/log")
    assert whole["total"] == len(whole["logs"]) == 3
    assert whole["logs"][0]["model"] == "sandbox/story"
    row = whole["logs"][-1]
    assert (row["app"], row["user_id"], row["api_key_id"]) == ("Reader", owner.id, owner.key_id)
    assert row["tokens"] == row["prompt_tokens"] + row["completion_tokens"] > 0
    assert row["finish_reason"] == "stop"
    echoes = await get(world, owner, "/user/activity/log", model="sandbox/echo", limit=1, page=2)
    assert (echoes["total"], [r["id"] for r in echoes["logs"]]) == (2, [row["id"]])
    assert (await get(world, owner, "/user/activity/log", provider="openai"))["total"] == 0

    stats = await get(world, owner, "/user/activity/stats", days=1)
    assert stats["total_requests"] == 3
    assert stats["total_tokens"] == sum(r["tokens"] for r in whole["logs"])
    assert stats["total_spend"] == pytest.approx(sum(r["cost"] for r in whole["logs"]))
    assert sum(day["requests"] for day in stats["daily_stats"]) == 3
    past = {"from": "2020-01-01", "to": "2020-01-02T00:00:00Z"}
    assert (await get(world, owner, "/user/activity/stats", **past))["daily_stats"] == []
    for wrong in ({"from": "yesterday"}, {"days": 0}):
        answer = await world.client.get("/user/activity/stats", params=wrong, headers=owner.headers)
        assert answer.status_code == 400


async def test_openrouters_activity_has_complete_days_only(world: World) -> None:
    owner = await world.account()
    await world.post(owner)
    await world.settle()
    assert await get(world, owner, "/api/v1/activity") == {"data": []}
    yesterday = datetime.now(UTC) - timedelta(days=1)
    connection = await asyncpg.connect(world.settings.stores.database_url)
    await connection.execute(
        """insert into ledger.requests select 'req_' || $1, account, key_id, team, end_user,
           session, model, offer, provider, price_version, lines || '[["reasoning", 7, 1]]',
           cost_nanos, cost_stated_nanos, charge_nanos, outcome, estimated, finish, reason,
           attempts, stream, $2, first_token_ms, total_ms, client_request_id, app, posted_at
           from ledger.requests""",
        ulid(int(yesterday.timestamp() * 1000)), yesterday,
    )  # fmt: skip
    await connection.close()
    (row,) = (await get(world, owner, "/api/v1/activity"))["data"]
    assert row["date"] == yesterday.date().isoformat()
    assert (row["model"], row["requests"], row["reasoning_tokens"]) == ("sandbox/echo", 1, 7)
    assert row["usage"] > 0
    own = (await get(world, owner, "/api/v1/keys"))["data"][0]["hash"]
    assert len((await get(world, owner, "/api/v1/activity", api_key_hash=own))["data"]) == 1
    assert (await get(world, owner, "/api/v1/activity", api_key_hash="f0"))["data"] == []
    dated = await get(world, owner, "/api/v1/activity", date=row["date"])
    assert dated["data"] == [row]
    for wrong in (datetime.now(UTC).date().isoformat(), "2020-01-01", "soon"):
        answer = await world.client.get(
            "/api/v1/activity", params={"date": wrong}, headers=owner.headers
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)
