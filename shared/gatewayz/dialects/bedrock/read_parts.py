"""Content blocks of an answer → parts."""

import base64
import binascii
from typing import Any

import orjson

from gatewayz.dialects.bedrock.wire import CLAUDE, IMAGE_FORMATS, NAME
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.parts import (
    Citation,
    Image,
    Opaque,
    Part,
    RedactedThinking,
    Source,
    Text,
    Thinking,
    ToolCall,
)
from gatewayz.dialects.protocol import Notes

SERVER_CALL = "server_tool_use"
_MIME_TYPES = {short: f"image/{short}" for short in IMAGE_FORMATS.values()}


def read_block(block: JsonObject, *, family: str, notes: Notes) -> Part:
    """KeyError, TypeError or AttributeError for a block that is none; sources come with their
    text, or with an empty one."""
    match block:
        case {"text": str(text)}:
            return Text(text)
        case {"toolUse": dict(call)} if call.get("type") != SERVER_CALL:
            arguments = orjson.dumps(call.get("input") or {}).decode()
            if call["name"] == notes.json_tool:
                return Text(arguments)
            return read_call(call, notes, arguments)
        case {"reasoningContent": {"reasoningText": dict(thought)}}:
            signature = thought.get("signature") or None
            return Thinking(_words(thought["text"]), signature and _words(signature), family)
        case {"reasoningContent": {"redactedContent": str(data)}}:
            return read_redacted(data, family)
        case {"citationsContent": dict(cited)}:
            pieces = [_words(piece["text"]) for piece in cited.get("content") or ()]
            citations = tuple(map(read_citation, cited.get("citations") or ()))
            return Text("".join(pieces), citations)
        case {"image": dict(image)}:
            return read_image(image["format"], image["source"]["bytes"])
    if type(block) is not dict:
        raise TypeError
    return Opaque(NAME, block)


def read_call(call: JsonObject, notes: Notes, arguments: str = "") -> ToolCall:
    name = _words(call["name"])
    return ToolCall(_words(call["toolUseId"]), notes.names.get(name, name), arguments)


def read_redacted(data: str, family: str) -> RedactedThinking:
    """Claude's own text is wrapped once more here; nothing else is known of what it may be."""
    if family != CLAUDE:
        return RedactedThinking(data, family)
    try:
        own = base64.b64decode(data, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return RedactedThinking(data, NAME)
    return RedactedThinking(own, family)


def write_redacted(part: RedactedThinking) -> str:
    return base64.b64encode(part.data.encode()).decode() if part.origin == CLAUDE else part.data


def read_image(short: Any, data: Any) -> Image:
    return Image(Source("data", _words(data), _MIME_TYPES.get(_words(short))))


def read_citation(item: JsonObject) -> Citation:
    location = item.get("location") or {}
    web = location.get("web") or {}
    source = item.get("source")
    url = web.get("url") or (source if _is_web(source) else None)
    title = item.get("title") or web.get("domain")
    pieces = [p["text"] for p in item.get("sourceContent") or () if type(p.get("text")) is str]
    return Citation(
        url=url if type(url) is str else None,
        title=title if type(title) is str else None,
        cited="".join(pieces) or None,
        dialect=NAME,
        raw=item,
    )


def _is_web(source: Any) -> bool:
    return type(source) is str and source.startswith(("https://", "http://"))


def _words(value: Any) -> str:
    if type(value) is not str:
        raise TypeError
    return value
