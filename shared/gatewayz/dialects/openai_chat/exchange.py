"""Chat completions as a client's call: read strictly, passed through to providers of the same
dialect, translated for others.
"""

from collections.abc import Mapping
from dataclasses import replace

from gatewayz.core.errors import GatewayError, UpstreamBroken
from gatewayz.core.ids import public_id
from gatewayz.dialects.exchange import EVENT_STREAM, Exchange, translate, with_limit
from gatewayz.dialects.form import Hides, JsonObject, Style, Target, UsageReport
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.hidden import hides_of
from gatewayz.dialects.media import HoldsMedia
from gatewayz.dialects.openai_chat.answer import Answer, decode_answer, encode_answer
from gatewayz.dialects.openai_chat.codec import OPENAI_CHAT, read_error
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.dialects.openai_chat.read_message import NAME
from gatewayz.dialects.openai_chat.request import ChatRequest, decode_request, forward_request
from gatewayz.dialects.openai_chat.size import holds_more_than_text
from gatewayz.dialects.openai_chat.stream import KEEPALIVE, ChatStream
from gatewayz.dialects.openai_chat.think_tags import QUIRKS as TAGGED
from gatewayz.dialects.openai_chat.write_request import ALL_EXTENSIONS
from gatewayz.dialects.passthrough import PassedExchange, Passing
from gatewayz.dialects.protocol import HttpRequest, Reply

ID_PREFIX: dict[Style, str] = {"openai": "chatcmpl-", "openrouter": "gen-"}


def _read_answer(raw: bytes, target: Target) -> Answer:
    return decode_answer(raw, target.usage, provider=target.provider, error_map=target.errors)


def _write_answer(answer: Answer, reply: Reply, report: UsageReport) -> bytes:
    return encode_answer(
        answer,
        chat_id=public_id(reply.request_id, ID_PREFIX[reply.style]),
        model=reply.model,
        provider=reply.provider,
        style=reply.style,
        report=report,
    )


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


PASSING = Passing(_read_answer, _write_answer, open_stream, read_error)


def _passing(n: int) -> Passing:
    """Of several answers fewer are never quietly enough: some servers ignore the wish."""
    if n == 1:
        return PASSING

    def read_all(raw: bytes, target: Target) -> Answer:
        answer = _read_answer(raw, target)
        if len(answer.body["choices"]) < n:
            raise UpstreamBroken(
                "The provider gave fewer answers than were asked for.", provider=target.provider
            )
        return answer

    return replace(PASSING, decode_answer=read_all)


class ChatCall(HoldsMedia):
    """A chat completion request as its client sent it."""

    name = NAME
    keepalive = KEEPALIVE
    stream_type = EVENT_STREAM
    counts = False

    def __init__(self, body: JsonObject, headers: Mapping[str, str]) -> None:
        self._request: ChatRequest = decode_request(body)
        self._form: GenerationRequest | None = None
        request = self._request
        if not request.plain:
            self._read()  # what is wrong with it is said before anything is held
        self._body = request.body
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
        if upstream == NAME and not reply.hides and target.quirks.isdisjoint(TAGGED):
            forwarded = self._forward(target, limit_tokens)
            return PassedExchange(_passing(reply.n), forwarded, target, reply)
        from gatewayz.dialects.registry import UPSTREAMS

        other = UPSTREAMS[upstream]
        return translate(OPENAI_CHAT, other, self._read(), target, reply, limit_tokens)

    def _forward(self, target: Target, limit_tokens: int | None) -> HttpRequest:
        """The caller's body; written anew where it has what this target would refuse."""
        if not self.embedded and (self._request.plain or target.quirks >= ALL_EXTENSIONS):
            return forward_request(self._request, target, max_output_tokens=limit_tokens)
        return OPENAI_CHAT.encode_request(with_limit(self._read(), limit_tokens), target)

    @property
    def hides(self) -> Hides:
        """Its callers have one word for it, and with it they want nothing of them."""
        return "" if self._request.plain else hides_of(self._read(), "all")

    @property
    def form(self) -> GenerationRequest:
        return self._read()

    @property
    def has_media(self) -> bool:
        return holds_more_than_text(self._body)

    def _read(self) -> GenerationRequest:
        if self._form is None:
            self._form = OPENAI_CHAT.decode_request(self._request.body)
        return self._form

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, style=style, request_id=request_id)

    def error_frame(self, error: GatewayError, reply: Reply) -> bytes:
        return open_stream(reply, None).fail(error)
