"""Independent price feeds: what they say a provider's model costs, and whether that is believable.

Guarantees the order in which sources are asked (D55), that a feed never makes a model exist where
a provider lists its own, and that two feeds which differ are told apart by ratio, not by taste.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from gatewayz.catalog.grouping import facts, feed_name
from gatewayz.catalog.listings.row import Rates, Row

# Asked in this order when a listing states no price.
ORDER = ("models_dev", "litellm", "genai_prices")
COMPARED = ("input", "output")
# Equal within this share: feeds round.
SAME = Decimal("0.005")
# A difference from here on is never passed silently.
WIDE = Decimal(3)
# A unit mistaken for another is a power of ten away, give or take rounding.
POWERS = tuple(Decimal(10) ** power for power in (-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6))
POWER_SLACK = Decimal("0.02")


@dataclass(frozen=True, slots=True)
class Feed:
    """One feed as read: rows by (provider's name in the feed, native id in lower case)."""

    name: str
    rows: Mapping[tuple[str, str], Row]
    day: str

    @classmethod
    def of(cls, name: str, rows: Iterable[tuple[str, Row]], day: str) -> "Feed":
        return cls(name, {(p, row.native_id.lower()): row for p, row in rows}, day)

    def find(self, provider: str, native_id: str) -> Row | None:
        """What the feed says of this very model at this very provider."""
        named = feed_name(self.name, provider)
        prefix = facts()["prefixes"].get(provider, "")
        for text in (native_id, native_id.removeprefix(prefix)):
            if (row := self.rows.get((named, text.lower()))) is not None:
                return row
        return None


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one feed says; `row` has the rates."""

    feed: str
    row: Row
    day: str


def opinions(feeds: Iterable[Feed], provider: str, native_id: str) -> list[Opinion]:
    """Every feed's word on one offer, in the order in which they are believed."""
    known = {feed.name: feed for feed in feeds}
    found = []
    for name in ORDER:
        feed = known.get(name)
        row = feed.find(provider, native_id) if feed else None
        if feed is not None and row is not None and row.rates:
            found.append(Opinion(name, row, feed.day))
    return found


def ratio_of(rates: Rates, other: Rates) -> Decimal:
    """The widest ratio (≥ 1) of two prices of one class; 1 when nothing compares."""
    ratios = [Decimal(1)]
    for name in COMPARED:
        mine, theirs = rates.get(name), other.get(name)
        if mine and theirs:
            ratios.append(max(mine, theirs) / min(mine, theirs))
    return max(ratios)


def agrees(rates: Rates, other: Rates) -> bool:
    return ratio_of(rates, other) <= 1 + SAME


def power_of_ten(rates: Rates, other: Rates) -> bool:
    """Every price that compares is away by the same power of ten: a unit was mistaken."""
    shared = [(rates[n], other[n]) for n in COMPARED if rates.get(n) and other.get(n)]
    for power in POWERS:
        if shared and all(abs(mine / theirs / power - 1) <= POWER_SLACK for mine, theirs in shared):
            return True
    return False
