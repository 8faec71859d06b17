"""Parts of a content → parts of the internal form: of a caller's turns and a provider's answer.

What a part says beyond the form stays in its extras, in the shape it had. Signatures that this
gateway sealed are opened, so that they go back to whose they are.
"""

import re
from typing import Any, NamedTuple

import orjson

from gatewayz.dialects import checks
from gatewayz.dialects.checks import wrong
from gatewayz.dialects.envelope import unseal
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.google.wire import FAMILY, NAME, camel, items
from gatewayz.dialects.media import sniff
from gatewayz.dialects.parts import (
    Audio,
    File,
    Image,
    Opaque,
    Part,
    RedactedThinking,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)

_DATA = ("text", "functionCall", "functionResponse", "inlineData", "fileData")
_KNOWN = frozenset({*_DATA, "thought", "thoughtSignature"})
# Addresses that mean something to this provider only.
_OWN_URI = re.compile(r"gs://|https://generativelanguage\.googleapis\.com/", re.IGNORECASE)
# Clients that hold bytes write them in the alphabet of URLs.
_STANDARD = str.maketrans("-_", "+/")
_AUDIO_FORMATS = {"mpeg": "mp3", "l16": "pcm16", "wave": "wav"}


class Signed(NamedTuple):
    """A proof of thought, whose it is, and the id that thought had there."""

    signature: str | None
    origin: str
    id: str | None


_UNSIGNED = Signed(None, "", None)


def read_signature(part: JsonObject, where: str, family: str) -> Signed:
    text = checks.text(part, "thoughtSignature", where + ".")
    if not text:
        return _UNSIGNED
    sealed = unseal(text.translate(_STANDARD))
    if sealed is None:
        return Signed(text, family, None)
    return Signed(sealed.signature, sealed.origin, sealed.id)


def read_part(value: Any, where: str, *, family: str = FAMILY) -> Part:
    """A call without an id gets none here; InvalidRequest names what is wrong."""
    part = camel(checks.needed_table(value, where), where + ".")
    signed = read_signature(part, where, family) if "thoughtSignature" in part else _UNSIGNED
    extras = {} if _KNOWN.issuperset(part) else checks.rest(part, _KNOWN)
    if checks.flag(part, "thought", where + "."):
        return _read_thought(part, where, signed, extras)
    if part.get("text") is not None:
        text = checks.needed_text(part, "text", where + ".")
        return Text(text, signature=signed.signature, origin=signed.origin, extras=extras)
    if part.get("functionCall") is not None:
        return _read_call(part, where, signed, extras)
    if part.get("functionResponse") is not None:
        return _read_result(part, where, extras)
    for name in ("inlineData", "fileData"):
        if part.get(name) is not None and signed.signature is None:
            return _read_media(name, part, where, extras)
    if not extras and signed.signature is None:
        raise wrong(where, f"must have one of {', '.join(_DATA)}")
    return Opaque(NAME, part)


def _read_thought(part: JsonObject, where: str, signed: Signed, extras: JsonObject) -> Part:
    text = checks.text(part, "text", where + ".")
    if text is not None:
        return Thinking(text, signed.signature, signed.origin, signed.id, extras)
    if signed.signature is not None and not any(name in part for name in _DATA):
        return RedactedThinking(signed.signature, signed.origin, signed.id, extras)
    return Opaque(NAME, part)


def _beyond(holder: JsonObject, name: str, known: set[str], extras: JsonObject) -> JsonObject:
    """The part's extras with those of the object `name` in it."""
    rest = checks.rest(holder, frozenset(known))
    return {**extras, name: rest} if rest else extras


def _read_call(part: JsonObject, where: str, signed: Signed, extras: JsonObject) -> ToolCall:
    dot = where + ".functionCall."
    held = camel(checks.needed_table(part["functionCall"], where + ".functionCall"), dot)
    args = checks.table(held, "args", dot)
    return ToolCall(
        id=checks.text(held, "id", dot) or "",
        name=checks.needed_text(held, "name", dot),
        arguments="{}" if not args else _dump(args),
        signature=signed.signature,
        origin=signed.origin,
        extras=_beyond(held, "functionCall", {"id", "name", "args"}, extras),
    )


def _read_result(part: JsonObject, where: str, extras: JsonObject) -> ToolResult:
    dot = where + ".functionResponse."
    held = camel(checks.needed_table(part["functionResponse"], where + ".functionResponse"), dot)
    said, is_error = _read_response(checks.table(held, "response", dot) or {})
    shown = checks.array({"parts": items(held.get("parts"))}, "parts", dot) or []
    return ToolResult(
        call_id=checks.text(held, "id", dot) or "",
        parts=(*said, *(read_part(p, f"{dot}parts[{i}]") for i, p in enumerate(shown))),
        is_error=is_error,
        name=checks.needed_text(held, "name", dot),
        extras=_beyond(held, "functionResponse", {"id", "name", "response", "parts"}, extras),
    )


def _read_response(response: JsonObject) -> tuple[tuple[Text, ...], bool]:
    """`output` and `error` are the protocol's words, `result` is what its own clients write."""
    if len(response) == 1:
        [(name, value)] = response.items()
        if type(value) is str and name in ("output", "result", "error"):
            return (Text(value),), name == "error"
    return ((Text(_dump(response)),) if response else ()), False


def _read_media(name: str, part: JsonObject, where: str, extras: JsonObject) -> Part:
    dot = f"{where}.{name}."
    held = camel(checks.needed_table(part[name], f"{where}.{name}"), dot)
    mime = checks.text(held, "mimeType", dot)
    if name == "inlineData":
        data = checks.needed_text(held, "data", dot)
        source = Source("data", data, mime or sniff(data.translate(_STANDARD)))
    else:
        uri = checks.needed_text(held, "fileUri", dot)
        source = Source("id" if _OWN_URI.match(uri) else "url", uri, mime)
    kind = (source.mime or "").partition("/")[0].lower()
    known = {"mimeType", "data", "fileUri"}
    if kind not in ("image", "audio", "video"):
        label = checks.text(held, "displayName", dot)
        beyond = _beyond(held, name, {*known, "displayName"}, extras)
        return File(source, label, extras=beyond)
    beyond = _beyond(held, name, known, extras)
    if kind == "image":
        return Image(source, extras=beyond)
    if kind == "audio":
        return Audio(source, audio_format(source.mime or ""), extras=beyond)
    return Video(source, extras=beyond)


def audio_format(mime: str) -> str:
    """The short name of a kind of audio."""
    name = mime.partition(";")[0].strip().lower().removeprefix("audio/").removeprefix("x-")
    return _AUDIO_FORMATS.get(name, name)


def _dump(value: Any) -> str:
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        raise wrong("contents", "holds what cannot be written as JSON") from None
