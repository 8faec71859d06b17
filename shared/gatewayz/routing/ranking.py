"""The order of the offers that may serve a request. Pure: chance comes from the seed alone.

First by demerits, then by what was asked for: an order, a sort, a split, or by default a weight of
the inverse square of the effective price.
"""

import math
from collections.abc import Collection, Sequence
from math import log
from operator import itemgetter
from typing import NamedTuple

from gatewayz.catalog.model import Model, Offer
from gatewayz.routing.filters import lacks, matches, named
from gatewayz.routing.needs import DECISIVE, Needs
from gatewayz.routing.preferences import DEFAULT_WEIGHTS, Preferences
from gatewayz.routing.view import HEALTHY, OUTAGE_S, Health, View

# What an answer is reckoned to have when its price is compared, if the caller allows that many.
TYPICAL_OUTPUT_TOKENS = 400
UNKNOWN = math.inf
# Added up; a larger one outweighs all smaller ones together.
UNPREFERRED, LOW_CREDIT, DEMOTED, LACKING, AGGREGATOR, OUTAGE = 1, 2, 4, 8, 16, 32
RESTING = 64
DEMERITS = {
    UNPREFERRED: "slower_than_preferred",
    LOW_CREDIT: "provider_low_credit",
    DEMOTED: "error_rate",
    LACKING: "lacks_parameters",
    AGGREGATOR: "aggregator",
    OUTAGE: "recent_outage",
    RESTING: "breaker_open",
}
# A half-open offer that this request is to try comes before all others.
PROBE = -1
# (group, demerits, key) of a Ranked.
_BY_MERIT = itemgetter(0, 1, 2)
_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


class Ranked(NamedTuple):
    """`price` is the effective price of this request, scaled as pricing is: nano-USD × 10^6."""

    group: int
    demerits: int
    key: float
    offer: Offer
    price: int


_make = Ranked._make


def effective_price(offer: Offer, needs: Needs) -> int:
    """What this request is reckoned to cost there without any cache, nano-USD × 10^6."""
    price = offer.price
    assert price is not None  # filtered before
    if (limit := needs.max_output_tokens) is None or limit > TYPICAL_OUTPUT_TOKENS:
        limit = TYPICAL_OUTPUT_TOKENS
    of = price.nanos_per_million.get
    return needs.prompt_tokens * of("input", 0) + limit * of("output", 0) + of("request", 0)


def uniform(seed: int, index: int) -> float:
    """A number in (0, 1] that only these two decide (splitmix64)."""
    z = (seed + (index + 1) * _GOLDEN) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) + 1) / 2**64


def demerits_of(
    offers: Sequence[Offer],
    model: Model,
    needs: Needs,
    *,
    wanted: Preferences,
    view: View,
    probes: Collection[str] = (),
) -> list[int]:
    """What speaks against each without excluding it; PROBE for those that are to be tried."""
    decisive = needs.parameters & DECISIVE
    entries, now_s = view.entries, view.now_s
    bounded = bool(wanted.max_latency or wanted.min_throughput)
    chosen = wanted.order or wanted.only or ()
    found = []
    for offer in offers:
        total = 0
        mine = entries.get(offer.id)
        if mine is not None:
            if mine.outage_at_s and now_s - mine.outage_at_s < OUTAGE_S:
                total += OUTAGE
            if mine.demoted:
                total += DEMOTED
            if bounded and _misses(mine, wanted):
                total += UNPREFERRED
        provider = entries.get(offer.provider)
        if provider is not None and provider.low_credit:
            total += LOW_CREDIT
        if offer.aggregator and not named(chosen, offer):
            total += AGGREGATOR
        if decisive and lacks(offer, model, decisive):
            total += LACKING
        if probes and (offer.id in probes or offer.provider in probes):
            total = PROBE
        found.append(total)
    return found


def _misses(health: Health, wanted: Preferences) -> bool:
    """Known to be slower than preferred; what has no data is not known to be."""
    slow = any(
        health.latency.get(name, 0.0) > most for name, most in (wanted.max_latency or {}).items()
    )
    return slow or any(
        health.throughput.get(name, UNKNOWN) < least
        for name, least in (wanted.min_throughput or {}).items()
    )


