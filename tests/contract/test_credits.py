"""Holds, leases and settlement on real stores: the money path without HTTP."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from gatewayz.billing.credits import Ask, Credits, Hold, StalePrincipal
from gatewayz.billing.reconcile import reconcile
from gatewayz.billing.settlement import CHARGES, ChargeMessage, Settlement, settle
from gatewayz.billing.sweep import Sweeper
from gatewayz.core.errors import InsufficientCredits
from gatewayz.core.ids import new_request_id
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.pricing.charge import Line
from gatewayz.stores.open import Stores

A = "acct_a"
LIVE_S = 930.0
USD = NANOS_PER_USD


class Bench:
    """One account's money path in plain words."""

    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.credits = Credits(stores.postgres, stores.redis, lease_ttl_s=2400)
        self.settlement = Settlement(stores.queue, self.credits, stores.postgres)

    async def open(self, nanos: int, account: str = A) -> None:
        rpc = self.stores.postgres.rpc
        await rpc("open_account", {"account": account, "name": account, "stage": "test"})
        if nanos:
            await rpc(
                "grant_credit",
                {"op_id": account, "account": account, "amount_nanos": nanos, "reason": "t"},
            )

    def ask(
        self, amount: int, *, live_s: float = LIVE_S, epoch: int = 1, account: str = A
    ) -> tuple[Ask, ChargeMessage]:
        request_id = new_request_id()
        message = ChargeMessage(
            request_id=request_id, account=account, key_id="key_1", model="m", stream=False,
            admitted_at_ms=1, offer="o", provider="p", price_version="v",
        )  # fmt: skip
        ask = Ask(request_id, account, epoch, amount, live_s, message.record())
        return ask, message

    async def serve(self, hold_nanos: int, units: int) -> ChargeMessage:
        """Admit, use `units` at one nano-dollar each, settle."""
        ask, message = self.ask(hold_nanos)
        hold = await self.credits.admit(ask)
        message.lease, message.close, message.outcome = hold.lease, hold.private, "completed"
        message.bill((Line("output", units, 10**6),))
        await self.settlement.free(await self.settlement.commit(hold, message))
        return message

    async def drain(self) -> list[str]:
        statuses = []
        while batch := await self.stores.queue.receive(CHARGES, 200, visible_s=30):
            results = await settle(self.stores.postgres, [m.body for m in batch])
            statuses += [r["status"] for r in results]
            await self.stores.queue.acknowledge(CHARGES, [m.id for m in batch])
        return statuses

    async def sweep(self) -> Any:
        return await Sweeper(self.stores.postgres, self.stores.redis).sweep(idle_ms=0)

    async def balance(self, account: str = A) -> dict[str, int]:
        row: dict[str, int] = await self.stores.postgres.rpc("get_balance", {"account": account})
        return row

    async def violations(self) -> list[Any]:
        rows: list[Any] = await self.stores.postgres.rpc("check_violations", {})
        return rows


@pytest.fixture
async def bench(stores: Stores) -> AsyncIterator[Bench]:
    made = Bench(stores)
    yield made
    await made.credits.finish_background()


async def admit_many(bench: Bench, count: int, amount: int) -> list[str]:
    async def one() -> str:
        try:
            await bench.credits.admit(bench.ask(amount)[0])
        except InsufficientCredits:
            return "refused"
        return "held"

    return list(await asyncio.gather(*[one() for _ in range(count)]))


async def test_nobody_is_refused_who_could_be_served(bench: Bench) -> None:
    await bench.open(10 * USD)
    assert await admit_many(bench, 64, 150_000_000) == ["held"] * 64


async def test_F66_two_hundred_at_once_with_credit_for_ten_hold_exactly_ten(bench: Bench) -> None:
    await bench.open(1_500_000_000)
    replies = await admit_many(bench, 200, 150_000_000)
    assert replies.count("held") == 10
    assert (await bench.balance())["available_nanos"] == 0
    assert await bench.violations() == []


async def test_a_thousand_requests_ask_postgres_a_handful_of_times(
    bench: Bench, database_url: str
) -> None:
    await bench.open(1000 * USD)
    for _ in range(300):
        await bench.serve(5_000_000, 500_000)
    await bench.credits.finish_background()
    connection = await asyncpg.connect(database_url)
    reserves = await connection.fetchval(
        "select count(*) from ledger.transfers where kind = 'reserve'"
    )
    await connection.close()
    assert 1 <= reserves <= 12


