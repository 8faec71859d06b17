"""Two versions of the code at work during a deploy (F22), and messages that contradict (F82)."""

from typing import Any

import orjson
import pytest

from functions.settle_charges.worker import worker
from gatewayz.billing.settlement import (
    CHARGES,
    MESSAGE_VERSION,
    READABLE_VERSIONS,
    seal,
    settle,
)
from tests.faults.scene import HOLD_SEPARATOR, Scene

FIRST_VERSION = 1
NEWER = max(READABLE_VERSIONS) + 1


def test_F22_this_version_and_the_one_before_are_readable() -> None:
    assert MESSAGE_VERSION in READABLE_VERSIONS
    assert max(FIRST_VERSION, MESSAGE_VERSION - 1) in READABLE_VERSIONS


async def _queued(world: Scene) -> tuple[Any, dict[str, Any]]:
    account = await world.account()
    assert (await world.post(account, "sandbox/mock-n5")).status_code == 200
    await world.quiet()
    (row,) = await world.sql("select body from queue.messages")
    body: dict[str, Any] = orjson.loads(row["body"])
    return account, body


@pytest.mark.parametrize("version", READABLE_VERSIONS)
async def test_F22_a_message_of_a_readable_version_is_posted(world: Scene, version: int) -> None:
    account, body = await _queued(world)
    await world.sql(
        "update queue.messages set body = $1", orjson.dumps(body | {"v": version}).decode()
    )
    assert await world.settle() == 1
    assert await world.charged(account) == body["charge_nanos"] > 0


async def test_F22_a_message_of_a_newer_version_waits_for_a_newer_worker(world: Scene) -> None:
    """It holds up no other, is never settled as what it is not, and is not lost."""
    account, body = await _queued(world)
    newer = body | {"v": NEWER, "request_id": body["request_id"][:-1] + "Z", "meaning": "other"}
    await world.stores.queue.send(CHARGES, newer["request_id"], newer)
    assert await worker.step(world.stores) == (2, 1)
    assert await world.charged(account) == body["charge_nanos"]
    for _ in range(6):
        await world.redeliver()
        await worker.step(world.stores)
    depth = await world.stores.queue.depth(CHARGES)
    assert (depth.waiting + depth.inflight, depth.dead) == (0, 1)
    (direct,) = await settle(world.stores.postgres, [newer])
    assert direct["status"] == "invalid"
    assert await world.charged(account) == body["charge_nanos"]

    # After the deploy: a worker that reads it.
    await world.stores.postgres.rpc("redrive", {"queue": CHARGES})
    readable = orjson.dumps(seal(newer | {"v": MESSAGE_VERSION})).decode()
    await world.sql("update queue.messages set body = $1", readable)
    assert await world.settle() == 1
    assert await world.charged(account) == 2 * body["charge_nanos"]


@pytest.mark.parametrize("place", ["hold", "outbox", "private lease"])
async def test_F22_a_record_of_a_newer_version_waits_for_a_newer_sweeper(
    world: Scene, place: str
) -> None:
    account, body = await _queued(world)
    await world.settle()
    request = body["request_id"][:-1] + "Z"
    newer = body | {"v": NEWER, "request_id": request}
    text = orjson.dumps(newer).decode()
    tag = f"{{{account.id}}}"
    ask = {"op_id": "p:x", "account": account.id, "need": 1000, "private": True, "record": newer}
    if place == "private lease":
        await world.stores.postgres.rpc("reserve_credit", ask)
    with world.redis() as client:
        if place == "hold":
            lease = body["lease"]
            client.hset(f"holds:{tag}", request, HOLD_SEPARATOR.join((lease, "1000", "", text)))
            client.zadd(f"due:{tag}", {request: 1})
        if place == "outbox":
            client.hset(f"outbox:{tag}", request, text)
    await world.pass_time(account)
    for _ in range(2):
        await world.sweep()
    assert await world.charged(account) == body["charge_nanos"]
    assert len(await world.requests(account)) == 1
    with world.redis() as client:
        if place == "hold":
            assert list(world.holds(account)) == [request]
            older = orjson.dumps(newer | {"v": MESSAGE_VERSION, "lines": []}).decode()
            client.hset(f"holds:{tag}", request, HOLD_SEPARATOR.join((lease, "1000", "", older)))
        elif place == "outbox":
            assert list(world.outbox(account)) == [request]
            readable = seal(newer | {"v": MESSAGE_VERSION})
            client.hset(f"outbox:{tag}", request, orjson.dumps(readable).decode())
        else:
            (row,) = await world.sql(
                "select id from ledger.leases where state = 'open' and private"
            )
            await world.stores.postgres.rpc("close_lease", {"lease": str(row["id"])})


@pytest.mark.audited(conflicts=1)
async def test_F82_a_settled_message_comes_again_with_another_amount(world: Scene) -> None:
    account, body = await _queued(world)
    await world.settle()
    lines = [[cls, units + 1, price] for cls, units, price in body["lines"]]
    charge = -(-sum(units * price for _, units, price in lines) // 10**6)
    forged = seal(body | {"lines": lines, "charge_nanos": charge})
    await world.stores.queue.send(CHARGES, body["request_id"], forged)
    assert await world.settle() == 1
    assert await world.charged(account) == body["charge_nanos"]
    (line,) = world.logs.lines("charge_refused")
    assert (line["level"], line["status"]) == ("ERROR", "conflict")
    (row,) = await world.requests(account)
    assert row["charge_nanos"] == body["charge_nanos"]
