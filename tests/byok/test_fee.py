"""The fee as a price: a share of the list price in every class and tier, told by its version."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.billing.settlement import ChargeMessage
from gatewayz.core.checks import check_serving
from gatewayz.core.settings import Settings, SettingsError, load_settings
from gatewayz.pricing.byok import MAX_FEE_PPM, fee_of, fee_price, listed_nanos
from gatewayz.pricing.charge import Line, amount_nanos, lines_of
from gatewayz.pricing.price import Price
from gatewayz.pricing.tiers import Tier, TieredPrice
from gatewayz.pricing.usage import Usage

PPM = st.integers(0, MAX_FEE_PPM)
NANOS = st.integers(0, 10**12)


@given(NANOS, NANOS, PPM, st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_fee_is_never_below_its_share_and_at_most_a_nano_a_million_above(
    reading: int, writing: int, ppm: int, prompt: int, answer: int
) -> None:
    listed = Price("v", {"input": reading, "output": writing})
    fee = fee_price(listed, ppm)
    usage = Usage({"input": prompt, "output": answer})
    whole = sum(line.units * line.price_nanos for line in lines_of(usage, listed))
    share = sum(line.units * line.price_nanos for line in lines_of(usage, fee))
    assert whole * ppm <= share * 10**6 <= whole * ppm + (prompt + answer) * 10**6
    assert fee_of(fee.version) == ppm


def test_tiers_keep_their_place() -> None:
    listed = TieredPrice("v", {"input": 1000}, tiers=(Tier(200_000, {"input": 2000}),))
    fee = fee_price(listed, 50_000)
    assert [fee.at(tokens).of("input") for tokens in (200_000, 200_001)] == [50, 100]
    assert fee.at(200_001).version == fee.version == "v-byok50000"


@pytest.mark.parametrize("ppm", [-1, MAX_FEE_PPM + 1])
def test_a_fee_is_from_nothing_to_half(ppm: int) -> None:
    with pytest.raises(ValueError, match="no fee"):
        fee_price(Price("v", {"input": 1}), ppm)


@pytest.mark.parametrize(
    ("version", "fee"),
    [(None, None), ("", None), ("v", None), ("v-x50000", None), ("v-byok", None),
     ("v-byok0", 0), ("a-byok1-byok2", 2), ("v-byok50000-x2", None)],
)  # fmt: skip
def test_only_a_fees_version_is_one(version: str | None, fee: int | None) -> None:
    assert fee_of(version) == fee


def test_what_was_paid_elsewhere_is_told_from_the_fee() -> None:
    assert listed_nanos(60, 50_000) == 1200
    assert listed_nanos(0, 0) is None


def test_a_charge_at_an_own_key_cost_us_nothing() -> None:
    charge = ChargeMessage("r", "a", "k", "m", False, 0, price_version="v")
    lines = (Line("input", 10, 1_000_000),)
    charge.bill(lines)
    assert (charge.cost_nanos, charge.charge_nanos) == (10, amount_nanos(lines))
    charge.price_version = "v-byok50000"
    charge.bill(lines)
    assert (charge.byok, charge.cost_nanos, charge.charge_nanos) == (True, 0, 10)


@pytest.mark.parametrize("fee", ["-0.1", "0.6", "much", "nan", "inf"])
def test_no_process_serves_with_a_fee_that_is_none(environment: dict[str, str], fee: str) -> None:
    settings: Settings = load_settings({**environment, "GATEWAYZ_BYOK_FEE": fee})
    with pytest.raises(SettingsError, match="GATEWAYZ_BYOK_FEE"):
        check_serving(settings)
