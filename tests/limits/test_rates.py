"""Rates through the whole gateway: what is refused, in which words, and what every answer says."""

import asyncio
from typing import Any

import pytest

from gatewayz.core.errors import StoreUnavailable
from tests.limits.test_budgets import budgets, limit
from tests.world import World

MESSAGES = [{"role": "user", "content": "hello"}]


async def test_every_answer_says_what_is_left(world: World) -> None:
    account = await world.account()
    await limit(world, account, "key", account.key_id, requests_per_minute=5, tokens_per_day=10_000)
    first = (await world.post(account, max_tokens=8)).headers
    assert (first["ratelimit-limit"], first["ratelimit-remaining"]) == ("5", "4")
    assert first["ratelimit-reset"] == "12"
    assert first["x-ratelimit-limit-requests"] == "5"
    assert first["x-ratelimit-remaining-requests"] == "4"
    assert int(first["x-ratelimit-reset-requests"]) > 1_700_000_000
    assert first["x-ratelimit-limit-tokens"] == "10000"
    assert 9_900 < int(first["x-ratelimit-remaining-tokens"]) < 10_000
    status, streamed, _ = await world.stream(account, max_tokens=8)
    assert (status, streamed["x-ratelimit-remaining-requests"]) == (200, "3")
    failed = await world.post(account, "sandbox/echo-err500", max_tokens=8)
    assert failed.status_code >= 500
    assert failed.headers["x-ratelimit-remaining-requests"] == "2"
    # What is wrong before anything is counted says what was left lately.
    for wrong in ({"max_tokens": "x"}, {"model": "nobody/nothing"}):
        answer = await world.post(account, **{"model": "sandbox/echo", **wrong})
        assert answer.status_code in (400, 404)
        assert answer.headers["x-ratelimit-remaining-requests"] == "2"


async def test_budgets_and_the_balance_are_visible(world: World) -> None:
    account = await world.account(usd=3)
    await limit(world, account, "key", account.key_id, usd_nanos=2 * 10**9, reset="monthly")
    answer = await world.post(account, max_tokens=8)
    assert answer.headers["x-budget-limit"] == "2"
    assert 1.9 < float(answer.headers["x-budget-remaining"]) < 2
    await world.settle()
    for mount in ("/v1/key", "/api/v1/key"):
        own = (await world.client.get(mount, headers=account.headers)).json()["data"]
        assert (own["limit"], own["limit_reset"]) == (2, "monthly")
        assert own["limit_remaining"] == 2 - own["usage"] < 2
        assert own["balance"] == 3 - own["usage"]
        assert own["rate_limits"]["requests_per_minute"] is None


async def test_who_has_no_limits_is_told_of_none(world: World) -> None:
    answer = await world.post(await world.account())
    assert not [name for name in answer.headers if "ratelimit" in name or "trial" in name]


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/v1/chat/completions", {}, "openai"),
        ("/api/v1/chat/completions", {}, "openrouter"),
        ("/v1/messages", {"max_tokens": 8}, "anthropic"),
        ("/v1/responses", {"messages": None, "input": "hello"}, "openai"),
        ("/v1beta/models/sandbox/echo:generateContent",
         {"messages": None, "model": None,
          "contents": [{"role": "user", "parts": [{"text": "hello"}]}]}, "gemini"),
    ],
)  # fmt: skip
async def test_a_refusal_is_worded_in_the_callers_dialect(
    world: World, path: str, body: dict[str, Any], kind: str
) -> None:
    account = await world.account()
    await limit(world, account, "key", account.key_id, requests_per_hour=1)
    content = {"model": "sandbox/echo", "messages": MESSAGES} | body
    content = {name: value for name, value in content.items() if value is not None}
    headers = account.headers | {"anthropic-version": "2023-06-01"}
    first = await world.client.post(path, json=content, headers=headers)
    assert first.status_code == 200, first.text
    answer = await world.client.post(path, json=content, headers=headers)
    assert answer.status_code == 429, answer.text
    assert 3_590 <= int(answer.headers["retry-after"]) <= 3_600
    assert answer.headers["x-ratelimit-limit"] == "1"
    assert answer.headers["x-ratelimit-remaining"] == "0"
    assert answer.headers["ratelimit-remaining"] == "0"
    error = answer.json()["error"]
    match kind:
        case "openai":
            assert error["code"] == "hourly_quota_exceeded"
            assert error["type"] == "rate_limit_error"
        case "openrouter":
            assert error["code"] == 429
        case "anthropic":
            assert answer.json()["type"] == "error"
            assert error["type"] == "rate_limit_error"
        case "gemini":
            assert (error["code"], error["status"]) == (429, "RESOURCE_EXHAUSTED")
    assert "limit of 1 requests a hour" in error["message"] or "1 request" in error["message"]


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("requests_per_minute", "rate_limit_exceeded"),
        ("requests_per_day", "daily_quota_exceeded"),
        ("requests_per_month", "monthly_quota_exceeded"),
        ("max_requests", "request_quota_exceeded"),
        ("tokens_per_minute", "token_rate_limit"),
        ("tokens_per_day", "token_rate_limit"),
        ("tokens_per_month", "token_rate_limit"),
    ],
)
async def test_each_limit_of_a_key_is_held(world: World, name: str, code: str) -> None:
    account = await world.account()
    await limit(world, account, "key", account.key_id, **{name: 2})
    codes = []
    for _ in range(4):
        answer = await world.post(account, max_tokens=8)
        codes.append(answer.json().get("error", {}).get("code"))
        assert ("retry-after" in answer.headers) == (answer.status_code == 429)
    served = 1 if name.startswith("tokens") else 2
    assert codes == [None] * served + [code] * (4 - served)


