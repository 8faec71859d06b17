"""The recorded listings and feeds beside this file, as the readers are to find them."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from gatewayz.catalog.build import Recorded, read_recorded, rows_of
from gatewayz.catalog.feeds import Feed
from gatewayz.catalog.listings import Row

FOLDER = Path(__file__).with_name("listings")


@cache
def recorded() -> tuple[list[Recorded], list[Feed]]:
    return read_recorded(FOLDER)


@cache
def rows(file: str) -> dict[str, Row]:
    """Rows of one recorded listing by native id."""
    index = json.loads((FOLDER / "index.json").read_text())
    place = next(i for i, item in enumerate(index["listings"]) if item["file"] == file)
    return {row.native_id: row for row in rows_of(recorded()[0][place])}


def read_as(kind: str, unit: str, body: Any) -> dict[str, Row]:
    """The rows of `body` as a listing of this kind and unit."""
    made = Recorded("x", kind, unit, "2026-08-01", json.dumps(body).encode())
    return {row.native_id: row for row in rows_of(made)}
