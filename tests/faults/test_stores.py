"""Stores that are away, slow or lose an answer: requests go on exactly, or not at all."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest

from gatewayz.accounts.principals import WITHOUT_REDIS_TIMEOUT_S
from gatewayz.billing.credits import PRIVATE_TIMEOUT_S
from gatewayz.billing.settlement import CHARGES, settle
from gatewayz.core.settings import load_settings
from gatewayz.stores.open import open_stores
from gatewayz.stores.postgres import CONNECT_TIMEOUT_S
from tests.fakes.proxy import Proxy
from tests.faults.scene import INPUT, OUTPUT, Links, Scene, error_of, reached

ADMIT = b"$5\r\nadmit\r\n"
FINISH = b"$6\r\nfinish\r\n"
SEND = b'{"queue":"charges","messages"'
SETTLE = b'{"messages":[{'
BREAKS: dict[str, Callable[[Proxy], None]] = {
    "refuses": Proxy.down,
    "hangs": Proxy.hang,
    "cuts": Proxy.cut,
}


async def warm(world: Scene, usd: int | str = 10) -> Any:
    """An account that the gateway knows and has a lease for."""
    account = await world.account(usd=usd)
    assert (await world.post(account, "sandbox/mock-n2")).status_code == 200
    await world.quiet()
    await world.settle()
    return account


@pytest.mark.tuned(redis_timeout_ms=100)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_F01_redis_is_away_at_admission(
    world: Scene, links: Links, how: str, stream: bool
) -> None:
    account = await warm(world)
    BREAKS[how](links.redis)
    if stream:
        status, _, text = await world.stream(account, "sandbox/mock-n7")
        assert (status, text[-14:]) == (200, "data: [DONE]\n\n")
    else:
        answer = await world.post(account, "sandbox/mock-n7")
        assert answer.status_code == 200
    leases = await world.sql("select * from ledger.leases where private and state = 'open'")
    assert len(leases) == 1
    await world.quiet()
    await world.settle()
    row = (await world.requests(account))[0]
    sent = world.sandbox.last_body["mock-n7"]["messages"]
    assert sent[0]["content"] == "hello"
    units = {line[0]: line[1] for line in row["lines"]}
    assert row["charge_nanos"] == INPUT * units["input"] + OUTPUT * 7
    assert (row["outcome"], row["estimated"]) == ("completed", False)
    assert (await world.sql("select state from ledger.leases where private"))[0][0] == "closed"


async def test_F01_a_first_request_needs_no_redis_at_all(world: Scene, links: Links) -> None:
    account = await world.account()
    links.redis.down()
    answer = await world.post(account, "sandbox/mock-n2")
    assert answer.status_code == 200
    poor = await world.account(usd=0)
    refused = await world.post(poor, "sandbox/mock-n2")
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "insufficient_credits")
    assert world.sandbox.requests == 1


async def test_F01_a_late_settlement_is_not_overtaken_by_the_sweeper(
    world: Scene, links: Links
) -> None:
    """The private lease is past its end while its message still waits in the queue."""
    account = await warm(world)
    links.redis.down()
    assert (await world.post(account, "sandbox/mock-n7")).status_code == 200
    await world.quiet()
    links.redis.up()
    await world.pass_time(account)
    await world.sweep()
    assert await world.settle() == 1
    row = (await world.requests(account))[0]
    assert (row["outcome"], row["cause"]) == ("completed", None)
    assert row["charge_nanos"] > 7 * OUTPUT


@pytest.mark.tuned(redis_timeout_ms=100)
async def test_F03_redis_answers_too_late(world: Scene, links: Links) -> None:
    """The late hold is real, so the sweeper has to free it; the request was paid privately."""
    account = await warm(world)
    late = links.redis.hold_reply(ADMIT)
    answer = await world.post(account, "sandbox/mock-n3")
    assert answer.status_code == 200
    assert late.reached
    late.release()
    assert len(world.holds(account)) == 1
    await world.quiet()
    await world.settle()
    charge = (await world.requests(account))[0]["charge_nanos"]
    await world.pass_time(account)
    await world.swept(account)
    rows = await world.requests(account)
    assert len(rows) == 2 and rows[0]["charge_nanos"] == charge > 0
    assert rows[0]["outcome"] == "completed"


async def test_F05_the_hold_is_applied_and_its_reply_lost(world: Scene, links: Links) -> None:
    account = await warm(world)
    lost = links.redis.lose_reply(ADMIT)
    status, _, _ = await _while_running(world, account, "F05")
    assert status == 200
    assert lost.reached
    assert [row["outcome"] for row in await world.settled(account)] == ["completed"] * 2
    assert not await world.sql("select 1 from ledger.leases where private")


async def test_F05_the_private_lease_is_made_and_its_reply_lost(world: Scene, links: Links) -> None:
    account = await warm(world)
    links.redis.down()
    lost = links.postgres.lose_reply(b'"private":true')
    assert (await world.post(account, "sandbox/mock-n3")).status_code == 200
    assert lost.reached
    assert len(await world.sql("select 1 from ledger.leases where private")) == 1


@pytest.mark.tuned(redis_timeout_ms=100)
async def test_F03_a_private_lease_that_comes_too_late_is_swept(world: Scene, links: Links) -> None:
    account = await warm(world)
    calls = world.sandbox.requests
    links.redis.down()
    late = links.postgres.hold_reply(b'"private":true')
    answer = await world.post(account, "sandbox/mock-n3")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "billing_unavailable")
    assert late.reached and world.sandbox.requests == calls
    late.release()
    links.redis.up()
    await world.sweep(idle_ms=10**6)
    assert (await world.balance(account))["held_nanos"] > 0
    await world.pass_time(account)
    await world.swept(account)
    row = (await world.requests(account))[0]
    assert (row["outcome"], row["charge_nanos"]) == ("expired", 0)


async def _while_running(world: Scene, account: Any, lock: str) -> tuple[int, Any, str]:
    """A stream during which the account has exactly one hold."""
    task = asyncio.create_task(world.stream(account, f"sandbox/mock-n2-lockstep.{lock}"))
    await reached(lambda: f"mock-n2-lockstep.{lock}" in world.sandbox.models)
    assert len(world.holds(account)) == 1
    await world.released(lock, 2)
    return await task


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("how", ["refuses", "cuts and refuses in the middle"])
async def test_F08_postgres_is_away_and_the_lease_has_room(
    world: Scene, links: Links, how: str, stream: bool
) -> None:
    account = await warm(world)
    before = await world.charged(account)
    if stream:
        task = asyncio.create_task(world.stream(account, "sandbox/mock-n3-lockstep.F08"))
        if how != "refuses":
            await reached(lambda: world.sandbox.streams)
        links.postgres.down()
        await reached(lambda: world.sandbox.streams)
        await world.released("F08", 3)
        status, _, text = await task
        assert (status, text[-14:]) == (200, "data: [DONE]\n\n")
    else:
        links.postgres.down()
        assert (await world.post(account, "sandbox/mock-n3")).status_code == 200
    await world.quiet()
    assert len(world.outbox(account)) == 1 and not world.holds(account)
    assert await world.charged(account) == before
    links.postgres.up()
    await world.sweep(idle_ms=10**6)
    assert not world.outbox(account)
    charge = (await world.requests(account))[0]["charge_nanos"]
    assert await world.charged(account) == before + charge > before
    assert await world.settle() == 0


@pytest.mark.parametrize("how", ["refuses", "hangs"])
@pytest.mark.tuned(rpc_timeout_ms=300)
async def test_F09_postgres_is_away_and_the_lease_is_empty(
    world: Scene, links: Links, how: str
) -> None:
    account = await warm(world)
    await world.sweep()  # closes the lease
    BREAKS[how](links.postgres)
    calls = world.sandbox.requests
    for stream in (False, True):
        answer = await world.post(account, "sandbox/mock-n3", stream=stream)
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "billing_unavailable"
        assert int(answer.headers["retry-after"]) >= 1
    assert world.sandbox.requests == calls
    assert not world.holds(account)


@pytest.mark.tuned(redis_timeout_ms=100, rpc_timeout_ms=20_000)
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_F10_both_are_away(world: Scene, links: Links, how: str, known: bool) -> None:
    """Under a second: one call to each store, and their limits add up to less. A call that may
    wait as long as connecting may take is seen by taking longer."""
    account = await warm(world) if known else await world.account()
    calls = world.sandbox.requests
    BREAKS[how](links.redis)
    BREAKS[how](links.postgres)
    started_s = time.monotonic()
    answer = await world.post(account, "sandbox/mock-n3")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "billing_unavailable")
    assert answer.headers["retry-after"]
    assert time.monotonic() - started_s < CONNECT_TIMEOUT_S
    normal_s = load_settings({}).stores.redis_timeout_ms / 1000
    assert normal_s + max(PRIVATE_TIMEOUT_S, WITHOUT_REDIS_TIMEOUT_S) < 1
    assert world.sandbox.requests == calls


async def test_F11_the_settlement_commits_and_its_reply_is_lost(world: Scene, links: Links) -> None:
    from functions.settle_charges.worker import worker

    account = await world.account()
    assert (await world.post(account, "sandbox/mock-n5")).status_code == 200
    await world.quiet()
    stores = open_stores(
        load_settings(
            {
                "DATABASE_URL": links.postgres.address(world.database_url),
                "REDIS_URL": world.redis_url,
                "GATEWAYZ_KEY_PEPPER": world.settings.keys.pepper,
            }
        )
    )
    try:
        lost = links.postgres.lose_reply(SETTLE)
        received, done = await worker.step(stores)
        assert lost.reached and received == 1
        charge = (await world.requests(account))[0]["charge_nanos"]
        await world.redeliver()
        await worker.step(stores)
        assert (await worker.step(stores)) == (0, 0)
        assert done in (0, 1)
    finally:
        await stores.close()
    assert len(await world.requests(account)) == 1
    assert await world.charged(account) == charge > 0


async def _reject_sends(world: Scene) -> None:
    """Postgres is up, but its queue takes nothing."""
    await world.sql(
        "create function public.reject() returns trigger language plpgsql as "
        "$$ begin raise exception 'queue is full'; end $$"
    )
    await world.sql(
        "create trigger reject before insert on queue.messages execute function public.reject()"
    )


async def _close_the_ledger(world: Scene) -> None:
    await world.sql("alter function api.settle_charges(jsonb) rename to settle_charges_later")


async def _open_the_ledger(world: Scene) -> None:
    await world.sql("alter function api.settle_charges_later(jsonb) rename to settle_charges")


async def test_F13_the_queue_rejects_sends_and_charges_are_settled_directly(
    world: Scene, links: Links
) -> None:
    account = await warm(world)
    before = await world.charged(account)
    await _reject_sends(world)
    status, _, text = await world.stream(account, "sandbox/mock-n4")
    assert (status, error_of(text)) == (200, None)
    assert (await world.post(account, "sandbox/mock-n4")).status_code == 200
    await world.quiet()
    assert not world.outbox(account) and not world.holds(account)
    rows = await world.requests(account)  # no worker and no sweeper ran
    assert len(rows) == 3 and {row["outcome"] for row in rows} == {"completed"}
    assert await world.charged(account) == before + sum(r["charge_nanos"] for r in rows[:2])
    await world.sql("drop trigger reject on queue.messages")


async def test_F13_neither_queue_nor_ledger_takes_the_message_and_the_outbox_keeps_it(
    world: Scene, links: Links
) -> None:
    account = await warm(world)
    before = await world.charged(account)
    await _reject_sends(world)
    await _close_the_ledger(world)
    assert (await world.post(account, "sandbox/mock-n4")).status_code == 200
    await world.quiet()
    assert len(world.outbox(account)) == 1 and not world.holds(account)
    await _open_the_ledger(world)
    await world.sql("drop trigger reject on queue.messages")
    await world.sweep(idle_ms=10**6)
    assert not world.outbox(account)
    rows = await world.requests(account)
    assert len(rows) == 2
    assert await world.charged(account) == before + rows[0]["charge_nanos"]


@pytest.mark.tuned(redis_timeout_ms=100)
@pytest.mark.parametrize("attempt", range(3))
async def test_F13_neither_queue_nor_ledger_nor_outbox_takes_the_message(
    world: Scene, links: Links, attempt: int
) -> None:
    """Then one ERROR line carries it whole, and whoever posts that line makes the books right."""
    account = await warm(world)
    lock = f"F13{attempt}"
    task = asyncio.create_task(world.stream(account, f"sandbox/mock-n2-lockstep.{lock}"))
    await reached(lambda: world.sandbox.streams)
    await _reject_sends(world)
    await _close_the_ledger(world)
    links.redis.down()
    await world.released(lock, 2)
    status, _, text = await task
    assert (status, error_of(text)) == (200, None)
    await world.quiet()
    (line,) = world.logs.lines("charge_unsent")
    message = orjson.loads(line["evidence"])
    await _open_the_ledger(world)
    await world.sql("drop trigger reject on queue.messages")
    (result,) = await settle(world.stores.postgres, [message])
    assert result["status"] == "posted" and result["charge_nanos"] > 0
    links.redis.up()
    await world.pass_time(account)
    await world.swept(account)
    row = (await world.requests(account))[0]
    assert (row["request_id"], row["outcome"]) == (result["request_id"], "completed")


async def test_F14_the_same_charge_message_ten_times_at_once(world: Scene) -> None:
    account = await world.account()
    assert (await world.post(account, "sandbox/mock-n5")).status_code == 200
    await world.quiet()
    (message,) = await world.stores.queue.receive(CHARGES, 10, visible_s=0.0)
    results = await asyncio.gather(
        *[settle(world.stores.postgres, [message.body]) for _ in range(10)]
    )
    statuses = sorted(result[0]["status"] for result in results)
    assert statuses == ["duplicate"] * 9 + ["posted"]
    assert await world.settle() == 1
    assert await world.charged(account) == message.body["charge_nanos"] > 0
    assert len(await world.requests(account)) == 1
