"""What the attempts of a settled request, or a probe, show of their offers. Pure.

A sample is a row of the windows in SQL. A request that was wrong says nothing of an offer.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gatewayz.pricing.usage import INPUT_CLASSES, OUTPUT_CLASSES
from gatewayz.routing.figures import bucket_of

Sample = dict[str, Any]

OK, THROTTLED, MISSING, PAYMENT = "ok", "throttled", "missing", "payment"
PAYMENT_REQUIRED = 402
# The class of an error by its name in the log of attempts; others are nobody's fault here.
CLASSES: Mapping[str, str] = {
    "UpstreamTimeout": "timeout",
    "UpstreamThrottled": THROTTLED,
    "UpstreamExhausted": PAYMENT,
    "UpstreamAuth": "auth",
    "UpstreamModelMissing": MISSING,
    "UpstreamUnavailable": "unavailable",
    "UpstreamBroken": "broken",
    "EmptyAnswer": "broken",
}
# Outcomes of a request whose last attempt gave an answer, whole or in part.
ANSWERED = frozenset({"completed", "empty", "cut", "left"})


def class_of(error: str | None, status: int | None, cut: str | None = None) -> str | None:
    """The class of an attempt's outcome; None when it says nothing of the offer."""
    if error is None:
        return "cut" if cut else OK
    found = CLASSES.get(error)
    return PAYMENT if found == "auth" and status == PAYMENT_REQUIRED else found


def samples_of(message: Mapping[str, Any]) -> Iterator[Sample]:
    """The samples of one charge message."""
    attempts: Sequence[Any] = message.get("attempts") or []
    for attempt in attempts:
        last = attempt is attempts[-1]
        if not isinstance(attempt, dict) or type(attempt.get("ms")) is not int:
            continue
        cls = class_of(attempt.get("error"), attempt.get("upstream_status"), attempt.get("cut"))
        model = attempt.get("model") or message.get("model")
        answered = cls in (OK, "cut")
        if cls is None or not model or (answered and message.get("outcome") not in ANSWERED):
            continue
        sample: Sample = {
            "model": model,
            "provider": attempt.get("provider"),
            "offer": attempt.get("offer"),
            "class": cls,
            "status": attempt.get("upstream_status"),
            "ms": attempt["ms"],
            "at_ms": message.get("admitted_at_ms"),
        }
        if last and answered:
            sample |= _of_answer(message, attempt)
        yield sample


def _of_answer(message: Mapping[str, Any], attempt: Mapping[str, Any]) -> Sample:
    lines = message.get("lines") or ()
    found: Sample = {
        "prompt_tokens": sum(line[1] for line in lines if line[0] in INPUT_CLASSES),
        "output_tokens": sum(line[1] for line in lines if line[0] in OUTPUT_CLASSES),
        "cost_nanos": message.get("cost_nanos") or 0,
        "ms": message.get("total_ms") or attempt["ms"],
    }
    if (first_ms := attempt.get("first_ms")) is not None:
        found["first_bucket"] = bucket_of(first_ms)
    if (rate := attempt.get("tps")) is not None:
        found["rate_bucket"] = bucket_of(rate)
    if tools := attempt.get("tools"):
        found["tool_calls"], found["tool_valid"] = tools
    return found
