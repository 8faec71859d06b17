import asyncio
from collections.abc import Iterator

import pytest

from gatewayz.core import clock
from gatewayz.routing.budget import RetryBudget


class Hand:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def now_ms(self) -> int:
        return int(self.at_s * 1000)

    def monotonic_s(self) -> float:
        return self.at_s

    async def sleep(self, seconds: float) -> None:
        self.at_s += seconds


@pytest.fixture
def hand() -> Iterator[Hand]:
    made = Hand()
    before = clock.use(made)
    yield made
    clock.use(before)


async def test_it_bites_at_a_fifth_of_the_requests_under_way_and_three() -> None:
    for requests in (1, 4, 5, 15, 100, 1000):
        budget = RetryBudget()
        for _ in range(requests):
            budget.begin()
        granted = [await budget.withdraw() for _ in range(2 * requests + 10)]
        assert granted.count(True) == requests // 5 + 3, requests
        budget.release()
        assert await budget.withdraw() and not await budget.withdraw()


async def test_it_shrinks_with_the_requests_that_end() -> None:
    budget = RetryBudget()
    for _ in range(100):
        budget.begin()
    assert [await budget.withdraw() for _ in range(23)] == [True] * 23
    for _ in range(95):
        budget.end()
    for _ in range(19):
        budget.release()
        assert not await budget.withdraw(), "five are under way: one retry and three"
    budget.release()
    assert await budget.withdraw()


async def test_who_waits_gets_its_turn_in_order_and_who_leaves_takes_none() -> None:
    budget = RetryBudget()
    for _ in range(3):
        assert await budget.withdraw()
    turns: list[int] = []

    async def wait(number: int) -> None:
        if await budget.withdraw(30):
            turns.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(4)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.gather(waiting[0], return_exceptions=True)
    for _ in range(2):
        budget.release()
        await asyncio.sleep(0.001)
    assert turns == [1, 2]
    # Cancelled in the moment in which its turn came: it is the next one's.
    budget.release()
    waiting[3].cancel()
    await asyncio.gather(waiting[3], return_exceptions=True)
    assert await budget.withdraw() and not await budget.withdraw(0.001)
