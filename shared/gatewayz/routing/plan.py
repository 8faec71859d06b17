"""The plan: which offers are tried for a request, in which order. Pure."""

from gatewayz.catalog.model import Offer
from gatewayz.core.errors import InvalidRequest

MAX_ATTEMPTS = 3
# Our count is an upper estimate; a text that really has a third of it exists, one with less does
# not. Between the two the provider's own refusal is exact.
CERTAIN_SHARE = 3


def plan(offers: tuple[Offer, ...], *, prompt_tokens: int) -> tuple[Offer, ...]:
    """At most three offers whose context fits the prompt by its upper estimate, in the catalog's
    order; when none does, those that may still fit. InvalidRequest when none can."""
    fitting = _with_context(offers, prompt_tokens)
    if not fitting:
        fitting = _with_context(offers, prompt_tokens // CERTAIN_SHARE)
    if not fitting:
        most = max(offer.context_tokens or 0 for offer in offers)
        raise InvalidRequest(
            f"The prompt does not fit: this model takes {most} tokens.",
            code="context_length_exceeded",
            param="messages",
        )
    return fitting[:MAX_ATTEMPTS]


def _with_context(offers: tuple[Offer, ...], tokens: int) -> tuple[Offer, ...]:
    return tuple(o for o in offers if o.context_tokens is None or o.context_tokens >= tokens)
