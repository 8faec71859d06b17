"""The Messages protocol as a Dialect: both directions, between the wire and the internal form."""

import orjson

from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.dialects.anthropic.errors import decode_error, encode_error
from gatewayz.dialects.anthropic.read_answer import read_generation
from gatewayz.dialects.anthropic.read_request import decode_request
from gatewayz.dialects.anthropic.read_stream import MessagesDecoder
from gatewayz.dialects.anthropic.wire import NAME
from gatewayz.dialects.anthropic.write_answer import write_generation
from gatewayz.dialects.anthropic.write_request import QUIRKS, encode_request
from gatewayz.dialects.anthropic.write_stream import MessagesEncoder
from gatewayz.dialects.form import JsonObject, Style, Target, UsageReport
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.parts import Part
from gatewayz.dialects.protocol import NO_HEADERS, NO_NOTES, Headers, HttpRequest, Notes, Reply


class Anthropic:
    name = NAME
    bytes_only: tuple[type[Part], ...] = ()
    quirks = QUIRKS

    def decode_request(self, body: JsonObject, headers: Headers = NO_HEADERS) -> GenerationRequest:
        return decode_request(body, headers)

    def decode_count(self, body: JsonObject, headers: Headers = NO_HEADERS) -> GenerationRequest:
        """A client asks how many tokens a prompt has."""
        return decode_request(body, headers, counting=True)

    def encode_count(self, tokens: int) -> bytes:
        return orjson.dumps({"input_tokens": tokens})

    def encode_request(self, request: GenerationRequest, target: Target) -> HttpRequest:
        return encode_request(request, target)

    def decode_answer(self, raw: bytes, target: Target, notes: Notes = NO_NOTES) -> Generation:
        return read_generation(raw, target, notes)

    def encode_answer(self, generation: Generation, reply: Reply, report: UsageReport) -> bytes:
        return write_generation(generation, reply, report)

    def stream_decoder(
        self, target: Target, notes: Notes = NO_NOTES, *, n: int = 1
    ) -> MessagesDecoder:
        return MessagesDecoder(target, notes)

    def stream_encoder(self, reply: Reply) -> MessagesEncoder:
        return MessagesEncoder(reply)

    def decode_error(
        self, target: Target, status: int, headers: Headers, body: bytes
    ) -> UpstreamError:
        return decode_error(target, status, headers, body)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, request_id=request_id)


ANTHROPIC = Anthropic()
