"""The Converse protocol as an Upstream: the provider's side, whole answers and binary streams."""

from gatewayz.core.errors import UpstreamError
from gatewayz.dialects.bedrock.errors import decode_error
from gatewayz.dialects.bedrock.read_answer import read_generation
from gatewayz.dialects.bedrock.read_stream import ConverseDecoder
from gatewayz.dialects.bedrock.wire import NAME
from gatewayz.dialects.bedrock.write_request import QUIRKS, encode_request
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.parts import Audio, File, Image, Part, Video
from gatewayz.dialects.protocol import NO_NOTES, Headers, HttpRequest, Notes


class Bedrock:
    name = NAME
    bytes_only: tuple[type[Part], ...] = (Image, File, Audio, Video)
    quirks = QUIRKS

    def encode_request(self, request: GenerationRequest, target: Target) -> HttpRequest:
        return encode_request(request, target)

    def decode_answer(self, raw: bytes, target: Target, notes: Notes = NO_NOTES) -> Generation:
        return read_generation(raw, target, notes)

    def stream_decoder(
        self, target: Target, notes: Notes = NO_NOTES, *, n: int = 1
    ) -> ConverseDecoder:
        return ConverseDecoder(target, notes)

    def decode_error(
        self, target: Target, status: int, headers: Headers, body: bytes
    ) -> UpstreamError:
        return decode_error(target, status, headers, body)


BEDROCK = Bedrock()
