"""From what happened to what is billed (D16, D20, reliability §3). Pure but for its log lines.

The upstream's usage wins over any estimate; an explicit zero stays zero; missing or nonsensical
usage is metered from what was delivered, marked `estimated`, and never above the hold.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from gatewayz.billing.settlement import ChargeMessage, Outcome
from gatewayz.catalog.model import Offer
from gatewayz.core.errors import echo
from gatewayz.core.log import get_log
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.dialects.exchange import Delivered
from gatewayz.dialects.form import UsageReport
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.pricing.charge import UNITS_PER_PRICE, Line, UnpricedUsage, amount_nanos, lines_of
from gatewayz.pricing.estimate import likely_share
from gatewayz.pricing.price import Price
from gatewayz.pricing.usage import Usage

log = get_log(__name__)

UNKNOWN_CONTEXT_TOKENS = 10_000_000
# Tokenizers differ, contexts are rounded; what is beyond twice the context is a broken count.
PLAUSIBLE_CONTEXTS = 2
# Classes of what a model writes.
WRITTEN = frozenset({"output", "reasoning", "audio_out", "image_out"})


class Shape(NamedTuple):
    """What kind of answer is billed: whether it writes tokens, of how many separate prompts, and
    the upper estimate of what is billed besides tokens, by class."""

    writes: bool = True
    prompts: int = 1
    units: Mapping[str, int] = {}


GENERATED = Shape()


def bill(
    charge: ChargeMessage,
    delivered: Delivered,
    offer: Offer,
    *,
    prompt_tokens: int,
    hold_nanos: int,
    outcome: Outcome,
    shape: Shape = GENERATED,
) -> UsageReport:
    """Write outcome, lines and amount into `charge`; the report its answer shows."""
    usage, lines = _stated_usage(charge, delivered, offer, shape.prompts)
    charge.outcome = outcome
    # A provider's own word: short and printable, or it could spoil a whole batch in the ledger.
    charge.finish = None if delivered.finish is None else echo(delivered.finish)
    charge.cost_stated_nanos = stated_nanos(delivered.stated_cost)
    # Estimating takes time, and mostly the upstream's own count makes it needless.
    output = delivered.output_tokens_estimate if usage is None else usage.output_tokens
    no_output = output == 0 and shape.writes
    if no_output and outcome != "left" and (usage is None or delivered.finish is None):
        charge.outcome = "empty" if outcome == "completed" else outcome
        charge.bill(())
        return report_of(charge, usage or Usage(), ())
    cap = None
    if usage is None:
        usage = _metered(offer, prompt_tokens, output, shape)
        assert offer.price is not None
        lines = lines_of(_with_request(usage, offer.price), offer.price)
        cap = hold_nanos
        charge.estimated = True
    charge.bill(lines, cap_nanos=cap, cost_nanos=cost_of(lines, offer))
    if charge.cap_nanos is not None:
        charge.reason = "cap"
    report = report_of(charge, usage, lines)
    if charge.byok and report.upstream_cost_nanos is None:
        report = report._replace(upstream_cost_nanos=_listed_nanos(offer, usage))
    saved = _savings_nanos(usage, offer)
    return report._replace(cache_savings_nanos=saved) if saved else report


def cost_of(lines: Iterable[Line], offer: Offer) -> int | None:
    """What the provider asks for the units of these lines, in nano-USD; None: what we take."""
    if offer.cost is None:
        return None
    try:
        return amount_nanos(lines_of(Usage({line.cls: line.units for line in lines}), offer.cost))
    except UnpricedUsage:
        return None


def _listed_nanos(offer: Offer, usage: Usage) -> int | None:
    """What the provider asks its key's owner for."""
    listed: Price | None = getattr(offer, "listed", None)
    return None if listed is None else amount_nanos(lines_of(usage, listed))


