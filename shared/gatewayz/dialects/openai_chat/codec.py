"""Chat completions as a Dialect: both directions, between the wire and the internal form."""

from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.dialects.form import JsonObject, Style, Target, UsageReport
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.openai_chat.errors import decode_error, encode_error
from gatewayz.dialects.openai_chat.read_answer import read_generation
from gatewayz.dialects.openai_chat.read_message import NAME
from gatewayz.dialects.openai_chat.read_request import decode_request
from gatewayz.dialects.openai_chat.read_stream import ChatDecoder
from gatewayz.dialects.openai_chat.write_answer import write_generation
from gatewayz.dialects.openai_chat.write_request import QUIRKS, encode_request
from gatewayz.dialects.openai_chat.write_stream import ChatEncoder
from gatewayz.dialects.parts import File, Part
from gatewayz.dialects.protocol import NO_HEADERS, NO_NOTES, Headers, HttpRequest, Notes, Reply


class OpenAIChat:
    name = NAME
    bytes_only: tuple[type[Part], ...] = (File,)
    quirks = QUIRKS

    def decode_request(self, body: JsonObject, headers: Headers = NO_HEADERS) -> GenerationRequest:
        return decode_request(body)

    def encode_request(self, request: GenerationRequest, target: Target) -> HttpRequest:
        return encode_request(request, target)

    def decode_answer(self, raw: bytes, target: Target, notes: Notes = NO_NOTES) -> Generation:
        return read_generation(raw, target)

    def encode_answer(self, generation: Generation, reply: Reply, report: UsageReport) -> bytes:
        return write_generation(generation, reply, report)

    def stream_decoder(self, target: Target, notes: Notes = NO_NOTES, *, n: int = 1) -> ChatDecoder:
        return ChatDecoder(target, n=n)

    def stream_encoder(self, reply: Reply) -> ChatEncoder:
        return ChatEncoder(reply)

    def decode_error(
        self, target: Target, status: int, headers: Headers, body: bytes
    ) -> UpstreamError:
        return decode_error(target.provider, status, headers, body, target.errors)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, style=style, request_id=request_id)


OPENAI_CHAT = OpenAIChat()
