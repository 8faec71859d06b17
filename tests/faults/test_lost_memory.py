"""A Redis that forgets: away between hold and settlement, flushed, or set back by a fail-over."""

import asyncio
from typing import Any

from gatewayz.billing.reconcile import reconcile
from gatewayz.billing.slot import account_keys
from tests.faults.scene import INPUT, OUTPUT, Links, Scene, reached
from tests.world import Account

STREAM = "sandbox/mock-n3-in10-out3-lockstep."
STREAM_CHARGE = 10 * INPUT + 3 * OUTPUT


async def _begin(world: Scene, account: Account, lock: str, count: int = 1) -> list[Any]:
    """Streams that wait at their first chunk, all of them held and dispatched."""
    before = world.sandbox.streams
    tasks = [asyncio.create_task(world.stream(account, STREAM + lock)) for _ in range(count)]
    await reached(lambda: world.sandbox.streams == before + count)
    return tasks


async def test_F02_redis_goes_away_between_hold_and_settlement(world: Scene, links: Links) -> None:
    """The message is enough: the charge is exact, and freeing the hold later changes nothing."""
    account = await world.account()
    (task,) = await _begin(world, account, "F02")
    links.redis.down()
    await world.released("F02", 3)
    status, _, text = await task
    assert (status, text[-14:]) == (200, "data: [DONE]\n\n")
    await world.quiet()
    assert len(world.holds(account)) == 1 and len(world.logs.lines("hold_not_freed")) == 1
    links.redis.up()
    row = await world.one(account)
    assert (row["outcome"], row["charge_nanos"]) == ("completed", STREAM_CHARGE)
    await world.pass_time(account)
    swept = await world.sweep(idle_ms=10**6)
    assert swept.holds == 1 and not world.holds(account)
    assert len(await world.requests(account)) == 1
    assert await world.charged(account) == STREAM_CHARGE


async def test_F02_the_late_sweep_never_overtakes_the_message(world: Scene, links: Links) -> None:
    """Hold past its end, message still queued: the sweeper leaves the charge to the message."""
    account = await world.account()
    (task,) = await _begin(world, account, "F02late")
    links.redis.down()
    await world.released("F02late", 3)
    await task
    await world.quiet()
    links.redis.up()
    await world.pass_time(account)
    await world.sweep(idle_ms=10**6)
    assert not world.holds(account)
    row = await world.one(account)
    assert (row["outcome"], row["charge_nanos"]) == ("completed", STREAM_CHARGE)


async def test_F04_everything_forgotten_with_a_hundred_requests_in_flight(world: Scene) -> None:
    rich, modest = await world.account(usd=10), await world.account(usd=1)
    tasks = []
    for account, count in ((rich, 60), (modest, 40)):
        tasks += await _begin(world, account, "F04", count)
    granted = {account.id: await _granted(world, account) for account in (rich, modest)}
    with world.redis() as client:
        client.flushall()
        client.script_flush()
    # Nobody with money is refused, though every lease is forgotten.
    for account in (rich, modest):
        answers = await asyncio.gather(*[world.post(account, "sandbox/mock-n2") for _ in range(5)])
        assert {answer.status_code for answer in answers} == {200}
        await reached(lambda: world.chat.gateway().requests == 100)
        await world.settle()
        balance = await world.balance(account)
        with world.redis() as client:
            left = int(client.hget(account_keys(account.id)[0], "left"))
        assert not world.holds(account)
        # What no one can spend until the lease is closed: at most what had been forgotten.
        assert balance["held_nanos"] - left <= granted[account.id]
    await world.released("F04", 300)
    for status, _, text in await asyncio.gather(*tasks):
        assert (status, text[-14:]) == (200, "data: [DONE]\n\n")
    for account, count in ((rich, 60), (modest, 40)):
        rows = await world.settled(account)
        streamed = [row for row in rows if row["stream"]]
        assert len(streamed) == count and len(rows) == count + 5
        assert {row["outcome"] for row in rows} == {"completed"}
        assert {row["charge_nanos"] for row in streamed} == {STREAM_CHARGE}
        assert {row["cause"] for row in rows} == {None}
        balance = await world.balance(account)
        assert balance["available_nanos"] >= 0
        assert balance["charged_nanos"] == sum(row["charge_nanos"] for row in rows)


