"""One admitted request on its way: what every step of the use-case reads and writes."""

import asyncio
from dataclasses import dataclass, replace
from typing import TypeVar

from gatewayz.accounts.limits_velocity import own_failure
from gatewayz.billing.settlement import ChargeMessage, Stored
from gatewayz.catalog.model import Offer
from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import GatewayError, UpstreamError, echo
from gatewayz.core.ids import public_id
from gatewayz.dialects.exchange import Exchange
from gatewayz.dialects.form import UsageReport
from gatewayz.dialects.trace import with_field, with_frame_field
from gatewayz.inference.admit import STREAM_HOLD_TOKENS, Admitted, Worst
from gatewayz.inference.course import Course
from gatewayz.inference.gateway import Gateway
from gatewayz.inference.operation import Operation
from gatewayz.inference.own import key_of, own_refusal
from gatewayz.inference.tell import Told, tell
from gatewayz.net.asgi import Call, RawHeaders
from gatewayz.providers.client import ProviderClient
from gatewayz.providers.config import Provider
from gatewayz.routing.board import Reply
from gatewayz.routing.run import Attempt, Guard, note_failure, run_attempts
from gatewayz.routing.toolcalls import Calls

T = TypeVar("T")
MAX_DROPPED = 32
# Of fewer tokens a rate says nothing.
MIN_RATED_TOKENS = 8
# How long the last bytes may wait for a caller that does not read.
LAST_WRITE_S = 5.0


@dataclass(slots=True)
class Job:
    """`charge` is filled as the request proceeds; `offers` is the plan, which `refusal` stops."""

    gateway: Gateway
    operation: Operation
    call: Call
    charge: ChargeMessage
    offers: tuple[Offer, ...]
    admitted: Admitted
    deadline: Deadline
    started_s: float
    course: Course | None = None
    refusal: GatewayError | None = None
    stored: Stored | None = None
    serving: Offer | None = None
    dispatched_s: float = 0.0
    answered_s: float = 0.0

    def serve_by(self, offer: Offer, provider: Provider) -> None:
        """The offer now being tried is the one that is billed if it answers."""
        assert offer.price is not None
        if not self.dispatched_s:
            self.dispatched_s = clock.monotonic_s()
        if self.call.trace is not None:
            self.call.trace.attempt()
        self.serving = offer
        self.operation.model = self.charge.model = offer.model_id
        self.charge.offer = offer.id
        self.charge.provider = provider.slug
        self.charge.price_version = offer.price.version

    async def client(self, offer: Offer, provider: Provider) -> ProviderClient:
        """What calls this offer: with our credential, or with the caller's own."""
        key = key_of(offer)
        return self.gateway.client if key is None else await self.gateway.own.get(key, provider)

    async def exchange(self, offer: Offer, provider: Provider) -> Exchange:
        """This request at this offer, within the limit that the balance allows."""
        await self.operation.prepare(self.gateway.egress, offer, provider)
        exchange = self.operation.exchange(
            offer, provider, self.charge.request_id, self.admitted.limit_tokens
        )
        if self.course is not None:
            self.course.dropped = exchange.request.dropped
        if self.gateway.tracer is not None:
            told = self.gateway.tracer.headers_for(self.call.trace, own=provider.local)
            if told:
                headers = {**exchange.request.headers, **told}
                exchange.request = replace(exchange.request, headers=headers)
        return exchange

    async def confirm(self, reply: Reply) -> None:
        """Take over what the shared health says of the plan; the hold must cover what is left."""
        assert self.course is not None
        before = self.offers
        try:
            self.course.confirm(reply)
        except GatewayError as error:
            self.refusal = error
            return
        after = self.course.plan.offers
        if after is not before:
            self.course.within(await self._covered(before, after))
            self.offers = self.course.plan.offers

    async def _covered(self, before: tuple[Offer, ...], after: tuple[Offer, ...]) -> list[Offer]:
        """Those of `after` that the hold made for `before` pays for; it grows for the first."""
        tokens = self.operation.max_output_tokens or STREAM_HOLD_TOKENS
        worst = {
            id(offer): Worst.of(offer, self.operation).hold_nanos(tokens)
            for offer in (*before, *after)
        }
        held = max(worst[id(offer)] for offer in before)
        first = after[0]
        missing_nanos = worst[id(first)] - held
        if missing_nanos > 0:
            credits, hold = self.gateway.credits, self.admitted.hold
            try:
                grown = await credits.checkpoint(hold, self.charge.record(), missing_nanos)
            except GatewayError:
                grown = 0
            held += max(grown, 0)
        covered = [offer for offer in after if worst[id(offer)] <= held]
        return covered or [offer for offer in after if offer in before] or list(before)

    async def try_offers(self, attempt: Attempt[T], offers: tuple[Offer, ...] | None = None) -> T:
        """The result of the first attempt that succeeds; GatewayError when none does. `offers`
        stand in for the plan's."""
        if self.refusal is not None:
            raise self.refusal
        guard = Guard(self.gateway.board, self.gateway.budget, self.deadline)
        wait_s = self.course.plan.wait_s if self.course is not None else 0.0
        attempts = self.charge.attempts
        try:
            result = await run_attempts(
                self.offers if offers is None else offers, attempt, attempts, guard, wait_s=wait_s
            )
        except UpstreamError as error:
            told = own_refusal(error, [entry.get("byok", False) for entry in attempts])
            if told is error:
                raise
            raise told from error
        if attempts[-1]["error"] is None:
            entry = attempts[-1]
            self.gateway.board.succeeded(entry["offer"], entry["provider"], took_ms=entry["ms"])
        return result

    def served(
        self, offer: Offer, report: UsageReport, calls: Calls, failure: Exception | None = None
    ) -> None:
        """Note what the answer showed: for the health of its offer, and where its conversation's
        prompt is cached now."""
        entry, board = self.charge.attempts[-1], self.gateway.board
        took_ms = entry["ms"]
        first_ms = took_ms if self.operation.stream else None
        if self.operation.stream:
            took_ms = (self.charge.total_ms or 0) - (self.charge.first_token_ms or 0)
        rate = None
        if report.completion_tokens >= MIN_RATED_TOKENS and took_ms > 0:
            rate = round(report.completion_tokens * 1000 / took_ms, 1)
        if calls.made:
            entry["tools"] = list(calls)
        if first_ms is not None:
            entry["first_ms"] = first_ms
        if rate is not None:
            entry["tps"] = rate
        if isinstance(failure, UpstreamError):
            entry["cut"] = failure.metric
            note_failure(board, offer, failure)
        board.measured(
            offer.id,
            first_token_ms=first_ms,
            tokens_per_s=rate,
            tools_valid=calls.made == calls.valid if calls.made else None,
        )
        if self.course is not None and failure is None:
            self.course.keep(offer, report)

    async def commit(self) -> None:
        """Store the charge message, once. `free` follows when the last bytes are on their way."""
        hold = self.admitted.hold
        self.charge.lease = hold.lease
        trace = self.call.trace
        if trace is not None:
            self.charge.trace = trace.queued(self.charge)
        self.stored = await self.gateway.settlement.commit(hold, self.charge)
        if trace is not None:
            trace.stored()

    async def free(self) -> None:
        """Give back what the hold has over the charge."""
        assert self.stored is not None
        await self.gateway.settlement.free(self.stored)

    def stop_clock(self, first_content_s: float | None) -> None:
        self.answered_s = clock.monotonic_s()
        if self.call.trace is not None:
            self.call.trace.answered()
        self.charge.total_ms = round((self.answered_s - self.started_s) * 1000)
        if first_content_s is not None:
            self.charge.first_token_ms = round((first_content_s - self.started_s) * 1000)

    def with_trace(self, body: bytes) -> bytes:
        """A whole answer, and how it was routed if the caller asks."""
        told = tell(self.course, self.charge)
        return body if told is None else with_field(body, *told)

    def with_last_trace(self, last: bytes) -> bytes:
        """The same of a stream's last bytes."""
        told = tell(self.course, self.charge)
        return last if told is None else with_frame_field(last, *told)

    async def send_error(self, error: GatewayError) -> None:
        told = tell(self.course, self.charge)
        await send_error(self.call, self.operation, error, self.charge.request_id, told)


