"""Parts → messages of chat completions: for requests to a provider and answers to a client."""

from collections.abc import Sequence
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_chat.read_message import NAME
from gatewayz.dialects.parts import (
    Audio,
    CacheMark,
    Citation,
    File,
    Image,
    Opaque,
    Part,
    Refusal,
    Text,
    ToolCall,
    Video,
)


def write_cache(mark: CacheMark | None) -> JsonObject:
    if mark is None:
        return {}
    ttl = {} if mark.ttl is None else {"ttl": mark.ttl}
    return {"cache_control": {"type": "ephemeral", **ttl}}


def write_part(part: Part) -> JsonObject | None:
    """A content part without its extras; None for what chat completions have no part for."""
    match part:
        case Text():
            return {"type": "text", "text": part.text}
        case Image():
            if part.source.kind not in ("data", "url"):
                return None
            image = {"url": part.source.data_url}
            if part.detail is not None:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}
        case Audio():
            audio = {"data": part.source.value, "format": part.format}
            return None if part.source.kind != "data" else _typed("input_audio", audio)
        case File():
            return _write_file(part)
        case Video():
            url = {"url": part.source.data_url}
            known = part.source.kind in ("data", "url")
            return _typed("video_url", url) if known else None
        case Refusal():
            return {"type": "refusal", "refusal": part.text}
        case Opaque():
            return part.raw if part.dialect == NAME else None
    return None


def _typed(kind: str, value: Any) -> JsonObject:
    return {"type": kind, kind: value}


def _write_file(part: File) -> JsonObject | None:
    source = part.source
    named = {} if part.name is None else {"filename": part.name}
    match source.kind:
        case "text":
            return {"type": "text", "text": source.value}
        case "id":
            return _typed("file", {"file_id": source.value, **named})
        case "data":
            data = source.value if source.mime is None else source.data_url
            return _typed("file", {"file_data": data, **named})
    return _typed("file", {"file_data": source.value, **named})


def write_call(call: ToolCall) -> JsonObject:
    kind, field = ("custom", "input") if call.custom else ("function", "arguments")
    written = {
        "id": call.id,
        "type": kind,
        kind: {"name": call.name, field: call.arguments},
    }
    if call.signature is not None:
        written["extra_content"] = {"google": {"thought_signature": call.signature}}
    return written


def write_annotations(texts: Sequence[Text]) -> list[JsonObject]:
    """The citations of all texts as annotations of the text they make together."""
    out: list[JsonObject] = []
    offset = 0
    for text in texts:
        end = offset + len(text.text)
        out += [a for c in text.citations if (a := write_citation(c, offset, end))]
        offset = end
    return out


def write_citation(citation: Citation, start: int, end: int) -> JsonObject | None:
    if citation.dialect == NAME and citation.raw:
        return dict(citation.raw)
    if citation.url is None:
        return None
    known = citation.start is not None and citation.end is not None
    found = {
        "url": citation.url,
        "title": citation.title or "",
        "start_index": start + (citation.start or 0) if known else start,
        "end_index": start + (citation.end or 0) if known else end,
    }
    if citation.cited:
        found["content"] = citation.cited
    return {"type": "url_citation", "url_citation": found}
