"""JSON answers with exact money: orjson writes amounts without passing through a float."""

from datetime import UTC, datetime
from typing import Any

import orjson
from fastapi import Response


def json_answer(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")


def time_text(at_ms: int | None) -> str | None:
    """Unix milliseconds as ISO 8601 in UTC."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, tz=UTC).isoformat(timespec="milliseconds")
