from typing import Any

import pytest

from gatewayz.catalog.model import Offer
from gatewayz.core.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamRejected,
    UpstreamUnavailable,
)
from gatewayz.pricing.price import Price
from gatewayz.routing.run import run_attempts

OFFERS = tuple(Offer(name, "m", f"p-{name}", name, Price("v", {"input": 1})) for name in "abc")


async def attempts_with(*results: UpstreamError | str) -> tuple[Any, list[dict[str, Any]]]:
    queue, log = list(results), []

    async def attempt(offer: Offer) -> str:
        result = queue.pop(0)
        if isinstance(result, UpstreamError):
            raise result
        return f"{result} by {offer.id}"

    try:
        return await run_attempts(OFFERS, attempt, log), log
    except UpstreamError as error:
        return error, log


async def test_the_first_answer_wins_and_failures_before_it_are_on_record() -> None:
    result, log = await attempts_with(UpstreamUnavailable("x", upstream_status=503), "fine")
    assert result == "fine by b"
    assert [(a["offer"], a["error"]) for a in log] == [("a", "UpstreamUnavailable"), ("b", None)]
    assert log[0]["upstream_status"] == 503


async def test_a_request_that_is_wrong_everywhere_is_tried_once() -> None:
    result, log = await attempts_with(UpstreamRejected("x"), "fine")
    assert isinstance(result, UpstreamRejected)
    assert len(log) == 1


@pytest.mark.parametrize(
    ("failures", "status"),
    [
        ((UpstreamBroken("x"),) * 3, 502),
        ((UpstreamBroken("x"), UpstreamBroken("x"), UpstreamUnavailable("y")), 503),
    ],
)
async def test_when_all_fail_the_caller_learns_it_once(
    failures: tuple[UpstreamError, ...], status: int
) -> None:
    result, log = await attempts_with(*failures)
    assert result.status == status
    assert len(log) == 3
