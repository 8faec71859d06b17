from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core.money import MAX_CHARGE_NANOS
from gatewayz.pricing.charge import Line, UnpricedUsage, amount_nanos, lines_of
from gatewayz.pricing.price import InexactPrice, Price, parse_usd_per_million
from gatewayz.pricing.tiers import Tier, TieredPrice
from gatewayz.pricing.usage import CLASSES, Usage

LINES = st.lists(
    st.builds(Line, st.sampled_from(CLASSES), st.integers(0, 10**7), st.integers(0, 10**12))
)


@given(LINES)
def test_an_amount_is_the_exact_sum_rounded_up_once(lines: list[Line]) -> None:
    exact = sum(Fraction(line.units * line.price_nanos, 10**6) for line in lines)
    assert amount_nanos(lines) == min(ceil(exact), MAX_CHARGE_NANOS)


@given(LINES, LINES)
def test_splitting_a_request_never_makes_it_cheaper(one: list[Line], two: list[Line]) -> None:
    assert amount_nanos(one) + amount_nanos(two) >= amount_nanos(one + two)


def test_F70_a_million_one_token_requests_cost_at_most_a_nano_each_too_much() -> None:
    line = Line("output", 1, 150_000_001)
    assert amount_nanos([line]) == 151
    assert 10**6 * amount_nanos([line]) - 150_000_001 <= 10**6


def test_F67_tokens_beyond_any_price_never_exceed_the_largest_charge() -> None:
    assert amount_nanos([Line("output", 2**53 - 1, 10**15)]) == MAX_CHARGE_NANOS


def test_a_class_without_its_own_price_takes_its_fallbacks() -> None:
    price = Price("v", {"input": 100, "output": 300})
    with pytest.raises(UnpricedUsage):
        lines_of(Usage({"audio_out": 1}), price)
    lines = lines_of(Usage({"reasoning": 5, "cache_read": 7}), price)
    assert lines == (Line("reasoning", 5, 300), Line("cache_read", 7, 100))


def test_unknown_is_never_zero() -> None:
    with pytest.raises(UnpricedUsage):
        lines_of(Usage({"search": 1}), Price("v", {"input": 1}))


@pytest.mark.parametrize(
    ("text", "nanos"), [("0.15", 150_000_000), ("2.5", 2_500_000_000), ("0", 0), (3, 3 * 10**9)]
)
def test_prices_are_parsed_exactly(text: str | int, nanos: int) -> None:
    assert parse_usd_per_million(text) == nanos
    assert parse_usd_per_million(Decimal(text)) == nanos


@pytest.mark.parametrize("text", ["-1", "NaN", "Infinity", "free", "1e-10", "1e9", ""])
def test_F68_insane_or_inexact_prices_are_refused(text: str) -> None:
    with pytest.raises(InexactPrice):
        parse_usd_per_million(text)


@pytest.mark.parametrize("units", [{"input": -1}, {"tokens": 1}, {"input": 2**60}])
def test_usage_that_cannot_be_is_refused(units: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="bad usage"):
        Usage(units)


def test_several_calls_are_priced_each_at_its_own_length() -> None:
    price = TieredPrice("v", {"input": 100, "output": 300}, (Tier(1000, {"input": 200}),))
    short, long = Usage({"input": 600, "output": 5}), Usage({"input": 1200})
    assert lines_of(Usage.of_calls([short, short]), price) == (
        Line("input", 1200, 100),
        Line("output", 10, 300),
    )
    assert lines_of(Usage.of_calls([short, long]), price) == (
        Line("input", 600, 100),
        Line("output", 5, 300),
        Line("input", 1200, 200),
    )
    assert Usage.of_calls([short, long]).input_tokens == 1800
