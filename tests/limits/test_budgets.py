"""Budgets of accounts, teams, keys, end users and sessions, through the whole gateway."""

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest
import redis

from gatewayz.billing.credits import Ask, Credits
from gatewayz.billing.settlement import ChargeMessage, settle
from gatewayz.core.errors import InsufficientCredits
from gatewayz.core.ids import new_request_id
from gatewayz.core.money import NANOS_PER_USD as USD
from gatewayz.pricing.charge import Line
from tests.contract.test_hand_over import NoRedis
from tests.world import Account, World

CENT = USD // 100


async def limit(
    world: World, account: Account, scope: str, id: str | None = None, **limits: Any
) -> None:
    """Set limits as staff does; they hold from the next request."""
    row = await world.stores.postgres.rpc(
        "set_limits",
        {"account": account.id, "scope": scope, "id": id, "limits": limits, "actor": "test"},
    )
    credits = Credits(world.stores.postgres, world.stores.redis, lease_ttl_s=2400)
    await credits.push_epoch(account.id, row["epoch"])


async def budgets(world: World, account: Account) -> dict[str, int]:
    connection = await asyncpg.connect(world.settings.stores.database_url)
    rows = await connection.fetch(
        "select scope, period, spent_nanos from ledger.budgets where account = $1", account.id
    )
    await connection.close()
    return {row["scope"]: row["spent_nanos"] for row in rows}


async def join_team(world: World, account: Account, team: str) -> None:
    await world.stores.postgres.rpc(
        "change_key",
        {"account": account.id, "key_id": account.key_id, "actor": "test", "set": {"team": team}},
    )


async def price_of_one(world: World, account: Account, **body: Any) -> int:
    await world.post(account, **body)
    await world.settle()
    return int((await world.requests(account))[0]["charge_nanos"])


async def test_F80_fifty_at_once_stay_within_key_team_and_account(world: World) -> None:
    """$1 for the key, in a team with a little more, in an account with a little more yet."""
    account = await world.account(usd=3)
    await join_team(world, account, "Research & Co | 1")
    await limit(world, account, "account", usd_nanos=2 * USD, reset="monthly")
    await limit(world, account, "team", "Research & Co | 1", usd_nanos=3 * USD // 2, reset="weekly")
    await limit(world, account, "key", account.key_id, usd_nanos=USD, reset="daily")
    # Each holds and costs a little under ten cents, whenever it is answered.
    asked = {"model": "sandbox/mock-t200-in10-out65000", "n": 4, "max_tokens": 16_384}
    answers = await asyncio.gather(*(world.post(account, **asked) for _ in range(50)))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(402)) == (10, 40)
    refused = next(answer for answer in answers if answer.status_code == 402)
    assert refused.json()["error"]["code"] == "budget_exceeded"
    refused = await world.post(account, **asked, path="/api/v1/chat/completions")
    assert refused.json()["error"]["metadata"]["scope"] == f"key:{account.key_id}:daily"
    await world.settle()
    spent = await budgets(world, account)
    charged = sum(row["charge_nanos"] for row in await world.requests(account))
    assert set(spent.values()) == {charged}
    assert 95 * CENT < charged <= USD
    assert {name.split(":")[0] for name in spent} == {"key", "team", "account"}
    assert await world.violations() == []


@pytest.mark.parametrize("redis_forgets", [False, True])
async def test_F80_a_dollar_is_spent_to_the_last_request_that_fits(
    world: World, redis_forgets: bool
) -> None:
    account = await world.account(usd=100)
    one = await price_of_one(world, account, max_tokens=8)
    before = (await budgets(world, account)).get("x", 0)
    assert before == 0
    # What the key spent today before it had a limit counts as well.
    await limit(world, account, "key", account.key_id, usd_nanos=one * 5, reset="daily")
    served = 0
    for _ in range(12):
        answer = await world.post(account, max_tokens=8)
        served += answer.status_code == 200
        if redis_forgets:
            await world.settle()
            with redis.Redis.from_url(world.settings.stores.redis_url) as client:
                client.flushall()
    await world.settle()
    charged = sum(row["charge_nanos"] for row in await world.requests(account))
    assert 1 <= served <= 4
    assert charged <= one * 5
    assert await world.violations() == []


async def test_a_limit_that_is_raised_holds_from_the_next_request(world: World) -> None:
    account = await world.account()
    await limit(world, account, "key", account.key_id, usd_nanos=1)
    refused = await world.post(account, max_tokens=8)
    assert refused.status_code == 402
    await limit(world, account, "key", account.key_id, usd_nanos=USD)
    assert (await world.post(account, max_tokens=8)).status_code == 200
    await limit(world, account, "key", account.key_id, usd_nanos=None)
    assert (await world.post(account, max_tokens=8)).status_code == 200


async def test_each_end_user_has_a_budget_of_their_own_and_one_has_another(world: World) -> None:
    account = await world.account()
    one = await price_of_one(world, account, max_tokens=8)
    await limit(world, account, "account", end_user={"usd_nanos": one * 40, "reset": "daily"})
    for user in ("ann", "bob"):
        assert (await world.post(account, max_tokens=8, user=user)).status_code == 200
    await world.settle()
    spent = {k: v for k, v in (await budgets(world, account)).items() if k.startswith("user:")}
    assert list(spent.values()) == [one, one]
    [ann, _] = spent
    await limit(world, account, "user", ann.split(":")[1], usd_nanos=1, reset="daily")
    statuses = [
        (await world.post(account, max_tokens=8, user=user)).status_code for user in ("ann", "bob")
    ]
    assert sorted(statuses) == [200, 402]
    assert (await world.post(account, max_tokens=8)).status_code == 200
    await world.settle()
    assert await world.violations() == []


