"""A kind of request, as the use-case sees it (D39): what admission must know, what goes to an
offer, how errors are shown. Generation, embeddings and media implement it.
"""

from collections.abc import Mapping
from typing import Protocol

from gatewayz.catalog.model import Model, Offer
from gatewayz.core.errors import GatewayError
from gatewayz.dialects.exchange import Exchange
from gatewayz.inference.finish import Shape
from gatewayz.inference.routing import Routing
from gatewayz.net.asgi import RawHeaders
from gatewayz.net.egress import Egress
from gatewayz.providers.config import Provider


class Operation(Protocol):
    """A kind of request (D39): its sizes for the estimate; its exchange with an offer, which
    encodes, reads usage and renders; its errors."""

    keepalive: bytes
    stream_type: bytes
    model: str
    stream: bool
    prompt_tokens: int
    longest_tokens: int  # of the longest prompt that has to fit an offer's context
    candidates: int
    max_output_tokens: int | None
    end_user: str | None
    session: str | None
    shape: Shape
    routing: Routing
    strict: bool  # offers that would leave out a parameter are none

    def able(
        self, model: Model, offers: tuple[Offer, ...], providers: Mapping[str, Provider]
    ) -> tuple[Offer, ...]:
        """Those of `offers` that can serve this; InvalidRequest when the model is of another kind
        or when none can."""
        ...

    async def prepare(self, egress: Egress, offer: Offer, provider: Provider) -> None:
        """Fetch what this offer has to be given as bytes; InvalidRequest when it cannot be had."""
        ...

    def exchange(
        self, offer: Offer, provider: Provider, request_id: str, limit_tokens: int | None
    ) -> Exchange: ...
    def render_error(
        self, error: GatewayError, request_id: str | None
    ) -> tuple[int, bytes, RawHeaders]: ...
    def error_frame(self, error: GatewayError, request_id: str) -> bytes: ...