def rank(
    candidates: Sequence[tuple[int, int, Offer, int]],
    *,
    wanted: Preferences,
    view: View,
    seed: int,
) -> list[Ranked]:
    """The order in which to try `candidates`: (group, demerits, offer, effective price)."""
    if len(candidates) == 1:
        group, demerits, offer, price = candidates[0]
        return [Ranked(group, demerits, 0.0, offer, price)]
    keys = _keys(candidates, wanted, view, seed)
    ranked = [
        _make((group, demerits, key, offer, price))
        for (group, demerits, offer, price), key in zip(candidates, keys, strict=True)
    ]
    if wanted.split:
        _put_first(ranked, wanted, seed)
    if wanted.order:
        order = wanted.order
        ranked.sort(key=lambda r: (r.group, _position(order, r.offer), r.demerits, r.key))
    else:
        ranked.sort(key=_BY_MERIT)
    return ranked


def _position(order: tuple[str, ...], offer: Offer) -> int:
    return next((i for i, name in enumerate(order) if matches(name, offer)), len(order))


def _keys(
    candidates: Sequence[tuple[int, int, Offer, int]],
    wanted: Preferences,
    view: View,
    seed: int,
) -> list[float]:
    match wanted.sort:
        case None:
            # Drawing without replacement by weight = ordering by exponential variates (Efraimidis
            # and Spirakis); the square of a price of 0 is 0, so what is free comes first.
            return [
                -log(uniform(seed, i)) * price * price if price else -uniform(seed, i)
                for i, (_, _, _, price) in enumerate(candidates)
            ]
        case "price":
            return [float(price) for _, _, _, price in candidates]
        case "latency":
            return [_latency(offer, view) for _, _, offer, _ in candidates]
        case "throughput":
            return [_slowness(offer, view) for _, _, offer, _ in candidates]
        case "exacto":
            return [_carelessness(offer, view) for _, _, offer, _ in candidates]
        case "balanced":
            return _balance(candidates, wanted, view)


def _latency(offer: Offer, view: View) -> float:
    return view.entries.get(offer.id, HEALTHY).latency.get("p50", UNKNOWN)


def _slowness(offer: Offer, view: View) -> float:
    rate = view.entries.get(offer.id, HEALTHY).throughput.get("p50")
    return 1 / rate if rate else UNKNOWN


def _carelessness(offer: Offer, view: View) -> float:
    """Tool calls that are no JSON weigh most, then speed."""
    valid = view.entries.get(offer.id, HEALTHY).tools_valid
    slow = _slowness(offer, view)
    return (1.0 - (1.0 if valid is None else valid)) * 1000 + (1.0 if slow == UNKNOWN else slow)


def _balance(
    candidates: Sequence[tuple[int, int, Offer, int]], wanted: Preferences, view: View
) -> list[float]:
    """Σ weight × place between the best (0) and the worst (1); unknown is in the middle."""
    weights = wanted.weights or DEFAULT_WEIGHTS
    columns = {
        "price": [float(price) for _, _, _, price in candidates],
        "latency": [_latency(offer, view) for _, _, offer, _ in candidates],
        "throughput": [_slowness(offer, view) for _, _, offer, _ in candidates],
    }
    totals = [0.0] * len(candidates)
    for name, values in columns.items():
        known = [value for value in values if value != UNKNOWN]
        low, high = min(known, default=0.0), max(known, default=0.0)
        for i, value in enumerate(values):
            if value == UNKNOWN:
                place = 0.5
            else:
                place = (value - low) / (high - low) if high > low else 0.0
            totals[i] += weights.get(name, 0.0) * place
    return totals


def _put_first(ranked: list[Ranked], wanted: Preferences, seed: int) -> None:
    """Whoever the draw names comes first among the equally good; the shares are of first tries."""
    shares = wanted.split or {}
    by_name = [
        next((share for name, share in shares.items() if matches(name, r.offer)), 0.0)
        for r in ranked
    ]
    total = sum(by_name)
    if not total:
        return
    mark = uniform(seed, -1) * total
    for i, share in enumerate(by_name):
        mark -= share
        if share and mark <= 0:
            ranked[i] = ranked[i]._replace(key=-math.inf)
            return
