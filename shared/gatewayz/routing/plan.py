"""The plan: which offers are tried for a request, in which order, and why not the others. Pure.

Filter, order, take at most three. The same request, offers, health, preferences and seed give the
same plan. The last offers left are never excluded for their health alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from gatewayz.catalog.model import Offer
from gatewayz.routing.filters import (
    HEALTH,
    SOFT,
    Candidates,
    Excluded,
    certainly_too_long,
    hard_reason,
    health_reason,
    named,
    soft_reason,
)
from gatewayz.routing.needs import Needs
from gatewayz.routing.pins import Pin, Switch, keep_pin
from gatewayz.routing.preferences import DEFAULT_PRICE_RATIO, NO_PREFERENCES, Preferences
from gatewayz.routing.ranking import DEMERITS, RESTING, Ranked, demerits_of, effective_price, rank
from gatewayz.routing.view import HEALTHY, NOTHING_KNOWN, View

MAX_ATTEMPTS = 3
# With fewer offers than this in good health one that is not is the fallback (Envoy's panic mode).
MIN_ATTEMPTS = 2
# An only offer that cools down is waited for at most this long (D33).
MAX_WAIT_S = 2.0
FREE, NITRO, FLOOR = "free", "nitro", "floor"


class Demoted(NamedTuple):
    offer: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """`offers` are to be tried in this order; none means that `refusal` says why.

    `spare` would come next. `probes` are those that are half open: only who is granted the probe
    may try them. `wait_s` is to pass before the first attempt.
    """

    offers: tuple[Offer, ...]
    strategy: str = "default"
    excluded: tuple[Excluded, ...] = ()
    demoted: tuple[Demoted, ...] = ()
    spare: tuple[Offer, ...] = ()
    probes: tuple[str, ...] = ()
    wait_s: float = 0.0
    sticky: bool = False
    switch: Switch | None = None
    cooling_s: float = 0.0  # until the first of those that cool down may be asked again

    def without(self, dropped: frozenset[str], reason: str = "breaker_open") -> "Plan":
        """The plan when some of its offers turn out to be closed to it; spares move up."""
        kept = [o for o in (*self.offers, *self.spare) if o.id not in dropped]
        out = [o for o in self.offers if o.id in dropped]
        gone = tuple(Excluded(o.id, o.provider, o.model_id, reason) for o in out)
        return replace(
            self,
            offers=tuple(kept[: len(self.offers)]),
            spare=tuple(kept[len(self.offers) :]),
            excluded=self.excluded + gone,
        )


def plan(
    needs: Needs,
    groups: Sequence[Candidates],
    *,
    preferences: Preferences = NO_PREFERENCES,
    view: View = NOTHING_KNOWN,
    seed: int = 0,
    pin: Pin | None = None,
) -> Plan:
    """At most three offers of the models in `groups`, of which the first is the one asked for.

    Every offer that is left out is in `excluded` with its reason (filters.REASONS).
    """
    if len(groups) == 1 and preferences is NO_PREFERENCES and pin is None:
        only = _only(needs, groups[0], view)
        if only is not None:
            return only
    excluded: list[Excluded] = []
    ranked: list[Ranked] = []
    resting: list[tuple[int, Offer]] = []
    cooling: list[Offer] = []
    probes: list[str] = []
    for index, group in enumerate(groups):
        wanted = with_variants(preferences, group.variants)
        found = _filter(needs, group, wanted, view, excluded)
        resting += [(index, offer) for offer in found.resting]
        cooling += found.cooling
        merged = 0 if preferences.partition == "none" else index
        judged = demerits_of(
            found.fit, group.model, needs, wanted=wanted, view=view, probes=found.probes
        )
        candidates = [
            (merged, demerits, offer, effective_price(offer, needs))
            for offer, demerits in zip(found.fit, judged, strict=True)
        ]
        probes += found.probes
        if candidates:
            ranked += rank(candidates, wanted=wanted, view=view, seed=seed + index)
    if preferences.partition == "none" and len(groups) > 1:
        ranked.sort(key=lambda r: (r.demerits, r.key))
    if len(ranked) < MIN_ATTEMPTS and resting:
        ranked += _last_resort(needs, resting, view, excluded)
    made = _assemble(needs, ranked, preferences, pin, excluded, probes)
    return _with_cooling(made, cooling, view) if cooling else made


def _only(needs: Needs, group: Candidates, view: View) -> Plan | None:
    """The plan where there is nothing to choose and nothing is wrong, which is the usual case."""
    if len(group.offers) != 1 or group.variants or needs.parameters:
        return None
    offer = group.offers[0]
    entries = view.entries
    mine, its = entries.get(offer.id), entries.get(offer.provider)
    if (mine is not None and not mine.well) or (its is not None and not its.well):
        return None
    model = group.model
    if offer.aggregator or hard_reason(offer, model, needs, NO_PREFERENCES) is not None:
        return None
    return None if soft_reason(offer, model, needs) is not None else Plan((offer,))


def with_variants(preferences: Preferences, variants: tuple[str, ...]) -> Preferences:
    """What the suffixes of a model's name ask for, over the preferences of the request."""
    if not variants:
        return preferences
    if FREE in variants:
        preferences = replace(preferences, free_only=True)
    if NITRO in variants:
        preferences = replace(preferences, sort="throughput")
    elif FLOOR in variants:
        preferences = replace(preferences, sort="price")
    return preferences


