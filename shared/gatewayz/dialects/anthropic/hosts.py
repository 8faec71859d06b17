"""Where a Messages request goes: the dialect's own address, or that of a host that serves it."""

import orjson

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.anthropic.wire import COUNT_PATH, PATH, VERSION
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.protocol import NO_NOTES, HttpRequest, Notes

# The model stands in the path and the version in the body; the base URL ends before "/publishers".
VERTEX = "vertex"
VERTEX_VERSION = "vertex-2023-10-16"


def address(
    body: JsonObject,
    request: GenerationRequest,
    target: Target,
    *,
    dropped: tuple[str, ...] = (),
    notes: Notes = NO_NOTES,
) -> HttpRequest:
    """The finished request; InvalidRequest when `body` holds what JSON cannot."""
    headers = {"anthropic-version": VERSION, **request.headers}
    path = PATH
    if VERTEX in target.quirks:
        del body["model"], headers["anthropic-version"]
        body["anthropic_version"] = VERTEX_VERSION
        action = "streamRawPredict" if request.stream else "rawPredict"
        path = f"/publishers/anthropic/models/{target.native_id}:{action}"
    return HttpRequest(path, _dump(body), headers, dropped, notes)


def address_count(body: JsonObject, request: GenerationRequest) -> HttpRequest:
    headers = {"anthropic-version": VERSION, **request.headers}
    return HttpRequest(COUNT_PATH, _dump(body), headers)


def _dump(body: JsonObject) -> bytes:
    try:
        return orjson.dumps(body)
    except TypeError:
        raise InvalidRequest("The request body cannot be written as JSON.") from None
