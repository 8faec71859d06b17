"""A model as its name was asked for: what the suffixes of a name leave of its offers. Pure.

`:free` leaves free offers, `:floor` puts the cheapest first; what the others mean is routing's.
"""

from collections.abc import Sequence
from dataclasses import replace

from gatewayz.catalog.model import Known, Offer
from gatewayz.catalog.names import MARK
from gatewayz.catalog.views.comparing import both_nanos
from gatewayz.core.errors import NotFound, echo

FREE, FLOOR = "free", "floor"


def as_asked(known: Known) -> Known:
    """The same under the name asked for; NotFound when no offer is left of it."""
    if not known.variants:
        return known
    name = MARK.join((known.model.id, *known.variants))
    left = replace(
        known,
        model=replace(known.model, id=name),
        offers=_left(known.offers, known.variants),
        servable=_left(known.servable, known.variants),
    )
    if not left.offers:
        raise NotFound(
            f"Model '{echo(known.model.id)}' has no free offer.",
            code="model_not_found",
            param="model",
        )
    return left


def _left(offers: Sequence[Offer], variants: tuple[str, ...]) -> tuple[Offer, ...]:
    if FREE in variants:
        offers = [offer for offer in offers if offer.free]
    if FLOOR in variants:
        priced = [o for o in offers if both_nanos(o.price) is not None]
        unpriced = [o for o in offers if both_nanos(o.price) is None]
        offers = [*sorted(priced, key=lambda o: both_nanos(o.price) or 0), *unpriced]
    return tuple(offers)
