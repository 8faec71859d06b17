"""Embeddings, rerank, moderations as one Operation: a call of any form, an offer of any wire.

Fails over between offers of the same model only, as every request does: the vectors of another
model are useless. Owns nothing of the wire: each kind's dialect reads and writes.
"""

from collections.abc import Mapping

from gatewayz.catalog.model import Model, Offer
from gatewayz.core.errors import GatewayError, InvalidRequest, ProviderNotConfigured
from gatewayz.dialects.exchange import Exchange
from gatewayz.dialects.form import Style, Target
from gatewayz.dialects.one_shot import OneShotCall, Place
from gatewayz.dialects.protocol import Reply
from gatewayz.inference.finish import Shape
from gatewayz.inference.kinds import check_kind
from gatewayz.inference.media import embed
from gatewayz.inference.operations.generate import render_error
from gatewayz.inference.routing import UNROUTED, Routing
from gatewayz.net.asgi import RawHeaders
from gatewayz.net.egress import Egress
from gatewayz.pricing.usage import CLASSES
from gatewayz.providers.config import Provider

# The parameter by which a model says that the length of its vectors may be chosen.
DIMENSIONS = "dimensions"


class OneShot:
    """One request that is answered whole, as the mount it came by wants it answered (D25)."""

    stream = strict = False
    keepalive = stream_type = b""
    candidates = 1
    # The call itself checks what fits: of many inputs each may fill the context.
    longest_tokens = 0
    # Nothing is written, so nothing can be limited.
    max_output_tokens: int | None = None

    def __init__(self, call: OneShotCall, style: Style, routing: Routing = UNROUTED) -> None:
        self._call = call
        self.routing = routing
        self._style: Style = style
        self.model = call.model
        self.prompt_tokens = call.prompt_tokens
        self.end_user = call.end_user
        self.session = call.session
        self._model = Model(call.model, call.model)
        self.shape = Shape(writes=False, prompts=call.prompts, units=call.units)

    def able(
        self, model: Model, offers: tuple[Offer, ...], providers: Mapping[str, Provider]
    ) -> tuple[Offer, ...]:
        """The offers that can serve the request as it is; the first one's reason when none can."""
        check_kind(model, self._call.kind)
        self._model = model
        able: list[Offer] = []
        refusal: GatewayError | None = None
        for offer in offers:
            provider = providers[offer.provider]
            if self._call.kind not in provider.kinds:
                continue
            try:
                self._call.check(self._place(offer, provider))
                able.append(offer)
            except InvalidRequest as error:
                refusal = refusal or error
        if not able:
            raise refusal or ProviderNotConfigured(
                f"No provider of '{model.id}' that is configured here serves {self._call.kind}."
            )
        return tuple(able)

    async def prepare(self, egress: Egress, offer: Offer, provider: Provider) -> None:
        """Fetch what this offer does not fetch by itself."""
        if media := self._call.media(self._place(offer, provider)):
            await embed(egress, self._call, media)

    def exchange(
        self, offer: Offer, provider: Provider, request_id: str, limit_tokens: int | None
    ) -> Exchange:
        reply = Reply(request_id, self.model, provider.name, self._style)
        return self._call.exchange(self._place(offer, provider), reply)

    def render_error(
        self, error: GatewayError, request_id: str | None
    ) -> tuple[int, bytes, RawHeaders]:
        return render_error(self._call, error, self._style, request_id)

    def error_frame(self, error: GatewayError, request_id: str) -> bytes:
        raise AssertionError("answered whole, never as a stream")

    def _place(self, offer: Offer, provider: Provider) -> Place:
        assert offer.price is not None  # an offer without a price is never planned
        of, model, kind = offer.price.of, self._model, self._call.kind
        target = Target(
            native_id=offer.native_id,
            provider=provider.slug,
            usage=provider.usage,
            errors=provider.errors,
            dialect=kind,
        )
        return Place(
            target,
            provider.kinds[kind],
            frozenset(name for name in CLASSES if of(name) is not None),
            model=model.id,
            inputs=model.input_modalities,
            lengths=model.dimensions,
            resizes=not model.dimensions or DIMENSIONS in model.supported_parameters,
            context_tokens=offer.context_tokens,
        )