def _metered(offer: Offer, prompt_tokens: int, output_tokens: int, shape: Shape) -> Usage:
    """Our own count, in the classes that this offer bills."""
    assert offer.price is not None
    if shape.writes:
        return Usage({"input": likely_share(prompt_tokens), "output": output_tokens})
    if offer.price.of("input") is not None:
        return Usage({"input": likely_share(prompt_tokens)})
    return Usage({k: n for k, n in shape.units.items() if offer.price.of(k) is not None})


def metered_lines(offer: Offer, prompt_tokens: int, output_tokens: int) -> tuple[Line, ...]:
    """Lines of an answer under way, from our own counts; `prompt_tokens` is the upper estimate."""
    assert offer.price is not None
    usage = Usage({"input": likely_share(prompt_tokens), "output": output_tokens})
    return lines_of(_with_request(usage, offer.price), offer.price)


def _with_request(usage: Usage, price: Price) -> Usage:
    """What an offer that asks for each call bills besides what it counts; a stated zero stays."""
    if not price.of("request") or "request" in usage.units:
        return usage
    if usage.calls:
        return Usage.of_calls(_with_request(call, price) for call in usage.calls)
    if not usage.input_tokens and not usage.output_tokens:
        return usage
    return Usage({**usage.units, "request": 1})


def _stated_usage(
    charge: ChargeMessage, delivered: Delivered, offer: Offer, prompts: int
) -> tuple[Usage | None, tuple[Line, ...]]:
    """The upstream's usage and its lines, when it states one that can be true and has a price."""
    assert offer.price is not None
    try:
        usage = delivered.counted()
        if usage is None:
            return None, ()
        limit = PLAUSIBLE_CONTEXTS * prompts * (offer.context_tokens or UNKNOWN_CONTEXT_TOKENS)
        if max(usage.input_tokens, usage.output_tokens) > limit:
            raise InvalidUsage("more tokens than the model can take")
        return usage, lines_of(_with_request(usage, offer.price), offer.price)
    except (InvalidUsage, UnpricedUsage) as error:
        log.error(
            "usage_invalid",
            request_id=charge.request_id,
            offer=offer.id,
            error=type(error).__name__,
            detail=str(error),
        )
        return None, ()


def stated_nanos(cost: Any) -> int | None:
    """The cost in USD that an upstream states, in nano-USD; None when it states none."""
    if isinstance(cost, bool) or not isinstance(cost, int | float) or not 0 <= cost < 10_000:
        return None
    # Somebody else's number, kept for comparison only: it never becomes a charge.
    return round(cost * NANOS_PER_USD)


def report_of(charge: ChargeMessage, usage: Usage, lines: tuple[Line, ...]) -> UsageReport:
    """What the answer says of `charge`, whose receipt has these lines."""
    return UsageReport(
        cost_nanos=charge.charge_nanos,
        upstream_cost_nanos=charge.cost_stated_nanos,
        estimated=charge.estimated,
        prompt_tokens=usage.input_tokens,
        completion_tokens=usage.output_tokens,
        cached_tokens=usage.units.get("cache_read", 0),
        reasoning_tokens=usage.units.get("reasoning", 0),
        units=usage.units,
        prompt_cost_nanos=_prompt_nanos(charge, lines),
        byok=charge.byok,
    )


def _savings_nanos(usage: Usage, offer: Offer) -> int:
    """What the tokens that were read from the cache would have cost more without it."""
    cached = usage.units.get("cache_read", 0)
    if not cached or offer.price is None:
        return 0
    of = offer.price.at(usage.input_tokens).of
    return max(0, cached * ((of("input") or 0) - (of("cache_read") or 0)) // UNITS_PER_PRICE)


def _prompt_nanos(charge: ChargeMessage, lines: tuple[Line, ...]) -> int:
    """Of the charge, what is not for what was written."""
    read = amount_nanos([line for line in lines if line.cls not in WRITTEN])
    return min(read, charge.charge_nanos)
