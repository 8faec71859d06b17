"""The Cohere chat protocol as an Upstream: the provider's side, whole answers and streams."""

from gatewayz.core.errors import UpstreamError
from gatewayz.dialects.cohere.errors import decode_error
from gatewayz.dialects.cohere.read_answer import read_generation
from gatewayz.dialects.cohere.read_stream import CohereDecoder
from gatewayz.dialects.cohere.wire import NAME
from gatewayz.dialects.cohere.write_request import QUIRKS, encode_request
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.parts import File, Part
from gatewayz.dialects.protocol import NO_NOTES, Headers, HttpRequest, Notes


class Cohere:
    name = NAME
    bytes_only: tuple[type[Part], ...] = (File,)
    quirks = QUIRKS

    def encode_request(self, request: GenerationRequest, target: Target) -> HttpRequest:
        return encode_request(request, target)

    def decode_answer(self, raw: bytes, target: Target, notes: Notes = NO_NOTES) -> Generation:
        return read_generation(raw, target, notes)

    def stream_decoder(
        self, target: Target, notes: Notes = NO_NOTES, *, n: int = 1
    ) -> CohereDecoder:
        return CohereDecoder(target, notes)

    def decode_error(
        self, target: Target, status: int, headers: Headers, body: bytes
    ) -> UpstreamError:
        return decode_error(target, status, headers, body)


COHERE = Cohere()
