"""A dialect as a record of its readers and writers. Implements protocol.Upstream and, with both
sides, protocol.Dialect; what each function owes stands there.
"""

from collections.abc import Callable, Mapping

from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.dialects.form import JsonObject, Style, Target, UsageReport
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.parts import Part
from gatewayz.dialects.protocol import (
    NO_HEADERS,
    NO_NOTES,
    Headers,
    HttpRequest,
    Notes,
    Reply,
    StreamDecoder,
    StreamEncoder,
)

Rendered = tuple[int, bytes, dict[str, str]]


class ProviderSide:
    """We call in it."""

    __slots__ = (
        "_read_answer", "_read_error", "_read_stream", "bytes_only", "encode_request", "name",
        "quirks",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        *,
        write_request: Callable[[GenerationRequest, Target], HttpRequest],
        read_answer: Callable[[bytes, Target, Notes], Generation],
        read_stream: Callable[[Target, Notes, int], StreamDecoder],
        read_error: Callable[[Target, int, Mapping[str, str], bytes], UpstreamError],
        quirks: frozenset[str],
        bytes_only: tuple[type[Part], ...] = (),
    ) -> None:
        self.name = name
        self.quirks = quirks
        self.bytes_only = bytes_only
        self.encode_request = write_request
        self._read_answer = read_answer
        self._read_stream = read_stream
        self._read_error = read_error

    def decode_answer(self, raw: bytes, target: Target, notes: Notes = NO_NOTES) -> Generation:
        return self._read_answer(raw, target, notes)

    def stream_decoder(
        self, target: Target, notes: Notes = NO_NOTES, *, n: int = 1
    ) -> StreamDecoder:
        return self._read_stream(target, notes, n)

    def decode_error(
        self, target: Target, status: int, headers: Headers, body: bytes
    ) -> UpstreamError:
        return self._read_error(target, status, headers, body)


class BothSides(ProviderSide):
    """We are called in it too."""

    __slots__ = ("_read_request", "_write_error", "encode_answer", "stream_encoder")

    def __init__(
        self,
        name: str,
        *,
        read_request: Callable[[JsonObject, Headers], GenerationRequest],
        write_request: Callable[[GenerationRequest, Target], HttpRequest],
        read_answer: Callable[[bytes, Target, Notes], Generation],
        write_answer: Callable[[Generation, Reply, UsageReport], bytes],
        read_stream: Callable[[Target, Notes, int], StreamDecoder],
        write_stream: Callable[[Reply], StreamEncoder],
        read_error: Callable[[Target, int, Mapping[str, str], bytes], UpstreamError],
        write_error: Callable[[GatewayError, Style, str | None], Rendered],
        quirks: frozenset[str],
        bytes_only: tuple[type[Part], ...] = (),
    ) -> None:
        super().__init__(
            name, write_request=write_request, read_answer=read_answer, read_stream=read_stream,
            read_error=read_error, quirks=quirks, bytes_only=bytes_only,
        )  # fmt: skip
        self._read_request = read_request
        self.encode_answer = write_answer
        self.stream_encoder = write_stream
        self._write_error = write_error

    def decode_request(self, body: JsonObject, headers: Headers = NO_HEADERS) -> GenerationRequest:
        return self._read_request(body, headers)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> Rendered:
        return self._write_error(error, style, request_id)
