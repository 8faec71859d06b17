"""The pieces of a message in the internal form: what every dialect reads into and writes from.

Plain frozen data. A piece keeps what its dialect said beyond the form in `extras`, which only a
writer of the same dialect puts back. Never holds bytes that were interpreted twice: tool arguments
are the text that came.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from gatewayz.dialects.form import JsonObject

Extras: TypeAlias = Mapping[str, Any]
Role = Literal["system", "developer", "user", "assistant", "tool"]
SourceKind = Literal["data", "url", "id", "text"]


@dataclass(frozen=True, slots=True)
class CacheMark:
    """Everything up to and with the piece that carries it may be cached, for `ttl` ("5m", "1h")."""

    ttl: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where the bytes of an image or file are. `value`: base64 for "data" (of media type `mime`),
    an address for "url", a provider's own id for "id", the text itself for "text"."""

    kind: SourceKind
    value: str
    mime: str | None = None

    @property
    def data_url(self) -> str:
        """The source as a client of OpenAI writes it; only for "data" and "url"."""
        if self.kind == "data":
            return f"data:{self.mime or 'application/octet-stream'};base64,{self.value}"
        return self.value


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a text has something from. `start`/`end` are characters of the answer's text, None
    when unknown: then the whole text part is meant. `raw` is the dialect's own object."""

    url: str | None = None
    title: str | None = None
    cited: str | None = None
    start: int | None = None
    end: int | None = None
    dialect: str = ""
    raw: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Text:
    """`signature`: a proof of thought that hangs on this text, made by models of `origin`."""

    text: str
    citations: tuple[Citation, ...] = ()
    signature: str | None = None
    origin: str = ""
    cache: CacheMark | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Image:
    source: Source
    detail: str | None = None
    cache: CacheMark | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class File:
    source: Source
    name: str | None = None
    cache: CacheMark | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audio:
    """`format` is the short name ("wav", "mp3"); `source` is "data" wherever a dialect has it."""

    source: Source
    format: str
    cache: CacheMark | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Video:
    source: Source
    cache: CacheMark | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Thinking:
    """A thought. `signature` proves it to models of the family `origin` ("anthropic", "google",
    "openai", "xai") and to nobody else; a thought without one is only text."""

    text: str
    signature: str | None = None
    origin: str = ""
    id: str | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RedactedThinking:
    """A thought nobody but models of `origin` can read."""

    data: str
    origin: str = ""
    id: str | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolCall:
    """`arguments` is the JSON text as it came, "" when none came. `custom`: it is free text."""

    id: str
    name: str
    arguments: str
    custom: bool = False
    signature: str | None = None
    origin: str = ""
    cache: CacheMark | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolResult:
    """`parts`: texts, images and files. `name` is the called tool's, where a dialect says it."""

    call_id: str
    parts: "tuple[Part, ...]"
    is_error: bool = False
    name: str | None = None
    cache: CacheMark | None = None
    extras: Extras = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refusal:
    text: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """A block or tool that only `dialect` knows (server tools, containers). `raw` as it came."""

    dialect: str
    raw: JsonObject

    @property
    def kind(self) -> str:
        return str(self.raw.get("type", ""))


Part: TypeAlias = (
    Text
    | Image
    | File
    | Audio
    | Video
    | Thinking
    | RedactedThinking
    | ToolCall
    | ToolResult
    | Refusal
    | Opaque
)


@dataclass(frozen=True, slots=True)
class Message:
    """Tool results stand in messages of role "tool" of their own: one message for all results that
    answer one turn. Neighbouring messages of one role are allowed; writers merge where needed."""

    role: Role
    parts: tuple[Part, ...]
    name: str | None = None
    extras: Extras = field(default_factory=dict)
