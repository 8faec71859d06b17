"""generateContent as a Dialect: both directions, between the wire and the internal form.

A client's model and method stand in its path: wire.read_path() and Call.body() put them into the
body that decode_request() takes.
"""

from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.dialects.form import JsonObject, Style, Target, UsageReport
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.google.count import decode_count, encode_count
from gatewayz.dialects.google.errors import decode_error, encode_error
from gatewayz.dialects.google.read_answer import read_generation
from gatewayz.dialects.google.read_request import decode_request
from gatewayz.dialects.google.read_stream import ChunkDecoder
from gatewayz.dialects.google.wire import NAME
from gatewayz.dialects.google.write_answer import write_generation
from gatewayz.dialects.google.write_request import QUIRKS, encode_request
from gatewayz.dialects.google.write_stream import ChunkEncoder
from gatewayz.dialects.parts import Audio, File, Image, Part
from gatewayz.dialects.protocol import NO_HEADERS, NO_NOTES, Headers, HttpRequest, Notes, Reply


class Google:
    name = NAME
    # Addresses are taken by the newest models only; for videos they mean a place of the provider's.
    bytes_only: tuple[type[Part], ...] = (Image, File, Audio)
    quirks = QUIRKS

    def decode_request(self, body: JsonObject, headers: Headers = NO_HEADERS) -> GenerationRequest:
        return decode_request(body)

    def decode_count(self, body: JsonObject, headers: Headers = NO_HEADERS) -> GenerationRequest:
        """A client asks how many tokens a prompt has."""
        return decode_count(body)

    def encode_count(self, tokens: int) -> bytes:
        return encode_count(tokens)

    def encode_request(self, request: GenerationRequest, target: Target) -> HttpRequest:
        return encode_request(request, target)

    def decode_answer(self, raw: bytes, target: Target, notes: Notes = NO_NOTES) -> Generation:
        return read_generation(raw, target, notes)

    def encode_answer(self, generation: Generation, reply: Reply, report: UsageReport) -> bytes:
        return write_generation(generation, reply, report)

    def stream_decoder(
        self, target: Target, notes: Notes = NO_NOTES, *, n: int = 1
    ) -> ChunkDecoder:
        return ChunkDecoder(target, notes, n=n)

    def stream_encoder(self, reply: Reply) -> ChunkEncoder:
        return ChunkEncoder(reply)

    def decode_error(
        self, target: Target, status: int, headers: Headers, body: bytes
    ) -> UpstreamError:
        return decode_error(target, status, headers, body)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, request_id=request_id)


GOOGLE = Google()
