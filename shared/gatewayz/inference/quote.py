"""What a request would cost at every offer that could serve it, and why not at the others.

Nothing is executed and no credit is touched. The prices of a quote hold for a minute for the
account that asked: a request that carries the quote's id is held and charged at them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from gatewayz.catalog.items import Item, data_policy, iso, pricing_item
from gatewayz.catalog.model import Known, Offer
from gatewayz.core.money import usd_number
from gatewayz.dialects.exchange import ClientCall
from gatewayz.inference.admit import STREAM_HOLD_TOKENS, UNKNOWN_MAX_TOKENS, Worst
from gatewayz.inference.course import EXTENDED, longest, vary
from gatewayz.inference.fitness import CannotDo, LosesParameters
from gatewayz.inference.media import CannotTake
from gatewayz.inference.operations.generate import Generate
from gatewayz.inference.own import Own, key_of
from gatewayz.inference.pinned import LIFE_S, new_quote_id
from gatewayz.pricing.charge import UnpricedUsage, amount_nanos, lines_of
from gatewayz.pricing.estimate import likely_share
from gatewayz.pricing.usage import Usage
from gatewayz.providers.config import Provider
from gatewayz.routing.filters import REASONS, Candidates, Excluded
from gatewayz.routing.needs import Needs
from gatewayz.routing.plan import Plan, plan
from gatewayz.routing.preferences import Preferences
from gatewayz.routing.ranking import TYPICAL_OUTPUT_TOKENS
from gatewayz.routing.view import NOTHING_KNOWN, View

NO_PRICE, NOT_CONFIGURED, UNFIT = "no_price", "not_configured", "unfit"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a quote sees it. `expected_output_tokens`: the caller's own guess, if any."""

    call: ClientCall
    sized: Generate
    needs: Needs
    preferences: Preferences
    dialect: str
    expected_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Quote:
    """`plan` is what routing would do; `names`: the models asked for, first the one wanted."""

    id: str
    asked: Asked
    groups: tuple[Known, ...]
    plan: Plan
    at_ms: int

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Those that may serve the request: first the ones that would be tried."""
        return (*self.plan.offers, *self.plan.spare)


def make_quote(
    asked: Asked,
    groups: Sequence[Known],
    providers: Mapping[str, Provider],
    *,
    at_ms: int,
    view: View = NOTHING_KNOWN,
    own: Own | None = None,
) -> Quote:
    """Plan the request over its models; nothing but the id is new. InvalidRequest when one of
    them is of another kind than the request."""
    candidates, left_out = [], []
    groups = groups if own is None else [own.extend(known) for known in groups]
    for known in groups:
        if known.variants:
            vary(asked.sized, known.variants)
        able = _able(asked, known, providers)
        candidates.append(Candidates(known.model, able, known.variants))
        left_out += [
            Excluded(offer.id, offer.provider, known.model.id, _why(offer, known))
            for offer in known.offers
            if offer not in able
        ]

    def lay(some: Sequence[Candidates]) -> Plan:
        return plan(asked.needs, some, preferences=asked.preferences, view=view)

    once = asked.preferences.allow_fallbacks is False and not asked.preferences.order
    made = lay(candidates) if own is None else own.lay(candidates, lay, once=once)
    made = replace(made, excluded=(*made.excluded, *left_out))
    return Quote(new_quote_id(at_ms), asked, tuple(groups), made, at_ms)


def _able(asked: Asked, known: Known, providers: Mapping[str, Provider]) -> tuple[Offer, ...]:
    servable = longest(known.servable) if EXTENDED in known.variants else known.servable
    asked.sized.strict = bool(asked.preferences.require_parameters)
    try:
        return asked.sized.able(known.model, servable, providers)
    except (CannotTake, CannotDo, LosesParameters):
        return ()  # each offer is told apart in the answer; a refusal would name one reason


def _why(offer: Offer, known: Known) -> str:
    if offer.price is None:
        return NO_PRICE
    return UNFIT if offer in known.servable else NOT_CONFIGURED


# ---------------------------------------------------------------- what it costs


def expected_nanos(offer: Offer, asked: Asked) -> int:
    """The likely charge: the likely prompt, nothing cached, and an answer of the usual length."""
    assert offer.price is not None
    sized, of = asked.sized, offer.price.of
    output = expected_output(offer, asked) * sized.candidates
    units = {"input": likely_share(sized.prompt_tokens), "output": output}
    if of("request") is not None:
        units["request"] = sized.candidates
    for name, count in sized.shape.units.items():
        if of(name) is not None:
            units[name] = units.get(name, 0) + count
    try:
        return amount_nanos(lines_of(Usage(units), offer.price))
    except UnpricedUsage:
        # It has no price for a class that its answers do not have either.
        known = {name: count for name, count in units.items() if of(name) is not None}
        return amount_nanos(lines_of(Usage(known), offer.price))


def maximum_nanos(offer: Offer, asked: Asked) -> int:
    """What is held for it at most: the upper estimate of the prompt, the longest answer."""
    return Worst.of(offer, asked.sized).hold_nanos(longest_output(offer, asked))


def expected_output(offer: Offer, asked: Asked) -> int:
    wanted = asked.expected_output_tokens
    return min(TYPICAL_OUTPUT_TOKENS if wanted is None else wanted, longest_output(offer, asked))


def longest_output(offer: Offer, asked: Asked) -> int:
    """Tokens of one answer; an answer without a limit ends where the offer's own does."""
    if not asked.sized.shape.writes:
        return 0
    most = offer.max_output_tokens or UNKNOWN_MAX_TOKENS
    limit = asked.sized.max_output_tokens
    return most if limit is None else min(limit, most)


