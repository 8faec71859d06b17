"""One client's request at one provider: the bytes that go out, how what comes back is read.

`ClientCall` is a client's request, read once. Each attempt makes an `Exchange` of it: bytes pass
through where client and provider speak one dialect, else everything goes through the internal form.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.dialects.form import Hides, JsonObject, Style, Target, UsageReport
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.hidden import hidden
from gatewayz.dialects.media import Medium
from gatewayz.dialects.parts import Source
from gatewayz.dialects.protocol import Client, Headers, HttpRequest, Reply, Upstream
from gatewayz.dialects.translated import TranslatedAnswer, TranslatedStream, read_answer
from gatewayz.pricing.usage import Usage


class Delivered(Protocol):
    """What a provider's answer, whole or streamed, says of itself."""

    @property
    def stated_cost(self) -> Any: ...
    @property
    def finish(self) -> str | None: ...
    @property
    def output_tokens_estimate(self) -> int: ...

    def counted(self) -> Usage | None:
        """What the provider stated, None if nothing; InvalidUsage when it cannot be true."""
        ...


class Stream(Delivered, Protocol):
    """feed() every block, end() at the end of input, then close() or fail(), whichever is true."""

    started: bool
    done: bool
    error: UpstreamError | None

    @property
    def clean_end(self) -> bool: ...
    def feed(self, block: bytes) -> bytes: ...
    def end(self) -> bytes: ...
    def close(self, report: UsageReport, *, finish: str | None = None) -> bytes: ...
    def fail(self, error: GatewayError) -> bytes: ...


class Exchange(Protocol):
    """One attempt, both directions."""

    request: HttpRequest
    target: Target

    def read_answer(self, raw: bytes) -> Delivered: ...
    def render_answer(self, answer: Any, report: UsageReport) -> bytes: ...
    def open_stream(self) -> Stream: ...
    def decode_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError: ...


class ErrorWriter(Protocol):
    """Who can tell a client what went wrong: a read call, or a dialect when none could be read."""

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]: ...


class ClientCall(ErrorWriter, Protocol):
    """A client's request: what admission must know of it, and what it becomes at a provider."""

    name: str
    include_usage: bool
    model: str
    stream: bool
    prompt_tokens: int
    choices: int  # answers shown
    candidates: int  # answers written, so billed
    max_output_tokens: int | None
    end_user: str | None
    session: str | None
    keepalive: bytes
    stream_type: str  # content type of a streamed answer
    counts: bool  # only the prompt is to be counted: nothing is generated
    stream_as: type[TranslatedStream]  # what a translated stream is shown as

    @property
    def hides(self) -> Hides:
        """What of the answer's thoughts is not to be shown."""
        ...

    @property
    def longest_tokens(self) -> int:
        """Of several prompts, the longest."""
        ...

    @property
    def form(self) -> GenerationRequest:
        """The request in the internal form."""
        ...

    @property
    def has_media(self) -> bool:
        """Whether the prompt holds more than text."""
        ...

    def embed(self, fetched: Mapping[str, Source]) -> None:
        """Put what was fetched in the place of its addresses."""
        ...

    def place(self, medium: Medium) -> str:
        """Where a medium stands in what the client sent."""
        ...

    def branches(self, *, single: bool) -> tuple[GenerationRequest, ...]:
        """The request as several, in the order of their answers: of one answer each if `single`,
        else of what one prompt asks for. InvalidRequest for what cannot be parted."""
        ...

    def encode_count(self, tokens: int) -> bytes:
        """The answer to a call that only counts."""
        ...

    def exchange(
        self, upstream: str, target: Target, reply: Reply, limit_tokens: int | None
    ) -> Exchange:
        """`upstream` is the provider's dialect; `limit_tokens` replaces the caller's own limit."""
        ...

    def error_frame(self, error: GatewayError, reply: Reply) -> bytes:
        """The last bytes of a stream that fails before any provider answered."""
        ...


@dataclass(slots=True)
class TranslatedExchange:
    """Through the internal form: any client dialect, any provider dialect."""

    client: Client
    upstream: Upstream
    request: HttpRequest
    target: Target
    reply: Reply

    def read_answer(self, raw: bytes) -> TranslatedAnswer:
        return read_answer(self.upstream, raw, self.target, self.request.notes)

    def render_answer(self, answer: TranslatedAnswer, report: UsageReport) -> bytes:
        shown = hidden(answer.generation, self.reply.hides)
        return self.client.encode_answer(shown, self.reply, report)

    def open_stream(self) -> TranslatedStream:
        return TranslatedStream(
            self.upstream.stream_decoder(self.target, self.request.notes, n=self.reply.n),
            self.client.stream_encoder(self.reply),
            n=self.reply.n,
            notes=self.request.notes,
            hides=self.reply.hides,
        )

    def decode_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        return self.upstream.decode_error(self.target, status, headers, body)


def translate(
    client: Client,
    upstream: Upstream,
    request: GenerationRequest,
    target: Target,
    reply: Reply,
    limit_tokens: int | None,
) -> TranslatedExchange:
    """InvalidRequest names a part that the target cannot take."""
    limited = with_limit(request, limit_tokens)
    return TranslatedExchange(
        client, upstream, upstream.encode_request(limited, target), target, reply
    )


def with_limit(request: GenerationRequest, limit_tokens: int | None) -> GenerationRequest:
    return request if limit_tokens is None else replace(request, max_output_tokens=limit_tokens)


EVENT_STREAM = "text/event-stream; charset=utf-8"
# Where a dialect has the model or the method in its address, its reader finds them here, beside
# the caller's headers (lower case).
PATH_HEADER, QUERY_HEADER = ":path", ":query"
ReadCall = Callable[[JsonObject, Mapping[str, str]], ClientCall]
