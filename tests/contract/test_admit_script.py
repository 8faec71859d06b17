"""The admission script on a real Valkey: one atomic step per call, whatever the order and the
way to it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import redis

from gatewayz.billing.slot import call_admit
from gatewayz.stores.redis import RedisScripts
from tests.managed import REDIS_KINDS, Upstash, open_scripts, upstash

__all__ = ["upstash"]

A = "acct_a"
LIVE_MS = 60_000


class Account:
    """One account's script calls, in plain words."""

    def __init__(self, scripts: RedisScripts, client: "redis.Redis[str]") -> None:
        self._redis = scripts
        self._client = client

    async def call(self, *arguments: Any) -> list[Any]:
        operation, *rest = arguments
        return await call_admit(self._redis, A, operation, *rest)

    async def admit(
        self,
        request: str,
        amount: int,
        *,
        live_ms: int = LIVE_MS,
        epoch: int = 1,
        low_water: int = 0,
        refill: tuple[Any, ...] = ("", "", "", ""),
        scopes: tuple[tuple[str, int], ...] = (),
        tokens: tuple[int, int] = (0, 0),
        lines: str = "",
    ) -> list[Any]:
        budgets = [f"nT {limit} - {scope}" for scope, limit in scopes]
        lines = "\n".join([*budgets, lines]).strip("\n")
        return await self.call(
            "admit", request, amount, live_ms, epoch, "{}", low_water, *refill, *tokens, lines
        )

    async def left(self) -> int:
        return int(self._client.hget(f"acct:{{{A}}}", "left") or -1)


@pytest.fixture(params=REDIS_KINDS)
async def account(
    request: pytest.FixtureRequest, redis_url: str, upstash: Upstash
) -> AsyncIterator[Account]:
    address = redis_url if request.param == REDIS_KINDS[0] else upstash.url
    scripts = open_scripts(request.param, address, timeout_s=5.0)
    with redis.Redis.from_url(redis_url) as client:
        yield Account(scripts, client)
    await scripts.close()


async def test_without_a_lease_the_caller_is_sent_for_one(account: Account) -> None:
    assert (await account.admit("r1", 100))[:3] == ["LEASE", "", "0"]


async def test_a_refill_and_a_hold_are_one_call(account: Account) -> None:
    reply = await account.admit("r1", 100, refill=("L1", "op1", 1000, 600_000))
    assert reply[0] == "OK" and reply[1] == "L1"
    assert await account.left() == 900


async def test_the_same_step_is_added_once_however_often_it_is_sent(account: Account) -> None:
    for _ in range(3):
        await account.call("refill", "L1", "op1", 1000, 600_000)
    assert await account.left() == 1000


async def test_the_same_request_holds_once(account: Account) -> None:
    await account.admit("r1", 100, refill=("L1", "op1", 1000, 600_000))
    assert (await account.admit("r1", 100))[:2] == ["DUP", "L1"]
    assert await account.left() == 900


async def test_a_shortage_names_what_is_left_so_that_only_the_rest_is_asked_for(
    account: Account,
) -> None:
    await account.call("refill", "L1", "op1", 50, 600_000)
    assert (await account.admit("r1", 80))[:3] == ["LEASE", "L1", "50"]


async def test_finishing_gives_back_what_was_not_used_and_twice_does_no_harm(
    account: Account,
) -> None:
    await account.admit("r1", 100, refill=("L1", "op1", 1000, 600_000))
    assert (await account.call("finish", "r1", 30, ""))[0] == "OK"
    assert (await account.call("finish", "r1", 30, ""))[0] == "NONE"
    assert await account.left() == 970


async def test_a_charge_above_its_hold_takes_from_the_lease_at_most_what_is_there(
    account: Account,
) -> None:
    await account.admit("r1", 100, refill=("L1", "op1", 120, 600_000))
    await account.call("finish", "r1", 500, "")
    assert await account.left() == 0


async def test_a_new_lease_hands_back_the_rest_of_the_old_one(account: Account) -> None:
    await account.call("refill", "L1", "op1", 700, 600_000)
    assert await account.call("refill", "L2", "op2", 1000, 900_000) == ["OK", "L1", "700"]
    assert await account.left() == 1000


async def test_an_older_lease_that_comes_late_is_handed_back_whole(account: Account) -> None:
    await account.call("refill", "L2", "op2", 1000, 900_000)
    assert await account.call("refill", "L1", "op1", 700, 600_000) == ["STALE", "L1", "700"]
    assert await account.left() == 1000


async def test_a_hold_of_an_older_lease_never_feeds_the_newer_one(account: Account) -> None:
    await account.admit("r1", 100, refill=("L1", "op1", 1000, 600_000))
    await account.call("refill", "L2", "op2", 1000, 900_000)
    await account.call("finish", "r1", 0, "")
    assert await account.left() == 1000


async def test_a_lease_that_ends_before_the_request_is_not_used(account: Account) -> None:
    await account.call("refill", "L1", "op1", 1000, 30_000)
    assert (await account.admit("r1", 10, live_ms=60_000))[0] == "LEASE"


async def test_a_refusal_is_remembered_for_a_second_only_for_what_is_too_much(
    account: Account,
) -> None:
    await account.call("refill", "L1", "op1", 50, 600_000)
    await account.call("poor", 20)
    assert (await account.admit("r1", 80))[:2] == ["POOR", "70"]
    assert (await account.admit("r2", 65))[0] == "LEASE"
    assert (await account.admit("r3", 40))[0] == "OK"


