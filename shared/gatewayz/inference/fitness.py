"""Offers that can do all a request asks for, and the 400 that names some when none of its model's
can: several answers at once are never quietly one.
"""

from collections.abc import Iterator, Mapping

from gatewayz.catalog.model import Catalog, Offer
from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.exchange import ClientCall
from gatewayz.dialects.fitness import Fit, fit
from gatewayz.inference.media import MAX_SUGGESTIONS
from gatewayz.providers.provider import Provider


class CannotDo(InvalidRequest):
    """No offer of the model takes the parameter that `refusal` names."""

    def __init__(
        self, refusal: InvalidRequest, call: ClientCall, providers: Mapping[str, Provider]
    ) -> None:
        super().__init__(refusal.message, code=refusal.code, param=refusal.param)
        self._call = call
        self._providers = providers

    def naming(self, catalog: Catalog) -> "CannotDo":
        """The same, naming offers of other models that take it."""
        names = [offer.id for offer in self._able(catalog)]
        if names:
            self.message += f" These do: {', '.join(names)}."
            self.metadata["offers"] = names
        return self

    def _able(self, catalog: Catalog) -> Iterator[Offer]:
        found = 0
        for model in catalog.models():
            for offer in catalog.servable(model.id)[:1]:
                if found < MAX_SUGGESTIONS and judge(self._call, offer, self._providers).whole:
                    found += 1
                    yield offer


def judge(call: ClientCall, offer: Offer, providers: Mapping[str, Provider]) -> Fit:
    """How the request fits an offer."""
    provider = providers[offer.provider]
    dialect = provider.speaks(call.name, offer.native_id)
    target = provider.target(
        offer.native_id,
        max_output_tokens=offer.max_output_tokens,
        reasons=offer.reasons,
        dialect=dialect,
    )
    return fit(call, dialect, target)


def doers(
    call: ClientCall, offers: tuple[Offer, ...], providers: Mapping[str, Provider]
) -> tuple[Offer, ...]:
    """The offers that can give as many answers as are asked for; CannotDo when none can."""
    if call.choices == 1:
        return offers
    judged = [(offer, judge(call, offer, providers).refusal) for offer in offers]
    able = tuple(offer for offer, refusal in judged if refusal is None)
    refusal = next((refusal for _, refusal in judged if refusal is not None), None)
    if not able and refusal is not None:
        raise CannotDo(refusal, call, providers)
    return able
