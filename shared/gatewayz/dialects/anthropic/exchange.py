"""Messages as a client's call: passed through to providers of the same dialect, else translated."""

from collections.abc import Mapping

import orjson

from gatewayz.core.errors import GatewayError
from gatewayz.dialects.anthropic.answer import decode_answer, encode_answer
from gatewayz.dialects.anthropic.codec import ANTHROPIC
from gatewayz.dialects.anthropic.errors import decode_error, encode_error
from gatewayz.dialects.anthropic.request import forward_request, passes
from gatewayz.dialects.anthropic.stream import MessagesStream
from gatewayz.dialects.anthropic.wire import NAME, PING
from gatewayz.dialects.anthropic.write_stream import MessagesEncoder
from gatewayz.dialects.exchange import (
    EVENT_STREAM,
    PATH_HEADER,
    Exchange,
    translate,
    with_limit,
)
from gatewayz.dialects.form import JsonObject, Style, Target
from gatewayz.dialects.media import HoldsMedia
from gatewayz.dialects.passthrough import PassedExchange, Passing
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.size import prompt_tokens

COUNT_PATH = "/count_tokens"


PASSING = Passing(decode_answer, encode_answer, MessagesStream, decode_error)


class MessagesCall(HoldsMedia):
    """A Messages request as its client sent it."""

    name = NAME
    keepalive = PING
    choices = candidates = 1
    include_usage = True
    stream_type = EVENT_STREAM

    def __init__(self, body: JsonObject, headers: Mapping[str, str]) -> None:
        self.counts = headers.get(PATH_HEADER, "").endswith(COUNT_PATH)
        if self.counts:
            body = {"max_tokens": 1, **body}  # required for an answer, and there is none
        self._body = body
        self._form = form = ANTHROPIC.decode_request(body, headers)
        self.model = form.model
        self.stream = form.stream
        self.prompt_tokens = prompt_tokens(form)
        self.max_output_tokens = form.max_output_tokens
        self.end_user = form.user
        self.session = form.session

    def encode_count(self, tokens: int) -> bytes:
        return orjson.dumps({"input_tokens": tokens})

    def exchange(
        self, upstream: str, target: Target, reply: Reply, limit_tokens: int | None
    ) -> Exchange:
        if upstream == NAME and passes(target) and not self.embedded:
            form = with_limit(self.form, limit_tokens)
            request = forward_request(self._body, form, target)
            return PassedExchange(PASSING, request, target, reply)
        from gatewayz.dialects.registry import UPSTREAMS

        other = UPSTREAMS[upstream]
        return translate(ANTHROPIC, other, self.form, target, reply, limit_tokens)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, request_id=request_id)

    def error_frame(self, error: GatewayError, reply: Reply) -> bytes:
        return MessagesEncoder(reply).fail(error)