async def _granted(world: Scene, account: Account) -> int:
    (row,) = await world.sql(
        "select sum(granted)::bigint as all from ledger.leases where account = $1", account.id
    )
    return int(row["all"])


# ---------------------------------------------------------------- F06

TOKENS = 10
FULL = f"sandbox/mock-n1-in{{prompt}}-out{TOKENS}"


async def _hold_and_model(world: Scene) -> tuple[int, str]:
    """A request whose charge is exactly its hold."""
    poor = await world.account(usd=0)
    refused = await world.post(
        poor, "sandbox/mock-n1", max_tokens=TOKENS, path="/api/v1/chat/completions"
    )
    hold = round(float(refused.json()["error"]["metadata"]["required_usd"]) * 10**9)
    return hold, FULL.format(prompt=(hold - TOKENS * OUTPUT) // INPUT)


class _Replica:
    """What a follower has of one account; made leader, it forgets whatever came after."""

    def __init__(self, world: Scene, account: Account) -> None:
        self._world, self._keys = world, account_keys(account.id)
        with world.redis() as client:
            raw = [client.execute_command("DUMP", key, NEVER_DECODE=True) for key in self._keys]
        self._dumps = raw

    def lead(self) -> None:
        with self._world.redis() as client:
            for key, dump in zip(self._keys, self._dumps, strict=True):
                client.delete(key)
                if dump is not None:
                    client.execute_command("RESTORE", key, 0, dump)


async def _ask(world: Scene, account: Account, model: str) -> int:
    answer = await world.post(account, model, max_tokens=TOKENS)
    await world.quiet()
    return int(answer.status_code)


async def test_F06_a_fail_over_loses_the_last_writes(world: Scene) -> None:
    """The new leader thinks that the lease has more left than it has: what it gives away beyond is
    at most one lease, falls on the wallet under a name, and somebody hears of it."""
    hold, model = await _hold_and_model(world)
    account = await world.account(usd=f"{12 * hold / 10**9:.9f}")
    assert await _ask(world, account, model) == 200
    await world.settle()
    follower = _Replica(world, account)
    for _ in range(2):
        assert await _ask(world, account, model) == 200
    await world.settle()
    follower.lead()
    statuses = []
    while not statuses or statuses[-1] == 200:
        statuses.append(await _ask(world, account, model))
        assert len(statuses) < 20
    assert statuses[-1] == 402
    served = 3 + len(statuses) - 1
    rows = await world.settled(account)
    assert len(rows) == served and {row["charge_nanos"] for row in rows} == {hold}
    over = served - 12
    assert 0 < over <= 2, "no more than what the new leader had forgotten"
    beyond = [row for row in rows if row["cause"]]
    assert {row["cause"] for row in beyond} == {"overage"}
    assert sum(row["from_wallet_nanos"] for row in beyond) == over * hold
    (granted,) = await world.sql("select max(granted) from ledger.leases where not private")
    assert over * hold <= granted[0]
    assert (await world.balance(account))["balance_nanos"] == -over * hold
    await reconcile(world.stores.postgres, world.stores.queue)
    (line,) = world.logs.lines("charges_beyond_lease")
    assert (line["cause"], line["nanos"]) == ("overage", over * hold)


async def test_F06_two_leaders_at_once(world: Scene) -> None:
    """Each serves from its own copy of the lease; together at most one lease too much."""
    hold, model = await _hold_and_model(world)
    account = await world.account(usd=f"{8 * hold / 10**9:.9f}")
    assert await _ask(world, account, model) == 200
    await world.settle()
    other = _Replica(world, account)
    served = 1
    while await _ask(world, account, model) == 200:
        served += 1
    assert served == 8
    other.lead()
    extra = 0
    while await _ask(world, account, model) == 200:
        extra += 1
    rows = await world.settled(account)
    assert len(rows) == served + extra
    over = sum(row["from_wallet_nanos"] for row in rows if row["cause"] == "overage")
    assert over == extra * hold
    (granted,) = await world.sql("select max(granted) from ledger.leases where not private")
    assert over <= granted[0]
    balance = await world.balance(account)
    assert balance["balance_nanos"] == -over
    assert (await world.post(account, model, max_tokens=TOKENS)).status_code == 402
