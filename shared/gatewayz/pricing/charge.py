"""From usage and price to an amount. The only place that computes one: for the listing, the
hold, the charge, the quote and the receipt.
"""

from collections.abc import Iterable
from typing import NamedTuple

from gatewayz.core.money import MAX_CHARGE_NANOS
from gatewayz.pricing.price import Price
from gatewayz.pricing.usage import Usage

UNITS_PER_PRICE = 1_000_000


class Line(NamedTuple):
    """One line of a receipt: `units` of `cls` at `price_nanos` per 10^6 units."""

    cls: str
    units: int
    price_nanos: int


class UnpricedUsage(ValueError):
    """Usage of a class that the offer has no price for: unknown is never zero."""


def lines_of(usage: Usage, price: Price) -> tuple[Line, ...]:
    """The receipt's lines, at the rates of the prompt's length; UnpricedUsage."""
    price = price.at(usage.input_tokens)
    lines = []
    for name, units in usage.units.items():
        if units == 0:
            continue
        nanos = price.of(name)
        if nanos is None:
            raise UnpricedUsage(name)
        lines.append(Line(name, units, nanos))
    return tuple(lines)


def amount_nanos(lines: Iterable[Line]) -> int:
    """⌈Σ units × price / 10⁶⌉ in nano-USD, never above the largest charge (F67)."""
    total = sum(line.units * line.price_nanos for line in lines)
    return min(-(-total // UNITS_PER_PRICE), MAX_CHARGE_NANOS)
