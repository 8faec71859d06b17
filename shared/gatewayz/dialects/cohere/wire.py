"""Words of the Cohere chat protocol: path, finish reasons, names of tools, probabilities."""

import re
from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.generation import Finish, FinishReason
from gatewayz.dialects.names import safe_name

NAME = "cohere"
PATH = "/v2/chat"
# What ends an answer that failed; the reason stands beside it.
FAILED_FINISHES = frozenset({"ERROR", "TIMEOUT"})
_READ_FINISH: Mapping[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop_sequence",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
}
_TOOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def read_finish(reason: Any, *, called_tools: bool) -> Finish | None:
    """None while nothing was said."""
    if type(reason) is not str or not reason:
        return None
    found = _READ_FINISH.get(reason, "stop")
    if found == "stop" and called_tools:
        found = "tool_calls"
    return Finish(found, reason)


def sent_name(name: str) -> str:
    """A tool's name as this protocol takes it: letters, digits and _, no digit first."""
    if _TOOL_NAME.fullmatch(name):
        return name
    # The dot makes the name one that is changed, and so one that ends in a tag of the original.
    made = safe_name(name + ".", limit=63).replace("-", "_")
    return made if _TOOL_NAME.fullmatch(made) else "_" + made


def read_logprobs(item: Any) -> JsonObject | None:
    """One stretch of text and its probabilities as OpenAI's list has them; None when there are
    none. Several tokens that are one text have the product of theirs."""
    if type(item) is not dict or type(item.get("text")) is not str:
        return None
    values = item.get("logprobs")
    if type(values) is not list or not values:
        return None
    if any(type(value) not in (int, float) for value in values):
        return None
    text = item["text"]
    spelled = list(text.encode("utf-8", "replace"))
    return {"token": text, "logprob": sum(values), "bytes": spelled, "top_logprobs": []}
