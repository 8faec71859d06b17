"""The prices of a quote, kept for a minute: written by it, read by the request that names it.

Guarantees that a quote's prices hold only for the account that asked, and that an id that is
unknown or over changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from gatewayz.catalog.model import Offer
from gatewayz.core.errors import DependencyError
from gatewayz.core.ids import ulid
from gatewayz.core.log import get_log
from gatewayz.pricing.price import Price
from gatewayz.pricing.tiers import Tier, TieredPrice
from gatewayz.stores.redis import RedisScripts

log = get_log(__name__)

SCRIPT = "quote_v1"
VERSION = 1
PREFIX = "quote_"
LIFE_S = 60
ID_CHARS = len(PREFIX) + 26

Prices = Mapping[str, Price]


def new_quote_id(at_ms: int) -> str:
    return PREFIX + ulid(at_ms)


async def pin_prices(
    redis: RedisScripts, account: str, quote_id: str, offers: Iterable[Offer]
) -> bool:
    """Keep the prices of these offers for LIFE_S; False when Redis is away, and then nothing is
    promised."""
    prices = {offer.id: _record(offer.price) for offer in offers if offer.price}
    value = orjson.dumps({"v": VERSION, "prices": prices}).decode()
    try:
        await redis.script(SCRIPT, [_key(account, quote_id)], ["put", LIFE_S * 1000, value])
    except DependencyError:
        log.warning("quote_not_pinned")
        return False
    return True


async def find_pinned(redis: RedisScripts, account: str, quote_id: str) -> Prices:
    """Offer → price of a quote that still holds; empty when it does not."""
    if not is_quote_id(quote_id):
        return {}
    try:
        text = await redis.script(SCRIPT, [_key(account, quote_id)], ["get", 0, ""])
    except DependencyError:
        return {}
    record: dict[str, Any] = orjson.loads(text) if text else {}
    if record.get("v") != VERSION:
        return {}
    return {offer: _price(price) for offer, price in record["prices"].items()}


def at_pinned(offers: Iterable[Offer], prices: Prices) -> tuple[Offer, ...]:
    """The same offers, those that a quote has at its price."""
    return tuple(_at(offer, prices.get(offer.id)) for offer in offers)


def is_quote_id(text: str) -> bool:
    """Ids are ours, or nothing is looked up."""
    rest = text[len(PREFIX) :]
    own = text.startswith(PREFIX) and len(text) == ID_CHARS
    return own and rest.isascii() and rest.isalnum()


def _key(account: str, quote_id: str) -> str:
    return f"quote:{{{account}}}:{quote_id}"


def _at(offer: Offer, price: Price | None) -> Offer:
    if price is None or offer.price is None or offer.price.version == price.version:
        return offer
    return replace(offer, price=price)


def _record(price: Price) -> dict[str, Any]:
    tiers = price.tiers if isinstance(price, TieredPrice) else ()
    return {
        "version": price.version,
        "nanos": dict(price.nanos_per_million),
        "tiers": [[tier.above_tokens, dict(tier.nanos_per_million)] for tier in tiers],
    }


def _price(record: Mapping[str, Any]) -> Price:
    if not record["tiers"]:
        return Price(record["version"], record["nanos"])
    tiers = tuple(Tier(above, nanos) for above, nanos in record["tiers"])
    return TieredPrice(record["version"], record["nanos"], tiers=tiers)
