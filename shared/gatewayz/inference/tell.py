"""How a request was routed, told to a caller who asks: OpenRouter's metadata and what only we know.

Attempts are named by our classes, never by an upstream's words (D26).
"""

from typing import Any

import orjson

from gatewayz.billing.settlement import ChargeMessage
from gatewayz.catalog.model import Offer
from gatewayz.inference.course import Course
from gatewayz.routing.filters import REASONS, Excluded

MAX_LISTED = 50
Told = tuple[str, bytes]


def tell(course: Course | None, charge: ChargeMessage | None = None) -> Told | None:
    """(field, its JSON) when the caller asked for it."""
    if course is None or not course.wishes.trace:
        return None
    return course.wishes.trace, orjson.dumps(_trace(course, charge))


def _trace(course: Course, charge: ChargeMessage | None) -> dict[str, Any]:
    plan = course.plan
    attempts = charge.attempts if charge is not None else []
    served = attempts[-1]["offer"] if attempts and attempts[-1]["error"] is None else None
    offers = [offer for group in course.groups for offer in group.offers]
    chosen = next((o for o in offers if o.id == served), None)
    return {
        "requested": course.requested,
        "strategy": plan.strategy,
        "region": None if chosen is None else chosen.region,
        "summary": _summary(course, attempts, served),
        "attempt": len(attempts),
        "is_byok": charge is not None and served is not None and charge.byok,
        "endpoints": {
            "total": len(offers),
            "available": [_endpoint(o, served) for o in (*plan.offers, *plan.spare)][:MAX_LISTED],
        },
        "attempts": [_attempt(entry, offers) for entry in attempts],
        "excluded": [_excluded(e) for e in (*plan.excluded, *course.absent)][:MAX_LISTED],
        "demoted": [{"offer": d.offer, "reasons": list(d.reasons)} for d in plan.demoted],
        "params": {"dropped": list(course.dropped)},
        "pipeline": _pipeline(course),
    }


def _endpoint(offer: Offer, served: str | None) -> dict[str, Any]:
    return {
        "provider": offer.provider,
        "model": offer.model_id,
        "offer": offer.id,
        "selected": offer.id == served,
    }


def _attempt(entry: dict[str, Any], offers: list[Offer]) -> dict[str, Any]:
    model = next((o.model_id for o in offers if o.id == entry["offer"]), None)
    return {
        "provider": entry["provider"],
        "model": model,
        "offer": entry["offer"],
        "status": entry.get("upstream_status"),
        "reason": entry["error"] or "ok",
        "stage": entry.get("stage"),
        "is_byok": entry.get("byok", False),
        "provider_key": entry.get("provider_key"),
        "latency_ms": entry.get("ms"),
    }


def _excluded(each: Excluded) -> dict[str, Any]:
    return {
        "provider": each.provider,
        "model": each.model,
        "offer": each.offer,
        "reason": each.reason,
        "detail": REASONS.get(each.reason, each.reason),
    }


def _summary(course: Course, attempts: list[dict[str, Any]], served: str | None) -> str:
    tried = ", then ".join(f"{entry['provider']} ({entry['error'] or 'ok'})" for entry in attempts)
    if not tried:
        return "no provider was asked"
    return tried if served else f"{tried}; nobody answered"


def _pipeline(course: Course) -> list[dict[str, Any]]:
    """The steps that changed where the request went."""
    plan, steps = course.plan, []

    def step(kind: str, name: str, summary: str, **data: Any) -> None:
        steps.append({"type": kind, "name": name, "summary": summary, "data": data})

    if course.redirected_from:
        step("resolve", "redirect", "the model was renamed", **{"from": course.redirected_from})
    variants = [variant for group in course.groups for variant in group.variants]
    if variants:
        step("resolve", "variants", "suffixes of the model's name", variants=variants)
    if plan.sticky:
        step("affinity", "sticky", "the conversation's prompt is cached there")
    if plan.switch is not None:
        switch = plan.switch
        step(
            "affinity", "switch", f"left {switch.from_offer}: {switch.reason}",
            reason=switch.reason, lost_nanos=switch.lost_nanos,
        )  # fmt: skip
    if plan.wait_s:
        step("throttle", "wait", "the only offer asked for a moment", seconds=round(plan.wait_s, 3))
    if plan.probes:
        step("breaker", "probe", "a closed offer was tried again", scopes=list(plan.probes))
    return steps
