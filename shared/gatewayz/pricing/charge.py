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
    """The receipt's lines, at the rates of the prompt's length; UnpricedUsage. Several calls have
    one line for each class and rate."""
    if usage.calls:
        return _joined(line for call in usage.calls for line in lines_of(call, price))
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


def _joined(lines: Iterable[Line]) -> tuple[Line, ...]:
    """One line for each class and rate."""
    totals: dict[tuple[str, int], int] = {}
    for name, units, nanos in lines:
        totals[name, nanos] = totals.get((name, nanos), 0) + units
    return tuple(Line(name, units, nanos) for (name, nanos), units in totals.items())


def amount_nanos(lines: Iterable[Line]) -> int:
    """⌈Σ units × price / 10⁶⌉ in nano-USD, never above the largest charge (F67)."""
    total = 0
    for _, units, price_nanos in lines:
        total += units * price_nanos
    return min(-(-total // UNITS_PER_PRICE), MAX_CHARGE_NANOS)
