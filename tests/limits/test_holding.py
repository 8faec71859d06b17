"""Limits hold: as a hold grows, when Redis comes back, when they are set anew, when all is full."""

from typing import Any

import asyncpg
import pytest
import redis

from gatewayz.billing.budgets import raise_budgets
from gatewayz.billing.credits import Ask, Credits
from gatewayz.billing.settlement import ChargeMessage
from gatewayz.billing.slot import account_keys
from gatewayz.core.errors import InsufficientCredits
from gatewayz.core.ids import new_request_id
from gatewayz.core.money import NANOS_PER_USD as USD
from tests.contract.test_hand_over import NoRedis
from tests.limits.conftest import NOON_MS, A, Slot
from tests.limits.reference import label
from tests.limits.test_budgets import CENT, budgets, limit
from tests.limits.test_trials import trial
from tests.world import Account, World

TODAY = label("D", NOON_MS)
FIELDS = account_keys(A)[3]
# Holds and costs a little under ten cents.
DEAR: dict[str, Any] = {"model": "sandbox/mock-t200-in10-out65000", "n": 4, "max_tokens": 16_384}


# ------------------------------------------------------------------ growing


async def test_a_hold_grows_to_its_budget_and_not_past_it(slot: Slot) -> None:
    await slot.open()
    lines = "nD 100 - key:1:daily\nnT 500 - account:total\nrm 9 - requests:key:1"
    reply = await slot.admit("r1", lines, amount=40)
    fields = f"key:1:daily|{TODAY}\naccount:total|total"
    assert reply[5] == fields
    assert await slot.call("checkpoint", "r1", '{"n":1}', 61) == ["FULL", "0", "L1"]
    assert await slot.call("find", "r1") == ["HELD", '{"n":1}']
    assert await slot.call("checkpoint", "r1", '{"n":2}', 60) == ["OK", "60", "L1"]
    assert slot.used(f"key:1:daily|{TODAY}") == slot.used("account:total|total") == 100
    assert (await slot.admit("r1", lines))[5] == fields  # what the charge names is as before
    assert (await slot.admit("r2", "nD 100 - key:1:daily"))[0] == "BUDGET"
    await slot.end("r1", 70)
    assert slot.used(f"key:1:daily|{TODAY}") == slot.used("account:total|total") == 70


async def test_a_hold_grows_to_what_the_trial_has_and_not_past_it(slot: Slot) -> None:
    await slot.open()
    lines = "pT 100 - trial:nanos\nrT 10 - trial:requests\nuT 10000 - trial:tokens"
    assert (await slot.admit("r1", lines, amount=40))[0] == "OK"
    assert (await slot.call("checkpoint", "r1", "{}", 61))[0] == "FULL"
    assert await slot.call("checkpoint", "r1", "{}", 60) == ["OK", "60", "L1"]
    await slot.end("r1", 55, 5)
    assert slot.used("trial:nanos|total") == 55


async def test_what_others_hold_of_a_budget_is_not_there_to_grow(slot: Slot) -> None:
    await slot.open()
    for request in ("r1", "r2"):
        assert (await slot.admit(request, "nT 100 - key:1:total", amount=40))[0] == "OK"
    assert (await slot.call("checkpoint", "r1", "{}", 21))[0] == "FULL"
    await slot.end("r2", 0)
    assert (await slot.call("checkpoint", "r1", "{}", 60))[0] == "OK"


