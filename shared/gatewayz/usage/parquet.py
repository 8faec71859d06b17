"""Writes Parquet: flat rows, columns that may be empty, one gzip page per column and group of rows.

A few forms of https://parquet.apache.org/docs/file-format/ and no more: the libraries that write
all of it weigh 40 to 165 MB, half of what a function may have. Never reads.
"""

import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

MAGIC = b"PAR1"
GROUP_ROWS = 50_000
CREATED_BY = "gatewayz"
GZIP, PLAIN, RLE, DATA_PAGE, OPTIONAL = 2, 0, 3, 0, 1
# Thrift's compact protocol.
TRUE, FALSE, I32, I64, BINARY, LIST, STRUCT = 1, 2, 5, 6, 8, 9, 12

Kind = Literal["text", "integer", "number", "flag", "time_ms", "usd_nanos"]
# Physical type, converted type.
TYPES: Mapping[Kind, tuple[int, int | None]] = {
    "flag": (0, None),
    "integer": (2, None),
    "time_ms": (2, 9),
    "usd_nanos": (2, 5),
    "number": (5, None),
    "text": (6, 0),
}
USD_SCALE, USD_PRECISION = 9, 18


@dataclass(frozen=True, slots=True)
class Column:
    """`usd_nanos` is a decimal with nine places: integers of nano-USD, read as dollars."""

    name: str
    kind: Kind


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _zigzag(value: int) -> bytes:
    return _varint(value << 1 if value >= 0 else (-value << 1) - 1)


class _Struct:
    """One struct of the compact protocol; fields in rising order of their ids."""

    def __init__(self) -> None:
        self._out = bytearray()
        self._last = 0

    def _field(self, number: int, kind: int) -> None:
        self._out.append((number - self._last) << 4 | kind)
        self._last = number

    def integer(self, number: int, value: int, kind: int = I32) -> "_Struct":
        self._field(number, kind)
        self._out += _zigzag(value)
        return self

    def flag(self, number: int, *, value: bool) -> "_Struct":
        self._field(number, TRUE if value else FALSE)
        return self

    def text(self, number: int, value: str) -> "_Struct":
        self._field(number, BINARY)
        self._out += _binary(value)
        return self

    def struct(self, number: int, value: "_Struct") -> "_Struct":
        self._field(number, STRUCT)
        self._out += value.done()
        return self

    def items(self, number: int, kind: int, values: Sequence[bytes]) -> "_Struct":
        self._field(number, LIST)
        size = len(values)
        self._out += (
            bytes([size << 4 | kind]) if size < 15 else bytes([0xF0 | kind]) + _varint(size)
        )
        for value in values:
            self._out += value
        return self

    def done(self) -> bytes:
        return bytes(self._out) + b"\0"


def _binary(text: str) -> bytes:
    data = text.encode()
    return _varint(len(data)) + data


def _logical(kind: Kind) -> _Struct | None:
    match kind:
        case "text":
            return _Struct().struct(1, _Struct())
        case "usd_nanos":
            of = _Struct().integer(1, USD_SCALE).integer(2, USD_PRECISION)
            return _Struct().struct(5, of)
        case "time_ms":
            unit = _Struct().struct(1, _Struct())
            return _Struct().struct(8, _Struct().flag(1, value=True).struct(2, unit))
        case _:
            return None


def _element(column: Column) -> bytes:
    physical, converted = TYPES[column.kind]
    made = _Struct().integer(1, physical).integer(3, OPTIONAL).text(4, column.name)
    if converted is not None:
        made.integer(6, converted)
    if column.kind == "usd_nanos":
        made.integer(7, USD_SCALE).integer(8, USD_PRECISION)
    if (logical := _logical(column.kind)) is not None:
        made.struct(10, logical)
    return made.done()


def _bits(flags: Sequence[bool]) -> bytes:
    """Eight flags a byte, the first in the lowest bit."""
    out = bytearray((len(flags) + 7) // 8)
    for place, flag in enumerate(flags):
        if flag:
            out[place >> 3] |= 1 << (place & 7)
    return bytes(out)


def _plain(kind: Kind, values: Sequence[Any]) -> bytes:
    match kind:
        case "flag":
            return _bits(values)
        case "text":
            encoded = [value.encode("utf-8", "replace") for value in values]
            return b"".join([struct.pack("<I", len(data)) + data for data in encoded])
        case "number":
            return struct.pack(f"<{len(values)}d", *values)
        case _:
            return struct.pack(f"<{len(values)}q", *values)


def _page(column: Column, values: Sequence[Any]) -> tuple[bytes, int]:
    """A data page with its header, and its size before compression."""
    there = [value is not None for value in values]
    levels = _varint((len(values) + 7) // 8 << 1 | 1) + _bits(there)
    body = struct.pack("<I", len(levels)) + levels
    body += _plain(column.kind, [value for value in values if value is not None])
    gzip = zlib.compressobj(6, zlib.DEFLATED, 31)
    packed = gzip.compress(body) + gzip.flush()
    about = _Struct().integer(1, len(values)).integer(2, PLAIN).integer(3, RLE).integer(4, RLE)
    header = _Struct().integer(1, DATA_PAGE).integer(2, len(body)).integer(3, len(packed))
    head = header.struct(5, about).done()
    return head + packed, len(head) + len(body)


class ParquetWriter:
    """`add` rows, then `close`: the whole file. Holds one group of rows and what is packed."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = tuple(columns)
        self._out = bytearray(MAGIC)
        self._groups: list[bytes] = []
        self._waiting: list[Mapping[str, Any]] = []
        self._rows = 0

    def add(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Values by the columns' names; None where there is none."""
        for row in rows:
            self._waiting.append(row)
            if len(self._waiting) == GROUP_ROWS:
                self._flush()

    def close(self) -> bytes:
        self._flush()
        root = _Struct().text(4, "schema").integer(5, len(self._columns)).done()
        footer = (
            _Struct()
            .integer(1, 1)
            .items(2, STRUCT, [root, *map(_element, self._columns)])
            .integer(3, self._rows, I64)
            .items(4, STRUCT, self._groups)
            .text(6, CREATED_BY)
            .done()
        )
        return bytes(self._out) + footer + struct.pack("<I", len(footer)) + MAGIC

    def _flush(self) -> None:
        rows, self._waiting = self._waiting, []
        if not rows:
            return
        chunks, total = [], 0
        for column in self._columns:
            start = len(self._out)
            page, size = _page(column, [row[column.name] for row in rows])
            self._out += page
            total += size
            about = (
                _Struct()
                .integer(1, TYPES[column.kind][0])
                .items(2, I32, [_zigzag(PLAIN), _zigzag(RLE)])
                .items(3, BINARY, [_binary(column.name)])
                .integer(4, GZIP)
                .integer(5, len(rows), I64)
                .integer(6, size, I64)
                .integer(7, len(page), I64)
                .integer(9, start, I64)
            )
            chunks.append(_Struct().integer(2, start, I64).struct(3, about).done())
        group = _Struct().items(1, STRUCT, chunks).integer(2, total, I64)
        self._groups.append(group.integer(3, len(rows), I64).done())
        self._rows += len(rows)