def request_headers(call: Call, request_id: str | None) -> RawHeaders:
    """X-Request-ID is the caller's label, else our id; X-Generation-Id is always ours (D1)."""
    headers = [*call.cors, *call.notes]
    label = call.client_request_id or request_id
    if label is not None:
        headers.append((b"x-request-id", label.encode()))
    if request_id is not None:
        headers.append((b"x-generation-id", public_id(request_id, "gen-").encode()))
    return headers


def served_headers(
    provider: Provider, exchange: Exchange, course: Course | None = None
) -> RawHeaders:
    """Who answered, and which of the caller's parameters it does not take."""
    headers = [(b"x-provider", provider.slug.encode())]
    if course is not None:
        headers += course.notes
    if exchange.request.dropped:
        # The caller's own words: printable, short and few, or they could break the answer's head.
        names = [echo(name) for name in exchange.request.dropped[:MAX_DROPPED]]
        headers.append((b"x-gatewayz-dropped-params", ", ".join(names).encode()))
    return headers


async def send_error(
    call: Call,
    operation: Operation,
    error: GatewayError,
    request_id: str,
    told: Told | None = None,
) -> None:
    """The error as a whole answer, or as the last frame when the status is already out."""
    call.failed = True
    call.fault = own_failure(error)
    if call.trace is not None:
        call.trace.error = error.code
    try:
        async with asyncio.timeout(LAST_WRITE_S):
            if call.started:
                last = operation.error_frame(error, request_id)
                return await call.end(with_frame_field(last, *told) if told else last)
            status, body, headers = operation.render_error(error, request_id)
            if told:
                body = with_field(body, *told)
            await call.answer(status, body, [*headers, *request_headers(call, request_id)])
    except (TimeoutError, OSError):
        pass  # nobody reads it
