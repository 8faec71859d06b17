"""A gateway killed without warning, at every point where money is under way."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.fakes.child import ChildGateway
from tests.faults.scene import INPUT, MESSAGES, OUTPUT, Links, Scene, reached
from tests.world import Account, eventually

ADMIT = b"$5\r\nadmit\r\n"
FINISH = b"$6\r\nfinish\r\n"
SEND = b'{"queue":"charges","messages"'


@pytest.fixture
def child(environment: dict[str, str], links: Links, sandbox: Any) -> Iterator[ChildGateway]:
    """A process with a checkpoint every four chunks, and patience with its stores, so that a link
    can stop it anywhere."""
    made = ChildGateway(
        environment
        | {
            "DATABASE_URL": links.postgres.address(environment["DATABASE_URL"]),
            "REDIS_URL": links.redis.address(environment["REDIS_URL"]),
            "GATEWAYZ_SANDBOX_URL": sandbox[1] + "/v1",
            "GATEWAYZ_REDIS_TIMEOUT_MS": "60000",
            "GATEWAYZ_RPC_TIMEOUT_MS": "60000",
            "GATEWAYZ_CHECKPOINT_CHUNKS": "4",
        }
    )
    try:
        yield made.wait()
    finally:
        made.stop()


@asynccontextmanager
async def caller(child: ChildGateway, account: Account) -> AsyncIterator[httpx.AsyncClient]:
    limits = httpx.Limits(max_connections=None)
    headers = account.headers
    async with httpx.AsyncClient(
        base_url=child.url, headers=headers, limits=limits, timeout=30
    ) as client:
        yield client


async def ask(client: httpx.AsyncClient, model: str, *, stream: bool) -> str | None:
    """What came of an answer before its connection broke; None for none at all."""
    body = {"model": model, "messages": MESSAGES, "stream": stream}
    text = None
    try:
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            assert answer.status_code == 200
            text = ""
            async for part in answer.aiter_text():
                text += part
    except httpx.TransportError:
        pass
    return text


async def written_off(world: Scene) -> int:
    rows = await world.sql("select amount from ledger.transfers where kind = 'writeoff'")
    return sum(row["amount"] for row in rows)


@pytest.mark.parametrize("checkpoint", [False, True])
async def test_F07_killed_in_the_middle_of_a_stream(
    world: Scene, child: ChildGateway, checkpoint: bool
) -> None:
    """The charge is the last checkpoint: at most what was delivered, at least all but one
    interval; without one it is 0 and the prompt's cost is written off."""
    account = await world.account()
    delivered = 11 if checkpoint else 2
    model = "sandbox/mock-n40-lockstep.F07"
    async with caller(child, account) as client:
        task = asyncio.create_task(ask(client, model, stream=True))
        await reached(lambda: world.sandbox.streams)
        await world.released("F07", delivered)
        await reached(lambda: world.sandbox._locked_sent.get("F07") == delivered)
        if checkpoint:
            await reached(lambda: _lines(world, account))
        recorded = _lines(world, account)
        child.kill()
        text = await task
    assert text is not None and "[DONE]" not in text
    await world.pass_time(account)
    await world.swept(account)
    row = await world.one(account)
    assert row["outcome"] == "expired"
    assert row["charge_nanos"] == await world.charged(account)
    if checkpoint:
        assert row["lines"] == recorded and row["estimated"]
        units = {line[0]: line[1] for line in recorded}
        assert 0 < units["output"] <= 40  # metered from text: no more than was delivered
        assert row["charge_nanos"] == INPUT * units["input"] + OUTPUT * units["output"]
        assert await written_off(world) == 0
    else:
        assert row["charge_nanos"] == 0
        assert await written_off(world) > 0


def _lines(world: Scene, account: Account) -> list[Any]:
    (held,) = world.holds(account).values()
    lines: list[Any] = held.record["lines"]
    return lines


