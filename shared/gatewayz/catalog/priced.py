"""Offers at an account's price: the published one × the markup of its plan. No I/O.

Guarantees one price for listing, quote, hold and charge; what a provider asks stays as it is.
"""

from collections.abc import Iterable
from dataclasses import replace

from gatewayz.catalog.model import Catalog, Entry, Known, Offer
from gatewayz.pricing.markup import PPM, sale_price

MAX_KEPT = 10_000
# (offer, markup) → the offer as published, and as priced.
_kept: dict[tuple[str, int], tuple[Offer, Offer]] = {}


def at_markup(offers: Iterable[Offer], markup_ppm: int) -> tuple[Offer, ...]:
    """The same offers at the published price × `markup_ppm` millionths, their costs as before."""
    if markup_ppm == PPM:
        return tuple(offers)
    return tuple([_priced(offer, markup_ppm) for offer in offers])


def known_at(known: Known, markup_ppm: int) -> Known:
    """What a name means, at an account's prices."""
    if markup_ppm == PPM:
        return known
    offers = at_markup(known.offers, markup_ppm)
    return replace(known, offers=offers, servable=at_markup(known.servable, markup_ppm))


def catalog_at(catalog: Catalog, markup_ppm: int) -> Catalog:
    """A whole catalog at an account's prices; names without aliases, as lists need them."""
    entries = [
        Entry(entry.model, at_markup(entry.offers, markup_ppm)) for entry in catalog.entries()
    ]
    return Catalog(entries, aliases={}, ready=catalog.ready)


def _priced(offer: Offer, markup_ppm: int) -> Offer:
    if offer.price is None:
        return offer
    name = (offer.id, markup_ppm)
    known = _kept.get(name)
    if known is not None and known[0] is offer:
        return known[1]
    price = sale_price(offer.price, markup_ppm)
    made = replace(offer, price=price, cost=offer.cost or offer.price)
    if len(_kept) >= MAX_KEPT:
        _kept.clear()
    _kept[name] = (offer, made)
    return made
