"""Work that comes too often, at the same time, late, or a week late."""

import asyncio
from typing import Any

import orjson

from functions.reconcile_ledger.job import schedule as reconcile_schedule
from functions.run_daily.job import schedule as run_daily_schedule
from functions.settle_charges.worker import worker
from functions.sweep_holds.job import schedule as sweep_schedule
from gatewayz.billing.credits import Ask, Credits
from gatewayz.billing.reconcile import reconcile
from gatewayz.billing.settlement import CHARGES, ChargeMessage, seal
from gatewayz.core.ids import new_request_id
from gatewayz.stores.queue import MAX_RECEIVES
from tests.faults.scene import Scene
from tests.world import Account

MONTHS = (
    "select c.relname from pg_class c join pg_inherits i on i.inhrelid = c.oid "
    "where c.relkind = 'r' and c.relname ~ '^(transfers|charges|requests)_20[0-9]{2}_'"
)
MODEL = "sandbox/mock-n1-in5-out10"


async def test_F16_one_poison_message_among_ten(world: Scene) -> None:
    """Nine are posted, the one comes again alone until it stands aside; that raises an alarm."""
    account = await world.account()
    for _ in range(9):
        assert (await world.post(account, MODEL)).status_code == 200
    await world.quiet()
    ((queued,),) = [await world.sql("select body from queue.messages limit 1")]
    poison = seal(orjson.loads(queued["body"]) | {"request_id": new_request_id(), "outcome": "?"})
    await world.stores.queue.send(CHARGES, poison["request_id"], poison)
    assert await worker.step(world.stores) == (10, 9)
    assert len(await world.requests(account)) == 9
    for _ in range(MAX_RECEIVES - 1):
        await world.redeliver()
        assert await worker.step(world.stores) == (1, 0)
    await world.redeliver()
    assert await worker.step(world.stores) == (0, 0)
    depth = await world.stores.queue.depth(CHARGES)
    assert (depth.waiting, depth.inflight, depth.dead) == (0, 0, 1)
    refused = world.logs.lines("charge_refused")
    assert {line["request_id"] for line in refused} == {poison["request_id"]}
    found = await reconcile(world.stores.postgres, world.stores.queue)
    assert (found.violations, found.dead_letters) == ([], 1)
    (line,) = world.logs.lines("charges_stuck")
    assert (line["level"], line["dead"]) == ("ERROR", 1)


async def test_F17_a_dead_letter_is_driven_again_a_week_later(world: Scene) -> None:
    """Posted once, under the name `late`, on the wallet; who is in debt then is refused."""
    account = await world.account(usd="0.0002")
    answer = await world.post(account, "sandbox/mock-n1-in5-out40", max_tokens=40)
    assert answer.status_code == 200
    await world.quiet()
    await world.sql("update queue.messages set dead = true, sent_at = sent_at - interval '7 days'")
    assert await world.settle() == 0
    # Its lease was closed long ago: all of it went back to the wallet, and was spent since.
    await world.swept(account)
    balance = await world.balance(account)
    assert balance["available_nanos"] == balance["granted_nanos"] == 200_000
    while (await world.post(account, MODEL, max_tokens=10)).status_code == 200:
        await world.quiet()
        await world.settle()
        await world.sweep()
    spent = await world.charged(account)
    assert 0 < spent <= 200_000

    await world.stores.postgres.rpc("redrive", {"queue": CHARGES})
    assert await world.settle() == 1
    await world.stores.postgres.rpc("redrive", {"queue": CHARGES})
    assert await world.settle() == 0
    late = [row for row in await world.requests(account) if row["cause"] == "late"]
    assert len(late) == 1
    charge = late[0]["charge_nanos"]
    assert late[0]["from_wallet_nanos"] == charge > 0
    assert await world.charged(account) == spent + charge
    assert (await world.balance(account))["available_nanos"] == 200_000 - spent - charge < 0
    refused = await world.post(account, MODEL, max_tokens=1)
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_credits")


async def _abandon(world: Scene, account: Account, count: int) -> list[str]:
    """Holds of requests whose process died before it reached a provider."""
    credits = Credits(world.stores.postgres, world.stores.redis, lease_ttl_s=2400)
    made = []
    for _ in range(count):
        message = ChargeMessage(
            request_id=new_request_id(), account=account.id, key_id=account.key_id,
            model=MODEL, stream=True, admitted_at_ms=0, writeoff_nanos=7,
        )  # fmt: skip
        ask = Ask(message.request_id, account.id, 1, 1000, 60.0, message.record())
        await credits.admit(ask)
        made.append(message.request_id)
    await credits.finish_background()
    return made


async def _call(schedule: Any, times: int, world: Scene) -> list[Any]:
    """The schedule called several times at once, as a platform that delivers twice does."""
    return list(await asyncio.gather(*[schedule._job(world.stores) for _ in range(times)]))


async def test_F19_schedules_that_come_twice_at_once_and_after_an_hour(world: Scene) -> None:
    """The same as once: every hold ends in one row, every lease closes once, nothing is missed."""
    account, other = await world.account(), await world.account()
    abandoned = await _abandon(world, account, 30)
    abandoned += await _abandon(world, other, 3)
    # Nobody swept for an hour.
    for each in (account, other):
        await world.pass_time(each)
    await _call(sweep_schedule, 4, world)
    assert not world.holds(account) and not world.holds(other)
    rows = await world.sql("select request_id, charge_nanos, outcome from ledger.requests")
    assert sorted(row["request_id"] for row in rows) == sorted(abandoned)
    assert {(row["charge_nanos"], row["outcome"]) for row in rows} == {(0, "expired")}
    written_off = "select sum(amount) from ledger.transfers where kind = 'writeoff'"
    assert (await world.sql(written_off))[0][0] == 33 * 7
    # Once more, now that everything was done.
    await _call(sweep_schedule, 2, world)
    assert (await world.sql(written_off))[0][0] == 33 * 7
    found = await _call(reconcile_schedule, 3, world)
    assert [each.violations for each in found] == [[], [], []]
    await _call(run_daily_schedule, 3, world)
    assert await world.violations() == []
    for each in (account, other):
        balance = await world.balance(each)
        assert balance["charged_nanos"] == 0


async def test_F19_months_that_nobody_prepared_are_caught_up_with_once(world: Scene) -> None:
    """Rows of a month without a partition stand in the default one and are moved when it comes."""
    parts = await world.sql(MONTHS)
    for (part,) in parts:
        await world.sql(f"drop table ledger.{part}")
    account = await world.account()
    for _ in range(3):
        assert (await world.post(account, MODEL)).status_code == 200
    rows = await world.settled(account)
    assert len(rows) == 3
    assert (await world.sql("select count(*) from ledger.charges_default"))[0][0] == 3
    await _call(run_daily_schedule, 2, world)
    assert len(await world.sql(MONTHS)) == len(parts)
    assert (await world.sql("select count(*) from ledger.charges_default"))[0][0] == 0
    assert len(await world.requests(account)) == 3