class _Filtered(NamedTuple):
    """`probes` are half-open scopes of offers in `fit`; `resting` have an open breaker."""

    fit: list[Offer]
    resting: list[Offer]
    cooling: list[Offer]
    probes: list[str]


def _filter(
    needs: Needs,
    group: Candidates,
    wanted: Preferences,
    view: View,
    excluded: list[Excluded],
) -> _Filtered:
    model = group.model
    usable: list[tuple[Offer, str | None]] = []
    for offer in group.offers:
        reason = hard_reason(offer, model, needs, wanted)
        if reason is None:
            usable.append((offer, soft_reason(offer, model, needs)))
        else:
            excluded.append(Excluded(offer.id, offer.provider, model.id, reason))
    fitting = [offer for offer, reason in usable if reason is None]
    if len(fitting) < len(usable):
        fitting = _soften(needs, usable, fitting, excluded)
    if not view.entries:
        return _Filtered(fitting, [], [], [])
    found = _Filtered([], [], [], [])
    for offer in fitting:
        reason = health_reason(offer, view)
        if reason is None:
            found.fit.append(offer)
            for scope in (offer.id, offer.provider):
                if (
                    view.entries.get(scope, HEALTHY).half_open_at(view.now_s)
                    and scope not in found.probes
                ):
                    found.probes.append(scope)
            continue
        excluded.append(Excluded(offer.id, offer.provider, model.id, reason))
        if reason in HEALTH:
            found.resting.append(offer)
        elif reason == "cooling_down":
            found.cooling.append(offer)
    return found


def _soften(
    needs: Needs,
    usable: list[tuple[Offer, str | None]],
    fitting: list[Offer],
    excluded: list[Excluded],
) -> list[Offer]:
    """Offers with a soft reason are kept only when nothing better is left."""
    for offer, reason in usable:
        if reason is None:
            continue
        certain = reason == "context_length" and certainly_too_long(offer, needs)
        if fitting or certain:
            excluded.append(Excluded(offer.id, offer.provider, offer.model_id, reason))
    if fitting:
        return fitting
    kept = [
        (offer, reason)
        for offer, reason in usable
        if not (reason == "context_length" and certainly_too_long(offer, needs))
    ]
    # Among those that only may fit, what is wrong in kind is worse than what is tight.
    tight = [o for o, reason in kept if reason in ("context_length", "output_length")]
    assert all(reason in SOFT for _, reason in kept)
    return tight or [offer for offer, _ in kept]


