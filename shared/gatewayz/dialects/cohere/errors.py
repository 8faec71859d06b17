"""Errors of the Cohere chat protocol, as answers and as the end of one.

Classifies with the rules of openai_chat/errors.py: what reaches a caller of an upstream's text is
decided there and nowhere else.
"""

from collections.abc import Mapping

import orjson

from gatewayz.core.errors import UpstreamBroken, UpstreamError
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.openai_chat.errors import decode_error as classify
from gatewayz.dialects.openai_chat.errors import decode_error_object as classify_object

# Statuses of this provider's own: our key was refused, the provider gave up.
_STATUSES = {498: 401, 499: 503}
_STATUS_OF_FINISH = {"TIMEOUT": 504}
UNKNOWN_FAILURE = 502
# Another sample of the same model usually succeeds.
_BAD_SAMPLES = frozenset({"INVALID_TOOL_GENERATION"})


def decode_error(
    target: Target, status: int, headers: Mapping[str, str], body: bytes
) -> UpstreamError:
    """The failure an HTTP answer of status ≥ 300 stands for; header names are lower case."""
    error = classify(target.provider, _STATUSES.get(status, status), headers, body, target.errors)
    error.upstream_status = status
    return error


def decode_error_object(target: Target, data: JsonObject) -> UpstreamError:
    """The failure that an error body in an answer of status 200 stands for (F37)."""
    return classify_object(target.provider, data, target.errors)


def decode_failed_finish(target: Target, reason: str, holder: JsonObject) -> UpstreamError:
    """The failure that ended an answer of status 200; `holder` has the reason beside it (F37)."""
    kind, text = holder.get("error_type"), holder.get("error")
    words = f"{kind} {text}"
    if any(name in words for name in _BAD_SAMPLES) and str(kind) not in target.errors:
        return UpstreamBroken(
            "The provider's model wrote a call that cannot be read.", provider=target.provider
        )
    status = _STATUS_OF_FINISH.get(reason, UNKNOWN_FAILURE)
    said = {"message": text if type(text) is str else "", "code": kind}
    return classify(target.provider, status, {}, orjson.dumps(said), target.errors)
