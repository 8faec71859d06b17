"""A Responses request as a client's call: passed through to providers of the same dialect, else
translated. Every answer repeats the request's settings, as clients of this protocol expect.
"""

from collections.abc import Mapping

from gatewayz.core.errors import GatewayError
from gatewayz.dialects.exchange import EVENT_STREAM, Exchange, translate, with_limit
from gatewayz.dialects.form import JsonObject, Style, Target
from gatewayz.dialects.media import HoldsMedia
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.dialects.openai_chat.frames import KEEPALIVE
from gatewayz.dialects.openai_responses.answer import decode_answer, encode_answer
from gatewayz.dialects.openai_responses.codec import OPENAI_RESPONSES
from gatewayz.dialects.openai_responses.errors import decode_error
from gatewayz.dialects.openai_responses.namespaces import flattened
from gatewayz.dialects.openai_responses.request import forward_request, passes
from gatewayz.dialects.openai_responses.shell import with_echo
from gatewayz.dialects.openai_responses.stream import ResponsesStream
from gatewayz.dialects.openai_responses.wire import NAME
from gatewayz.dialects.openai_responses.write_stream import ResponsesEncoder
from gatewayz.dialects.passthrough import PassedExchange, Passing
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.size import prompt_tokens

PASSING = Passing(decode_answer, encode_answer, ResponsesStream, decode_error)


class ResponsesCall(HoldsMedia):
    """A Responses request as its client sent it."""

    name = NAME
    keepalive = KEEPALIVE
    choices = candidates = 1
    include_usage = True
    stream_type = EVENT_STREAM
    counts = False

    def __init__(self, body: JsonObject, headers: Mapping[str, str]) -> None:
        self._body = body
        self._form = form = OPENAI_RESPONSES.decode_request(body, headers)
        self.model = form.model
        self.stream = form.stream
        self.prompt_tokens = prompt_tokens(form)
        self.max_output_tokens = form.max_output_tokens
        self.end_user = form.user
        self.session = form.session

    def encode_count(self, tokens: int) -> bytes:
        raise AssertionError("responses have no call that only counts")

    def exchange(
        self, upstream: str, target: Target, reply: Reply, limit_tokens: int | None
    ) -> Exchange:
        reply = with_echo(reply, self._body)
        if upstream == NAME and passes(target) and not (self.embedded or reply.hides):
            form = with_limit(self.form, limit_tokens)
            request = forward_request(self._body, form, target)
            return PassedExchange(PASSING, request, target, reply)
        from gatewayz.dialects.registry import UPSTREAMS

        other = OPENAI_RESPONSES if upstream == NAME else UPSTREAMS[upstream]
        form = self.form if upstream == NAME else flattened(self.form)
        return translate(OPENAI_RESPONSES, other, form, target, reply, limit_tokens)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, style=style, request_id=request_id)

    def error_frame(self, error: GatewayError, reply: Reply) -> bytes:
        return ResponsesEncoder(with_echo(reply, self._body)).fail(error)
