"""A price: integer nano-USD per 10^6 units of a class, versioned, exact or refused (D16)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from gatewayz.core.money import NANOS_PER_USD
from gatewayz.pricing.usage import CLASSES

MAX_USD_PER_MILLION = 1_000_000
# A class without a price of its own is billed as another class is, where that class never costs
# more than its fallback at any provider we know; audio and images do, so they have none.
FALLBACK_CLASS = {
    "reasoning": "output",
    "cache_read": "input",
    "cache_write_5m": "input",
    "cache_write_1h": "cache_write_5m",
}


class InexactPrice(ValueError):
    """The price is no whole number of nano-USD per million units, or no sane price at all."""


def parse_usd_per_million(value: str | int | Decimal) -> int:
    """USD per 10^6 units → nano-USD per 10^6 units; InexactPrice when that is not exact."""
    try:
        price = Decimal(value)
    except InvalidOperation:
        raise InexactPrice(f"not a number: {str(value)[:40]!r}") from None
    if not price.is_finite() or price < 0 or price > MAX_USD_PER_MILLION:
        raise InexactPrice(f"not a sane price: {value}")
    nanos = price * NANOS_PER_USD
    if nanos != nanos.to_integral_value():
        raise InexactPrice(f"finer than a nano-dollar per million units: {value}")
    return int(nanos)


@dataclass(frozen=True, slots=True)
class Price:
    """`version` names this price for ever; `nanos_per_million`: class → integer ≥ 0."""

    version: str
    nanos_per_million: Mapping[str, int]
    # What `of` answers for every class: it is asked a dozen times for each request.
    _by_class: dict[str, int] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, nanos in self.nanos_per_million.items():
            if name not in CLASSES or nanos < 0:
                raise ValueError(f"bad price {name}={nanos}")
        for name in CLASSES:
            if (price := self._find(name)) is not None:
                self._by_class[name] = price

    def of(self, name: str) -> int | None:
        """The price of a class, its fallback's when it has none, None when unknown (never 0)."""
        return self._by_class.get(name)

    def at(self, input_tokens: int) -> "Price":
        """The rates of a request with so many input tokens; tiers.py has prices that differ."""
        return self

    def _find(self, name: str) -> int | None:
        seen: str | None = name
        while seen is not None:
            price = self.nanos_per_million.get(seen)
            if price is not None:
                return price
            seen = FALLBACK_CLASS.get(seen)
        return None
