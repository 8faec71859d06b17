"""Callers who leave, at each of the four points, and callers who leave a buffered answer."""

import asyncio
from typing import Any

import pytest

from gatewayz.pricing.estimate import likely_tokens
from tests.faults.scene import (
    INPUT,
    OUTPUT,
    Links,
    RawCall,
    Scene,
    chat_body,
    http_request,
    reached,
)

SEND = b'{"queue":"charges","messages"'
FULL = "sandbox/mock-n6-lockstep."


async def _full(world: Scene) -> dict[str, Any]:
    """The row of a stream that was read to its end."""
    account = await world.account()
    task = asyncio.create_task(world.stream(account, FULL + "full"))
    await reached(lambda: world.sandbox.streams)
    await world.released("full", 6)
    status, _, text = await task
    assert (status, text[-14:]) == (200, "data: [DONE]\n\n")
    return await world.one(account)


@pytest.mark.tuned(left_grace_s=0.05)
async def test_F26_left_before_the_first_byte(world: Scene) -> None:
    """The caller owes the prompt that the provider read, by our estimate (D20)."""
    account = await world.account()
    call = await RawCall(world).open(http_request(account, chat_body(FULL + "first", stream=True)))
    await reached(lambda: world.sandbox.streams)
    call.leave()
    await reached(lambda: world.sandbox.left)
    row = await world.one(account)
    ((cls, units, price),) = row["lines"]
    assert (row["outcome"], row["estimated"], cls, price) == ("left", True, "input", INPUT * 10**6)
    assert row["charge_nanos"] == units * INPUT == await world.charged(account) > 0


@pytest.mark.tuned(left_grace_s=0.05)
async def test_F26_left_in_the_middle_of_the_stream(world: Scene) -> None:
    """Prompt and what came, and the provider is told to stop."""
    account = await world.account()
    call = await RawCall(world).open(http_request(account, chat_body(FULL + "middle", stream=True)))
    await reached(lambda: world.sandbox.streams)
    await world.released("middle", 3)
    await call.until(b"w2")
    call.leave()
    await reached(lambda: world.sandbox.left)
    row = await world.one(account)
    units = {line[0]: line[1] for line in row["lines"]}
    assert (row["outcome"], row["estimated"]) == ("left", True)
    # What came is the label and two words, metered by our own estimate.
    assert units["output"] == likely_tokens("[Gatewayz sandbox] w1 w2 ")
    assert row["charge_nanos"] == units["input"] * INPUT + units["output"] * OUTPUT
    assert world.sandbox.chunks == 3


@pytest.mark.parametrize("point", ["after the last content", "after [DONE]"])
async def test_F26_left_at_the_end_is_charged_as_a_full_read(
    world: Scene, links: Links, point: str
) -> None:
    full = await _full(world)
    account = await world.account()
    call = await RawCall(world).open(http_request(account, chat_body(FULL + "end", stream=True)))
    send = links.postgres.hold_request(SEND)
    await reached(lambda: world.sandbox.streams == 2)
    await world.released("end", 6)
    await call.until(b"w5")
    await reached(lambda: send.reached)
    assert b"[DONE]" not in call.text and b'"stop"' not in call.text
    if point == "after the last content":
        call.leave()
        # The server has told the gateway before the queue answers.
        gateway = world.chat.gateway()
        await reached(lambda: gateway.requests <= 1)
        send.release()
    else:
        send.release()
        await call.until(b"[DONE]")
        call.leave()
    row = await world.one(account)
    for name in ("lines", "charge_nanos", "outcome", "estimated", "finish", "attempts"):
        if name == "attempts":
            assert [a["error"] for a in row[name]] == [a["error"] for a in full[name]]
        else:
            assert row[name] == full[name], name
    assert await world.charged(account) == full["charge_nanos"] > 0


async def test_F26_a_buffered_answer_is_paid_by_who_does_not_wait_for_it(world: Scene) -> None:
    account = await world.account()
    call = await RawCall(world).open(http_request(account, chat_body("sandbox/mock-n4-t300")))
    await reached(lambda: world.sandbox.requests)
    call.leave()
    row = await world.one(account)
    assert (row["outcome"], row["estimated"]) == ("completed", False)
    assert row["charge_nanos"] == await world.charged(account) > 4 * OUTPUT


async def test_F26_a_caller_who_leaves_within_its_own_request_costs_nothing(world: Scene) -> None:
    account = await world.account()
    whole = http_request(account, chat_body("sandbox/mock-n4"))
    call = await RawCall(world).open(whole[:-10])
    gateway = world.chat.gateway()
    await reached(lambda: gateway.requests == 1)
    call.leave()
    await world.quiet()
    assert world.sandbox.requests == 0 and not world.holds(account)
    assert await world.settle() == 0
