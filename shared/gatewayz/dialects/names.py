"""Names and ids of tools where a target allows fewer characters than the caller used.

Deterministic: the same name or id becomes the same text in every turn of a conversation.
"""

import hashlib
import re

_WORD = re.compile(r"[A-Za-z0-9_-]+")
_NO_WORD = re.compile(r"[^A-Za-z0-9_-]+")
_TAG_CHARS = 8


def safe_id(call_id: str, *, limit: int = 64, prefix: str = "call_") -> str:
    """A tool call's id as every dialect takes it; unchanged when it already is."""
    if len(call_id) <= limit and _WORD.fullmatch(call_id):
        return call_id
    return prefix + hashlib.blake2s(call_id.encode("utf-8", "replace")).hexdigest()[:24]


def safe_name(name: str, *, limit: int = 64) -> str:
    """A tool's name of letters, digits, _ and -; a changed one ends in a tag of the original."""
    if len(name) <= limit and _WORD.fullmatch(name):
        return name
    tag = hashlib.blake2s(name.encode("utf-8", "replace")).hexdigest()[:_TAG_CHARS]
    return f"{_NO_WORD.sub('_', name)[: limit - _TAG_CHARS - 1]}_{tag}"
