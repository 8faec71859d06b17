"""The legacy Completions protocol as a Dialect: between the wire and the internal form.

Answers always go through the form: a completion has nothing that the form does not keep.
"""

from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.dialects.form import JsonObject, Style, Target, UsageReport
from gatewayz.dialects.generation import Generation, GenerationRequest
from gatewayz.dialects.openai_chat.errors import decode_error, encode_error
from gatewayz.dialects.openai_completions.read_answer import CompletionsDecoder, read_generation
from gatewayz.dialects.openai_completions.read_request import decode_request
from gatewayz.dialects.openai_completions.wire import NAME
from gatewayz.dialects.openai_completions.write_answer import (
    CompletionsEncoder,
    write_generation,
)
from gatewayz.dialects.openai_completions.write_request import QUIRKS, encode_request
from gatewayz.dialects.parts import Part
from gatewayz.dialects.protocol import NO_HEADERS, NO_NOTES, Headers, HttpRequest, Notes, Reply


class OpenAICompletions:
    name = NAME
    bytes_only: tuple[type[Part], ...] = ()
    quirks = QUIRKS

    def decode_request(self, body: JsonObject, headers: Headers = NO_HEADERS) -> GenerationRequest:
        return decode_request(body)

    def encode_request(self, request: GenerationRequest, target: Target) -> HttpRequest:
        return encode_request(request, target)

    def decode_answer(self, raw: bytes, target: Target, notes: Notes = NO_NOTES) -> Generation:
        return read_generation(raw, target)

    def encode_answer(self, generation: Generation, reply: Reply, report: UsageReport) -> bytes:
        return write_generation(generation, reply, report)

    def stream_decoder(
        self, target: Target, notes: Notes = NO_NOTES, *, n: int = 1
    ) -> CompletionsDecoder:
        return CompletionsDecoder(target, n=n)

    def stream_encoder(self, reply: Reply) -> CompletionsEncoder:
        return CompletionsEncoder(reply)

    def decode_error(
        self, target: Target, status: int, headers: Headers, body: bytes
    ) -> UpstreamError:
        return decode_error(target.provider, status, headers, body, target.errors)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, style=style, request_id=request_id)


OPENAI_COMPLETIONS = OpenAICompletions()
