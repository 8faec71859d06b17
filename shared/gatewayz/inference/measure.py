"""What an admitted request that has ended shows of itself, as metrics; nothing when nobody asks."""

from gatewayz.core import clock
from gatewayz.core.metrics import metric, metrics_on
from gatewayz.inference.job import Job

US_PER_S = 1_000_000


def measure(job: Job) -> None:
    """Once its charge message is stored."""
    if not metrics_on():
        return
    charge = job.charge
    if charge.total_ms is not None and charge.provider is not None:
        metric("duration", charge.total_ms, provider=charge.provider)
    if len(charge.attempts) > 1:
        saved = charge.attempts[-1]["error"] is None
        metric("failovers", result="saved" if saved else "exhausted")
    if job.dispatched_s and job.answered_s:
        own_s = job.dispatched_s - job.call.begun_s + clock.monotonic_s() - job.answered_s
        metric("overhead", max(0, round(own_s * US_PER_S)))