async def test_what_is_charged_is_what_was_used_and_the_rest_comes_back(bench: Bench) -> None:
    await bench.open(10 * USD)
    await asyncio.gather(*[bench.serve(1_000_000, 1_000 + i) for i in range(50)])
    assert await bench.drain() == ["posted"] * 50
    await bench.credits.finish_background()
    await bench.sweep()
    balance = await bench.balance()
    assert balance["charged_nanos"] == sum(1_000 + i for i in range(50))
    assert balance["held_nanos"] == 0
    assert await bench.violations() == []


async def test_F14_the_same_message_ten_times_at_once_is_one_charge(bench: Bench) -> None:
    await bench.open(10 * USD)
    message = (await bench.serve(1_000_000, 777)).sealed()
    results = await asyncio.gather(*[settle(bench.stores.postgres, [message]) for _ in range(10)])
    statuses = [r[0]["status"] for r in results]
    assert sorted(set(statuses)) == ["duplicate", "posted"] and statuses.count("posted") == 1
    assert await bench.drain() == ["duplicate"]
    assert (await bench.balance())["charged_nanos"] == 777
    assert await bench.violations() == []


async def test_F82_a_settled_message_with_another_amount_is_a_conflict_and_moves_nothing(
    bench: Bench,
) -> None:
    await bench.open(10 * USD)
    message = await bench.serve(1_000_000, 777)
    await bench.drain()
    message.bill((Line("output", 778, 10**6),))
    (result,) = await settle(bench.stores.postgres, [message.sealed()])
    assert (result["status"], result["charge_nanos"]) == ("conflict", 777)
    assert (await bench.balance())["charged_nanos"] == 777
    assert await bench.violations() == []


async def test_F79_abandoned_holds_come_back_after_their_end(bench: Bench) -> None:
    await bench.open(10 * USD)
    for _ in range(250):
        await bench.credits.admit(bench.ask(1_000_000, live_s=0.01)[0])
    await bench.credits.finish_background()
    await asyncio.sleep(0.05)
    swept = await bench.sweep()
    assert swept.holds == 250
    balance = await bench.balance()
    assert (balance["held_nanos"], balance["charged_nanos"]) == (0, 0)
    assert await bench.violations() == []


async def test_a_checkpoint_is_what_a_killed_process_leaves_owed(bench: Bench) -> None:
    await bench.open(10 * USD)
    ask, message = bench.ask(1_000_000, live_s=0.05)
    hold = await bench.credits.admit(ask)
    message.bill((Line("output", 4_321, 10**6),))
    await bench.credits.checkpoint(hold, message.record(), 0)
    await asyncio.sleep(0.1)
    await bench.sweep()
    assert (await bench.balance())["charged_nanos"] == 4_321
    assert await bench.violations() == []


async def test_a_hold_grows_with_its_answer_even_beyond_its_lease(bench: Bench) -> None:
    await bench.open(10 * USD)
    ask, message = bench.ask(1_000_000)
    hold = await bench.credits.admit(ask)
    before = hold.amount_nanos
    assert await bench.credits.checkpoint(hold, message.record(), 5 * USD) == 5 * USD
    assert hold.amount_nanos == before + 5 * USD
    assert await bench.credits.checkpoint(hold, message.record(), 50 * USD) == 0
    assert await bench.violations() == []


async def test_a_sweep_that_comes_after_the_charge_changes_nothing(bench: Bench) -> None:
    await bench.open(10 * USD)
    ask, message = bench.ask(1_000_000, live_s=0.01)
    hold = await bench.credits.admit(ask)
    message.lease, message.outcome = hold.lease, "completed"
    message.bill((Line("output", 50, 10**6),))
    await bench.stores.queue.send(CHARGES, message.request_id, message.sealed())
    assert await bench.drain() == ["posted"]
    await asyncio.sleep(0.05)
    await bench.sweep()
    assert (await bench.balance())["charged_nanos"] == 50
    connection = await bench.stores.postgres.rpc("list_requests", {"account": A, "limit": 5})
    assert [row["outcome"] for row in connection] == ["completed"]
    assert await bench.violations() == []


