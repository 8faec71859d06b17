"""From listed rates to an exact price, or to the reason why there is none.

Guarantees that an unsound price never becomes a price: negative, not finite, absurd, zero without
being declared free, cached input dearer than input. Pure.
"""

import hashlib
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal

from gatewayz.core.money import NANOS_PER_USD
from gatewayz.pricing.price import MAX_USD_PER_MILLION, Price
from gatewayz.pricing.tiers import Tier, TieredPrice

Rates = Mapping[str, Decimal]
# No tokens cost more; a price above is in another unit than its reader thought.
ABSURD_USD = Decimal(10_000)
# Priced by the piece, so that their price per 10^6 is a large number.
PIECES = frozenset({"request", "search", "second"})
# Their prices must convert to whole nano-dollars; of the others a fraction is rounded up, which is
# less than one nano-dollar in a million tokens.
EXACT = frozenset({"input", "output"})
VERSION_DIGITS = 16
FREE: Mapping[str, int] = {"input": 0, "output": 0}
NO_TEXT = frozenset({"embeddings", "image", "video", "audio", "rerank"})


class Unsound(ValueError):
    """Stated prices that cannot be true; the text is one line for a person."""


def price_from(
    rates: Rates,
    *,
    tiers: tuple[tuple[int, Rates], ...] = (),
    free: bool = False,
    outputs: tuple[str, ...] = (),
) -> Price | None:
    """USD per 10^6 units by class → a price; None when none is stated. Unsound, with the reason.

    `outputs` are the model's modalities: one that writes text needs a price of output.
    """
    if free:
        if any(rates.values()):
            raise Unsound("declared free, but priced")
        return made(FREE)
    if not rates:
        return None
    nanos = _nanos(rates)
    if "input" not in nanos:
        raise Unsound("no price of input")
    writes = "text" in outputs or not (outputs and set(outputs) <= NO_TEXT)
    if writes and "output" not in nanos:
        raise Unsound("no price of output")
    if nanos.get("cache_read", 0) > nanos["input"]:
        raise Unsound("cached input is dearer than input")
    longer = [Tier(above, _nanos(more)) for above, more in sorted(tiers, key=_above)]
    return made(nanos, tuple(longer))


def _above(tier: tuple[int, Rates]) -> int:
    return tier[0]


def _nanos(rates: Rates) -> dict[str, int]:
    nanos = {}
    for name, usd in rates.items():
        if not usd.is_finite() or usd < 0:
            raise Unsound(f"{name} is {usd}")
        if usd == 0:
            raise Unsound(f"{name} is 0 and the model is not declared free")
        if usd > (MAX_USD_PER_MILLION if name in PIECES else ABSURD_USD):
            raise Unsound(f"{name} is absurd: {usd.normalize():f} USD per million")
        exact = usd * NANOS_PER_USD
        whole = exact.to_integral_value(ROUND_CEILING)
        if whole != exact and name in EXACT:
            raise Unsound(f"{name} is finer than a nano-dollar per million units: {usd}")
        nanos[name] = int(whole)
    return nanos


def made(nanos: Mapping[str, int], tiers: tuple[Tier, ...] = ()) -> Price:
    """The price with the version that its content has everywhere."""
    version = version_of(nanos, tiers)
    return TieredPrice(version, nanos, tiers=tiers) if tiers else Price(version, nanos)


def version_of(nanos: Mapping[str, int], tiers: tuple[Tier, ...] = ()) -> str:
    """Names these prices for ever: the same in every process, release and file."""
    text = _text(nanos) + "".join(
        f"|{tier.above_tokens}:{_text(tier.nanos_per_million)}" for tier in tiers
    )
    return "p1-" + hashlib.sha256(text.encode()).hexdigest()[:VERSION_DIGITS]


def _text(nanos: Mapping[str, int]) -> str:
    return ";".join(f"{name}={value}" for name, value in sorted(nanos.items()))
