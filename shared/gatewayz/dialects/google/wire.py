"""Words of the generateContent protocol: names in both spellings, paths, finish reasons."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import quote

from gatewayz.dialects.checks import wrong
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.gateway_fields import ignored, stays_here
from gatewayz.dialects.generation import Finish, FinishReason

NAME = "google"
FAMILY = "google"
ID_PREFIX = "gen-"
# The official clients take every line without "data: " for a chunk, a comment too, but skip empty
# lines.
KEEPALIVE = b"\n\n"
# What a signature field may hold when a call of another model is replayed.
NO_SIGNATURE = "skip_thought_signature_validator"

_READ_FINISH: Mapping[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "content_filter",
    "RECITATION": "content_filter",
    "BLOCKLIST": "content_filter",
    "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter",
    "IMAGE_SAFETY": "content_filter",
    "IMAGE_PROHIBITED_CONTENT": "content_filter",
    "IMAGE_RECITATION": "content_filter",
    "MODEL_ARMOR": "content_filter",
    # The text before a call that could not be read is still an answer.
    "MALFORMED_FUNCTION_CALL": "stop",
    "CONTINUATION": "pause",
}
# With nothing before them these are failures, and another sample usually succeeds.
FAILED_FINISHES = frozenset(
    {
        "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "OTHER",
        "LANGUAGE", "MALFORMED_RESPONSE", "MISSING_THOUGHT_SIGNATURE", "IMAGE_OTHER", "NO_IMAGE",
    }
)  # fmt: skip
_WRITE_FINISH: Mapping[FinishReason, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "context": "MAX_TOKENS",
    "tool_calls": "STOP",
    "content_filter": "SAFETY",
    "pause": "STOP",
    "error": "OTHER",
}
# Other dialects' words that say no more than ours does.
_PLAIN_WORDS = frozenset({"stop", "end_turn", "tool_calls", "tool_use", "length", "max_tokens"})
_METHODS = frozenset({"generateContent", "streamGenerateContent", "countTokens"})
# The cloud's clients split a model's id in two: `publishers/{maker}/models/{name}`.
_PATH = re.compile(
    r"(?:^|/)(?:(tunedModels/)|(?:models/)?publishers/([^/]+/)models/|models/)(.+):([A-Za-z]+)\Z",
    re.DOTALL,
)
_UPPER = re.compile(r"[A-Z]")
_SNAKE = re.compile(r"(?<=[A-Za-z0-9])_([a-z0-9])")


class Call(NamedTuple):
    """What a path asks for."""

    model: str
    method: str

    def body(self, body: JsonObject) -> JsonObject:
        """The body as decode_request() takes it: with the model and whether it streams."""
        return {**body, "model": self.model, "stream": self.method == "streamGenerateContent"}


def read_path(path: str) -> Call | None:
    """`…/models/{model}:{method}` of a client's URL; a model may contain slashes and colons."""
    found = _PATH.search(path)
    if found is None or found[4] not in _METHODS:
        return None
    return Call((found[1] or found[2] or "") + found[3], found[4])


def write_path(target: Target, method: str) -> str:
    model = target.native_id.removeprefix("models/")
    holder = "" if model.startswith("tunedModels/") else "models/"
    query = "?alt=sse" if method == "streamGenerateContent" else ""
    return f"/{holder}{quote(model, safe='/@:')}:{method}{query}"


@lru_cache(512)
def _camel_name(name: str) -> str:
    return _SNAKE.sub(lambda found: found[1].upper(), name)


def camel(holder: JsonObject, where: str = "") -> JsonObject:
    """`holder` with its own names in camelCase, which is what this protocol writes; clients send
    both. Names further in are left alone: they may be the caller's."""
    if not any("_" in name for name in holder):
        return holder
    out: JsonObject = {}
    for name, value in holder.items():
        known = _camel_name(name)
        if known in out:
            raise wrong(where + known, "is given twice")
        out[known] = value
    return out


def belongs_here(name: str) -> bool:
    """Whether a field is meant for a gateway or dangerous, in either spelling: never sent on."""
    return stays_here(_snake(name))


def ignored_of(body: JsonObject) -> tuple[str, ...]:
    """The fields that nobody acts on, as the caller spelt them."""
    return tuple(name for name in body if ignored((_snake(name),)))


def _snake(name: str) -> str:
    return _UPPER.sub(lambda found: "_" + found[0].lower(), name)


def items(value: Any) -> Any:
    """A list that may be written as its only item."""
    return [value] if type(value) is dict else value


def said(**fields: Any) -> JsonObject:
    return {name: value for name, value in fields.items() if value is not None}


def read_finish(reason: Any, *, called_tools: bool, details: Any = None) -> Finish | None:
    """None while nothing was said."""
    if type(reason) is not str or not reason or reason == "FINISH_REASON_UNSPECIFIED":
        return None
    known = _READ_FINISH.get(reason, "error" if reason in FAILED_FINISHES else "stop")
    if called_tools and known == "stop":
        known = "tool_calls"
    return Finish(known, reason, details=details)


def write_finish(finish: Finish | None, *, refused: bool = False) -> JsonObject:
    """The fields of a candidate that say why it ended; a provider's own word stays readable."""
    reason: FinishReason = "stop" if finish is None else finish.reason
    native = None if finish is None else finish.native
    if native in _READ_FINISH or native in FAILED_FINISHES:
        return {"finishReason": native}
    word = _WRITE_FINISH["content_filter" if refused and reason == "stop" else reason]
    if native is None or native in _PLAIN_WORDS:
        return {"finishReason": word}
    return {"finishReason": word, "finishMessage": native}
