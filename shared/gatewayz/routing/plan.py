"""The plan: which offers are tried for a request, in which order. Pure."""

from gatewayz.catalog.model import Offer

MAX_ATTEMPTS = 3


def plan(offers: tuple[Offer, ...], *, needs_tokens: int) -> tuple[Offer, ...]:
    """At most three offers whose context fits the prompt, in the catalog's order.

    When none fits by our estimate the first offers are kept: the estimate errs upwards, and a
    provider's own refusal is exact.
    """
    fitting = [o for o in offers if o.context_tokens is None or o.context_tokens >= needs_tokens]
    return tuple((fitting or list(offers))[:MAX_ATTEMPTS])
