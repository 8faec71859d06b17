"""How a charge message reaches the ledger when its queue does not take it, or does not show it."""

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson
import pytest

from gatewayz.billing import spending
from gatewayz.billing.credits import Ask, Credits, Hold
from gatewayz.billing.drain import Drain
from gatewayz.billing.settlement import ChargeMessage, Settlement, seal, settle
from gatewayz.billing.sweep import Sweeper
from gatewayz.core.errors import InsufficientCredits, NotFound, StoreUnavailable
from gatewayz.core.ids import new_request_id
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.inference.generations import find_generation
from gatewayz.pricing.charge import Line
from gatewayz.stores.open import Stores
from gatewayz.stores.queue import Depth, PostgresQueue
from gatewayz.stores.redis import RedisScripts

A = "acct_a"
USD = NANOS_PER_USD


class FarQueue:
    """A queue that the database does not see into, as SQS is."""

    in_ledger = False

    def __init__(self) -> None:
        self.messages: dict[str, dict[str, Any]] = {}
        self.rejects = False

    async def send(self, queue: str, message_id: str, body: dict[str, Any]) -> None:
        if self.rejects:
            raise StoreUnavailable("The queue refuses a message.")
        self.messages[message_id] = body

    async def depth(self, queue: str) -> Depth:
        return Depth(len(self.messages), 0, 0, None)


class Broken:
    """A database that answers nothing but what `good` names."""

    def __init__(self, postgres: Any, *good: str) -> None:
        self._postgres, self._good = postgres, good

    async def rpc(self, name: str, params: dict[str, Any], **more: Any) -> Any:
        if name not in self._good:
            raise StoreUnavailable("The database cannot be reached.")
        return await self._postgres.rpc(name, params, **more)


class Money:
    def __init__(self, stores: Stores) -> None:
        self.stores = stores
        self.queue = FarQueue()
        self.credits = Credits(stores.postgres, stores.redis, lease_ttl_s=2400)

    async def open(self) -> None:
        rpc = self.stores.postgres.rpc
        await rpc("open_account", {"account": A, "name": A, "stage": "test"})
        grant = {"op_id": A, "account": A, "amount_nanos": 10 * USD, "reason": "t"}
        await rpc("grant_credit", grant)

    async def admit(self, *, live_s: float = 900.0) -> tuple[Hold, ChargeMessage]:
        request_id = new_request_id()
        message = ChargeMessage(
            request_id=request_id, account=A, key_id="key_1", model="m", stream=False,
            admitted_at_ms=1, offer="o", provider="p", price_version="v",
        )  # fmt: skip
        hold = await self.credits.admit(Ask(request_id, A, 1, USD, live_s, message.record()))
        message.lease, message.outcome = hold.lease, "completed"
        message.bill((Line("output", 1000, 10**6),))
        return hold, message

    async def commit(self, postgres: Any = None, **more: Any) -> ChargeMessage:
        hold, message = await self.admit(**more)
        settlement = Settlement(self.queue, self.credits, postgres or self.stores.postgres)
        await settlement.free(await settlement.commit(hold, message))
        return message

    def sweep(self) -> Any:
        return Sweeper(self.stores.postgres, self.stores.redis, self.queue).sweep()

    async def shown(self, message: ChargeMessage) -> dict[str, Any]:
        return await find_generation(self.stores.postgres, self.credits, A, message.request_id)

    async def state(self, message: ChargeMessage) -> Any:
        row = await self.stores.postgres.rpc(
            "find_generation", {"account": A, "request_id": message.request_id}
        )
        return row and row["state"]

    async def settled(self) -> list[str]:
        results = await settle(self.stores.postgres, list(self.queue.messages.values()))
        self.queue.messages.clear()
        return [result["status"] for result in results]


@pytest.fixture
async def money(stores: Stores) -> Money:
    made = Money(stores)
    await made.open()
    return made


async def test_F13_a_charge_no_queue_takes_is_settled_at_once(money: Money) -> None:
    money.queue.rejects = True
    message = await money.commit()
    assert await money.state(message) == "settled"
    assert (await money.credits.find(A, message.request_id))[0] == "NONE"


async def test_F13_without_queue_and_ledger_the_outbox_keeps_it_and_the_sweeper_settles_it(
    money: Money,
) -> None:
    money.queue.rejects = True
    message = await money.commit(Broken(money.stores.postgres))
    assert await money.state(message) is None
    assert (await money.shown(message))["state"] == "settling"
    assert (await money.sweep()).messages == 1
    assert await money.state(message) == "settled"


async def test_an_outbox_is_drained_though_its_account_has_no_lease_any_more(
    money: Money,
) -> None:
    money.queue.rejects = True
    message = await money.commit(Broken(money.stores.postgres))
    assert message.lease is not None
    await money.stores.postgres.rpc("close_lease", {"lease": message.lease})
    assert (await money.sweep()).messages == 1
    assert await money.state(message) == "settled"
    assert await money.stores.redis.script("outboxes_v1", ["outboxes"], ["list", "10"]) == []


async def test_a_request_is_found_while_its_charge_waits_where_the_database_cannot_see_it(
    money: Money,
) -> None:
    message = await money.commit()
    found = await money.shown(message)
    assert (found["state"], found["charge_nanos"]) == ("settling", message.charge_nanos)
    assert await money.settled() == ["posted"]
    assert (await money.shown(message))["charge_nanos"] == message.charge_nanos
    with pytest.raises(NotFound):
        await find_generation(money.stores.postgres, money.credits, "acct_b", message.request_id)


