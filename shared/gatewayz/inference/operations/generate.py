"""Generation as an Operation: a client's call of any dialect, an offer of any dialect.

Owns nothing of the wire: `dialects.exchange` reads and writes, this says for whom and where.
"""

from collections.abc import Mapping

from gatewayz.catalog.model import Model, Offer
from gatewayz.core.errors import GatewayError
from gatewayz.dialects.exchange import ClientCall, ErrorWriter, Exchange
from gatewayz.dialects.form import Style
from gatewayz.dialects.protocol import Reply
from gatewayz.inference.finish import GENERATED
from gatewayz.inference.fitness import doers
from gatewayz.inference.kinds import GENERATION, check_kind
from gatewayz.inference.media import embed, takers, to_fetch
from gatewayz.inference.routing import UNROUTED, Routing
from gatewayz.net.asgi import RawHeaders, raw_headers
from gatewayz.net.egress import Egress
from gatewayz.providers.config import Provider


class Generate:
    """One generation, as the mount it came by wants it answered (D25)."""

    shape = GENERATED

    def __init__(self, call: ClientCall, style: Style, routing: Routing = UNROUTED) -> None:
        self._call = call
        self.routing = routing
        self._style: Style = style
        self.model = call.model
        self.stream = call.stream
        self.prompt_tokens = self.longest_tokens = call.prompt_tokens
        self.candidates = call.candidates
        self.max_output_tokens = call.max_output_tokens
        self.end_user = call.end_user
        self.session = call.session
        self.keepalive = call.keepalive
        self.stream_type = call.stream_type.encode()

    def able(
        self, model: Model, offers: tuple[Offer, ...], providers: Mapping[str, Provider]
    ) -> tuple[Offer, ...]:
        check_kind(model, GENERATION)
        return doers(self._call, takers(self._call, model, offers, providers), providers)

    async def prepare(self, egress: Egress, offer: Offer, provider: Provider) -> None:
        """Fetch what this offer does not fetch by itself."""
        if media := to_fetch(self._call, offer, provider):
            await embed(egress, self._call, media)

    def exchange(
        self, offer: Offer, provider: Provider, request_id: str, limit_tokens: int | None
    ) -> Exchange:
        """What goes to this offer, and how its answer is read and shown."""
        dialect = provider.speaks(self._call.name, offer.native_id)
        target = provider.target(
            offer.native_id,
            max_output_tokens=offer.max_output_tokens,
            reasons=offer.reasons,
            dialect=dialect,
        )
        reply = self._reply(request_id, provider.name)
        return self._call.exchange(dialect, target, reply, limit_tokens)

    def render_error(
        self, error: GatewayError, request_id: str | None
    ) -> tuple[int, bytes, RawHeaders]:
        return render_error(self._call, error, self._style, request_id)

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        """The last bytes of a stream that fails before any provider answered."""
        return self._call.error_frame(error, self._reply(request_id, ""))

    def _reply(self, request_id: str, provider_name: str) -> Reply:
        return Reply(
            request_id=request_id,
            model=self.model,
            provider=provider_name,
            style=self._style,
            include_usage=self._call.include_usage,
            n=self._call.choices,
        )


def render_error(
    call: ErrorWriter, error: GatewayError, style: Style, request_id: str | None
) -> tuple[int, bytes, RawHeaders]:
    """Status, body and headers of an error in the client's dialect."""
    status, body, headers = call.encode_error(error, style=style, request_id=request_id)
    return status, body, raw_headers(headers)
