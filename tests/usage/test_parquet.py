"""Parquet as the reference implementation reads it."""

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow.parquet as reference  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.usage import parquet
from gatewayz.usage.parquet import Column, ParquetWriter

COLUMNS = (
    Column("id", "text"), Column("tokens", "integer"), Column("share", "number"),
    Column("streamed", "flag"), Column("at", "time_ms"), Column("usd", "usd_nanos"),
)  # fmt: skip
INT64 = st.integers(-(2**63), 2**63 - 1)
ROW = st.fixed_dictionaries(
    {
        "id": st.none() | st.text(st.characters(codec="utf-8"), max_size=20),
        "tokens": st.none() | INT64,
        "share": st.none() | st.floats(allow_nan=False),
        "streamed": st.none() | st.booleans(),
        "at": st.none() | st.integers(0, 253_402_300_799_000),
        "usd": st.none() | st.integers(-(10**18) + 1, 10**18 - 1),
    }
)


def written(rows: list[dict[str, Any]]) -> Any:
    writer = ParquetWriter(COLUMNS)
    writer.add(rows)
    return reference.read_table(io.BytesIO(writer.close()))


def read(value: Any, kind: str) -> Any:
    if value is None:
        return None
    match kind:
        case "usd_nanos":
            return Decimal(value).scaleb(-9)
        case "time_ms":
            return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=value)
        case _:
            return value


@given(rows=st.lists(ROW, max_size=40))
def test_any_rows_are_read_back_as_they_are(rows: list[dict[str, Any]]) -> None:
    expected = [{c.name: read(row[c.name], c.kind) for c in COLUMNS} for row in rows]
    assert written(rows).to_pylist() == expected


def test_groups_of_rows_join_to_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "GROUP_ROWS", 7)
    row = {"id": "a", "tokens": 1, "share": 0.5, "streamed": True, "at": 0, "usd": 1}
    table = written([row | {"tokens": n} for n in range(30)])
    assert table.column("tokens").to_pylist() == list(range(30))
    assert sum(table.column("usd").to_pylist()) == Decimal("0.000000030")


def test_money_is_a_decimal_and_time_is_in_utc() -> None:
    schema = written([]).schema
    assert str(schema.field("usd").type) == "decimal128(18, 9)"
    assert str(schema.field("at").type) == "timestamp[ms, tz=UTC]"
