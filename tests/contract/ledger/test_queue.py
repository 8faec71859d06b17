"""The queue in Postgres: at least once, each receiver its own messages, dead ones kept aside."""

import asyncpg
import pytest

NAME = {"queue": "charges"}


def messages(*ids):
    return [{"id": name, "body": {"n": name}} for name in ids]


async def receive(ledger, limit=10, visible_ms=30_000, max_receives=5, **more):
    rows = await ledger.rpc(
        "receive_messages",
        limit=limit,
        visible_ms=visible_ms,
        max_receives=max_receives,
        **(NAME | more),
    )
    return [row["id"] for row in rows]


async def later(ledger, seconds):
    await ledger.connection.execute(
        "select set_config('gatewayz.now', (ledger.now() + $1 * interval '1 s')::text, false)",
        seconds,
    )


async def test_a_message_sent_twice_waits_once(ledger):
    assert await ledger.rpc("send_messages", messages=messages("a", "b"), **NAME) == {"sent": 2}
    assert await ledger.rpc("send_messages", messages=messages("b", "c"), **NAME) == {"sent": 1}
    assert await receive(ledger) == ["a", "b", "c"]


async def test_a_body_comes_back_as_it_was_sent(ledger):
    body = {"text": 'ü "quotes"', "big": 2**53 - 1, "none": None, "list": [1, [2]]}
    await ledger.rpc("send_messages", messages=[{"id": "a", "body": body}], **NAME)
    rows = await ledger.rpc("receive_messages", limit=1, visible_ms=1, max_receives=5, **NAME)
    assert rows == [{"id": "a", "body": body, "receives": 1}]


async def test_a_received_message_is_invisible_until_its_time_is_over(ledger):
    await ledger.rpc("send_messages", messages=messages("a"), **NAME)
    assert await receive(ledger, visible_ms=30_000) == ["a"]
    assert await receive(ledger) == []
    await later(ledger, 31)
    assert await receive(ledger) == ["a"]


async def test_a_deleted_message_never_comes_again(ledger):
    await ledger.rpc("send_messages", messages=messages("a", "b"), **NAME)
    assert await receive(ledger, visible_ms=0) == ["a", "b"]
    assert await ledger.rpc("delete_messages", ids=["a", "nobody"], **NAME) == {"deleted": 1}
    assert await receive(ledger) == ["b"]


async def test_a_message_received_too_often_is_dead_and_can_be_woken(ledger):
    await ledger.rpc("send_messages", messages=messages("poison"), **NAME)
    for _ in range(5):
        assert await receive(ledger, visible_ms=0) == ["poison"]
    assert await receive(ledger, visible_ms=0) == []
    depth = await ledger.rpc("queue_depth", **NAME)
    assert (depth["dead"], depth["waiting"], depth["inflight"]) == (1, 0, 0)
    assert await ledger.rpc("redrive", **NAME) == {"redriven": 1}
    assert await receive(ledger) == ["poison"]


async def test_depth_tells_waiting_flying_and_the_oldest(ledger):
    empty = await ledger.rpc("queue_depth", **NAME)
    assert empty == {"waiting": 0, "inflight": 0, "dead": 0, "oldest_ms": 0}
    await ledger.connection.execute("set gatewayz.now = '2040-01-01T00:00:00Z'")
    await ledger.rpc("send_messages", messages=messages("a", "b", "c"), **NAME)
    await receive(ledger, limit=1)
    await later(ledger, 7)
    depth = await ledger.rpc("queue_depth", **NAME)
    assert depth == {"waiting": 2, "inflight": 1, "dead": 0, "oldest_ms": 7_000}


async def test_a_delayed_message_waits(ledger):
    await ledger.rpc("send_messages", messages=messages("a"), delay_ms=5_000, **NAME)
    assert await receive(ledger) == []
    await later(ledger, 6)
    assert await receive(ledger) == ["a"]


async def test_queues_do_not_see_each_other(ledger):
    await ledger.rpc("send_messages", messages=messages("a"), **NAME)
    assert await receive(ledger, queue="other") == []


async def test_receivers_at_once_share_the_messages_without_overlap(ledger):
    names = [f"m{n:03d}" for n in range(300)]
    await ledger.rpc("send_messages", messages=messages(*names), **NAME)
    call = ("receive_messages", NAME | {"limit": 20, "visible_ms": 60_000, "max_receives": 5})
    answers = await ledger.together([call] * 20, connections=10)
    taken = [row["id"] for answer in answers for row in answer]
    assert len(taken) == len(set(taken))
    taken += await receive(ledger, limit=300)
    assert sorted(taken) == names


async def test_queue_names_are_checked(ledger, subtests):
    for queue in ("", "Charges", "a b", "x" * 65, None):
        refusal = pytest.raises(asyncpg.PostgresError, match="invalid_argument")
        with subtests.test(repr(queue)), refusal:
            await ledger.rpc("queue_depth", queue=queue)


async def test_a_message_without_id_or_body_is_refused(ledger, subtests):
    for message in ({"id": "a"}, {"body": {}}, 5, None):
        refusal = pytest.raises(asyncpg.PostgresError, match="invalid_argument")
        with subtests.test(repr(message)), refusal:
            await ledger.rpc("send_messages", messages=[message], **NAME)
