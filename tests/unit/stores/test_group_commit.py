"""Group commit: no timer, no message alone waits, and a failure stays with those it concerns."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest

from gatewayz.core.errors import GatewayError, StoreTimeout, StoreUnavailable
from gatewayz.stores.group_commit import MAX_WRITES, GroupCommit


class Writer:
    """Writes that end when the test says so. Stands for a store, whose batches are what counts."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = 0
        self.most_running = 0
        self.gate = asyncio.Event()
        self.failed: Mapping[int, GatewayError] | GatewayError = {}

    async def write(self, queue: str, batch: Sequence[int]) -> Mapping[int, GatewayError]:
        self.batches.append(list(batch))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        await self.gate.wait()
        self.running -= 1
        if isinstance(self.failed, GatewayError):
            raise self.failed
        return self.failed


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_message_alone_is_written_at_once() -> None:
    writer = Writer()
    writer.gate.set()
    commits: GroupCommit[int] = GroupCommit(writer.write, max_messages=10)
    for number in range(3):
        await commits.add("q", number)
    assert writer.batches == [[0], [1], [2]]


async def test_what_comes_during_a_write_joins_the_next_one() -> None:
    writer = Writer()
    commits: GroupCommit[int] = GroupCommit(writer.write, max_messages=10)
    first = asyncio.create_task(commits.add("q", 0))
    await turns()
    rest = [asyncio.create_task(commits.add("q", number)) for number in range(1, 6)]
    await turns()
    assert writer.batches == [[0]]
    writer.gate.set()
    await asyncio.gather(first, *rest)
    assert writer.batches == [[0], [1, 2, 3, 4, 5]]


async def test_a_full_batch_does_not_wait_and_only_so_many_are_in_flight() -> None:
    writer = Writer()
    commits: GroupCommit[int] = GroupCommit(writer.write, max_messages=10)
    sent = [asyncio.create_task(commits.add("q", number)) for number in range(100)]
    await turns()
    assert writer.running == MAX_WRITES
    writer.gate.set()
    await asyncio.gather(*sent)
    assert writer.most_running <= MAX_WRITES
    assert sorted(number for batch in writer.batches for number in batch) == list(range(100))
    assert max(map(len, writer.batches)) == 10
    assert len(writer.batches) == 10


async def test_a_batch_keeps_to_its_size_but_a_large_message_goes_alone() -> None:
    writer = Writer()
    writer.gate.set()
    commits: GroupCommit[int] = GroupCommit(writer.write, max_messages=10, max_bytes=100)
    sizes = [40, 40, 40, 500, 60, 40]
    await asyncio.gather(*[commits.add("q", n, size) for n, size in enumerate(sizes)])
    assert writer.batches == [[0, 1], [2], [3], [4, 5]]


async def test_a_failure_in_part_fails_only_its_members() -> None:
    writer = Writer()
    writer.gate.set()
    writer.failed = {1: StoreUnavailable("refused")}
    commits: GroupCommit[int] = GroupCommit(writer.write, max_messages=10)
    results = await asyncio.gather(*[commits.add("q", n) for n in range(3)], return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], StoreUnavailable)
    assert results[2] is None


async def test_a_failed_write_fails_its_batch_and_the_next_one_goes_on() -> None:
    writer = Writer()
    commits: GroupCommit[int] = GroupCommit(writer.write, max_messages=2)
    sent = [asyncio.create_task(commits.add("q", n)) for n in range(2)]
    await turns()
    writer.failed = StoreTimeout("unknown")
    writer.gate.set()
    results = await asyncio.gather(*sent, return_exceptions=True)
    assert [type(result) for result in results] == [StoreTimeout, StoreTimeout]
    writer.failed = {}
    await commits.add("q", 2)


async def test_queues_do_not_share_batches_and_none_is_forgotten() -> None:
    writer = Writer()
    commits: GroupCommit[int] = GroupCommit(writer.write, max_messages=10)
    sent = [asyncio.create_task(commits.add(f"q{n % 3}", n)) for n in range(9)]
    await turns()
    writer.gate.set()
    await asyncio.wait_for(asyncio.gather(*sent), 5)
    assert sorted(sorted(batch) for batch in writer.batches) == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]


async def test_a_sender_that_left_does_not_disturb_the_others() -> None:
    writer = Writer()
    commits: GroupCommit[int] = GroupCommit(writer.write, max_messages=10)
    sent = [asyncio.create_task(commits.add("q", n)) for n in range(3)]
    await turns()
    sent[1].cancel()
    writer.gate.set()
    results = await asyncio.gather(*sent, return_exceptions=True)
    assert results[0] is None
    assert isinstance(results[1], asyncio.CancelledError)
    assert results[2] is None
    assert writer.batches == [[0, 1, 2]]


async def test_a_write_that_crashes_leaves_nobody_waiting() -> None:
    async def write(queue: str, batch: Sequence[int]) -> Mapping[int, GatewayError]:
        raise asyncio.CancelledError

    commits: GroupCommit[int] = GroupCommit(write, max_messages=10)
    with pytest.raises(StoreTimeout):
        await asyncio.wait_for(commits.add("q", 0), 5)
