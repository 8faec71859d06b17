"""Images and files in prompts: data URLs, media types, and addresses to be fetched for targets.

Recognises a type by the first bytes when nobody names one. Never fetches: `addresses` says what is
to be fetched, `with_bytes` puts it in.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from gatewayz.dialects.form import Hides, JsonObject
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.hidden import hides_of
from gatewayz.dialects.parts import Audio, File, Image, Message, Part, Source, ToolResult, Video
from gatewayz.dialects.translated import TranslatedStream

_DATA_URL = re.compile(r"data:([^;,]*)(?:;[^;,]*)*?;base64,", re.IGNORECASE)
_WEB_URL = re.compile(r"https?://", re.IGNORECASE)
_HEAD_CHARS = 64
# The words of catalogs for the kinds of parts.
KINDS: Mapping[type[Part], str] = {Image: "image", File: "file", Audio: "audio", Video: "video"}
# What a kind may be, by the beginning of its media type. A file may be anything that is none of
# the others.
_TYPES: Mapping[str, tuple[str, ...]] = {
    "image": ("image/",),
    "audio": ("audio/",),
    "video": ("video/",),
    "file": ("application/", "text/", "image/", "audio/", "video/"),
}
# Both alphabets of base64, and the blanks that some writers break it with.
_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_"
_BLANKS = b" \r\n\t"
_CHECKED_CHARS = 256 * 1024
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


# ---------------------------------------------------------------- what a prompt holds


class Medium(NamedTuple):
    """A picture, file, sound or film of a prompt. `kind` is a word of KINDS."""

    kind: str
    source: Source

    @property
    def remote(self) -> bool:
        """Whether it stands at a web address."""
        return self.source.kind == "url" and _WEB_URL.match(self.source.value) is not None

    @property
    def whole(self) -> bool:
        """Whether its bytes, if it has them, can be read."""
        return self.source.kind != "data" or is_base64(self.source.value)

    def fits(self, mime: str) -> bool:
        """Whether what is of type `mime` may stand in its place."""
        return mime.startswith(_TYPES[self.kind])


def media_of(request: GenerationRequest) -> Iterator[Medium]:
    """Every medium of the prompt, in order; text files are text."""
    for message in request.messages:
        for part in _flat(message.parts):
            if isinstance(part, Image | File | Audio | Video) and part.source.kind != "text":
                yield Medium(KINDS[type(part)], part.source)


def is_base64(text: str) -> bool:
    """Whether `text` is base64 of either alphabet; never copies it as a whole."""
    stripped = text.rstrip()
    data = stripped.rstrip("=")
    if len(stripped) - len(data) > 2 or not data.isascii():
        return False
    blanks = 0
    for start in range(0, len(data), _CHECKED_CHARS):
        rest = data[start : start + _CHECKED_CHARS].encode().translate(None, _BASE64)
        if rest.translate(None, _BLANKS):
            return False
        blanks += len(rest)
    return (len(data) - blanks) % 4 != 1 and len(data) > blanks


def source_of(body: bytes, mime: str) -> Source:
    return Source("data", base64.b64encode(body).decode(), mime)


def locate(body: JsonObject, value: str) -> str:
    """Where in the caller's own body the part with `value` stands: "messages[2].content[1]"; the
    first field of the prompt when it is nowhere to be found."""
    return _find(body, value, "") or next((n for n in _PROMPTS if n in body), "messages")


_PROMPTS = ("messages", "input", "contents", "prompt")


def _find(holder: Any, value: str, where: str) -> str:
    if type(holder) is dict:
        for name, inner in holder.items():
            if type(inner) is str:
                if inner == value or (len(inner) > len(value) and inner.endswith(value)):
                    return where
            elif found := _find(inner, value, f"{where}.{name}" if where else name):
                # The part is what stands in a list; what is further in are its fields.
                return found if "[" not in where or "[" in found[len(where) :] else where
    elif type(holder) is list:
        for index, inner in enumerate(holder):
            if found := _find(inner, value, f"{where}[{index}]"):
                return found
    return ""


class HoldsMedia:
    """What calls of every client dialect share: the media of their prompt.

    A call has `_body`, as its client sent it, and `_form`, what it was read into.
    """

    _body: JsonObject
    _form: GenerationRequest | None
    # What a translated stream is shown as.
    prompt_tokens: int
    stream_as = TranslatedStream
    # Addresses were replaced by bytes: the body is not what is to be sent any more.
    embedded = False

    @property
    def hides(self) -> Hides:
        """What of the answer's thoughts is not to be shown."""
        return hides_of(self.form, "text")

    @property
    def longest_tokens(self) -> int:
        """The upper estimate of the longest prompt of a request that has several."""
        return self.prompt_tokens

    @property
    def form(self) -> GenerationRequest:
        """The request in the internal form."""
        assert self._form is not None
        return self._form

    @property
    def has_media(self) -> bool:
        """Whether the prompt holds more than text."""
        return next(media_of(self.form), None) is not None

    def embed(self, fetched: Mapping[str, Source]) -> None:
        """Put what was fetched in the place of its addresses."""
        self._form = with_bytes(self.form, fetched)
        self.embedded = True

    def place(self, medium: Medium) -> str:
        """Where a medium stands in what the client sent."""
        return locate(self._body, medium.source.value)

    def branches(self, *, single: bool) -> tuple[GenerationRequest, ...]:
        """The request as several, in the order of their answers: of one answer each if `single`,
        else of what one prompt asks for."""
        form = self.form
        return (replace(form, n=1),) * form.n if single else (form,)