def _last_resort(
    needs: Needs,
    resting: list[tuple[int, Offer]],
    view: View,
    excluded: list[Excluded],
) -> list[Ranked]:
    """Hardly anybody is left but open breakers: the one that opens first again comes last all the
    same, and it alone, because asking all of them would triple the load on what is down already.
    """
    entries = view.entries

    def until_s(pair: tuple[int, Offer]) -> tuple[int, float]:
        scopes = (pair[1].id, pair[1].provider)
        return pair[0], max(entries.get(scope, HEALTHY).open_until_s for scope in scopes)

    index, offer = min(resting, key=until_s)
    excluded[:] = [e for e in excluded if e.offer != offer.id]
    return [Ranked(index, RESTING, 0.0, offer, effective_price(offer, needs))]


def _assemble(
    needs: Needs,
    ranked: list[Ranked],
    preferences: Preferences,
    pin: Pin | None,
    excluded: list[Excluded],
    probes: list[str],
) -> Plan:
    switch: Switch | None = None
    sticky = False
    if pin is not None:
        sticky, switch = keep_pin(needs, ranked, pin, preferences, excluded)
    ranked = _within_price(ranked, preferences, excluded)
    chosen = _take(ranked, preferences)
    spare: tuple[Offer, ...] = ()
    if len(ranked) > len(chosen):
        taken = {r.offer.id for r in chosen}
        spare = tuple(r.offer for r in ranked if r.offer.id not in taken)
    demoted = tuple(
        Demoted(r.offer.id, tuple(why for bit, why in DEMERITS.items() if r.demerits & bit))
        for r in ranked
        if r.demerits > 0
    )
    return Plan(
        offers=tuple(r.offer for r in chosen),
        strategy=_strategy(preferences, sticky),
        excluded=tuple(excluded),
        demoted=demoted,
        spare=spare,
        probes=tuple(probes),
        sticky=sticky,
        switch=switch,
    )


def _with_cooling(made: Plan, cooling: list[Offer], view: View) -> Plan:
    """How long they still cool down; when only they are left, a short time is waited for."""
    first = min(cooling, key=lambda offer: view.entries[offer.id].cooling_until_s)
    left_s = view.entries[first.id].cooling_until_s - view.now_s
    if made.offers or left_s > MAX_WAIT_S:
        return replace(made, cooling_s=left_s)
    kept = tuple(e for e in made.excluded if e.offer != first.id)
    return replace(made, offers=(first,), excluded=kept, wait_s=left_s, cooling_s=left_s)


def _within_price(
    ranked: list[Ranked], preferences: Preferences, excluded: list[Excluded]
) -> list[Ranked]:
    """A fallback nobody named costs at most the ratio over the first; free stays free."""
    if len(ranked) < 2:
        return ranked
    ratio = preferences.fallback_price_ratio
    first, order = ranked[0], preferences.order or ()
    most = first.price * (DEFAULT_PRICE_RATIO if ratio is None else ratio)
    kept = []
    for r in ranked:
        if r.price > most and r.group == first.group and not named(order, r.offer):
            excluded.append(
                Excluded(r.offer.id, r.offer.provider, r.offer.model_id, "fallback_price")
            )
        else:
            kept.append(r)
    return kept


def _take(ranked: list[Ranked], preferences: Preferences) -> list[Ranked]:
    """Three at most. Every model that was listed gets a place before one gets a second."""
    if preferences.allow_fallbacks is False and not preferences.order:
        return ranked[:1]
    if len(ranked) <= MAX_ATTEMPTS or ranked[0].group == ranked[-1].group:
        return ranked[:MAX_ATTEMPTS]
    leaders: dict[int, Ranked] = {}
    for r in ranked:
        if len(leaders) < MAX_ATTEMPTS:
            leaders.setdefault(r.group, r)
    taken = {r.offer.id for r in leaders.values()}
    for r in ranked:
        if len(taken) < MAX_ATTEMPTS:
            taken.add(r.offer.id)
    return [r for r in ranked if r.offer.id in taken]


def _strategy(preferences: Preferences, sticky: bool) -> str:
    if sticky:
        return "sticky"
    if preferences.order:
        return "order"
    if preferences.sort:
        return preferences.sort
    return "split" if preferences.split else "default"