async def test_a_changed_account_makes_older_principals_stale(bench: Bench) -> None:
    await bench.open(10 * USD)
    await bench.credits.admit(bench.ask(1_000)[0])
    await bench.credits.push_epoch(A, 2)
    with pytest.raises(StalePrincipal):
        await bench.credits.admit(bench.ask(1_000, epoch=1)[0])
    await bench.credits.admit(bench.ask(1_000, epoch=2)[0])


async def test_a_flushed_redis_does_not_forget_a_revocation(bench: Bench, redis_url: str) -> None:
    await bench.open(10 * USD)
    rpc = bench.stores.postgres.rpc
    await rpc(
        "create_key",
        {"key_id": "key_1", "account": A, "name": "k", "hash": "ab" * 32, "prefix": "gw_test_x"},
    )
    await rpc("revoke_key", {"account": A, "key_id": "key_1"})
    with pytest.raises(StalePrincipal):
        await bench.credits.admit(bench.ask(1_000, epoch=1)[0])


async def test_a_hold_that_is_not_affordable_tells_what_is_there(bench: Bench) -> None:
    await bench.open(1 * USD)
    await bench.credits.admit(bench.ask(200_000_000)[0])
    with pytest.raises(InsufficientCredits) as refused:
        await bench.credits.admit(bench.ask(900_000_000)[0])
    assert refused.value.metadata["available_nanos"] == 800_000_000
    hold = await bench.credits.admit(bench.ask(800_000_000)[0])
    assert isinstance(hold, Hold)
    assert await bench.violations() == []


async def test_credit_that_a_refill_has_on_its_way_refuses_nobody(bench: Bench) -> None:
    await bench.open(1 * USD)
    call = bench.credits._call
    under_way, landed = asyncio.Event(), asyncio.Event()

    async def slow(account: str, operation: str, *rest: Any) -> list[Any]:
        if operation == "refill":
            under_way.set()
            await landed.wait()
        return await call(account, operation, *rest)

    bench.credits._call = slow  # type: ignore[method-assign,assignment]
    await bench.credits.admit(bench.ask(200_000_000)[0])
    await asyncio.wait_for(under_way.wait(), 10)
    # Postgres has moved the step, Redis has not: all of the rest is still this account's.
    other = asyncio.create_task(bench.credits.admit(bench.ask(800_000_000)[0]))
    await asyncio.wait({other}, timeout=0.3)
    landed.set()
    assert isinstance(await other, Hold)
    assert await bench.violations() == []


async def test_a_hold_whose_charge_is_still_queued_is_left_for_that_charge(bench: Bench) -> None:
    await bench.open(10 * USD)
    ask, message = bench.ask(1_000_000, live_s=0.01)
    hold = await bench.credits.admit(ask)
    message.lease, message.outcome = hold.lease, "completed"
    message.bill((Line("output", 4_000, 10**6),))
    await bench.stores.queue.send(CHARGES, message.request_id, message.sealed())
    await asyncio.sleep(0.05)
    await bench.sweep()
    assert await bench.drain() == ["posted"]
    balance = await bench.balance()
    assert (balance["charged_nanos"], balance["held_nanos"]) == (4_000, 0)
    assert await bench.violations() == []


async def test_the_sweeper_makes_a_lost_epoch_push_good(bench: Bench) -> None:
    await bench.open(10 * USD)
    rpc = bench.stores.postgres.rpc
    await rpc(
        "create_key",
        {"key_id": "key_1", "account": A, "name": "k", "hash": "ab" * 32, "prefix": "gw_test_x"},
    )
    await bench.credits.admit(bench.ask(1_000)[0])
    await rpc("revoke_key", {"account": A, "key_id": "key_1"})
    await bench.credits.finish_background()
    await bench.sweep()
    with pytest.raises(StalePrincipal):
        await bench.credits.admit(bench.ask(1_000, epoch=1)[0])


async def test_reconciling_finds_what_does_not_add_up_and_what_is_stuck(
    bench: Bench, database_url: str
) -> None:
    await bench.open(10 * USD)
    await bench.serve(1_000_000, 777)
    await bench.drain()
    clean = await reconcile(bench.stores.postgres, bench.stores.queue)
    assert (clean.violations, clean.dead_letters, clean.stale_queue) == ([], 0, False)
    connection = await asyncpg.connect(database_url)
    await connection.execute("update ledger.books set balance = balance + 1 where kind = 'wallet'")
    await connection.close()
    assert (await reconcile(bench.stores.postgres, bench.stores.queue)).violations
