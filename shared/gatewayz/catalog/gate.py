"""What may become a price: the judgement on one listed row, and on a whole listing. Pure.

Guarantees that a doubtful price never replaces a known one (F68): it is held back with a reason
for a person to decide, and what a person decided is not asked again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from gatewayz.catalog.feeds import WIDE, Opinion, agrees, power_of_ten, ratio_of
from gatewayz.catalog.listings.row import VARIABLE, Rates, Row
from gatewayz.catalog.soundness import Unsound, price_from
from gatewayz.core.money import usd_text
from gatewayz.pricing.price import Price

# A price that moved by so much is looked at by a person.
MAX_CHANGE = Decimal(5)
# Less than this share of what was listed before, and the listing is broken, not the provider.
MIN_KEPT = Decimal("0.5")
# A handful of models comes and goes.
FEW = 4


@dataclass(frozen=True, slots=True)
class KnownOffer:
    """What the catalog has of an offer. `decided`: price version → accepted or rejected."""

    model_id: str
    placed: str
    price: Price | None = None
    free: bool = False
    decided: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Held:
    """A price that was not believed. `proposed` is None when it cannot be read at all."""

    reason: str
    detail: str
    source: str
    proposed: Price | None = None
    free: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """`price` is what becomes (or stays) the price by this run; None leaves what is known.

    `outvoted`: a feed that disagrees widely while another independent source agrees.
    """

    price: Price | None = None
    free: bool = False
    source: str = ""
    held: Held | None = None
    outvoted: str = ""


def judge(row: Row, known: KnownOffer | None, opinions: Sequence[Opinion]) -> Verdict:
    """The price of one row: its own, else the first feed's that has one."""
    source, rates, tiers = "listing", row.rates, row.tiers
    wrong = [problem for problem in row.problems if problem != VARIABLE]
    if wrong or (VARIABLE in row.problems and known is not None and known.price is not None):
        return Verdict(held=Held("unreadable", "; ".join(wrong) or VARIABLE, source))
    if not rates and not row.free and VARIABLE not in row.problems and opinions:
        source = opinions[0].feed
        rates, tiers = opinions[0].row.rates, opinions[0].row.tiers
    try:
        price = price_from(rates, tiers=tiers, free=row.free, outputs=row.output_modalities)
    except Unsound as problem:
        return Verdict(held=Held("unsound", str(problem), source))
    if price is None:
        return Verdict()
    decided = known.decided.get(price.version) if known is not None else None
    if decided == "accepted" or _unchanged(price, known):
        return Verdict(price, row.free, source)
    if decided == "rejected":
        return Verdict()
    return _doubt(row, price, rates, known, opinions, source)


def _unchanged(price: Price, known: KnownOffer | None) -> bool:
    return known is not None and known.price is not None and known.price.version == price.version


def _doubt(
    row: Row, price: Price, rates: Rates, known: KnownOffer | None,
    opinions: Sequence[Opinion], source: str,
) -> Verdict:  # fmt: skip
    """A price that is new: compared with the old one and with those who have no part in it."""
    if known is not None and known.price is not None:
        if row.free and not known.free:
            held = Held("became_free", "was priced before", source, price, row.free)
            return Verdict(held=held)
        moved = change_of(known.price, price)
        if moved >= MAX_CHANGE and not known.free:
            detail = f"changed {moved:.3g} times"
            return Verdict(held=Held("changed", detail, source, price, row.free))
    others = [opinion for opinion in opinions if opinion.feed != source and not row.free]
    apart = [o for o in others if power_of_ten(rates, o.row.rates) or _wide(rates, o.row.rates)]
    if not apart:
        return Verdict(price, row.free, source)
    if any(agrees(rates, other.row.rates) for other in others):
        return Verdict(price, row.free, source, outvoted=apart[0].feed)
    first = apart[0]
    reason = "power_of_ten" if power_of_ten(rates, first.row.rates) else "disagreement"
    detail = f"{_told(rates)} here, {_told(first.row.rates)} in {first.feed}"
    return Verdict(held=Held(reason, detail, source, price, row.free))


def _wide(rates: Rates, other: Rates) -> bool:
    return ratio_of(rates, other) >= WIDE


def change_of(old: Price, new: Price) -> Decimal:
    """The widest ratio (≥ 1) between two prices of one class; 1 when nothing compares."""
    widest = Decimal(1)
    for name, nanos in new.nanos_per_million.items():
        before = old.nanos_per_million.get(name)
        if before and nanos:
            widest = max(widest, Decimal(max(before, nanos)) / min(before, nanos))
    return widest


def _told(rates: Rates) -> str:
    shown = [f"{name} {rates[name].normalize():f}" for name in ("input", "output") if name in rates]
    return " ".join(shown) + " USD per million"


def broken_listing(fetched: int, *, listed_before: int, minimum: int) -> str:
    """Why a whole listing is not believed; "" when it is."""
    if fetched < minimum and (listed_before >= minimum or fetched == 0):
        return f"{fetched} models, at least {minimum} are known to be there"
    if listed_before > FEW and fetched < listed_before * MIN_KEPT:
        return f"{fetched} models, {listed_before} before"
    if fetched == 0:
        return "no models"
    return ""


def usd_text_of(price: Price) -> str:
    """For people: `input 2.5, output 15` in USD per 10^6 units."""
    parts = (f"{n} {usd_text(v)}" for n, v in price.nanos_per_million.items())
    return ", ".join(parts)
