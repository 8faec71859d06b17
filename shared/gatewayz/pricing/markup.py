"""The sale price: what the provider asks, times a markup. The one place that computes it.

A markup is a whole number of millionths: 1,000,000 leaves the price as it is. Fractions of a
nano-dollar are rounded up, so that a sale is never below its share of the cost.
"""

from collections.abc import Mapping

from gatewayz.pricing.price import Price
from gatewayz.pricing.tiers import Tier, TieredPrice

PPM = 1_000_000
MAX_PPM = 100 * PPM


def markup_of(*stated: int | None) -> int:
    """The first markup that is stated, from the narrowest to the widest; 1.0 when none is."""
    return next((ppm for ppm in stated if ppm is not None), PPM)


def sale_price(cost: Price, markup_ppm: int) -> Price:
    """`cost` × markup, in every class and tier; the cost itself when the markup is 1.0.

    ValueError unless the markup is from 0 to MAX_PPM.
    """
    if not 0 <= markup_ppm <= MAX_PPM:
        raise ValueError(f"no markup: {markup_ppm} ppm")
    if markup_ppm == PPM:
        return cost
    version = f"{cost.version}-x{markup_ppm}"
    nanos = _times(cost.nanos_per_million, markup_ppm)
    if isinstance(cost, TieredPrice):
        tiers = [Tier(t.above_tokens, _times(t.nanos_per_million, markup_ppm)) for t in cost.tiers]
        return TieredPrice(version, nanos, tiers=tuple(tiers))
    return Price(version, nanos)


def _times(nanos: Mapping[str, int], markup_ppm: int) -> dict[str, int]:
    return {name: -(-value * markup_ppm // PPM) for name, value in nanos.items()}