async def test_a_key_that_was_used_before_keeps_its_count(world: World) -> None:
    account = await world.account()
    for _ in range(3):
        await world.post(account, max_tokens=8)
    await world.settle()
    await limit(world, account, "key", account.key_id, max_requests=4)
    statuses = [(await world.post(account, max_tokens=8)).status_code for _ in range(3)]
    assert statuses == [200, 429, 429]


async def test_requests_at_once_are_limited_and_given_back(world: World) -> None:
    account = await world.account()
    await limit(world, account, "key", account.key_id, concurrent_requests=3)
    slow = "sandbox/mock-n2-t400"
    answers = await asyncio.gather(*(world.post(account, slow, max_tokens=8) for _ in range(8)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (3, 5)
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert refused.json()["error"]["code"] == "concurrent_request_limit"
    assert refused.headers["retry-after"] == "1"
    # A failure frees its place as well as an answer does.
    for model in ("sandbox/echo-err500", "sandbox/echo", "sandbox/echo-empty", "sandbox/echo"):
        for _ in range(3):
            assert (await world.post(account, model, max_tokens=8)).status_code != 429


async def test_an_account_and_its_plan_limit_all_of_its_keys(world: World) -> None:
    account = await world.account()
    rpc = world.stores.postgres.rpc
    order = {"account": account.id, "plan": "dev", "actor": "test", "months": 1}
    await rpc("assign_plan", order)
    answer = await world.post(account, max_tokens=8)
    assert answer.headers["x-ratelimit-limit-requests"] == "100000"
    assert answer.headers["x-ratelimit-limit-tokens"] == "10000000"
    # What the account has of its own stands in place of its plan's.
    await limit(world, account, "account", requests_per_day=2, tokens_per_day=5_000_000)
    answer = await world.post(account, max_tokens=8)
    assert answer.headers["x-ratelimit-limit-requests"] == "2"
    assert answer.headers["x-ratelimit-limit-tokens"] == "5000000"
    assert (await world.post(account, max_tokens=8)).status_code == 429


async def test_without_redis_each_container_grants_a_part_and_money_stays_exact(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await world.account()
    await limit(world, account, "key", account.key_id, requests_per_minute=10, usd_nanos=10**8)
    assert (await world.post(account, max_tokens=8)).status_code == 200
    redis = world.chat.gateway().stores.redis

    async def away(*_: Any) -> Any:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(redis, "script", away)
        answers = [await world.post(account, max_tokens=8) for _ in range(8)]
    assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 3
    refused = answers[-1]
    assert refused.headers["x-ratelimit-mode"] == "fallback"
    assert refused.headers["ratelimit-limit"] == "5"
    assert 1 <= int(refused.headers["retry-after"]) <= 12
    await world.settle()
    rows = await world.requests(account)
    assert len(rows) == 6
    spent = await budgets(world, account)
    assert spent[f"key:{account.key_id}:total"] == sum(row["charge_nanos"] for row in rows)
    assert await world.violations() == []


async def test_with_both_stores_away_no_paid_key_is_limited_and_nothing_is_held(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limiter lets it through; there is nothing to hold for it (F10)."""
    account = await world.account()
    assert (await world.post(account, max_tokens=8)).status_code == 200
    gateway = world.chat.gateway()

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(gateway.stores.redis, "script", away)
        patch.setattr(gateway.stores.postgres, "rpc", away)
        answer = await world.post(account, max_tokens=8)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "billing_unavailable")
    assert (await world.post(account, max_tokens=8)).status_code == 200