async def test_a_session_has_a_budget_for_as_long_as_it_lasts(world: World) -> None:
    account = await world.account()
    one = await price_of_one(world, account, max_tokens=8)
    await limit(world, account, "key", account.key_id, session={"usd_nanos": one * 60})
    first = await world.post(account, max_tokens=8, session_id="s1")
    assert first.status_code == 200
    huge = await world.post(
        account, max_tokens=4000, session_id="s1", path="/api/v1/chat/completions"
    )
    assert huge.status_code == 402
    assert huge.json()["error"]["metadata"]["scope"].startswith("session:")
    assert (await world.post(account, max_tokens=4000)).status_code == 200
    await world.settle()
    spent = await budgets(world, account)
    [session] = [name for name in spent if name.startswith("session:")]
    assert spent[session] == one
    lapsed = await _tidied(world, days=31)
    assert lapsed == [[account.id, f"{session}|total"]]
    assert session not in await budgets(world, account)
    assert await world.violations() == []


async def _tidied(world: World, *, days: int) -> list[Any]:
    connection = await asyncpg.connect(world.settings.stores.database_url)
    await connection.execute(
        "update ledger.budgets set counted_at = counted_at - make_interval(days => $1)", days
    )
    await connection.close()
    row = await world.stores.postgres.rpc("tidy_limits", {})
    return list(row["lapsed"])


async def test_what_a_dead_process_held_is_charged_to_its_budgets(world: World) -> None:
    """The record of a hold is written before its periods are known; the sweeper adds them."""
    account = await world.account()
    await limit(world, account, "key", account.key_id, usd_nanos=USD, reset="daily")
    credits = Credits(world.stores.postgres, world.stores.redis, lease_ttl_s=2400)
    charge = ChargeMessage(new_request_id(), account.id, account.key_id, "m", False, 0)
    charge.offer, charge.price_version = "o", "p"
    scope = f"key:{account.key_id}:daily"
    ask = Ask(charge.request_id, account.id, 9, CENT, -1.0, "", lines=f"nD {USD} - {scope}")
    charge.bill((Line("output", 1000, CENT),))
    hold = await credits.admit(ask._replace(record=charge.record(), live_s=0.001))
    assert hold.scopes[0][0] == scope
    await world.sweep()
    [request] = await world.requests(account)
    assert (request["outcome"], request["charge_nanos"]) == ("expired", CENT // 1000)
    assert (await budgets(world, account))[scope] == CENT // 1000
    assert await world.violations() == []
    await credits.finish_background()


async def test_the_budget_holds_while_redis_is_away_too(world: World) -> None:
    account = await world.account()
    await limit(world, account, "key", account.key_id, usd_nanos=CENT, reset="weekly")
    credits = Credits(world.stores.postgres, NoRedis(), lease_ttl_s=2400)
    budget = (f"key:{account.key_id}:weekly", "weekly", CENT)

    async def one(nanos: int) -> Any:
        ask = Ask(new_request_id(), account.id, 9, nanos, 60.0, "{}", budgets=(budget,))
        return await credits.admit(ask)

    hold = await one(CENT * 2 // 3)
    assert hold.private and hold.scopes[0][0] == budget[0]
    with pytest.raises(InsufficientCredits) as refused:
        await one(CENT * 2 // 3)
    assert refused.value.code == "budget_exceeded"
    assert refused.value.metadata["available_nanos"] == CENT - CENT * 2 // 3
    assert await world.violations() == []


async def test_a_budget_that_is_nearly_spent_is_told_once(world: World) -> None:
    account = await world.account()
    one = await price_of_one(world, account, max_tokens=8)
    await limit(world, account, "key", account.key_id, usd_nanos=one * 100, reset="monthly")
    await _charge(world, account, one * 100 * 7 // 10)
    assert await notices(world) == []
    await _charge(world, account, one * 100 // 10)
    [told] = await notices(world)
    assert told["scope"] == 'The key "test key"'
    await _charge(world, account, one)
    assert len(await notices(world)) == 1
    assert await world.violations() == []


async def _charge(world: World, account: Account, nanos: int) -> None:
    """A settled request of that price, counted in the key's budget."""
    charge = ChargeMessage(new_request_id(), account.id, account.key_id, "m", False, 0)
    scope = f"key:{account.key_id}:monthly"
    connection = await asyncpg.connect(world.settings.stores.database_url)
    label = await connection.fetchval("select ledger.period_label('monthly', now())")
    await connection.close()
    charge.scopes, charge.outcome = [(scope, label)], "completed"
    charge.bill((Line("request", 1, nanos * 1_000_000),))
    [row] = await settle(world.stores.postgres, [charge.sealed()])
    assert row["status"] == "posted"


async def notices(world: World) -> list[dict[str, Any]]:
    connection = await asyncpg.connect(world.settings.stores.database_url)
    rows = await connection.fetch("select data from tenancy.notices where kind = 'limit_near'")
    await connection.close()
    return [orjson.loads(row["data"]) for row in rows]
