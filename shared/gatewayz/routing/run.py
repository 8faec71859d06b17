"""The one loop that owns every retry: offer after offer, until one answers (architecture §4)."""

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gatewayz.catalog.model import Offer
from gatewayz.core import clock
from gatewayz.core.errors import UpstreamError, UpstreamRejected, final_failure
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric

log = get_log(__name__)
T = TypeVar("T")


async def run_attempts(
    offers: tuple[Offer, ...],
    attempt: Callable[[Offer], Awaitable[T]],
    attempts: list[dict[str, Any]],
) -> T:
    """The first success of `attempt`. Each try is written to `attempts`:
    {offer, provider, error or null, upstream_status, ms}. When all fail the last cause decides
    the error raised (D26). A rejected request fails at once: it would fail anywhere.
    """
    failures: list[UpstreamError] = []
    for offer in offers:
        started_s = clock.monotonic_s()
        entry: dict[str, Any] = {"offer": offer.id, "provider": offer.provider, "error": None}
        attempts.append(entry)
        try:
            result = await attempt(offer)
        except UpstreamError as error:
            entry |= {"error": error.metric, "upstream_status": error.upstream_status}
            failures.append(error)
            metric("attempts", provider=offer.provider, result=error.metric)
            log.warning(
                "attempt_failed", offer=offer.id, error=error.metric, status=error.upstream_status
            )
            if isinstance(error, UpstreamRejected):
                raise
        else:
            metric("attempts", provider=offer.provider, result="ok")
            return result
        finally:
            entry["ms"] = round((clock.monotonic_s() - started_s) * 1000)
    raise final_failure(failures)
