"""What a caller is told when no offer may serve its request, and why. Pure.

The reasons of the model that was asked for decide; every excluded offer is named with its reason.
"""

from collections.abc import Sequence
from typing import Any

from gatewayz.core.errors import (
    Forbidden,
    GatewayError,
    InvalidRequest,
    NotFound,
    UpstreamModelMissing,
    UpstreamThrottled,
    UpstreamUnavailable,
)
from gatewayz.routing.filters import REASONS, Candidates, Excluded
from gatewayz.routing.plan import Plan

MAX_NAMED = 30
PRIVACY = frozenset({"data_policy:training", "data_policy:zdr", "data_policy:confidential"})
TOO_LONG = frozenset({"context_length", "output_length"})


def refusal_of(made: Plan, groups: Sequence[Candidates]) -> GatewayError:
    """The error that a plan without offers stands for."""
    first = groups[0].model.id
    mine = [e for e in made.excluded if e.model == first] or list(made.excluded)
    reasons = {e.reason for e in mine}
    if "cooling_down" in reasons:
        wait_s = max(1.0, made.cooling_s)
        throttled = UpstreamThrottled(
            "The provider is limiting our requests; retry later.", retry_after_s=wait_s
        )
        throttled.headers["Retry-After"] = str(round(wait_s))
        return throttled
    if reasons and reasons <= TOO_LONG:
        most = max((o.context_tokens or 0 for group in groups for o in group.offers), default=0)
        return InvalidRequest(
            f"The prompt does not fit: this model takes {most} tokens.",
            code="context_length_exceeded",
            param="messages",
        )
    told = explain(mine)
    if "region" in reasons and reasons <= {"region"}:
        return Forbidden(
            f"No offer of '{first}' is in the region asked for.",
            code="region_restricted",
            metadata=told,
        )
    if reasons & PRIVACY and reasons <= PRIVACY:
        return NotFound(
            f"No offer of '{first}' keeps the data policy asked for.",
            code="privacy_restricted",
            metadata=told,
        )
    if reasons == {"hidden"}:
        return UpstreamModelMissing("No provider of this model is in service now.", metadata=told)
    if not reasons or reasons <= {"no_price", "not_configured", "probing"}:
        return UpstreamUnavailable("No provider of this model can be called now; retry.")
    return NotFound(
        f"No offer of '{first}' is left: {_sentence(mine)}.",
        code="constraint_filtered",
        metadata=told,
    )


def explain(excluded: Sequence[Excluded]) -> dict[str, Any]:
    """Excluded offers for `metadata`: the reasons, and who has which."""
    return {
        "excluded_by": sorted({e.reason for e in excluded}),
        "excluded": [
            {"provider": e.provider, "model": e.model, "reason": e.reason}
            for e in excluded[:MAX_NAMED]
        ],
    }


def _sentence(excluded: Sequence[Excluded]) -> str:
    counts: dict[str, int] = {}
    for e in excluded:
        counts[e.reason] = counts.get(e.reason, 0) + 1
    return ", ".join(f"{n} because {REASONS[reason]}" for reason, n in sorted(counts.items()))
