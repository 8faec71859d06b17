"""Chat completions as an Operation: sizes, encodes, reads and renders one request.

Pass-through: client and offer speak the same dialect, so unknown fields travel both ways.
"""

from collections.abc import Mapping

from gatewayz.catalog.model import Offer
from gatewayz.core.errors import GatewayError
from gatewayz.core.ids import public_id
from gatewayz.dialects.form import Style, UsageReport
from gatewayz.dialects.openai_chat.answer import Answer, decode_answer, encode_answer
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.dialects.openai_chat.request import ChatRequest, encode_request
from gatewayz.dialects.openai_chat.stream import KEEPALIVE, ChatStream
from gatewayz.net.asgi import RawHeaders, raw_headers
from gatewayz.providers.config import Provider

ID_PREFIX: dict[Style, str] = {"openai": "chatcmpl-", "openrouter": "gen-"}
PATH = "/chat/completions"


class Chat:
    """One chat completion, as `style` (the mount it came by) wants it answered (D25)."""

    path = PATH
    keepalive = KEEPALIVE

    def __init__(self, request: ChatRequest, *, style: Style, model_id: str) -> None:
        self._request = request
        self._style = style
        self.model = model_id
        self.stream = request.stream
        self.prompt_tokens = request.prompt_tokens_estimate
        # A provider that knows best_of makes, and bills, as many answers (F53).
        self.choices = max(request.n, request.body.get("best_of") or 1)
        self.max_output_tokens = request.max_output_tokens
        self.end_user = request.user
        self.session = request.session_id

    def encode(self, offer: Offer, provider: Provider, limit_tokens: int | None) -> bytes:
        target = provider.target(offer.native_id)
        return encode_request(self._request, target, max_output_tokens=limit_tokens)

    def read_answer(self, raw: bytes, provider: Provider) -> Answer:
        return decode_answer(raw, provider.usage, provider=provider.slug, error_map=provider.errors)

    def render_answer(
        self, answer: Answer, request_id: str, provider: Provider, report: UsageReport
    ) -> bytes:
        return encode_answer(
            answer,
            chat_id=public_id(request_id, ID_PREFIX[self._style]),
            model=self.model,
            provider=provider.name,
            style=self._style,
            report=report,
        )

    def open_stream(self, request_id: str, provider: Provider) -> ChatStream:
        return self._stream(request_id, provider.name, provider.usage, provider.errors)

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        """The last bytes of a stream that fails before any provider answered."""
        return self._stream(request_id, "", {}, {}).fail(error)

    def _stream(
        self,
        request_id: str,
        provider_name: str,
        usage_paths: Mapping[str, str],
        error_map: Mapping[str, str],
    ) -> ChatStream:
        return ChatStream(
            chat_id=public_id(request_id, ID_PREFIX[self._style]),
            model=self.model,
            provider=provider_name,
            style=self._style,
            include_usage=self._request.include_usage,
            n=self._request.n,
            usage_paths=usage_paths,
            error_map=error_map,
        )

    def render_error(
        self, error: GatewayError, request_id: str | None
    ) -> tuple[int, bytes, RawHeaders]:
        return render_error(error, self._style, request_id)


def render_error(
    error: GatewayError, style: Style, request_id: str | None
) -> tuple[int, bytes, RawHeaders]:
    """Status, body and headers of an error in this dialect."""
    status, body, headers = encode_error(error, style=style, request_id=request_id)
    return status, body, raw_headers(headers)
