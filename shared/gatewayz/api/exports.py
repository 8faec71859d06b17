"""Rows as a file for a spreadsheet: text that a spreadsheet would run as a formula is defused."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

# https://owasp.org/www-community/attacks/CSV_Injection
_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class Exact(str):
    """A number written by us as plain decimal text: it may begin with a minus."""

    __slots__ = ()


def safe_cell(value: Any) -> Any:
    """Text that begins like a formula, also behind blanks, gets an apostrophe before it (F64)."""
    if not isinstance(value, str) or isinstance(value, Exact):
        return value
    if value.startswith(_STARTS) or value.lstrip().startswith(_STARTS):
        return "'" + value
    return value


def safe_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{name: safe_cell(value) for name, value in row.items()} for row in rows]


def write_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """RFC 4180 with a heading. Numbers come as numbers or as `Exact`; text is defused."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow(["" if row[name] is None else safe_cell(row[name]) for name in columns])
    return out.getvalue()
