"""The script that all processes share, beside the function it repeats; and the board above it."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayz.routing import breaker
from gatewayz.routing.board import HEALTH, Board
from gatewayz.routing.breaker import apply, new_row
from gatewayz.stores.redis import RespRedis, load_script
from tests.unit.routing.test_budget import Hand, hand

__all__ = ["hand"]

EVENTS = ["s1", "s7", "f", "f", "f", "o", "c1500", "p", "x", "r", "y", "L9000", "H1", "H0"]
events = st.sampled_from(EVENTS)
steps = st.lists(
    st.tuples(events, st.sampled_from([0, 1, 4_999, 10_000, 31_000, 400_000]), st.integers(0, 999)),
    min_size=1,
    max_size=40,
)


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis[str]"]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as made:
        yield made


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(steps)
def test_the_script_is_the_function(
    client: "redis.Redis[str]", happened: list[tuple[str, int, int]]
) -> None:
    client.delete("b", "s")
    run = client.register_script(load_script(HEALTH)[0])
    row, now_ms = new_row(), 1_700_000_000_000
    for event, later_ms, jitter in happened:
        now_ms += later_ms
        row, granted = apply(row, event, now_ms, jitter)
        reply = run(keys=["b", "s"], args=[now_ms, jitter, 1, "", "", 0, event])
        assert [int(n) for n in str(client.get("b")).split()] == row
        assert reply[0].split()[-1] == str(int(granted))


@pytest.fixture
async def boards(redis_url: str) -> AsyncIterator[tuple[Board, Board]]:
    stores = [RespRedis(redis_url, timeout_s=5) for _ in range(2)]
    yield Board(stores[0], jitter=lambda: 500), Board(stores[1], jitter=lambda: 500)
    for store in stores:
        await store.close()


async def test_what_one_process_sees_the_other_knows_with_its_next_admission(
    boards: tuple[Board, Board],
) -> None:
    one, other = boards
    for _ in range(5):
        one.tell("a/m", "f")
    one.tell_others()
    await one.finish_background()
    assert other.stale(["a/m"])
    await other.sync(["a/m", "a"])
    seen = other.view()
    assert seen.entries["a/m"].open_until_s > seen.now_s + 25
    assert not other.stale(["a/m", "a"])


async def test_only_one_process_gets_the_probe(
    boards: tuple[Board, Board], client: "redis.Redis[str]"
) -> None:
    one, other = boards
    row = new_row()
    row[breaker.UNTIL], row[breaker.OPENED] = 1, 1
    client.set("brk:{health}:a/m", " ".join(map(str, row)))
    first = await one.sync(["a/m"], probes=["a/m"])
    second = await other.sync(["a/m"], probes=["a/m"])
    assert (first.granted, second.granted) == (frozenset({"a/m"}), frozenset())
    one.succeeded("a/m", "a")
    assert one.urgent
    await one.finish_background()
    await other.sync(["a/m"])
    assert other.view().entries["a/m"].open_until_s == 0


async def test_percentiles_are_of_what_all_processes_measured(
    boards: tuple[Board, Board],
) -> None:
    one, other = boards
    for board, first_ms in ((one, 100), (other, 400)):
        for _ in range(50):
            board.succeeded("a/m", "a")
            board.measured("a/m", first_token_ms=first_ms, tokens_per_s=50,
                           tools_valid=board is one)  # fmt: skip
        await board.sync(["a/m", "a"], figures=True)
    health = other.view().entries["a/m"]
    assert health.latency["p50"] == pytest.approx(0.1, rel=0.1)
    assert health.latency["p90"] == pytest.approx(0.4, rel=0.1)
    assert health.throughput["p50"] == pytest.approx(50, rel=0.1)
    assert health.tools_valid == 0.5


async def test_a_pin_is_kept_as_long_as_it_lives(
    boards: tuple[Board, Board], client: "redis.Redis[str]"
) -> None:
    one, other = boards
    await one.sync([], pin="c1", put="a/m 5000", life_s=600)
    assert (await other.sync(["a/m"], pin="c1")).pin == "a/m 5000"
    assert (await other.sync(["a/m"], pin="c2")).pin == ""
    assert 590_000 < client.pttl("pin:{health}:c1") <= 600_000


async def test_all_that_is_to_be_said_takes_one_call(boards: tuple[Board, Board]) -> None:
    calls: list[str] = []
    store = boards[0]._redis
    script = store.script

    async def counted(*args: object) -> object:
        calls.append(str(args[0]))
        return await script(*args)  # type: ignore[arg-type]

    store.script = counted  # type: ignore[method-assign,assignment]
    board = boards[0]
    board.succeeded("a/m", "a")
    board.tell("b/m", "f")
    await board.sync(["a/m", "a"], pin="c", figures=True)
    assert calls == [HEALTH] and not board.urgent


async def test_without_redis_the_same_breakers_run_in_the_process(hand: Hand) -> None:
    board = Board(RespRedis("redis://127.0.0.1:1", timeout_s=0.2), jitter=lambda: 500)
    for _ in range(5):
        board.tell("a/m", "f")
    reply = await board.sync(["a/m"], probes=["a/m"])
    assert not reply.shared and not reply.granted
    assert board.view().entries["a/m"].open_until_s > hand.at_s
    hand.at_s += 31
    first = await board.sync(["a/m"], probes=["a/m"])
    second = await board.sync(["a/m"], probes=["a/m"])
    assert (first.granted, second.granted) == (frozenset({"a/m"}), frozenset())
    board.succeeded("a/m", "a")
    assert board.view().entries["a/m"].open_until_s == 0


async def test_what_redis_was_not_told_it_is_told_when_it_is_back(
    redis_url: str, boards: tuple[Board, Board]
) -> None:
    store = RespRedis("redis://127.0.0.1:1", timeout_s=0.2)
    board = Board(store, jitter=lambda: 500)
    for _ in range(5):
        board.tell("a/m", "f")
    assert not (await board.sync(["a/m"])).shared
    board._redis = boards[0]._redis
    assert (await board.sync(["a/m"])).shared
    await boards[1].sync(["a/m"])
    assert boards[1].view().entries["a/m"].open_until_s > 0
