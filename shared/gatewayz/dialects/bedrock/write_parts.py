"""Images, files, videos and sounds → content blocks, as bytes only: this protocol fetches nothing
but from the provider's own storage, and there a caller has no business.
"""

import base64
import re
from collections.abc import Mapping

from gatewayz.dialects.bedrock.wire import (
    AUDIO_FORMATS,
    FILE_FORMATS,
    IMAGE_FORMATS,
    VIDEO_FORMATS,
)
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.generation import FunctionTool
from gatewayz.dialects.media import sniff
from gatewayz.dialects.parts import Audio, CacheMark, File, Image, Video

CACHE_TTLS = frozenset({"5m", "1h"})
_MAX_NAME_CHARS = 190
_NO_NAME = re.compile(r"[^A-Za-z0-9 ()\[\]-]+")
_BLANKS = re.compile(r"\s+")
_NO_PARAMETERS: JsonObject = {"type": "object", "properties": {}}
_EXTENSIONS = {short: short for short in FILE_FORMATS.values()} | {"htm": "html", "text": "txt"}


class Documents:
    """Writes files. Every one needs a name of few kinds of characters, and none twice."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def write(self, part: File) -> JsonObject | None:
        """None for what this protocol cannot take."""
        source = part.source
        if source.kind == "text":
            short: str | None = "txt"
            data = base64.b64encode(source.value.encode()).decode()
        elif source.kind == "data":
            short, data = _file_format(part), source.value
        else:
            return None
        if short is None or not data:
            return None
        written: JsonObject = {
            "format": short,
            "name": self._name(part.name, short),
            "source": {"bytes": data},
        }
        return {"document": written}

    def _name(self, wanted: str | None, short: str) -> str:
        stem = (wanted or "").removesuffix(f".{short}")
        name = _BLANKS.sub(" ", _NO_NAME.sub("-", stem)).strip(" -")[:_MAX_NAME_CHARS]
        name = name or "document"
        unique, number = name, 1
        while unique in self._names:
            number += 1
            unique = f"{name}-{number}"
        self._names.add(unique)
        return unique


def _file_format(part: File) -> str | None:
    mime = part.source.mime or ""
    if mime in FILE_FORMATS:
        return FILE_FORMATS[mime]
    extension = (part.name or "").rpartition(".")[2].lower()
    if extension in _EXTENSIONS:
        return _EXTENSIONS[extension]
    if mime.startswith("text/"):
        return "txt"
    return FILE_FORMATS.get(sniff(part.source.value) or "")


def write_image(part: Image) -> JsonObject | None:
    return _media("image", part, IMAGE_FORMATS)


def write_video(part: Video) -> JsonObject | None:
    return _media("video", part, VIDEO_FORMATS)


def write_audio(part: Audio) -> JsonObject | None:
    if part.source.kind != "data" or part.format not in AUDIO_FORMATS or not part.source.value:
        return None
    return {"audio": {"format": part.format, "source": {"bytes": part.source.value}}}


def _media(kind: str, part: Image | Video, formats: Mapping[str, str]) -> JsonObject | None:
    source = part.source
    if source.kind != "data" or not source.value:
        return None
    short = formats.get(source.mime or "") or formats.get(sniff(source.value) or "")
    if short is None:
        return None
    return {kind: {"format": short, "source": {"bytes": source.value}}}


def write_mark(mark: CacheMark) -> JsonObject:
    """A block that says: cache everything before it."""
    ttl = {"ttl": mark.ttl} if mark.ttl in CACHE_TTLS else {}
    return {"cachePoint": {"type": "default", **ttl}}


def write_spec(tool: FunctionTool, name: str) -> JsonObject:
    spec: JsonObject = {"name": name}
    if tool.description:
        spec["description"] = tool.description
    spec["inputSchema"] = {"json": {"type": "object", **(tool.parameters or _NO_PARAMETERS)}}
    return spec