async def test_an_older_epoch_is_stale_from_the_next_request_and_never_lowered(
    account: Account,
) -> None:
    await account.call("refill", "L1", "op1", 1000, 600_000)
    await account.call("epoch", 5)
    await account.call("epoch", 3)
    assert (await account.admit("r1", 10, epoch=4))[:2] == ["STALE_PRINCIPAL", "5"]
    assert (await account.admit("r1", 10, epoch=5))[0] == "OK"
    await account.call("refill", "L2", "op2", 1000, 900_000)
    assert (await account.admit("r2", 10, epoch=4))[0] == "STALE_PRINCIPAL"


async def test_low_water_hands_one_caller_a_ticket(account: Account) -> None:
    await account.call("refill", "L1", "op1", 1000, 600_000)
    replies = [await account.admit(f"r{i}", 10, low_water=2000) for i in range(5)]
    assert [reply[2] for reply in replies] == ["REFILL", "", "", "", ""]


async def test_all_scopes_have_room_or_nothing_is_held(account: Account) -> None:
    await account.call("refill", "L1", "op1", 10_000, 600_000)
    scopes = (("key:1", 100), ("team:1", 1000), ("user:1", 10_000))
    assert (await account.admit("r1", 80, scopes=scopes))[0] == "LOAD"
    await account.call("load", "team:1|total", 950)
    assert (await account.admit("r1", 80, scopes=scopes))[:3] == ["BUDGET", "nT 1000 team:1", "50"]
    assert (await account.admit("r2", 40, scopes=scopes))[0] == "OK"
    assert (await account.admit("r3", 70, scopes=scopes))[1] == "nT 100 key:1"
    await account.call("finish", "r2", 15, "")
    assert (await account.admit("r4", 35, scopes=scopes))[0] == "OK"
    assert (await account.admit("r5", 1, scopes=scopes))[1] == "nT 1000 team:1"


async def test_a_checkpoint_grows_the_hold_only_from_what_is_left(account: Account) -> None:
    await account.admit("r1", 100, refill=("L1", "op1", 150, 600_000))
    assert await account.call("checkpoint", "r1", '{"n":1}', 100) == ["OK", "0", "L1"]
    assert await account.call("checkpoint", "r1", '{"n":2}', 50) == ["OK", "50", "L1"]
    assert await account.call("find", "r1") == ["HELD", '{"n":2}']
    await account.call("finish", "r1", 0, "")
    assert await account.left() == 150


async def test_a_hold_whose_lease_rolled_grows_on_the_current_one(account: Account) -> None:
    await account.admit("r1", 100, refill=("L1", "op1", 150, 600_000))
    await account.call("refill", "L2", "op2", 250, 900_000)
    assert await account.call("checkpoint", "r1", "{}", 200) == ["OK", "0", "L2"]
    assert await account.call("checkpoint", "r1", "{}", 50) == ["OK", "50", "L2"]
    assert await account.left() == 100
    await account.call("finish", "r1", 0, "")
    assert await account.left() == 250


async def test_what_no_queue_took_waits_in_the_outbox(account: Account) -> None:
    await account.admit("r1", 100, refill=("L1", "op1", 1000, 600_000))
    await account.call("finish", "r1", 30, '{"request_id":"r1"}')
    assert await account.call("find", "r1") == ["OUTBOX", '{"request_id":"r1"}']
    assert await account.call("outbox", 100) == ['{"request_id":"r1"}']
    await account.call("drained", "r1")
    assert await account.call("outbox", 100) == []


async def test_only_holds_past_their_end_are_due(account: Account) -> None:
    await account.admit("r1", 100, live_ms=20, refill=("L1", "op1", 1000, 600_000))
    await account.admit("r2", 100)
    await asyncio.sleep(0.05)
    assert (await account.call("due", 10))[::4] == ["r1"]


async def test_a_lease_is_retired_only_when_nothing_is_held_and_nobody_came(
    account: Account,
) -> None:
    await account.admit("r1", 100, refill=("L1", "op1", 1000, 600_000))
    assert await account.call("retire", "L1", 0) == ["BUSY"]
    await account.call("finish", "r1", 0, "")
    assert await account.call("retire", "L1", 60_000) == ["BUSY"]
    assert await account.call("retire", "L1", 0) == ["OK"]
    assert (await account.admit("r2", 100))[0] == "LEASE"


async def test_amounts_near_the_limit_of_doubles_stay_exact(account: Account) -> None:
    most = 2**53 - 1
    await account.admit("r1", 1, refill=("L1", "op1", most, 600_000))
    assert await account.left() == most - 1
    await account.call("finish", "r1", 0, "")
    assert await account.left() == most


async def test_I16_left_plus_holds_plus_settled_never_exceeds_what_was_granted(
    account: Account,
) -> None:
    await account.call("refill", "L1", "op1", 1000, 600_000)
    replies = await asyncio.gather(*[account.admit(f"r{i}", 30) for i in range(100)])
    held = [i for i, reply in enumerate(replies) if reply[0] == "OK"]
    assert len(held) == 33
    await asyncio.gather(*[account.call("finish", f"r{i}", 10, "") for i in held])
    assert await account.left() == 1000 - 330
