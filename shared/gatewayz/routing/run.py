"""The one loop that owns every retry: offer after offer, until one answers (architecture §4).

Guarantees at most three attempts, each within the request's deadline and the process's retry
budget; that a request which would fail anywhere is tried once; and that every outcome is noted on
the board that all processes share. Never tries two offers at once.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from gatewayz.catalog.model import Offer
from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import (
    InvalidRequest,
    UpstreamAuth,
    UpstreamBroken,
    UpstreamError,
    UpstreamExhausted,
    UpstreamModelMissing,
    UpstreamRejected,
    UpstreamThrottled,
    UpstreamTimeout,
    UpstreamUnavailable,
    final_failure,
)
from gatewayz.core.log import get_log
from gatewayz.core.metrics import metric
from gatewayz.routing.board import Board
from gatewayz.routing.budget import WAIT_S, RetryBudget
from gatewayz.routing.plan import MAX_ATTEMPTS, MAX_WAIT_S

log = get_log(__name__)
T = TypeVar("T")
Attempt = Callable[[Offer], Awaitable[T]]

# A provider that limits us and does not say for how long.
UNSTATED_COOL_S = 5.0
# How long a provider without credit stays behind the others when nobody looks at its balance.
LOW_CREDIT_MS = 3_600_000
# Refusals that another model may not make.
OTHER_MODEL_MAY = frozenset({"context_length_exceeded", "content_filter"})
PAYMENT_REQUIRED = 402
# What a provider says of a key, and not of itself.
OF_THE_KEY = (UpstreamAuth, UpstreamExhausted, UpstreamThrottled, UpstreamModelMissing)


class EmptyAnswer(UpstreamBroken):
    """An answer without a word and without an end. `result` is what to make do with when nobody
    else has more."""

    def __init__(self, provider: str, result: Any) -> None:
        super().__init__("The provider's answer is empty.", provider=provider)
        self.result = result


@dataclass(frozen=True, slots=True)
class Guard:
    """What the attempts of one request answer to; a part that is None does not limit."""

    board: Board | None = None
    budget: RetryBudget | None = None
    deadline: Deadline | None = None


UNGUARDED = Guard()


async def run_attempts(
    offers: tuple[Offer, ...],
    attempt: Attempt[T],
    attempts: list[dict[str, Any]],
    guard: Guard = UNGUARDED,
    *,
    wait_s: float = 0.0,
) -> T:
    """The first success of `attempt`. Each try is written to `attempts`:
    {offer, provider, error or null, upstream_status, ms}. When all fail the last cause decides
    the error raised (D26). `wait_s` passes before the first.
    """
    return await _Run(offers, attempt, attempts, guard).run(wait_s)


class _Run(Generic[T]):
    def __init__(
        self,
        offers: tuple[Offer, ...],
        attempt: Attempt[T],
        attempts: list[dict[str, Any]],
        guard: Guard,
    ) -> None:
        self._left = list(offers)
        self._many = len({offer.model_id for offer in offers}) > 1
        self._attempt = attempt
        self._attempts = attempts
        self._guard = guard
        self._failures: list[UpstreamError] = []
        self._refused: InvalidRequest | None = None
        self._throttled: list[tuple[float, Offer]] = []
        self._tries = 0
        self._began_s = clock.monotonic_s()

    async def run(self, wait_s: float) -> T:
        budget = self._guard.budget
        if budget is None:
            return await self._run(wait_s)
        budget.begin()
        try:
            return await self._run(wait_s)
        finally:
            budget.end()

    async def _run(self, wait_s: float) -> T:
        if wait_s:
            await clock.sleep(wait_s)
        while (offer := await self._next()) is not None:
            if self._tries and self._opened_since(offer):
                continue
            retries = self._tries > 0
            if retries and not await self._may_retry(offer):
                break
            try:
                # It may have opened while this one waited for its turn.
                if retries and self._opened_since(offer):
                    continue
                self._tries += 1
                results = await self._try(offer)
            finally:
                if retries and self._guard.budget is not None:
                    self._guard.budget.release()
            if results:
                return results[0]
        last = self._failures[-1] if self._failures else None
        if isinstance(last, EmptyAnswer):
            result: T = last.result
            return result
        raise self._failure()

    async def _may_retry(self, offer: Offer) -> bool:
        budget, deadline = self._guard.budget, self._guard.deadline
        if budget is None:
            return True
        wait_s = WAIT_S if deadline is None else min(WAIT_S, deadline.left_s())
        if await budget.withdraw(wait_s):
            return True
        log.warning("retry_budget_spent", offer=offer.id)
        metric("attempts", provider=offer.provider, result="no_budget")
        return False

    def _opened_since(self, offer: Offer) -> bool:
        """Has its breaker opened after this request was planned? Then the others who were planned
        with it must not all find that out for themselves."""
        if self._guard.board is None:
            return False
        view = self._guard.board.view()
        for scope in (offer.id, offer.provider):
            known = view.entries.get(scope)
            if known is not None and known.open_until_s > view.now_s:
                return known.outage_at_s >= self._began_s
        return False

    async def _next(self) -> Offer | None:
        deadline = self._guard.deadline
        if self._tries >= MAX_ATTEMPTS or (self._tries and deadline and deadline.passed):
            return None
        if self._left:
            return self._left.pop(0)
        # Nothing else is left: who asked for a moment only is waited for, once (D33).
        if not self._throttled:
            return None
        wait_s, offer = min(self._throttled, key=lambda pair: pair[0])
        self._throttled = []
        if wait_s > MAX_WAIT_S or (deadline is not None and deadline.left_s() <= wait_s):
            return None
        await clock.sleep(wait_s)
        return offer

    async def _try(self, offer: Offer) -> tuple[T, ...]:
        """The result of one attempt, or nothing."""
        started_s = clock.monotonic_s()
        entry: dict[str, Any] = {"offer": offer.id, "provider": offer.provider, "error": None}
        if self._many:
            entry["model"] = offer.model_id
        if (own := getattr(offer, "key", None)) is not None:
            entry |= {"byok": True, "provider_key": own.id}
        self._attempts.append(entry)
        try:
            result = await self._attempt(offer)
        except UpstreamError as error:
            entry |= {"error": error.metric, "upstream_status": error.upstream_status}
            if isinstance(error, UpstreamTimeout):
                entry["stage"] = error.stage
            self._failed(offer, error)
            return ()
        except InvalidRequest as error:
            # This offer's dialect cannot say what was asked; another's may.
            entry["error"] = error.metric
            self._refused = self._refused or error
            return ()
        else:
            metric("attempts", provider=offer.provider, result="ok")
            return (result,)
        finally:
            entry["ms"] = round((clock.monotonic_s() - started_s) * 1000)

    def _failed(self, offer: Offer, error: UpstreamError) -> None:
        """Note a failure; UpstreamRejected is raised unless another model may do better."""
        self._failures.append(error)
        metric("attempts", provider=offer.provider, result=error.metric)
        log.warning(
            "attempt_failed", offer=offer.id, error=error.metric, status=error.upstream_status
        )
        deadline = self._guard.deadline
        late = isinstance(error, UpstreamTimeout) and deadline is not None and deadline.passed
        if self._guard.board is not None and not late:
            note_failure(self._guard.board, offer, error)
        if isinstance(error, UpstreamThrottled) and not isinstance(error, UpstreamExhausted):
            self._throttled.append((cool_s(error), offer))
        if isinstance(error, UpstreamRejected):
            others = [o for o in self._left if o.model_id != offer.model_id]
            if error.code not in OTHER_MODEL_MAY or not others:
                raise error
            self._left = others

    def _failure(self) -> Exception:
        if not self._failures:
            return self._refused or UpstreamUnavailable("No provider could be asked in time.")
        return final_failure(self._failures)


def cool_s(error: UpstreamError) -> float:
    return UNSTATED_COOL_S if error.retry_after_s is None else error.retry_after_s


def note_failure(board: Board, offer: Offer, error: UpstreamError) -> None:
    """Write a failure where all processes see it: what it says of the offer and of its provider.

    D33: time-outs, 5xx and broken answers count; throttling is a pause; a refused credential opens
    the provider, a missing model the offer; a request that was wrong says nothing. What a caller's
    own key is refused says nothing of ours.
    """
    if getattr(offer, "key", None) is not None and isinstance(error, OF_THE_KEY):
        return
    match error:
        case UpstreamRejected():
            return
        case UpstreamAuth() | UpstreamExhausted():
            board.tell(offer.provider, "o")
            if error.upstream_status == PAYMENT_REQUIRED or isinstance(error, UpstreamExhausted):
                board.tell(offer.provider, f"L{LOW_CREDIT_MS}")
            log.error(
                "provider_refuses_us",
                provider=offer.provider,
                status=error.upstream_status,
                error=error.metric,
            )
        case UpstreamThrottled():
            board.tell(offer.id, f"c{round(cool_s(error) * 1000)}")
        case UpstreamModelMissing():
            board.tell(offer.id, "o")
        case UpstreamTimeout() | UpstreamUnavailable() | UpstreamBroken():
            board.tell(offer.id, "f")
            board.tell(offer.provider, "f")
    board.tell_others()
