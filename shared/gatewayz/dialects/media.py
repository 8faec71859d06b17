"""Images and files in prompts: data URLs, media types, and addresses to be fetched for targets.

Recognises a type by the first bytes when nobody names one. Never fetches: `addresses` says what is
to be fetched, `with_bytes` puts it in.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import replace

from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.parts import Audio, File, Image, Message, Part, Source, ToolResult, Video

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)
_WEB_URL = re.compile(r"https?://", re.IGNORECASE)
_HEAD_CHARS = 64
_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"%PDF-", "application/pdf"),
    (b"ID3", "audio/mpeg"),
    (b"OggS", "audio/ogg"),
    (b"fLaC", "audio/flac"),
)
_RIFF: Mapping[bytes, str] = {b"WEBP": "image/webp", b"WAVE": "audio/wav"}


def read_source(url: str) -> Source:
    """The source that a URL in a prompt means: its bytes when it is a data URL."""
    found = _DATA_URL.match(url)
    if found is None:
        return Source("url", url)
    data = url[found.end() :]
    return Source("data", data, found[1].lower() or sniff(data))


def sniff(data: str) -> str | None:
    """The media type of base64 `data` by its first bytes; None when they tell nothing."""
    try:
        head = base64.b64decode(data[:_HEAD_CHARS])
    except (binascii.Error, ValueError):
        return None
    for magic, mime in _MAGIC:
        if head.startswith(magic):
            return mime
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    return "video/mp4" if head[4:8] == b"ftyp" else None


def addresses(request: GenerationRequest, kinds: tuple[type[Part], ...]) -> tuple[str, ...]:
    """The web addresses in parts of these kinds, each once, in order."""
    found: dict[str, None] = {}
    for message in request.messages:
        for part in _flat(message.parts):
            if isinstance(part, kinds) and isinstance(part, Image | File | Audio | Video):
                source = part.source
                if source.kind == "url" and _WEB_URL.match(source.value):
                    found[source.value] = None
    return tuple(found)


def with_bytes(request: GenerationRequest, fetched: Mapping[str, Source]) -> GenerationRequest:
    """The request with every address of `fetched` replaced by what was fetched from it."""
    messages = tuple(
        Message(m.role, tuple(_embed(p, fetched) for p in m.parts), m.name, m.extras)
        for m in request.messages
    )
    return replace(request, messages=messages)


def _flat(parts: tuple[Part, ...]) -> list[Part]:
    out: list[Part] = []
    for part in parts:
        out += part.parts if isinstance(part, ToolResult) else (part,)
    return out


def _embed(part: Part, fetched: Mapping[str, Source]) -> Part:
    if isinstance(part, ToolResult):
        return replace(part, parts=tuple(_embed(inner, fetched) for inner in part.parts))
    if isinstance(part, Image | File | Audio | Video) and part.source.kind == "url":
        return replace(part, source=fetched.get(part.source.value, part.source))
    return part
