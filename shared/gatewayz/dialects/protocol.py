"""What a dialect is: one wire protocol in both directions, and what its halves hand each other.

Pure: no I/O, no clock, no environment. decode ∘ encode is the identity on what a dialect can say;
what a target cannot take is either named in `dropped` or refused, never lost silently.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.dialects.events import Event
from gatewayz.dialects.form import Hides, JsonObject, Style, Target, UsageReport
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.parts import Part
from gatewayz.pricing.usage import Usage

Headers = Mapping[str, str]
NO_HEADERS: Headers = {}


@dataclass(frozen=True, slots=True)
class Notes:
    """What a writer changed in a request so that the reader of its answer can undo it.

    `names`: tool name as sent → as the caller wrote it. `json_tool`: the tool whose arguments are
    really the answer's text (structured output for targets that have none). `custom`: tools, by
    the caller's names, whose free text was asked for as a field (translated.py undoes it).
    `audio`: the format in which the caller wants a spoken answer.
    """

    names: Mapping[str, str] = field(default_factory=dict)
    json_tool: str | None = None
    custom: frozenset[str] = frozenset()
    audio: str = ""


NO_NOTES = Notes()


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A POST to `path` below the provider's base URL. `dropped` goes to X-Gatewayz-Dropped-Params:
    the caller's own names of what this target does not take and what does no harm to miss."""

    path: str
    body: bytes
    headers: Headers = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    notes: Notes = NO_NOTES


@dataclass(frozen=True, slots=True)
class Reply:
    """To whom an answer goes: our id for it, the model and provider as the caller knows them, what
    of its thoughts is not to be shown."""

    request_id: str
    model: str
    provider: str = ""
    style: Style = "openai"
    include_usage: bool = False
    n: int = 1
    hides: Hides = ""


class StreamDecoder(Protocol):
    """One provider's stream, cut anywhere → events in the order of events.py."""

    def feed(self, block: bytes) -> list[Event]:
        """Never raises for what a provider sends: a stream that cannot be read ends in Failed."""
        ...

    def end(self) -> list[Event]:
        """The input is over. Failed(UpstreamBroken) unless every choice had ended or Done came."""
        ...


class StreamEncoder(Protocol):
    """Events → one client's stream, in this dialect's exact event order."""

    keepalive: bytes

    def encode(self, event: Event) -> bytes:
        """The frames for an event, b"" for none. Ended, UsageSeen, Done and Failed give none: the
        end is written by close() or fail()."""
        ...

    def close(
        self, report: UsageReport, *, usage: Usage | None = None, finish: str | None = None
    ) -> bytes:
        """The end of a complete answer. Closes an open block. `usage` is the provider's count,
        None when there was none (then the report's numbers stand); `finish` ends choices that
        have no reason yet ("length" when the credit is used up, D9)."""
        ...

    def fail(self, error: GatewayError) -> bytes:
        """The end of an answer that failed: never one a client takes for complete (D27)."""
        ...


class Upstream(Protocol):
    """The provider's side of a dialect: we call in it. decode = from the wire."""

    name: str
    # Kinds of parts (classes of parts.py) for which this dialect takes bytes only, no address.
    bytes_only: tuple[type[Part], ...]
    # Flags of a provider's row that this dialect's code implements.
    quirks: frozenset[str]

    def encode_request(self, request: GenerationRequest, target: Target) -> HttpRequest:
        """We call a provider. InvalidRequest names the part a target cannot take. The caller has
        already put its own token limit into `request.max_output_tokens`."""
        ...

    def decode_answer(self, raw: bytes, target: Target, notes: Notes = NO_NOTES) -> Generation:
        """UpstreamBroken for what is no answer; an error object in a 200 raises its own class."""
        ...

    def stream_decoder(
        self, target: Target, notes: Notes = NO_NOTES, *, n: int = 1
    ) -> StreamDecoder: ...

    def decode_error(
        self, target: Target, status: int, headers: Headers, body: bytes
    ) -> UpstreamError:
        """The failure an HTTP answer of status ≥ 300 stands for; header names are lower case."""
        ...


class Client(Protocol):
    """The client's side of a dialect: we are called in it. decode = from the wire."""

    name: str

    def decode_request(self, body: JsonObject, headers: Headers = NO_HEADERS) -> GenerationRequest:
        """A client calls us. InvalidRequest names the field that is wrong; unknown ones travel.
        Any JSON object gives a request or InvalidRequest, nothing else."""
        ...

    def encode_answer(self, generation: Generation, reply: Reply, report: UsageReport) -> bytes:
        """The body a client gets: our id and model, the charge in its usage."""
        ...

    def stream_encoder(self, reply: Reply) -> StreamEncoder: ...

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        """(status, body, headers) of an answer that is an error."""
        ...


class Dialect(Upstream, Client, Protocol):
    """Both sides. decode_request ∘ encode_request and decode_answer ∘ encode_answer are the
    identity on every form that this dialect can say."""