async def test_what_a_full_budget_stops_asks_postgres_for_nothing(world: World) -> None:
    account = await world.account(usd=100)
    credits = Credits(world.stores.postgres, world.stores.redis, lease_ttl_s=2400)
    lines = f"nT {CENT} - key:k:total"
    hold = await credits.admit(_ask(account, CENT * 2 // 3, lines))
    await credits.finish_background()
    held = (await world.balance(account))["held_nanos"]
    for more in (CENT, 50 * USD):  # less and more than what is lent
        assert await credits.checkpoint(hold, "{}", more) == 0
    assert hold.amount_nanos == CENT * 2 // 3
    assert (await world.balance(account))["held_nanos"] == held
    assert await credits.checkpoint(hold, "{}", CENT // 3) == CENT // 3
    await credits.finish(hold, 0)


def _ask(account: Account, nanos: int, lines: str, **more: Any) -> Ask:
    return Ask(new_request_id(), account.id, 9, nanos, 60.0, "{}", lines=lines, **more)


# ------------------------------------------------------------------ Redis comes back


async def test_what_others_counted_raises_a_field_and_never_lowers_it(slot: Slot) -> None:
    await slot.open("key:1:total|total", 50)
    await slot.call("raise", "key:1:total|total", 40, "key:2:total|total", 7)
    assert (slot.used("key:1:total|total"), slot.used("key:2:total|total")) == (50, 7)
    await slot.call("raise", "key:1:total|total", 60, "key:2:total|total", 7)
    assert (slot.used("key:1:total|total"), slot.used("key:2:total|total")) == (60, 7)


async def test_F80_what_was_spent_while_redis_was_away_counts_when_it_is_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The budget of an end user, whose figures come with no principal."""
    account = await world.account(usd=100)
    await limit(world, account, "key", account.key_id, end_user={"usd_nanos": 50 * CENT})
    asked = DEAR | {"user": "ann"}
    assert (await world.post(account, **asked)).status_code == 200
    credits = world.chat.gateway().credits
    with monkeypatch.context() as away:
        away.setattr(credits, "_redis", NoRedis())
        served = [(await world.post(account, **asked)).status_code for _ in range(3)]
        assert served == [200] * 3
    await world.settle()
    served = [(await world.post(account, **asked)).status_code for _ in range(3)]
    assert served == [200, 402, 402]
    await world.settle()
    assert max((await budgets(world, account)).values()) <= 50 * CENT
    assert await world.violations() == []


async def test_what_is_under_way_without_redis_counts_when_it_is_back(world: World) -> None:
    account = await world.account(usd=100)
    scope = f"key:{account.key_id}:total"
    await limit(world, account, "key", account.key_id, usd_nanos=CENT)
    credits = Credits(world.stores.postgres, world.stores.redis, lease_ttl_s=2400)
    lines, known = f"nT {CENT} - {scope}", ((scope, "total", CENT),)
    await credits.finish(await credits.admit(_ask(account, 1, lines)), 1)
    credits._redis = NoRedis()
    assert (await credits.admit(_ask(account, CENT // 2, lines, budgets=known))).private
    with pytest.raises(InsufficientCredits):
        await credits.admit(_ask(account, CENT, lines, budgets=known))
    credits._redis = world.stores.redis
    with pytest.raises(InsufficientCredits) as refused:
        await credits.admit(_ask(account, CENT * 2 // 3, lines, budgets=known))
    assert refused.value.metadata["available_nanos"] == CENT - CENT // 2
    await credits.finish(await credits.admit(_ask(account, CENT // 3, lines)), 1)
    assert account.id not in credits._apart
    await credits.finish_background()


async def test_who_has_no_limits_is_not_read_anew(world: World) -> None:
    account = await world.account()
    credits = Credits(world.stores.postgres, NoRedis(), lease_ttl_s=2400)
    await credits.admit(_ask(account, CENT, ""))
    assert account.id not in credits._apart


async def test_the_sweeper_tells_redis_what_other_processes_spent_without_it(
    world: World,
) -> None:
    account = await world.account(usd=100)
    scope = f"key:{account.key_id}:total"
    lines, known = f"nT {CENT} - {scope}", ((scope, "total", CENT),)
    here = Credits(world.stores.postgres, world.stores.redis, lease_ttl_s=2400)
    await here.finish(await here.admit(_ask(account, 1, lines)), 1)
    there = Credits(world.stores.postgres, NoRedis(), lease_ttl_s=2400)
    charge = ChargeMessage(new_request_id(), account.id, account.key_id, "m", False, 0)
    ask = _ask(account, CENT // 2, lines, budgets=known)
    await there.admit(ask._replace(request_id=charge.request_id, record=charge.record()))
    await world.sweep()
    with pytest.raises(InsufficientCredits):
        await here.admit(_ask(account, CENT * 2 // 3, lines))
    await here.finish_background()


async def test_F01_nothing_is_read_of_postgres_while_redis_is_still_away(world: World) -> None:
    """`raise_budgets` knows that Redis is there before it asks for anything."""
    asked: list[str] = []

    class Postgres:
        async def rpc(self, function: str, *_: Any, **__: Any) -> Any:
            asked.append(function)

    silent: Any = Postgres()
    with pytest.raises(Exception, match="Redis"):
        await raise_budgets(silent, NoRedis(), A)
    assert asked == []


# ------------------------------------------------------------------ set anew


async def test_the_authority_of_a_budget_says_the_least_that_counts(slot: Slot) -> None:
    await slot.open(f"key:1:daily|{TODAY}", 10)
    assert (await slot.admit("r1", f"nD 100 {TODAY}=97 key:1:daily", amount=4))[:3] == [
        "BUDGET", "nD 100 key:1:daily", "3",
    ]  # fmt: skip
    assert slot.used(f"key:1:daily|{TODAY}") == 10
    assert (await slot.admit("r2", f"nD 100 {TODAY}=97 key:1:daily", amount=2))[0] == "OK"
    assert slot.used(f"key:1:daily|{TODAY}") == 99
    # An older figure, one of another period, and none take nothing away.
    for seed in (f"{TODAY}=5", "2025-11-24=1000", "-"):
        assert (await slot.admit(f"x{seed}", f"nD 100 {seed} key:1:daily", amount=2))[2] == "1"
    await slot.end("r2", 1)
    assert slot.used(f"key:1:daily|{TODAY}") == 98


async def test_a_count_of_requests_goes_on_from_what_redis_knows(slot: Slot) -> None:
    await slot.open()
    for number, seed in enumerate(("3", "4", "9")):
        reply = await slot.admit(f"r{number}", f"rD 10 {TODAY}={seed} requests:key:1")
        assert reply[6].split()[1] == str(6 - number)


async def test_F80_what_was_spent_without_the_limit_counts_when_it_is_set_again(
    world: World,
) -> None:
    account = await world.account(usd=100)
    key = account.key_id
    await limit(world, account, "key", key, usd_nanos=50 * CENT, reset="daily")
    assert (await world.post(account, **DEAR)).status_code == 200
    await world.settle()
    await limit(world, account, "key", key, usd_nanos=None)
    for _ in range(3):
        assert (await world.post(account, **DEAR)).status_code == 200
    await world.settle()
    await limit(world, account, "key", key, usd_nanos=50 * CENT, reset="daily")
    served = [(await world.post(account, **DEAR)).status_code for _ in range(3)]
    assert served == [200, 402, 402]
    await world.settle()
    assert await world.violations() == []


async def test_what_a_private_lease_sets_aside_is_not_told_as_spent(world: World) -> None:
    account = await world.account()
    await limit(world, account, "key", account.key_id, usd_nanos=USD, reset="monthly")
    credits = Credits(world.stores.postgres, NoRedis(), lease_ttl_s=2400)
    budget = (f"key:{account.key_id}:monthly", "monthly", USD)
    assert (await credits.admit(_ask(account, CENT, "", budgets=(budget,)))).private
    row = await _found(world, account)
    assert row["budgets"][0][3].endswith("=0")


async def _found(world: World, account: Account) -> dict[str, Any]:
    row: dict[str, Any] = await world.stores.postgres.rpc(
        "find_limits", {"account": account.id, "key_id": account.key_id}
    )
    return row


# ------------------------------------------------------------------ an answer that fits


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_without_a_limit_is_as_long_as_a_budget_pays_for(
    world: World, streamed: bool
) -> None:
    account = await world.account(usd=100)
    of_callers = {"end_user": {"usd_nanos": 4_000_000}, "session": {"usd_nanos": 3_000_000}}
    await limit(world, account, "account", usd_nanos=5_000_000, reset="daily")
    await limit(world, account, "key", account.key_id, usd_nanos=6_000_000, **of_callers)
    who = {"user": "ann", "session_id": "s1"}
    if streamed:
        assert (await world.stream(account, **who))[0] == 200
    else:
        assert (await world.post(account, **who)).status_code == 200
    await world.settle()
    spent = await budgets(world, account)
    assert len(spent) == 4 and 0 < max(spent.values()) < 3_000_000
    assert await world.violations() == []


async def test_an_answer_without_a_limit_is_as_long_as_the_trial_pays_for(world: World) -> None:
    account = await trial(world, nanos=5_000_000)
    grant = {"op_id": "g", "account": account.id, "amount_nanos": 50 * USD, "reason": "x"}
    await world.stores.postgres.rpc("grant_credit", grant)
    assert (await world.post(account)).status_code == 200
    refused = await world.post(account, max_tokens=16_000)
    assert refused.json()["error"]["code"] == "trial_limit_reached"


@pytest.mark.parametrize(
    ("reset", "way_out"),
    [("daily", "Raise the limit, or wait for its next period."), (None, "Raise the limit to go")],
)
async def test_a_refusal_says_what_helps_against_a_budget(
    world: World, reset: str | None, way_out: str
) -> None:
    account = await world.account(usd=100)
    await limit(world, account, "key", account.key_id, usd_nanos=1, reset=reset)
    bodies: list[dict[str, Any]] = [{}, {"max_tokens": 100}]
    for body in bodies:
        error = (await world.post(account, **body)).json()["error"]
        assert error["code"] == "budget_exceeded"
        assert "is left of a spending limit" in error["message"]
        assert way_out in error["message"] and "Add credits" not in error["message"]
    poor = await world.account(usd=0)
    error = (await world.post(poor)).json()["error"]
    assert "is available" in error["message"] and "Add credits to go on." in error["message"]


# ------------------------------------------------------------------ full, forgotten


async def test_old_days_make_room_for_end_users_in_an_account_that_is_full(slot: Slot) -> None:
    await slot.open()
    before = label("D", NOON_MS - 2 * 86_400_000)
    _fill(slot, {f"user:{n}:daily|{before}": "5" for n in range(100_000)})
    assert (await slot.admit("r1", "nD 100 - user:new:daily"))[0] == "OK"
    assert slot.client.hlen(FIELDS) < 100_000


async def test_days_that_a_hold_may_still_end_in_stay(slot: Slot) -> None:
    await slot.open()
    yesterday, week = label("D", NOON_MS - 86_400_000), label("W", NOON_MS - 86_400_000)
    held = [f"user:1:daily|{yesterday}", f"user:1:daily|{TODAY}", f"user:1:weekly|{week}"]
    held += ["user:1:weekly|2025-11-17", f"requests:key:1|{yesterday}", "user:1:total|total"]
    _fill(slot, dict.fromkeys(held, "5"))
    for number in range(4):
        assert (await slot.admit(f"r{number}", f"nT 9 - key:{number}:total"))[0] == "OK"
    assert set(held) < set(slot.client.hkeys(FIELDS))


async def test_each_refused_name_looks_further_for_what_is_old(slot: Slot) -> None:
    await slot.open()
    _fill(slot, {f"user:{n}:total|total": "5" for n in range(99_990)})
    _fill(slot, {f"user:{n}:daily|2025-11-01": "5" for n in range(50)})
    tried = 0
    while (await slot.admit(f"r{tried}", "nT 9 - user:new:total"))[0] != "OK":
        tried += 1
        assert tried < 400
    assert tried > 0


def _fill(slot: Slot, fields: dict[Any, Any]) -> None:
    slot.client.hset(FIELDS, mapping=fields)


async def test_a_budget_that_was_forgotten_while_a_hold_was_open_is_never_negative(
    slot: Slot,
) -> None:
    await slot.open()
    lines = "nT 100 - session:x:total\ntD 1000 - tokens:key:1\npT 900 - trial:nanos"
    names = ["session:x:total|total", f"tokens:key:1|{TODAY}", "trial:nanos|total"]
    assert (await slot.admit("r1", lines, amount=80, tokens=(50, 50)))[0] == "OK"
    await slot.call("forget", *names)
    await slot.end("r1", 10, 5)
    assert slot.client.hmget(FIELDS, names) == [None] * 3
    # What begins anew meanwhile does not pay for what was forgotten.
    await slot.admit("r2", lines, amount=80)
    await slot.call("forget", *names)
    await slot.admit("r3", lines, amount=30)
    await slot.end("r2", 0, 0)
    assert (await slot.admit("r4", lines, amount=101))[0] == "BUDGET"


# ------------------------------------------------------------------ seeds of an account


async def test_a_limit_for_ever_of_an_account_counts_what_was_before_this_month(
    world: World,
) -> None:
    account = await world.account()
    for _ in range(2):
        assert (await world.post(account, max_tokens=8)).status_code == 200
    await world.settle()
    connection = await asyncpg.connect(world.settings.stores.database_url)
    await connection.execute("update ledger.key_spending set day = day - 400")
    await connection.close()
    assert (await world.post(account, max_tokens=8)).status_code == 200
    await world.settle()
    assert "total" not in (await _found(world, account))["account_used"]
    await limit(world, account, "account", max_requests=4)
    used = (await _found(world, account))["account_used"]
    assert (used["total"][1], used["month"][1], used["day"][1]) == (3, 1, 1)
    with redis.Redis.from_url(world.settings.stores.redis_url) as client:
        client.flushall()
    served = [(await world.post(account, max_tokens=8)).status_code for _ in range(2)]
    assert served == [200, 429]
