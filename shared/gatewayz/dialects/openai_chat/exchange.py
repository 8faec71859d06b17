"""Chat completions as a client's call: read strictly, passed through to providers of the same
dialect, translated for others.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.core.ids import public_id
from gatewayz.dialects.exchange import EVENT_STREAM, Exchange, translate
from gatewayz.dialects.form import JsonObject, Style, Target, UsageReport
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.openai_chat.answer import Answer, decode_answer, encode_answer
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT
from gatewayz.dialects.openai_chat.errors import decode_error, encode_error
from gatewayz.dialects.openai_chat.read_message import NAME
from gatewayz.dialects.openai_chat.request import ChatRequest, decode_request, encode_request
from gatewayz.dialects.openai_chat.stream import KEEPALIVE, ChatStream
from gatewayz.dialects.protocol import Headers, HttpRequest, Reply

PATH = "/chat/completions"
ID_PREFIX: dict[Style, str] = {"openai": "chatcmpl-", "openrouter": "gen-"}


@dataclass(slots=True)
class ChatExchange:
    """Bytes through: only id, model, usage and provider are ours."""

    request: HttpRequest
    target: Target
    reply: Reply

    def read_answer(self, raw: bytes) -> Answer:
        return decode_answer(
            raw,
            self.target.usage,
            provider=self.target.provider,
            error_map=self.target.errors,
        )

    def render_answer(self, answer: Answer, report: UsageReport) -> bytes:
        reply = self.reply
        return encode_answer(
            answer,
            chat_id=public_id(reply.request_id, ID_PREFIX[reply.style]),
            model=reply.model,
            provider=reply.provider,
            style=reply.style,
            report=report,
        )

    def open_stream(self) -> ChatStream:
        return open_stream(self.reply, self.target)

    def decode_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        target = self.target
        return decode_error(target.provider, status, headers, body, target.errors)


def open_stream(reply: Reply, target: Target | None) -> ChatStream:
    return ChatStream(
        chat_id=public_id(reply.request_id, ID_PREFIX[reply.style]),
        model=reply.model,
        provider=reply.provider,
        style=reply.style,
        include_usage=reply.include_usage,
        n=reply.n,
        usage_paths=target.usage if target else {},
        error_map=target.errors if target else {},
    )


class ChatCall:
    """A chat completion request as its client sent it."""

    name = NAME
    keepalive = KEEPALIVE
    stream_type = EVENT_STREAM
    counts = False

    def __init__(self, body: JsonObject, headers: Mapping[str, str]) -> None:
        self._request: ChatRequest = decode_request(body)
        self._form: GenerationRequest | None = None
        request = self._request
        self.model = request.model
        self.stream = request.stream
        self.include_usage = request.include_usage
        self.prompt_tokens = request.prompt_tokens_estimate
        self.choices = request.n
        # Every candidate is written and billed, also those that are not shown (F53).
        self.candidates = max(request.n, body.get("best_of") or 1)
        self.max_output_tokens = request.max_output_tokens
        self.end_user = request.user
        self.session = request.session_id

    def encode_count(self, tokens: int) -> bytes:
        raise AssertionError("chat completions have no call that only counts")

    def exchange(
        self, upstream: str, target: Target, reply: Reply, limit_tokens: int | None
    ) -> Exchange:
        if upstream == NAME:
            body = encode_request(self._request, target, max_output_tokens=limit_tokens)
            return ChatExchange(HttpRequest(PATH, body), target, reply)
        from gatewayz.dialects.registry import UPSTREAMS

        if self._form is None:
            self._form = OPENAI_CHAT.decode_request(self._request.body)
        other = UPSTREAMS[upstream]
        return translate(OPENAI_CHAT, other, self._form, target, reply, limit_tokens)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, style=style, request_id=request_id)

    def error_frame(self, error: GatewayError, reply: Reply) -> bytes:
        return open_stream(reply, None).fail(error)