# ---------------------------------------------------------------- what is shown


def show_quote(quote: Quote, providers: Mapping[str, Provider], *, pinned: bool) -> Item:
    """The answer of POST /v1/quote. Amounts are exact numbers of USD and whole nano-USD."""
    asked, made = quote.asked, quote.plan
    expires_ms = quote.at_ms + LIFE_S * 1000
    # One offer may stand there twice: by an own key for the fee, by ours for its price.
    tried = {id(offer): number for number, offer in enumerate(made.offers, 1)}
    demoted = {each.offer: list(each.reasons) for each in made.demoted}
    prices = {offer.id: offer for known in quote.groups for offer in known.offers}
    return {
        "object": "quote",
        "id": quote.id,
        "quote_id": quote.id if pinned else None,
        "created_at": iso(quote.at_ms),
        "expires_at": iso(expires_ms) if pinned else None,
        "model": quote.groups[0].model.id,
        "requested_model": asked.call.model,
        "redirected_from": quote.groups[0].redirected_from or None,
        "models": [known.model.id for known in quote.groups],
        "dialect": asked.dialect,
        "stream": asked.sized.stream,
        "strategy": made.strategy,
        "assumptions": _assumptions(asked),
        "candidates": [
            {
                "attempt": tried.get(id(offer)),
                **_candidate(offer, asked, providers),
                "demoted": demoted.get(offer.id, []),
            }
            for offer in quote.offers
        ],
        "excluded": [_excluded(each, prices, asked, providers) for each in made.excluded],
    }


def _assumptions(asked: Asked) -> Item:
    sized = asked.sized
    return {
        "prompt_tokens_likely": likely_share(sized.prompt_tokens),
        "prompt_tokens_max": sized.prompt_tokens,
        "output_tokens_expected": TYPICAL_OUTPUT_TOKENS
        if asked.expected_output_tokens is None
        else asked.expected_output_tokens,
        "output_tokens_limit": sized.max_output_tokens,
        "answers": sized.candidates,
        "held_output_tokens": STREAM_HOLD_TOKENS
        if sized.stream and sized.max_output_tokens is None
        else None,
    }


def _candidate(offer: Offer, asked: Asked, providers: Mapping[str, Provider]) -> Item:
    expected, most = expected_nanos(offer, asked), maximum_nanos(offer, asked)
    assert offer.price is not None
    return {
        **_place(offer.id, offer.provider, offer.model_id, providers),
        "expected_usd": usd_number(expected),
        "expected_nanos": expected,
        "max_usd": usd_number(most),
        "max_nanos": most,
        "is_byok": key_of(offer) is not None,
        "price_version": offer.price.version,
        "price_checked": offer.checked or None,
        "pricing": pricing_item(offer.price),
        "context": _context(offer, asked),
        "data_policy": data_policy(offer),
    }


def _excluded(
    each: Excluded, prices: Mapping[str, Offer], asked: Asked, providers: Mapping[str, Provider]
) -> Item:
    """Why not; with the price it would have had, where it has one."""
    offer = prices.get(each.offer)
    priced = offer is not None and offer.price is not None
    return {
        **_place(each.offer, each.provider, each.model, providers),
        "reason": each.reason,
        "detail": REASONS[each.reason],
        "expected_usd": usd_number(expected_nanos(offer, asked)) if offer and priced else None,
        "max_usd": usd_number(maximum_nanos(offer, asked)) if offer and priced else None,
        "context": _context(offer, asked) if offer else None,
        "data_policy": data_policy(offer) if offer else None,
    }


def _place(offer_id: str, slug: str, model: str, providers: Mapping[str, Provider]) -> Item:
    provider = providers.get(slug)
    return {
        "offer": offer_id,
        "model": model,
        "provider": slug,
        "provider_name": provider.name if provider else slug,
    }


def _context(offer: Offer, asked: Asked) -> Item:
    """`fits` null: nobody states a length, or only the upper estimate is beyond it."""
    length, sized = offer.context_tokens, asked.sized
    likely, most = likely_share(sized.prompt_tokens), sized.prompt_tokens
    fits: bool | None = None
    if length is not None:
        fits = True if most <= length else (None if likely <= length else False)
    return {
        "length": length,
        "fits": fits,
        "prompt_tokens_max": most,
        "left_tokens": None if length is None else max(0, length - most),
        "max_output_tokens": offer.max_output_tokens,
    }
