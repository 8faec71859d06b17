"""generateContent as a client's call: passed through to providers of the same dialect, else
translated.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from gatewayz.core.errors import GatewayError, NotFound
from gatewayz.dialects.exchange import (
    EVENT_STREAM,
    PATH_HEADER,
    QUERY_HEADER,
    Exchange,
    TranslatedExchange,
    with_limit,
)
from gatewayz.dialects.form import JsonObject, Style, Target
from gatewayz.dialects.google.answer import decode_answer, encode_answer
from gatewayz.dialects.google.array import ARRAY_KEEPALIVE, ARRAY_TYPE, ArrayStream, array_of
from gatewayz.dialects.google.codec import GOOGLE
from gatewayz.dialects.google.count import decode_count, encode_count
from gatewayz.dialects.google.errors import decode_error, encode_error
from gatewayz.dialects.google.request import forward_request, passes
from gatewayz.dialects.google.stream import GoogleArrayStream, GoogleStream
from gatewayz.dialects.google.wire import KEEPALIVE, NAME, read_path
from gatewayz.dialects.google.write_stream import ChunkEncoder
from gatewayz.dialects.media import HoldsMedia
from gatewayz.dialects.passthrough import PassedExchange, Passing
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.size import prompt_tokens
from gatewayz.dialects.translated import TranslatedStream

STREAM, COUNT = "streamGenerateContent", "countTokens"


PASSING = Passing(decode_answer, encode_answer, GoogleStream, decode_error)
ARRAY_PASSING = replace(PASSING, open_stream=GoogleArrayStream)


@dataclass(slots=True)
class _ArrayExchange(TranslatedExchange):
    def open_stream(self) -> TranslatedStream:
        return ArrayStream(
            self.upstream.stream_decoder(self.target, self.request.notes, n=self.reply.n),
            self.client.stream_encoder(self.reply),
            n=self.reply.n,
            notes=self.request.notes,
        )


class GoogleCall(HoldsMedia):
    """A generateContent request as its client sent it. `body` is wire.Call's, `array`: the client
    wants its stream as a JSON array, since its URL has no alt=sse."""

    name = NAME
    include_usage = True

    def __init__(
        self,
        body: JsonObject,
        headers: Mapping[str, str],
        *,
        array: bool = False,
        counts: bool = False,
    ) -> None:
        self.counts = counts
        self._body = body
        self._form = form = decode_count(body) if counts else GOOGLE.decode_request(body, headers)
        self._array = array
        self.stream_as = ArrayStream if array else TranslatedStream
        self.keepalive = ARRAY_KEEPALIVE if array else KEEPALIVE
        self.stream_type = ARRAY_TYPE if array else EVENT_STREAM
        self.model = form.model
        self.stream = form.stream
        self.prompt_tokens = prompt_tokens(form)
        self.choices = self.candidates = form.n
        self.max_output_tokens = form.max_output_tokens
        self.end_user = form.user
        self.session = form.session

    def encode_count(self, tokens: int) -> bytes:
        return encode_count(tokens)

    def exchange(
        self, upstream: str, target: Target, reply: Reply, limit_tokens: int | None
    ) -> Exchange:
        form = with_limit(self.form, limit_tokens)
        if upstream == NAME and passes(target) and not self.embedded:
            request = forward_request(self._body, form, target)
            passing = ARRAY_PASSING if self._array else PASSING
            return PassedExchange(passing, request, target, reply)
        from gatewayz.dialects.registry import UPSTREAMS

        other = UPSTREAMS[upstream]
        kind = _ArrayExchange if self._array else TranslatedExchange
        return kind(GOOGLE, other, other.encode_request(form, target), target, reply)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, request_id=request_id)

    def error_frame(self, error: GatewayError, reply: Reply) -> bytes:
        frame = ChunkEncoder(reply).fail(error)
        return array_of(frame) if self._array else frame


def read_call(body: JsonObject, headers: Mapping[str, str]) -> GoogleCall:
    """The call behind a path `…/models/{model}:{method}`; NotFound for another one."""
    asked = read_path(headers[PATH_HEADER])
    if asked is None:
        raise NotFound("There is no such method.", code="route_not_found")
    counts = asked.method == COUNT
    array = asked.method == STREAM and "alt=sse" not in headers[QUERY_HEADER].split("&")
    return GoogleCall(asked.body(body), headers, array=array, counts=counts)
