"""Prices that depend on how long a prompt is: a cliff, the whole request at the tier's rates.

Guarantees that a tier's class which states no rate keeps the base's, and that one version names
base and tiers together.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from gatewayz.pricing.price import Price


@dataclass(frozen=True, slots=True)
class Tier:
    """Rates of requests with more than `above_tokens` input tokens, cached ones included."""

    above_tokens: int
    nanos_per_million: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TieredPrice(Price):
    """The base is what Price says; `tiers` rise. ValueError when they do not."""

    tiers: tuple[Tier, ...] = ()
    _whole: tuple[tuple[int, Price], ...] = field(default=(), init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        Price.__post_init__(self)
        bounds = [tier.above_tokens for tier in self.tiers]
        if not bounds or bounds[0] < 1 or bounds != sorted(set(bounds)):
            raise ValueError(f"tiers must rise from above 0: {bounds}")
        known = dict(self.nanos_per_million)
        whole = []
        for tier in self.tiers:
            known = {**known, **tier.nanos_per_million}
            whole.append((tier.above_tokens, Price(self.version, known)))
        object.__setattr__(self, "_whole", tuple(reversed(whole)))

    def at(self, input_tokens: int) -> Price:
        """The rates of a request with so many input tokens, cached ones included."""
        for above, price in self._whole:
            if input_tokens > above:
                return price
        return self
