"""How much credit a request needs, and getting it (D9).

The hold is the worst case of the dearest offer of the plan. A limit the caller set is honoured
or refused with the number that fits; a missing one is chosen so that the answer can be paid.
"""

from typing import NamedTuple, Protocol

from gatewayz.billing.credits import Ask, Credits, Hold
from gatewayz.billing.refusals import BUDGET_EXCEEDED, TRIAL_LIMIT
from gatewayz.catalog.model import Offer
from gatewayz.core.errors import InsufficientCredits
from gatewayz.core.money import usd_text
from gatewayz.inference.finish import Shape
from gatewayz.pricing.charge import UNITS_PER_PRICE
from gatewayz.pricing.estimate import likely_share
from gatewayz.routing.ranking import TYPICAL_OUTPUT_TOKENS

STREAM_HOLD_TOKENS = 4096
UNKNOWN_MAX_TOKENS = 16_384
# An answer without a limit may take a quarter of what is left, so that others find some (D9).
SHARE = 4
# One by each budget (key, team, account, end user, session), the trial, the balance; then it fits.
MAX_REFUSALS = 8


class Sized(Protocol):
    """What admission must know of a request."""

    prompt_tokens: int
    candidates: int
    max_output_tokens: int | None
    stream: bool
    shape: Shape