async def test_what_is_shown_of_a_waiting_charge_ends_by_itself(
    money: Money, redis_url: str
) -> None:
    import redis.asyncio as redis

    message = await money.commit()
    client = redis.Redis.from_url(redis_url)
    left_ms = await client.pttl(f"sent:{{{A}}}:{message.request_id}")
    await client.aclose()
    assert 0 < left_ms <= 15 * 60 * 1000


async def test_the_sweeper_does_not_overtake_a_charge_that_waits_in_its_queue(
    money: Money,
) -> None:
    hold, message = await money.admit(live_s=0.05)
    settlement = Settlement(money.queue, money.credits, money.stores.postgres)
    await settlement.commit(hold, message)  # and the process ends here
    await asyncio.sleep(0.06)
    assert (await money.sweep()).holds == 0
    assert await money.settled() == ["posted"]
    assert (await money.sweep()).holds == 1
    assert (await money.shown(message))["charge_nanos"] == message.charge_nanos > 0
    rows = await money.stores.postgres.rpc("check_violations", {})
    assert rows == []


async def test_a_hold_past_its_end_is_settled_once_nothing_waits(money: Money) -> None:
    _, message = await money.admit(live_s=0.05)
    await asyncio.sleep(0.06)
    assert (await money.sweep()).holds == 1
    assert (await money.shown(message))["outcome"] == "expired"


async def test_the_digest_covers_what_is_written_off(money: Money) -> None:
    _, message = await money.admit()
    plain = seal(message.sealed())["digest"]
    assert seal(message.sealed() | {"writeoff_nanos": 5})["digest"] != plain
    assert await _posted(money, message.sealed()) == "posted"
    forged = seal(message.sealed() | {"writeoff_nanos": 5})
    assert await _posted(money, forged) == "conflict"


async def _posted(money: Money, message: dict[str, Any]) -> str:
    (result,) = await settle(money.stores.postgres, [message])
    return str(result["status"])


class NoRedis(RedisScripts):
    async def script(self, name: str, keys: Sequence[str], args: Sequence[str | int]) -> Any:
        raise StoreUnavailable("Redis cannot be reached.")

    async def close(self) -> None:
        return None


async def test_a_spent_budget_is_named_though_redis_is_away(stores: Stores) -> None:
    money = Money(stores)
    await money.open()
    credits = Credits(stores.postgres, NoRedis(), lease_ttl_s=2400)
    request_id = new_request_id()
    budgets = (("key:k:monthly", "monthly", USD // 2),)
    ask = Ask(request_id, A, 1, USD, 60.0, "{}", budgets=budgets)
    with pytest.raises(InsufficientCredits) as refused:
        await credits.admit(ask)
    assert refused.value.code == "budget_exceeded"


async def test_spending_is_remembered_of_a_bounded_number_of_accounts(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spending, "MAX_ACCOUNTS", 10)
    credits = Credits(stores.postgres, stores.redis, lease_ttl_s=2400)
    for number in range(100):
        hold = Hold("req_x", f"acct_{number}", "l", 1, private=True)
        await credits.finish(hold, 7)
    assert len(credits._spending) <= 10
    assert credits._spending.lately("acct_99") == 7
    assert credits._spending.lately("acct_0") == 0


async def test_a_private_hold_leaves_nothing_in_redis_unless_a_queue_hides_its_charge(
    money: Money,
) -> None:
    hold = Hold(new_request_id(), A, "l", 1, private=True)
    await money.credits.finish(hold, 1)
    assert (await money.credits.find(A, hold.request_id))[0] == "NONE"
    await money.credits.finish(hold, 1, orjson.dumps({"x": 1}).decode(), keep_ms=1000)
    assert await money.credits.find(A, hold.request_id) == ("SENT", '{"x":1}')


class Counted:
    """A database that counts its calls by name."""

    def __init__(self, postgres: Any) -> None:
        self._postgres = postgres
        self.calls: list[str] = []

    async def rpc(self, name: str, params: dict[str, Any], **more: Any) -> Any:
        self.calls.append(name)
        return await self._postgres.rpc(name, params, **more)


async def _age(database_url: str, seconds: int) -> None:
    connection = await asyncpg.connect(database_url)
    await connection.execute(
        "update queue.messages set sent_at = sent_at - make_interval(secs => $1)", seconds
    )
    await connection.close()


async def test_a_request_settles_one_batch_when_the_oldest_charge_waits_too_long(
    money: Money, database_url: str
) -> None:
    stores = money.stores
    counted = Counted(stores.postgres)
    queue = PostgresQueue(counted)
    messages = []
    for _ in range(3):
        hold, message = await money.admit()
        settlement = Settlement(queue, money.credits, counted)
        await settlement.free(await settlement.commit(hold, message))
        messages.append(message)
    drain = Drain(counted, queue, after_s=60.0)
    assert drain.due and await drain.run() == 0  # young yet
    assert not drain.due  # and nobody looks again before it can be too old
    await _age(database_url, 61)
    assert await Drain(counted, queue, after_s=60.0).run() == 3
    assert [await money.state(message) for message in messages] == ["settled"] * 3
    assert counted.calls.count("settle_charges") == 1
    assert (await queue.depth("charges")).waiting == 0


async def test_draining_is_off_unless_it_is_set_and_survives_an_outage(money: Money) -> None:
    broken = Broken(money.stores.postgres)
    assert not Drain(broken, PostgresQueue(broken), after_s=0.0).due
    assert await Drain(broken, PostgresQueue(broken), after_s=60.0).run() == 0