@pytest.mark.parametrize("stream", [False, True])
async def test_F23_killed_between_hold_and_dispatch(
    world: Scene, links: Links, child: ChildGateway, stream: bool
) -> None:
    account = await world.account()
    async with caller(child, account) as client:
        # The first admission finds no lease; the second one, with the refill, is the hold.
        links.redis.hold_reply(b"op_01")
        task = asyncio.create_task(ask(client, "sandbox/mock-n2", stream=stream))
        await reached(lambda: world.holds(account))
        child.kill()
        assert await task is None
    assert world.sandbox.requests == 0
    await world.pass_time(account)
    await world.swept(account)
    row = await world.one(account)
    assert (row["outcome"], row["charge_nanos"], row["lines"]) == ("expired", 0, [])
    assert await world.charged(account) == 0


@pytest.mark.parametrize("freed", ["hold not freed", "hold freed first"])
@pytest.mark.parametrize("checkpoint", [False, True])
async def test_F24_killed_after_the_last_byte_before_the_queue_has_it(
    world: Scene, links: Links, child: ChildGateway, checkpoint: bool, freed: str
) -> None:
    """Whatever Redis was told meanwhile, the request ends in one row: the last checkpoint, or 0
    with the prompt written off."""
    account = await world.account()
    chunks = 12 if checkpoint else 2
    async with caller(child, account) as client:
        send = links.postgres.hold_request(SEND)
        if freed == "hold not freed":
            links.redis.hold_request(FINISH)
        model = f"sandbox/mock-n{chunks}-lockstep.F24"
        task = asyncio.create_task(ask(client, model, stream=True))
        await reached(lambda: world.sandbox.streams)
        await world.released("F24", chunks)
        await reached(lambda: send.reached)
        child.kill()
        text = await task
    assert text is not None and "[DONE]" not in text and 'finish_reason":"stop' not in text
    await world.pass_time(account)
    await world.swept(account)
    row = await world.one(account)
    assert row["outcome"] == "expired"
    if checkpoint:
        assert row["reason"] == "checkpoint" and row["charge_nanos"] > 0
    else:
        assert (row["reason"], row["charge_nanos"]) == ("no_evidence", 0)
        assert await written_off(world) > 0
    assert await world.charged(account) == row["charge_nanos"]


async def test_F24_killed_after_the_queue_has_it_charges_exactly(
    world: Scene, links: Links, child: ChildGateway
) -> None:
    """The hold is never freed by its request; the message counts, not the hold's record."""
    account = await world.account()
    async with caller(child, account) as client:
        links.redis.hold_request(FINISH)
        task = asyncio.create_task(ask(client, "sandbox/mock-n12", stream=True))

        async def queued() -> bool:
            return await world.depth() == 1

        await eventually(queued)
        child.kill()
        await task
    # The hold reaches its end while the message still waits: the sweeper must not overtake it.
    await world.pass_time(account)
    await world.swept(account)
    row = await world.one(account)
    assert (row["outcome"], row["estimated"]) == ("completed", False)
    units = {line[0]: line[1] for line in row["lines"]}
    assert units["output"] == 12
    assert await world.charged(account) == row["charge_nanos"] > 0


async def test_F79_abandoned_requests_hold_nothing_after_their_end(
    world: Scene, child: ChildGateway
) -> None:
    """More than the sweeper takes at a time."""
    account = await world.account(usd=100)
    async with caller(child, account) as client:
        tasks = [
            asyncio.create_task(ask(client, "sandbox/mock-hang", stream=bool(n % 2)))
            for n in range(120)
        ]
        await reached(lambda: world.sandbox.requests == 120)
        assert len(world.holds(account)) == 120
        child.kill()
        assert await asyncio.gather(*tasks) == [None] * 120
    await world.pass_time(account)
    await world.swept(account)
    balance = await world.balance(account)
    assert (balance["held_nanos"], balance["charged_nanos"]) == (0, 0)
    assert balance["available_nanos"] == balance["granted_nanos"]
    rows = await world.requests(account)
    assert len(rows) == 120 and {row["outcome"] for row in rows} == {"expired"}
