"""The strict, bounded reader of request bodies (F46–F52).

Guarantees that what was parsed is unambiguous: valid UTF-8, finite numbers, integers that fit in
64 bits, no key twice, shallow enough to be written again. Never returns raw bytes for forwarding.
"""

import json
import re
import zlib
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

import orjson

from gatewayz.core.errors import InvalidRequest, PayloadTooLarge

# orjson writes at most 254 levels; what we accept must also be writable.
MAX_DEPTH = 200
LARGEST_EXACT_FLOAT = 2.0**63

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

_LONG_INTEGER = re.compile(rb"(?<![0-9.eE+\-])-?[0-9]{19,}(?![0-9.eE])")
_BLANK = b" \t\n\r"
# A larger body is looked through for a key given twice at its top level only (D29): text that
# holds JSON itself would cost tens of milliseconds otherwise.
DEEP_KEYS_BYTES = 64 * 1024


async def read_body(receive: Receive, headers: Iterable[tuple[bytes, bytes]], limit: int) -> bytes:
    """The whole body, decompressed, at most `limit` bytes.

    PayloadTooLarge above the limit, InvalidRequest when lengths contradict each other, the caller
    left before the end, or the encoding is not one we read.
    """
    declared, encoding = _framing(headers)
    if declared is not None and declared > limit:
        raise _too_large(limit)
    message = await receive()
    if message["type"] != "http.request":
        raise InvalidRequest("The request body ended early.")
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        body = await _read_on(receive, body, limit)
    elif len(body) > limit:
        raise _too_large(limit)
    if declared is not None and len(body) != declared:
        raise InvalidRequest("Content-Length differs from the length of the body.")
    return _inflate(body, limit) if encoding == b"gzip" else body


async def _read_on(receive: Receive, first: bytes, limit: int) -> bytes:
    parts, size, more = [first], len(first), True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise InvalidRequest("The request body ended early.")
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_large(limit)
        parts.append(part)
        more = message.get("more_body", False)
    return b"".join(parts)


def _framing(headers: Iterable[tuple[bytes, bytes]]) -> tuple[int | None, bytes]:
    declared: int | None = None
    encoding = b""
    for name, value in headers:
        if name == b"content-length":
            if not value.isdigit() or len(value) > 18 or (declared not in (None, int(value))):
                raise InvalidRequest("Content-Length is invalid or given twice.")
            declared = int(value)
        elif name == b"content-encoding":
            encoding = value.strip().lower()
            if encoding not in (b"", b"identity", b"gzip"):
                raise InvalidRequest("Content-Encoding must be gzip or absent.")
    return declared, encoding


def _inflate(body: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj(31)
    try:
        plain = stream.decompress(body, limit + 1)
    except zlib.error:
        raise InvalidRequest("The body is not valid gzip.") from None
    if len(plain) > limit:
        raise _too_large(limit)
    if not stream.eof or stream.unused_data:
        raise InvalidRequest("The body is not valid gzip.")
    return plain


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The request body is larger than {limit} bytes. Send large images and files by URL.",
        metadata={"max_body_bytes": limit},
    )


def parse_object(raw: bytes) -> dict[str, Any]:
    """`raw` as a JSON object; InvalidRequest says what is wrong with it."""
    try:
        parsed = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise InvalidRequest(_reason(error), code="invalid_json") from None
    if type(parsed) is not dict:
        raise InvalidRequest("The request body must be a JSON object.", code="invalid_json")
    keys, suspicious = _survey(parsed)
    # As many colons as there are keys in the tree mean that none was given twice. Text may hold
    # more: then as many ends of keys do, and a closer look decides in the end.
    if suspicious or (raw.count(b":") != keys and _ends_of_keys(raw) != keys):
        _look_closer(raw, parsed, keys)
    return parsed


def _ends_of_keys(raw: bytes) -> int:
    """At least as many as there are keys: quotes with a colon behind them, whatever stands between
    the two; -1 for a long body, which is not copied for that."""
    return raw.translate(None, _BLANK).count(b'":') if len(raw) <= DEEP_KEYS_BYTES else -1


def _look_closer(raw: bytes, parsed: dict[str, Any], keys: int) -> None:
    """Refuse keys given twice and integers beyond 64 bits, without parsing text a second time."""
    # Without escapes every quote begins or ends a string, so every other part is structure.
    parts = raw.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
    structure = parts[::2]
    for found in _LONG_INTEGER.finditer(b'"'.join(structure)):
        _check_int64(found[0])
    written = sum([part.lstrip()[:1] == b":" for part in structure])
    if written == keys:
        return
    if len(raw) <= DEEP_KEYS_BYTES:
        json.loads(raw, object_pairs_hook=_unique)
    elif _top_level_keys(structure) != len(parsed):
        raise InvalidRequest("A key is given twice in the JSON body.", code="duplicate_key")


def _top_level_keys(structure: list[bytes]) -> int:
    """How many keys the outermost object was written with."""
    depth = keys = 0
    for part in structure:
        if depth == 1 and part.lstrip()[:1] == b":":
            keys += 1
        opened = part.count(b"{") + part.count(b"[")
        depth += opened - part.count(b"}") - part.count(b"]")
    return keys


def _survey(root: dict[str, Any]) -> tuple[int, bool]:
    """(keys in the tree, whether a float may have been an integer), level by level."""
    keys, suspicious = 0, False
    level: list[Any] = [root]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for node in level:
            if type(node) is dict:
                keys += len(node)
                values: Iterable[Any] = node.values()
            else:
                values = node
            for value in values:
                kind = type(value)
                if kind is dict or kind is list:
                    below.append(value)
                elif kind is float and not -LARGEST_EXACT_FLOAT < value < LARGEST_EXACT_FLOAT:
                    suspicious = True
        if not below:
            return keys, suspicious
        level = below
    raise InvalidRequest(f"JSON is nested deeper than {MAX_DEPTH} levels.", code="invalid_json")


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len(pairs) == len({key for key, _ in pairs}):
        return
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidRequest(
                "A key is given twice in the JSON body.", param=key[:64], code="duplicate_key"
            )
        seen.add(key)


def _check_int64(digits: bytes) -> None:
    # Longer than any 64-bit integer: int() itself refuses thousands of digits.
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**64:
        raise InvalidRequest("An integer in the JSON body exceeds 64 bits.", code="invalid_json")


def _reason(error: orjson.JSONDecodeError) -> str:
    text = str(error.msg)
    if "depth" in text or "ecursion" in text:
        return f"JSON is nested deeper than {MAX_DEPTH} levels."
    if "surrogate" in text or "UTF-8" in text:
        return f"The request body is not valid UTF-8 (position {error.pos})."
    if "infinity" in text:
        return f"A number in the JSON body is out of range (position {error.pos})."
    return f"The request body is not valid JSON (line {error.lineno}, column {error.colno})."
