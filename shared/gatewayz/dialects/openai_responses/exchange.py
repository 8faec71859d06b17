"""A Responses request as a client's call: passed through to providers of the same dialect, else
translated. Every answer repeats the request's settings, as clients of this protocol expect.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.dialects.exchange import EVENT_STREAM, Exchange, translate, with_limit
from gatewayz.dialects.form import JsonObject, Style, Target, UsageReport
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.dialects.openai_chat.frames import KEEPALIVE
from gatewayz.dialects.openai_responses.answer import (
    ResponsesAnswer,
    decode_answer,
    encode_answer,
)
from gatewayz.dialects.openai_responses.codec import OPENAI_RESPONSES
from gatewayz.dialects.openai_responses.errors import decode_error
from gatewayz.dialects.openai_responses.request import forward_request, passes
from gatewayz.dialects.openai_responses.shell import with_echo
from gatewayz.dialects.openai_responses.stream import ResponsesStream
from gatewayz.dialects.openai_responses.wire import NAME
from gatewayz.dialects.openai_responses.write_stream import ResponsesEncoder
from gatewayz.dialects.protocol import Headers, HttpRequest, Reply
from gatewayz.dialects.size import prompt_tokens


@dataclass(slots=True)
class ResponsesExchange:
    """Bytes through: only id, model and usage are ours."""

    request: HttpRequest
    target: Target
    reply: Reply

    def read_answer(self, raw: bytes) -> ResponsesAnswer:
        return decode_answer(raw, self.target)

    def render_answer(self, answer: ResponsesAnswer, report: UsageReport) -> bytes:
        return encode_answer(answer, self.reply, report)

    def open_stream(self) -> ResponsesStream:
        return ResponsesStream(self.reply, self.target)

    def decode_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        return decode_error(self.target, status, headers, body)


class ResponsesCall:
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
        if upstream == NAME and passes(target):
            form = with_limit(self._form, limit_tokens)
            return ResponsesExchange(forward_request(self._body, form, target), target, reply)
        from gatewayz.dialects.registry import UPSTREAMS

        other = OPENAI_RESPONSES if upstream == NAME else UPSTREAMS[upstream]
        return translate(OPENAI_RESPONSES, other, self._form, target, reply, limit_tokens)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, style=style, request_id=request_id)

    def error_frame(self, error: GatewayError, reply: Reply) -> bytes:
        return ResponsesEncoder(with_echo(reply, self._body)).fail(error)
