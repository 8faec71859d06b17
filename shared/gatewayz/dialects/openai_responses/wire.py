"""Words, ids and frames of the Responses protocol."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.generation import Finish, FinishReason

NAME = "openai_responses"
FAMILY = "openai"
PATH = "/responses"
ID_PREFIX = "resp_"
ENCRYPTED = "reasoning.encrypted_content"
LOGPROBS = "message.output_text.logprobs"
_REQUEST_PREFIX_CHARS = len("req_")
_OUR_ITEM = re.compile(r"[a-z]+_[0-9A-HJKMNP-TV-Z]{26}_\d+")

_INCOMPLETE: Mapping[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
}
_REASONS: Mapping[FinishReason, str] = {
    "length": "max_output_tokens",
    "context": "max_output_tokens",
    "content_filter": "content_filter",
}


class ItemIds:
    """Ids for output items that come from providers without any: unique, made of the request's."""

    __slots__ = ("_count", "_ulid")

    def __init__(self, request_id: str) -> None:
        self._ulid = request_id[_REQUEST_PREFIX_CHARS:]
        self._count = -1

    def next(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}_{self._ulid}_{self._count}"


def own_id(item_id: str | None) -> str | None:
    """An item's id if its provider gave it: one that we made up means nothing to anybody."""
    return None if item_id and _OUR_ITEM.fullmatch(item_id) else item_id


def read_status(response: JsonObject, *, called_tools: bool) -> Finish:
    """How a response that did not fail ended."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if type(details) is dict else None
        if type(reason) is str:
            return Finish(_INCOMPLETE.get(reason, "stop"), reason)
        return Finish("length", "incomplete")
    return Finish("tool_calls" if called_tools else "stop", "completed")


def write_status(finish: Finish | None, *, refused: bool) -> JsonObject:
    """The fields of a response that say how it ended."""
    reason = None if finish is None else _REASONS.get(finish.reason)
    # A refusal that was spoken is an answer; only one that cut the text leaves it incomplete.
    if reason is None or (refused and reason == "content_filter"):
        return {"status": "completed", "incomplete_details": None}
    return {"status": "incomplete", "incomplete_details": {"reason": reason}}


def read_time(value: Any) -> int | None:
    """Unix seconds; some servers write them with a fraction."""
    return int(value) if isinstance(value, int | float) and 0 <= value < 2**53 else None


def frame(kind: str, fields: Mapping[str, Any], sequence: int) -> bytes:
    """One event; `fields` without type and number."""
    data = orjson.dumps({"type": kind, **fields, "sequence_number": sequence}, default=str)
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"
