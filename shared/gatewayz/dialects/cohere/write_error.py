"""Errors as clients of Cohere's API read them: the message at the top, the status says the rest."""

import orjson

from gatewayz.core.errors import GatewayError
from gatewayz.dialects.form import JsonObject, Style


def encode_cohere_error(
    error: GatewayError, *, style: Style, request_id: str | None
) -> tuple[int, bytes, dict[str, str]]:
    """(status, body, headers). Its own errors have `id` and `message`; `code` is what we add."""
    body: JsonObject = {"message": error.message, "code": error.code}
    if request_id is not None:
        body = {"id": request_id, **body}
    if error.param is not None:
        body["param"] = error.param
    headers = {"content-type": "application/json", **error.headers}
    return error.status, orjson.dumps(body), headers
