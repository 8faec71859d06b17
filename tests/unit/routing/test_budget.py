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


def test_a_few_retries_are_always_allowed(hand: Hand) -> None:
    budget = RetryBudget()
    budget.deposit()
    assert sum(budget.withdraw() for _ in range(100)) == 31  # 3 a second and a part of one
    for _ in range(29):
        budget.release()
    assert budget.withdraw(), "fewer than three are under way"
    assert not budget.withdraw()


def test_beyond_that_a_fifth_of_the_requests_of_the_last_ten_seconds(hand: Hand) -> None:
    budget = RetryBudget()
    for _ in range(1000):
        budget.deposit()
    assert sum(budget.withdraw() for _ in range(1000)) == 230
    hand.at_s += 11
    assert sum(budget.withdraw() for _ in range(1000)) == 30
