"""Rows as files: CSV, JSON, lines of JSON, Parquet, by one interface. Columns are declared once.

Text in a CSV never runs as a formula; money is exact decimal text, in Parquet a decimal.
"""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import orjson

from gatewayz.core.money import usd_text
from gatewayz.usage.log import time_text
from gatewayz.usage.parquet import Column, ParquetWriter

Row = Mapping[str, Any]


class Writer(Protocol):
    def add(self, rows: Iterable[Row]) -> None: ...

    def close(self) -> bytes:
        """The whole file."""
        ...


def _told(column: Column, value: Any) -> Any:
    """A value as text files have it."""
    if value is None:
        return None
    if column.kind == "usd_nanos":
        return usd_text(value)
    return time_text(value) if column.kind == "time_ms" else value


class CsvWriter:
    """RFC 4180 with a heading; UTF-8."""

    def __init__(self, columns: Sequence[Column]) -> None:
        # One place defuses cells; it belongs to the control plane's edge.
        from gatewayz.api.exports import Exact, safe_cell

        self._columns, self._exact, self._safe = tuple(columns), Exact, safe_cell
        self._out = io.StringIO()
        self._writer = csv.writer(self._out)
        self._writer.writerow([column.name for column in columns])

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            self._writer.writerow([self._cell(c, row[c.name]) for c in self._columns])

    def _cell(self, column: Column, value: Any) -> Any:
        told = _told(column, value)
        if told is None:
            return ""
        return self._exact(told) if column.kind == "usd_nanos" else self._safe(told)

    def close(self) -> bytes:
        return self._out.getvalue().encode("utf-8", "replace")


class JsonWriter:
    """One array, or one object a line; money is a JSON number with all its digits."""

    def __init__(self, columns: Sequence[Column], *, lines: bool) -> None:
        self._columns, self._lines = tuple(columns), lines
        self._rows: list[bytes] = []

    def add(self, rows: Iterable[Row]) -> None:
        self._rows += [orjson.dumps(self._object(row)) for row in rows]

    def _object(self, row: Row) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for column in self._columns:
            told = _told(column, row[column.name])
            if column.kind == "usd_nanos" and told is not None:
                told = orjson.Fragment(told.encode())
            made[column.name] = told
        return made

    def close(self) -> bytes:
        if self._lines:
            return b"".join([row + b"\n" for row in self._rows])
        return b"[" + b",\n".join(self._rows) + b"]\n"


WRITERS: Mapping[str, Callable[[Sequence[Column]], Writer]] = {
    "csv": CsvWriter,
    "json": lambda columns: JsonWriter(columns, lines=False),
    "ndjson": lambda columns: JsonWriter(columns, lines=True),
    "parquet": ParquetWriter,
}
MEDIA: Mapping[str, str] = {
    "csv": "text/csv; charset=utf-8",
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}
