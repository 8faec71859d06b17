"""Which models the settings of a key and its account leave: those that some offer may serve."""

from collections.abc import Callable, Sequence

from gatewayz.accounts.principals import Principal
from gatewayz.catalog.model import Model, Offer
from gatewayz.inference.course import preferences_of
from gatewayz.routing.filters import hard_reason
from gatewayz.routing.needs import Needs
from gatewayz.routing.preferences import NO_WISHES

ANYTHING = Needs(0)


def allowed_by(principal: Principal) -> Callable[[Model, Sequence[Offer]], bool]:
    """Tells whether a request that says nothing of providers could be served at one of these."""
    preferences, rules = preferences_of(principal, NO_WISHES), principal.rules

    def allowed(model: Model, offers: Sequence[Offer]) -> bool:
        if not rules.allows_model(model.id):
            return False
        offers = [offer for offer in offers if rules.allows_provider(offer.provider)]
        return any(hard_reason(offer, model, ANYTHING, preferences) is None for offer in offers)

    return allowed
