"""A model with its offers as one compact JSON text: what snapshots hold, one for each model.

Guarantees that reading gives back what was written, and that an unknown version or a damaged text
is refused, never half read. What has its default is left out.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.catalog.model import Entry, Model, Offer, offer_id
from gatewayz.pricing.price import Price
from gatewayz.pricing.tiers import Tier, TieredPrice

VERSION = 1


class DamagedRecord(ValueError):
    """A text that is no record of a version known here."""


_MODEL_TUPLES = (
    "input_modalities", "output_modalities", "supported_parameters", "categories", "capabilities",
    "flags", "dimensions",
)  # fmt: skip
_OFFER_TUPLES = ("supported_parameters", "input_modalities", "output_modalities")
_OFFER_OWN = frozenset({"id", "model_id", "price", "cost"})


def _defaults(kind: type) -> dict[str, Any]:
    known = {}
    for part in dataclasses.fields(kind):
        factory = part.default_factory
        known[part.name] = factory() if factory is not dataclasses.MISSING else part.default
    return known


_MODEL_DEFAULTS, _OFFER_DEFAULTS = _defaults(Model), _defaults(Offer)


def encode(entry: Entry) -> bytes:
    """One line of JSON."""
    return orjson.dumps(
        {
            "v": VERSION,
            **_differing(entry.model, _MODEL_DEFAULTS, frozenset()),
            "offers": [_offer_record(offer) for offer in entry.offers],
        }
    )


def decode(text: bytes | str) -> Entry:
    """DamagedRecord when `text` is no record."""
    try:
        record = orjson.loads(text)
        if record.pop("v") != VERSION:
            raise DamagedRecord("of another version")
        offers = record.pop("offers")
        for name in _MODEL_TUPLES:
            if name in record:
                record[name] = tuple(record[name])
        model = Model(**record)
        return Entry(model, tuple(_offer(model.id, offer) for offer in offers))
    except DamagedRecord:
        raise
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DamagedRecord(str(error)[:200]) from error


def price_record(price: Price) -> dict[str, Any]:
    """{"version", "nanos", "tiers"?: [[above_tokens, nanos], …]}."""
    record: dict[str, Any] = {"version": price.version, "nanos": dict(price.nanos_per_million)}
    if isinstance(price, TieredPrice):
        record["tiers"] = [[t.above_tokens, dict(t.nanos_per_million)] for t in price.tiers]
    return record


def read_price(record: Mapping[str, Any]) -> Price:
    """The price of a `price_record`; ValueError, KeyError or TypeError when it is none."""
    tiers = tuple(Tier(above, nanos) for above, nanos in record.get("tiers") or ())
    if tiers:
        return TieredPrice(record["version"], record["nanos"], tiers=tiers)
    return Price(record["version"], record["nanos"])


def _offer_record(offer: Offer) -> dict[str, Any]:
    record = _differing(offer, _OFFER_DEFAULTS, _OFFER_OWN)
    for name in ("price", "cost"):
        price = getattr(offer, name)
        if price is not None:
            record[name] = price_record(price)
    return record


def _offer(model_id: str, record: dict[str, Any]) -> Offer:
    for name in _OFFER_TUPLES:
        if name in record:
            record[name] = tuple(record[name])
    for name in ("price", "cost"):
        if name in record:
            record[name] = read_price(record[name])
    record.setdefault("price", None)
    own_id = offer_id(record["provider"], record["native_id"])
    return Offer(id=own_id, model_id=model_id, **record)


def _differing(
    value: Model | Offer, defaults: Mapping[str, Any], own: frozenset[str]
) -> dict[str, Any]:
    known = {name: getattr(value, name) for name in defaults if name not in own}
    return {name: part for name, part in known.items() if part != defaults[name]}
