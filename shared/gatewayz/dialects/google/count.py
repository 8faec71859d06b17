"""countTokens, both ways: a request for a count is a request that is not run."""

from typing import Any

import orjson

from gatewayz.core.errors import UpstreamBroken
from gatewayz.dialects import checks
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.google.errors import decode_error_object
from gatewayz.dialects.google.read_request import decode_request
from gatewayz.dialects.google.wire import camel, write_path
from gatewayz.dialects.google.write_request import PLAIN_COUNT, encode_request
from gatewayz.dialects.protocol import HttpRequest

NO_COUNT = "The provider's answer is no count of tokens."


def decode_count(body: JsonObject) -> GenerationRequest:
    """The request to be counted: it stands in the body or is the body itself. `model` as in
    decode_request(); InvalidRequest names the field that is wrong."""
    body = camel(body)
    wrapped = checks.table(body, "generateContentRequest")
    if wrapped is None:
        return decode_request(body)
    return decode_request({**wrapped, "model": body.get("model"), "stream": False})


def ask_count(request: GenerationRequest, target: Target) -> HttpRequest:
    written = encode_request(request, target)
    body: Any = orjson.Fragment(written.body)
    if PLAIN_COUNT not in target.quirks:
        inner = {"model": f"models/{target.native_id}", **orjson.loads(written.body)}
        body = {"generateContentRequest": inner}
    path = write_path(target, "countTokens")
    return HttpRequest(path, orjson.dumps(body), dropped=written.dropped)


def read_count(raw: bytes, target: Target) -> int:
    """UpstreamBroken for anything that is no count; an error object raises its own class."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError:
        body = None
    if type(body) is dict and body.get("error"):
        raise decode_error_object(target, body)
    total = body.get("totalTokens") if type(body) is dict else None
    if type(total) is not int or total < 0:
        raise UpstreamBroken(NO_COUNT, provider=target.provider)
    return total


def encode_count(tokens: int) -> bytes:
    details = [{"modality": "TEXT", "tokenCount": tokens}] if tokens else []
    return orjson.dumps({"totalTokens": tokens, "promptTokensDetails": details})