class Worst(NamedTuple):
    """Worst-case cost of a request at one offer: fixed for the prompt, per token for output."""

    prompt_scaled: int  # nano-USD × 10^6
    output_scaled: int  # nano-USD × 10^6 per token, all choices together

    @classmethod
    def of(cls, offer: Offer, sized: Sized) -> "Worst":
        price = offer.price
        assert price is not None  # an offer without a price is never planned
        of = price.at(sized.prompt_tokens).of
        per_request = (of("request") or 0) * sized.candidates
        for name, units in sized.shape.units.items():
            per_request += (of(name) or 0) * units
        return cls(
            sized.prompt_tokens * max(of("input") or 0, of("cache_write_5m") or 0) + per_request,
            max(of("output") or 0, of("reasoning") or 0) * sized.candidates,
        )

    def hold_nanos(self, output_tokens: int) -> int:
        """At least 1: a hold of nothing would admit without limit (F52)."""
        scaled = self.prompt_scaled + self.output_scaled * output_tokens
        return max(1, -(-scaled // UNITS_PER_PRICE))

    def tokens_for(self, nanos: int) -> int:
        """Output tokens that `nanos` pay for besides the prompt; may be ≤ 0."""
        if not self.output_scaled:
            return UNKNOWN_MAX_TOKENS if self.hold_nanos(0) <= nanos else 0
        return (nanos * UNITS_PER_PRICE - self.prompt_scaled) // self.output_scaled


class Admitted(NamedTuple):
    """A hold, and the output limit to send upstream when the balance asks for one."""

    hold: Hold
    limit_tokens: int | None
    may_grow: bool


async def admit(credits: Credits, ask: Ask, offers: tuple[Offer, ...], sized: Sized) -> Admitted:
    """Hold credit for the dearest offer. `ask.amount_nanos` is computed here.

    InsufficientCredits names what would fit; StalePrincipal and DependencyError pass through.
    """
    worst, most = _dearest(offers, sized)
    if sized.max_output_tokens is not None:
        return await _admit_explicit(credits, ask, worst, sized, min(sized.max_output_tokens, most))

    tokens = min(most, STREAM_HOLD_TOKENS) if sized.stream else most
    limit: int | None = None
    available, last = 0, None
    for _ in range(MAX_REFUSALS):
        try:
            hold = await credits.admit(_with(ask, sized, worst.hold_nanos(tokens), tokens))
            return Admitted(hold, limit, may_grow=sized.stream and limit is None)
        except InsufficientCredits as refusal:
            last = refusal
            room = _room_of_trial(refusal, sized)
            if 0 < room < tokens:
                tokens = limit = room
                continue
            available = int(refusal.metadata["available_nanos"])
            share = available if sized.stream else available // SHARE
            affordable = worst.tokens_for(share)
            if affordable < 1:
                affordable = worst.tokens_for(available)
            if affordable < 1:
                raise _explained(refusal, worst.hold_nanos(1), worst, available) from refusal
            tokens = limit = min(affordable, tokens - 1 or 1)
    raise _explained(last, worst.hold_nanos(1), worst, available)


def _dearest(offers: tuple[Offer, ...], sized: Sized) -> tuple[Worst, int]:
    """The worst case of the dearest offer, and the longest answer that any of them gives."""
    if len(offers) == 1:
        return Worst.of(offers[0], sized), offers[0].max_output_tokens or UNKNOWN_MAX_TOKENS
    worst = max(
        (Worst.of(offer, sized) for offer in offers),
        key=lambda w: w.hold_nanos(sized.max_output_tokens or STREAM_HOLD_TOKENS),
    )
    return worst, max(offer.max_output_tokens or UNKNOWN_MAX_TOKENS for offer in offers)


async def _admit_explicit(
    credits: Credits, ask: Ask, worst: Worst, sized: Sized, tokens: int
) -> Admitted:
    amount = worst.hold_nanos(tokens)
    try:
        hold = await credits.admit(_with(ask, sized, amount, tokens))
        return Admitted(hold, None, may_grow=False)
    except InsufficientCredits as refusal:
        available = int(refusal.metadata["available_nanos"])
        raise _explained(refusal, amount, worst, available) from refusal


def _with(ask: Ask, sized: Sized, amount_nanos: int, output_tokens: int) -> Ask:
    """The same for an answer of so many tokens: what it holds, and what it takes of the limits."""
    tokens = most_tokens = 0
    if ask.lines:
        likely = output_tokens if sized.max_output_tokens is not None else TYPICAL_OUTPUT_TOKENS
        if not sized.shape.writes:
            output_tokens = likely = 0
        tokens = likely_share(sized.prompt_tokens) + min(likely, output_tokens) * sized.candidates
        most_tokens = sized.prompt_tokens + output_tokens * sized.candidates
    return Ask(
        ask.request_id, ask.account, ask.epoch, amount_nanos, ask.live_s, ask.record, ask.lines,
        ask.budgets, tokens, most_tokens, ask.key, ask.per_minute,
    )  # fmt: skip


def _room_of_trial(refusal: InsufficientCredits, sized: Sized) -> int:
    """Output tokens that the trial leaves for each choice; 0 when the refusal is another's."""
    left = refusal.metadata.get("available")
    if left is None or not sized.shape.writes:
        return 0
    return max(0, (int(left) - sized.prompt_tokens) // sized.candidates)


def _explained(
    refusal: InsufficientCredits | None, needed: int, worst: Worst, available: int
) -> InsufficientCredits:
    """What would fit, and what helps: by whether the balance, a budget or the trial refused."""
    if refusal is not None and refusal.code == TRIAL_LIMIT:
        return refusal
    affordable = max(0, worst.tokens_for(available)) if worst.output_scaled else 0
    hint = f" With max_tokens ≤ {affordable} it fits." if affordable else ""
    left, way_out = "is available", "Add credits to go on."
    if refusal is not None and refusal.code == BUDGET_EXCEEDED:
        left, way_out = "is left of a spending limit", "Raise the limit to go on."
        if not str(refusal.metadata.get("scope")).endswith(":total"):
            way_out = "Raise the limit, or wait for its next period."
    return InsufficientCredits(
        f"This request may cost up to ${usd_text(needed)}, "
        f"but only ${usd_text(max(0, available))} {left}.{hint} {way_out}",
        code=refusal.code if refusal else None,
        metadata={
            "required_usd": usd_text(needed),
            "available_usd": usd_text(max(0, available)),
            "affordable_max_tokens": affordable,
            **({"scope": refusal.metadata["scope"]} if refusal and _scoped(refusal) else {}),
        },
    )


def _scoped(refusal: InsufficientCredits) -> bool:
    return "scope" in refusal.metadata
