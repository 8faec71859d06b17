"""A legacy completion as a client's call: its own bytes to providers of the same dialect, else
translated.
"""

from collections.abc import Mapping
from dataclasses import replace

from gatewayz.core.errors import GatewayError
from gatewayz.dialects.exchange import (
    EVENT_STREAM,
    Exchange,
    TranslatedExchange,
    translate,
    with_limit,
)
from gatewayz.dialects.form import JsonObject, Style, Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.media import HoldsMedia
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.dialects.openai_chat.frames import KEEPALIVE
from gatewayz.dialects.openai_completions.codec import OPENAI_COMPLETIONS
from gatewayz.dialects.openai_completions.read_request import candidates, for_chat, prompts
from gatewayz.dialects.openai_completions.wire import NAME
from gatewayz.dialects.openai_completions.write_answer import CompletionsEncoder
from gatewayz.dialects.openai_completions.write_request import forward_request
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.size import prompt_tokens


class CompletionsCall(HoldsMedia):
    """A completion request as its client sent it."""

    name = NAME
    keepalive = KEEPALIVE
    stream_type = EVENT_STREAM
    counts = False

    def __init__(self, body: JsonObject, headers: Mapping[str, str]) -> None:
        self._body = body
        self._form = form = OPENAI_COMPLETIONS.decode_request(body, headers)
        self.model = form.model
        self.stream = form.stream
        self.include_usage = form.include_usage
        self.prompt_tokens = prompt_tokens(form)
        self.choices = form.n
        self.candidates = candidates(form)
        self.max_output_tokens = form.max_output_tokens
        self.end_user = form.user
        self.session = form.session

    @property
    def longest_tokens(self) -> int:
        return max(prompt_tokens(form) for form in prompts(self.form))

    def encode_count(self, tokens: int) -> bytes:
        raise AssertionError("completions have no call that only counts")

    def exchange(
        self, upstream: str, target: Target, reply: Reply, limit_tokens: int | None
    ) -> Exchange:
        if upstream == NAME:
            form = with_limit(self.form, limit_tokens)
            request = forward_request(self._body, form, target)
            client = OPENAI_COMPLETIONS
            return TranslatedExchange(client, client, request, target, reply)
        form = for_chat(self.form)
        from gatewayz.dialects.registry import UPSTREAMS

        other = UPSTREAMS[upstream]
        return translate(OPENAI_COMPLETIONS, other, form, target, reply, limit_tokens)

    def branches(self, *, single: bool) -> tuple[GenerationRequest, ...]:
        forms = map(for_chat, prompts(self.form))
        if not single:
            return tuple(forms)
        return tuple(one for form in forms for one in (replace(form, n=1),) * form.n)

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return encode_error(error, style=style, request_id=request_id)

    def error_frame(self, error: GatewayError, reply: Reply) -> bytes:
        return CompletionsEncoder(reply).fail(error)
