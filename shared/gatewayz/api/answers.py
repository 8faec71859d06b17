"""JSON answers with exact money: orjson writes amounts without passing through a float."""

from typing import Any

import orjson
from fastapi import Response


def json_answer(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status, media_type="application/json")
