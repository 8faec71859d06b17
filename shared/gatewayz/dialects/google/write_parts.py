"""Parts of the internal form → parts of a content, for a provider and for a client.

A signature goes to a provider only if its own family made it; a client gets foreign ones sealed,
so that they come back.
"""

import base64
from typing import Any

import orjson

from gatewayz.dialects.envelope import Sealed, seal
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.google.wire import FAMILY, NAME, said
from gatewayz.dialects.media import sniff
from gatewayz.dialects.parts import (
    Audio,
    Extras,
    File,
    Image,
    Part,
    RedactedThinking,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)

_NO_EXTRAS: Extras = {}
_EMPTY = orjson.Fragment(b"{}")
_FALLBACKS = {Image: "image/jpeg", File: "application/pdf", Video: "video/mp4"}
_SUFFIXES = {
    "png": "image/png", "gif": "image/gif", "webp": "image/webp", "heic": "image/heic",
    "pdf": "application/pdf", "txt": "text/plain", "md": "text/markdown", "csv": "text/csv",
    "html": "text/html", "mp4": "video/mp4", "webm": "video/webm", "mov": "video/quicktime",
}  # fmt: skip
Media = Image | File | Audio | Video


def client_signature(origin: str, signature: str | None, identity: str | None = None) -> JsonObject:
    """The field that brings a proof of thought to a client; {} when there is none to bring."""
    if signature is None and identity is None:
        return {}
    if origin == FAMILY and identity is None and signature is not None:
        return {"thoughtSignature": signature}
    return {"thoughtSignature": seal(Sealed(origin, signature, identity))}


def write_text(text: str, signature: JsonObject, extras: Extras = _NO_EXTRAS) -> JsonObject:
    return {"text": text, **signature, **extras}


def write_thought(text: str, signature: JsonObject, extras: Extras = _NO_EXTRAS) -> JsonObject:
    return {"text": text, "thought": True, **signature, **extras}


def write_arguments(call: ToolCall) -> Any:
    """An object that is written as the very text that came, if that text is an object."""
    if call.custom:
        return {"input": call.arguments}
    if not call.arguments.strip():
        return _EMPTY
    return as_object(call.arguments) or {"_raw": call.arguments}


def as_object(text: str) -> orjson.Fragment | None:
    """A text that is a JSON object, to be written as it is; None for any other."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return orjson.Fragment(text.encode())


def write_call(
    call: ToolCall, signature: JsonObject, *, name: str, with_id: bool, extras: Extras = _NO_EXTRAS
) -> JsonObject:
    held: JsonObject = {"id": call.id} if with_id and call.id else {}
    held |= {"name": name, "args": write_arguments(call)}
    return _placed("functionCall", held, {**signature, **extras})


def write_response(result: ToolResult) -> Any:
    """What a tool said, as the object this protocol wants (§4)."""
    texts = [part.text for part in result.parts if isinstance(part, Text | Refusal)]
    if not texts and not result.is_error:
        return _EMPTY
    text = "\n".join(texts)
    if result.is_error:
        return {"error": text}
    return as_object(text) or {"output": text}


def write_media(part: Media, *, own: bool) -> JsonObject | None:
    """None for what has no bytes and no address here."""
    source, extras = part.source, part.extras if own else _NO_EXTRAS
    if source.kind == "text":
        data = base64.b64encode(source.value.encode()).decode()
        held: JsonObject = {"mimeType": source.mime or "text/plain", "data": data}
    elif source.kind == "data":
        held = {"mimeType": _mime(part, source, own=own), "data": source.value}
    else:
        held = said(mimeType=_mime(part, source, own=own), fileUri=source.value)
    if own and isinstance(part, File) and part.name is not None:
        held["displayName"] = part.name
    name = "fileData" if "fileUri" in held else "inlineData"
    return _placed(name, said(**held), extras)


def _mime(part: Media, source: Source, *, own: bool) -> str | None:
    """This protocol always wants a media type, but a caller of its own is taken at their word."""
    if source.mime is not None or own:
        return source.mime
    if isinstance(part, Audio):
        return f"audio/{part.format}"
    if source.kind == "data":
        return sniff(source.value) or _FALLBACKS[type(part)]
    suffix = source.value.partition("?")[0].rpartition(".")[2].lower()
    return _SUFFIXES.get(suffix, _FALLBACKS[type(part)])


def _placed(name: str, held: JsonObject, extras: Extras) -> JsonObject:
    """A part whose object `name` has its own extras inside."""
    if not extras:
        return {name: held}
    inner = extras.get(name)
    if type(inner) is dict:
        held = {**held, **inner}
    return {name: held, **{key: value for key, value in extras.items() if key != name}}


def result_part(
    result: ToolResult, *, name: str, with_id: bool, shown: list[JsonObject], extras: Extras
) -> JsonObject:
    held: JsonObject = {"id": result.call_id} if with_id and result.call_id else {}
    held |= {"name": name, "response": write_response(result)}
    if shown:
        held["parts"] = shown
    return _placed("functionResponse", held, extras)


def write_answer_part(part: Part, *, own: bool) -> JsonObject | None:
    """A part of an answer for a client; None for what only another dialect knows."""
    extras = getattr(part, "extras", _NO_EXTRAS) if own else _NO_EXTRAS
    match part:
        case Text():
            return write_text(part.text, client_signature(part.origin, part.signature), extras)
        case Refusal():
            return write_text(part.text, {})
        case Thinking():
            signature = client_signature(part.origin, part.signature, part.id)
            return write_thought(part.text, signature, extras)
        case RedactedThinking():
            return {"thought": True, **client_signature(part.origin, part.data, part.id), **extras}
        case ToolCall():
            signature = client_signature(part.origin, part.signature)
            return write_call(part, signature, name=part.name, with_id=True, extras=extras)
        case Image() | File() | Audio() | Video():
            return write_media(part, own=own)
        case ToolResult():
            return None
    return part.raw if part.dialect == NAME else None
