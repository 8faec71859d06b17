"""An offer that asks for each call besides its tokens is charged as it is held and quoted."""

import pytest

from gatewayz.billing.settlement import ChargeMessage
from gatewayz.catalog.model import Offer
from gatewayz.inference.admit import Worst
from gatewayz.inference.finish import GENERATED, bill, metered_lines
from gatewayz.pricing.price import Price
from gatewayz.pricing.usage import Usage

PRICE = Price("v1", {"input": 1_000_000, "output": 2_000_000, "request": 5_000_000_000})
OFFER = Offer("one/m", "one", "maker/m", "m", price=PRICE)


class Told:
    """An answer that states `usage`, or nothing."""

    finish = "stop"
    stated_cost = None
    output_tokens_estimate = 4
    empty = False

    def __init__(self, usage: Usage | None) -> None:
        self._usage = usage

    def counted(self) -> Usage | None:
        return self._usage


def charged(usage: Usage | None, *, calls: int = 1) -> ChargeMessage:
    charge = ChargeMessage("req_x", "acc", "key", "maker/m", False, 0)
    bill(
        charge,
        Told(usage),  # type: ignore[arg-type]
        OFFER,
        prompt_tokens=10,
        hold_nanos=10**9,
        outcome="completed",
    )
    return charge


def test_a_call_is_a_line_of_its_own() -> None:
    charge = charged(Usage({"input": 3, "output": 4}))
    assert charge.lines == [
        ["input", 3, 1_000_000],
        ["output", 4, 2_000_000],
        ["request", 1, 5_000_000_000],
    ]
    assert charge.charge_nanos == 3 + 8 + 5000


def test_several_calls_of_one_request_are_several() -> None:
    one = Usage({"input": 3, "output": 4})
    assert charged(Usage.of_calls([one, one])).charge_nanos == 2 * (3 + 8 + 5000)


def test_a_stated_zero_stays_zero() -> None:
    assert charged(Usage({"input": 0, "output": 0})).charge_nanos == 0


@pytest.mark.parametrize("usage", [None, Usage({"input": 3, "output": 4})])
def test_what_is_charged_is_never_more_than_what_was_held(usage: Usage | None) -> None:
    class Sized:
        prompt_tokens, candidates, max_output_tokens = 10, 1, 4
        stream, shape = False, GENERATED

    held = Worst.of(OFFER, Sized()).hold_nanos(4)  # type: ignore[arg-type]
    assert 5000 < charged(usage).charge_nanos <= held


def test_progress_of_a_stream_counts_it_too() -> None:
    assert "request" in [line.cls for line in metered_lines(OFFER, 10, 1)]
