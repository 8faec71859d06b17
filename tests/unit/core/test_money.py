from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.core.money import parse_usd, usd_number, usd_text

NANOS = st.integers(-(10**18), 10**18)


@given(NANOS)
def test_text_is_exact_and_reads_back(nanos: int) -> None:
    assert parse_usd(usd_text(nanos)) == nanos
    assert Decimal(usd_text(nanos)) == Decimal(nanos) / 10**9


@given(NANOS)
def test_the_json_number_is_the_same_plain_decimal(nanos: int) -> None:
    written = orjson.dumps({"cost": usd_number(nanos)}).decode()
    assert written == f'{{"cost":{usd_text(nanos)}}}'
    assert "e" not in written.removeprefix('{"cost":')


@pytest.mark.parametrize("text", ["", ".", "1e3", "1.0000000001", "NaN", "١", "--1", "1.2.3"])
def test_what_is_no_exact_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="exact amount"):
        parse_usd(text)
