"""Parts → content blocks, for a provider's request and for a client's answer.

A foreign signature goes to a client sealed, so that it comes back; to a provider it never goes.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.dialects.anthropic.wire import FAMILY, NAME
from gatewayz.dialects.envelope import Sealed, seal
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.media import sniff
from gatewayz.dialects.parts import (
    CacheMark,
    Citation,
    File,
    Image,
    RedactedThinking,
    Source,
    Text,
    Thinking,
    ToolCall,
)

IMAGE_TYPES = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
EMPTY_INPUT = orjson.Fragment(b"{}")


def write_cache(mark: CacheMark | None) -> JsonObject:
    if mark is None:
        return {}
    ttl = {} if mark.ttl is None else {"ttl": mark.ttl}
    return {"cache_control": {"type": "ephemeral", **ttl}}


def write_text(part: Text) -> JsonObject:
    block: JsonObject = {"type": "text", "text": part.text}
    if part.citations:
        written = [c for item in part.citations if (c := write_citation(item))]
        if written:
            block["citations"] = written
    return block


def write_citation(citation: Citation) -> JsonObject | None:
    """None for a citation that this dialect has no words for."""
    if citation.dialect == NAME and citation.raw:
        return dict(citation.raw)
    if citation.url is None:
        return None
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title,
        "cited_text": citation.cited or "",
        "encrypted_index": "",
    }


def parse_input(arguments: str) -> Any:
    """A call's arguments as an object that is written as the very text that came; None when the
    text is no JSON object."""
    if not arguments.strip():
        return EMPTY_INPUT
    try:
        if type(orjson.loads(arguments)) is not dict:
            return None
    except orjson.JSONDecodeError:
        return None
    return orjson.Fragment(arguments.encode())


def write_thinking(part: Thinking) -> JsonObject:
    """For a client, which must get a signature whatever the thought's origin."""
    signature = sealed_signature(part.origin, part.signature, part.id)
    return {"type": "thinking", "thinking": part.text, "signature": signature}


def sealed_signature(origin: str, signature: str | None, identity: str | None = None) -> str:
    if origin == FAMILY and signature is not None and identity is None:
        return signature
    return seal(Sealed(origin, signature, identity))


def write_redacted(part: RedactedThinking) -> JsonObject:
    data = sealed_signature(part.origin, part.data, part.id)
    return {"type": "redacted_thinking", "data": data}


def write_call_signature(call: ToolCall) -> JsonObject:
    """A block in front of a call that carries the proof of thought belonging to it."""
    data = seal(Sealed(call.origin, call.signature, None, call.id))
    return {"type": "redacted_thinking", "data": data}


def write_image(part: Image) -> JsonObject | None:
    source = part.source
    if source.kind == "data":
        mime = source.mime or sniff(source.value)
        if mime not in IMAGE_TYPES:
            return None
        return {"type": "image", "source": _data(source.value, mime)}
    return _sourced("image", source)


def write_file(part: File) -> JsonObject | None:
    source = part.source
    block: JsonObject | None
    if source.kind == "text":
        block = {"type": "document", "source": _plain(source.value)}
    elif source.kind == "data":
        block = _write_data_file(source)
    else:
        block = _sourced("document", source)
    if block is not None and part.name is not None:
        block["title"] = part.name
    return block


def _write_data_file(source: Source) -> JsonObject | None:
    mime = source.mime or sniff(source.value) or ""
    if mime == "application/pdf":
        return {"type": "document", "source": _data(source.value, mime)}
    if not mime.startswith("text/") and mime != "application/json":
        return None
    try:
        return {"type": "document", "source": _plain(base64.b64decode(source.value).decode())}
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


def _data(data: str, mime: str) -> Mapping[str, str]:
    return {"type": "base64", "media_type": mime, "data": data}


def _plain(text: str) -> Mapping[str, str]:
    return {"type": "text", "media_type": "text/plain", "data": text}


def _sourced(kind: str, source: Source) -> JsonObject | None:
    if source.kind == "url":
        return {"type": kind, "source": {"type": "url", "url": source.value}}
    if source.kind == "id":
        return {"type": kind, "source": {"type": "file", "file_id": source.value}}
    return None
