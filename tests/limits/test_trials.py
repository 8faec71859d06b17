"""A trial's limits are held where requests are admitted; after it, only what costs nothing."""

import asyncio
from typing import Any

import asyncpg
import redis

from gatewayz.billing.credits import Credits
from tests.limits.test_public import _make_free
from tests.world import Account, World, eventually

PAID = """
insert into ledger.payments (payment_id, account, kind, currency, amount_cents, credit_nanos,
                             created_at)
select 'pay_1', account, 'topup', 'usd', 1000, 10000000000, now() from ledger.trials
"""


async def trial(world: World, **terms: Any) -> Account:
    account = await world.account(usd=0)
    rpc = world.stores.postgres.rpc
    row = {"code": "T", "name": "T", "days": 14, "nanos": 5 * 10**9, "tokens": 1_000_000,
           "requests": 10_000, "plan": "free", "active": True}  # fmt: skip
    await rpc("set_trial_terms", row | terms)
    await rpc("note_signal", {"account": account.id, "kind": "card", "hash": "a" * 64})
    await rpc("start_trial", {"account": account.id, "code": "T"})
    return account


async def test_answers_say_what_is_left_of_the_trial(world: World) -> None:
    account = await trial(world)
    for number in range(2):
        answer = await world.post(account, max_tokens=8)
        assert answer.status_code == 200
        assert answer.headers["x-trial-expired"] == "false"
        assert answer.headers["x-trial-end-date"].startswith("20")
        assert answer.headers["x-trial-remaining-requests"] == str(9_999 - number)
        assert 999_000 < int(answer.headers["x-trial-remaining-tokens"]) < 1_000_000
        assert 4.9 < float(answer.headers["x-trial-remaining-credits"]) < 5
    await world.settle()
    assert await world.violations() == []


async def test_not_one_request_more_than_the_trial_has(world: World) -> None:
    account = await trial(world, requests=7)
    answers = await asyncio.gather(*(world.post(account, max_tokens=8) for _ in range(25)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(402)) == (7, 18)
    refused = next(answer for answer in answers if answer.status_code == 402)
    assert refused.json()["error"]["code"] == "trial_limit_reached"


async def test_not_one_token_more_than_the_trial_has(world: World) -> None:
    account = await trial(world, tokens=3_000)
    body = {"model": "sandbox/mock-in10-out700", "max_tokens": 700}
    answers = await asyncio.gather(*(world.post(account, **body) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {200, 402}
    await world.settle()
    row = (await world.stores.postgres.rpc("find_trial", {"account": account.id}))["trial"]
    assert row["tokens"] <= 3_000
    # Without a limit of its own an answer is as long as the trial still pays for.
    left = 3_000 - row["tokens"]
    answer = await world.post(account, "sandbox/mock-in10-out20", max_tokens=None)
    if left > 100:
        assert answer.status_code == 200


async def test_not_one_cent_more_than_the_trial_has(world: World) -> None:
    account = await trial(world, nanos=10**9)
    grant = {"op_id": "g", "account": account.id, "amount_nanos": 50 * 10**9, "reason": "x"}
    await world.stores.postgres.rpc("grant_credit", grant)
    body = {"model": "sandbox/mock-in10-out65000", "n": 4, "max_tokens": 16_384}
    answers = await asyncio.gather(*(world.post(account, **body) for _ in range(20)))
    assert [answer.status_code for answer in answers].count(200) == 10
    await world.settle()
    assert sum(row["charge_nanos"] for row in await world.requests(account)) <= 10**9
    assert await world.violations() == []


async def test_what_was_used_survives_a_redis_that_forgets(world: World) -> None:
    account = await trial(world, requests=4)
    for _ in range(3):
        assert (await world.post(account, max_tokens=8)).status_code == 200
    await world.settle()
    with redis.Redis.from_url(world.settings.stores.redis_url) as client:
        client.flushall()
    statuses = [(await world.post(account, max_tokens=8)).status_code for _ in range(3)]
    assert statuses == [200, 402, 402]


async def test_after_the_trial_only_free_models_until_a_payment(world: World) -> None:
    account = await trial(world)
    assert (await world.post(account, max_tokens=8)).status_code == 200
    grant = {"op_id": "g", "account": account.id, "amount_nanos": 10**9, "reason": "x"}
    await world.stores.postgres.rpc("grant_credit", grant)
    await _run(world, "update ledger.trials set ends_at = now() - interval '1 hour'")
    await _run(world, "update tenancy.accounts set epoch = epoch + 1")
    credits = Credits(world.stores.postgres, world.stores.redis, lease_ttl_s=2400)
    await credits.push_epoch(account.id, await _epoch(world, account))
    refused = await world.post(account, max_tokens=8)
    assert refused.status_code == 402
    assert refused.json()["error"]["code"] == "trial_expired"
    assert refused.headers["x-trial-expired"] == "true"
    assert refused.headers["x-trial-remaining-tokens"] == "0"
    gateway = world.chat.gateway()
    before = gateway.catalog
    _make_free(world)
    free = await world.post(account, max_tokens=8)
    assert free.status_code == 200
    assert free.headers["x-trial-expired"] == "true"
    await _run(world, PAID)
    await _run(world, "update ledger.payments set captured_cents = 1000, paid_at = now()")
    assert await _epoch(world, account) > 3
    await credits.push_epoch(account.id, await _epoch(world, account))
    gateway.catalog = gateway._known_catalog = before
    gateway.resolver.grown(before)

    async def served() -> bool:
        # What was read within the last second is not read again.
        answer = await world.post(account, max_tokens=8)
        return answer.status_code == 200 and "x-trial-expired" not in answer.headers

    await eventually(served)


async def _epoch(world: World, account: Account) -> int:
    connection = await asyncpg.connect(world.settings.stores.database_url)
    epoch = await connection.fetchval(
        "select epoch from tenancy.accounts where account = $1", account.id
    )
    await connection.close()
    return int(epoch)


async def _run(world: World, statement: str) -> None:
    connection = await asyncpg.connect(world.settings.stores.database_url)
    await connection.execute(statement)
    await connection.close()
