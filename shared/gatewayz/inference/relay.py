"""One streamed request: attempts until the first content, then bytes as they come.

Guarantees: a true status as long as nothing was sent; no clean end after a failure (D27); the
charge message is stored before the last bytes go out; checkpoints in between (D6, D9).
"""

import asyncio
from dataclasses import dataclass

from gatewayz.billing.settlement import Outcome
from gatewayz.catalog.model import Offer
from gatewayz.core import clock
from gatewayz.core.errors import GatewayError, TimeoutStage, UpstreamError, UpstreamTimeout
from gatewayz.dialects.exchange import Exchange, Stream
from gatewayz.dialects.form import UsageReport
from gatewayz.inference.continuation import Continuation
from gatewayz.inference.fan_out import Upstream, open_upstream
from gatewayz.inference.finish import bill, cost_of, metered_lines
from gatewayz.inference.job import LAST_WRITE_S, Job, request_headers, served_headers
from gatewayz.inference.watch import CallerLeft, Watch
from gatewayz.net.http import NetError
from gatewayz.providers.client import upstream_error
from gatewayz.providers.config import Provider
from gatewayz.routing.run import EmptyAnswer
from gatewayz.routing.toolcalls import ToolWatch

STREAM_HEADERS = [
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
# The end of the body follows its last frame at once; reading it lets the connection be used again.
TAIL_S = 0.25
# The hold grows before it is used up, so that the stream need not wait for more.
GROW_AT = 0.75


class _Interrupted(Exception):
    """Our own limit ended the stream before any content; not the provider's failure."""


@dataclass(slots=True)
class _Opened:
    offer: Offer
    provider: Provider
    exchange: Exchange
    upstream: Upstream
    chat: Stream
    first: bytes


class StreamRelay:
    """Relays one job. `run` returns when the caller has its last byte and the hold is freed."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._headers = [
            (b"content-type", job.operation.stream_type),
            *STREAM_HEADERS,
            *request_headers(job.call, job.charge.request_id),
        ]
        self._watch = Watch(
            job.gateway,
            job.call,
            deadline=job.deadline,
            headers=self._headers,
            keepalive=job.operation.keepalive,
        )
        self._chunks = 0
        self._checkpoint_s = clock.monotonic_s()
        self._checkpoint: asyncio.Task[None] | None = None
        self._out_of_credit = False
        self._reached = False  # a provider answered at all
        self._tools = ToolWatch()
        goes_on = job.gateway.flags.current.on("stream-continuation", job.charge.account)
        self._continuation = Continuation.of(job) if goes_on else None
        self._noted = False  # the health of the offer that was cut knows it already

    def caller_left(self) -> None:
        self._watch.caller_left()

    async def run(self) -> None:
        job = self._job
        try:
            opened = await job.try_offers(self._attempt)
        except GatewayError as error:
            await self._end_before_content(error, "failed")
        except _Interrupted:
            cause = self._cause("first_token")
            if isinstance(cause, GatewayError):
                await self._end_before_content(cause, "failed")
            else:
                await self._end_left_early()
        else:
            try:
                await self._relay(opened)
            finally:
                await self._let_go(opened.upstream)
        finally:
            self._watch.stop()

    # ------------------------------------------------------------ until the first content

    async def _attempt(self, offer: Offer) -> _Opened:
        """Open an offer's stream and read to its first content, or fail as a whole."""
        job, watch = self._job, self._watch
        provider = job.gateway.providers[offer.provider]
        job.serve_by(offer, provider)
        watch.stops_billing = provider.cancel_stops_billing
        limit_s = provider.timeouts.first_token(reasons=offer.reasons)
        going_on = self._continuation
        read = job.exchange if going_on is None else going_on.exchange
        exchange = await read(offer, provider)
        upstream: Upstream | None = None
        try:
            async with asyncio.timeout(None) as limit:
                watch.arm(limit, "first_token", limit_s)
                upstream = await open_upstream(
                    await job.client(offer, provider),
                    provider,
                    exchange,
                    timeout_s=limit_s,
                    total_s=max(1.0, job.deadline.left_s()),
                )
                self._reached = True
                chat = exchange.open_stream()
                first = await self._read_to_content(upstream, chat)
            opened = _Opened(offer, provider, exchange, upstream, chat, first)
            if chat.started:
                watch.content()
            elif chat.finish is None:
                watch.disarm()
                upstream = None  # at its end; kept, should nobody have more to say
                raise EmptyAnswer(provider.slug, opened)
            return opened
        except BaseException as error:
            watch.disarm()
            if upstream is not None:
                await upstream.aclose()
            if isinstance(error, TimeoutError):
                if isinstance(watch.cause, UpstreamTimeout) and watch.cause.stage != "total":
                    raise watch.cause from None
                raise _Interrupted from None
            if isinstance(error, NetError):
                raise upstream_error(provider.slug, error) from error
            raise
        finally:
            watch.disarm()

    async def _read_to_content(self, upstream: Upstream, chat: Stream) -> bytes:
        while not chat.started and not chat.done:
            block = await upstream.read()
            first = chat.feed(block) if block else chat.end()
            if first:
                return first
            if chat.error is not None:
                raise chat.error
            if not block:
                break
        return b""

    def _cause(self, stage: TimeoutStage) -> GatewayError | CallerLeft:
        """Why the watch interrupted; a time-out of nobody's making is the provider's."""
        if self._watch.cause is not None:
            return self._watch.cause
        if self._watch.left_at_s is not None:
            return CallerLeft()
        return UpstreamTimeout("The provider stopped sending.", stage=stage)

    # ------------------------------------------------------------ after it

    async def _relay(self, opened: _Opened) -> None:
        call, watch = self._job.call, self._watch
        failure: GatewayError | CallerLeft | None = None
        try:
            async with asyncio.timeout(None) as limit:
                watch.arm(limit, "idle", opened.provider.timeouts.idle_s)
                if not call.started:
                    served = served_headers(opened.provider, opened.exchange, self._job.course)
                    await call.start(200, [*self._headers, *served])
                if opened.first:
                    await self._show(opened.first)
                await self._pump(opened)
            failure = opened.chat.error
        except NetError as error:
            failure = upstream_error(opened.provider.slug, error)
        except TimeoutError:
            failure = self._cause("idle")
        finally:
            watch.disarm()
        outcome: Outcome = "completed"
        if failure is not None and not opened.chat.clean_end:
            outcome = "left" if isinstance(failure, CallerLeft) else "cut"
        else:
            # What came after a complete answer takes nothing from it.
            failure = None
        if self._continuation is not None and isinstance(failure, UpstreamError):
            again = await self._go_on(self._continuation, opened, failure)
            if again is not None:
                try:
                    return await self._relay(again)
                finally:
                    await self._let_go(again.upstream)
        await self._settle(opened, outcome, failure)

    async def _show(self, out: bytes) -> None:
        """Relay bytes of the answer, and keep what is asked of them later."""
        self._tools.see(out)
        if self._job.call.trace is not None:
            self._job.call.trace.see(out)
        await self._watch.write(out)

    async def _go_on(
        self, going_on: Continuation, cut: _Opened, failure: UpstreamError
    ) -> _Opened | None:
        """The answer's next leg at another offer; None when there is none."""
        offers = going_on.rest(cut.offer)
        if not offers or self._watch.left_at_s is not None:
            return None
        if self._checkpoint is not None:
            await self._checkpoint
        report = self._bill(cut, "cut")
        if not await going_on.begin(offers, report):
            return None
        self._job.served(cut.offer, report, self._tools.verdict(), failure)
        try:
            again = await self._job.try_offers(self._attempt, offers)
        except (GatewayError, _Interrupted):
            going_on.give_up()
            self._noted = True
            self._job.serve_by(cut.offer, cut.provider)
            return None
        await self._watch.write(going_on.mark(cut.offer, failure, again.offer))
        return again

    def _bill(self, opened: _Opened, outcome: Outcome) -> UsageReport:
        job = self._job
        return bill(
            job.charge,
            opened.chat,
            opened.offer,
            prompt_tokens=self._prompt_tokens,
            hold_nanos=self._room_nanos,
            outcome=outcome,
            shape=job.operation.shape,
        )

    @property
    def _prompt_tokens(self) -> int:
        """The upper estimate of what the offer now answering has read."""
        grown = 0 if self._continuation is None else self._continuation.grown_tokens
        return self._job.operation.prompt_tokens + grown

    @property
    def _room_nanos(self) -> int:
        """What earlier legs leave of the hold."""
        legs = self._continuation
        return self._job.admitted.hold.amount_nanos if legs is None else legs.room_nanos

    async def _pump(self, opened: _Opened) -> None:
        upstream, chat, watch = opened.upstream, opened.chat, self._watch
        while not chat.done and chat.error is None:
            block = await upstream.read()
            out = chat.feed(block) if block else chat.end()
            if out:
                watch.content()
                await self._show(out)
            if not block:
                return
            self._chunks += 1
            if self._progress_due():
                self._start_checkpoint(opened)
            if self._out_of_credit:
                return

    async def _settle(
        self, opened: _Opened, outcome: Outcome, failure: GatewayError | CallerLeft | None
    ) -> None:
        """Price what was delivered, store the message, then send the last bytes."""
        job = self._job
        if self._checkpoint is not None:
            await self._checkpoint
        report = self._bill(opened, outcome)
        if self._continuation is not None:
            report = self._continuation.whole(report)
        if self._out_of_credit and failure is None:
            job.charge.finish = "length"
        job.stop_clock(self._watch.first_content_s)
        cut = failure if outcome == "cut" else None
        if not self._noted:
            job.served(opened.offer, report, self._tools.verdict(), cut)
        await job.commit()
        try:
            await self._last_bytes(opened.chat, failure, report)
        finally:
            await job.free()

    async def _last_bytes(
        self, chat: Stream, failure: GatewayError | CallerLeft | None, report: UsageReport
    ) -> None:
        self._watch.stop()
        if self._watch.left_at_s is not None or isinstance(failure, CallerLeft):
            last = b""
        elif failure is not None:
            last = chat.fail(failure)
        elif self._out_of_credit:
            last = chat.close(report, finish="length")
        else:
            last = chat.close(report)
        await self._end(self._job.with_last_trace(last) if last else last)

    async def _end(self, last: bytes) -> None:
        """The last bytes, for a caller that reads them; the server closes on one that does not."""
        try:
            async with asyncio.timeout(LAST_WRITE_S):
                await self._job.call.end(last)
        except (TimeoutError, OSError):
            self._watch.caller_left()

    async def _let_go(self, upstream: Upstream) -> None:
        """Read the end of the body, so that the connection can be used again; then close."""
        try:
            async with asyncio.timeout(TAIL_S):
                while await upstream.read():
                    pass
        except (NetError, TimeoutError):
            pass
        finally:
            await upstream.aclose()

    # ------------------------------------------------------------ endings without content

    async def _end_before_content(self, error: GatewayError, outcome: Outcome) -> None:
        """Nothing reached the caller: charge 0, and a true status if none was sent."""
        job = self._job
        self._watch.stop()
        job.charge.outcome = outcome
        job.charge.bill(())
        job.stop_clock(None)
        if isinstance(error, UpstreamError):
            error.metadata.setdefault("attempts", len(job.charge.attempts))
        await job.commit()
        try:
            await job.send_error(error)
        finally:
            await job.free()

    async def _end_left_early(self) -> None:
        """The caller left before the first content: it owes the prompt a provider read (D20)."""
        job = self._job
        offer = job.serving or job.offers[0]
        job.charge.outcome, job.charge.estimated = "left", True
        if self._reached:
            lines = metered_lines(offer, job.operation.prompt_tokens, 0)
            job.charge.bill(
                lines,
                cap_nanos=job.admitted.hold.amount_nanos,
                cost_nanos=cost_of(lines, offer),
            )
        else:
            job.charge.bill(())
        job.stop_clock(None)
        await job.commit()
        try:
            await self._end(b"")
        finally:
            await job.free()

    # ------------------------------------------------------------ progress

    def _progress_due(self) -> bool:
        credit = self._job.gateway.settings.credit
        return self._chunks >= credit.checkpoint_chunks or (
            self._chunks % 4 == 0
            and clock.monotonic_s() - self._checkpoint_s >= credit.checkpoint_s
        )

    def _start_checkpoint(self, opened: _Opened) -> None:
        if self._checkpoint is not None and not self._checkpoint.done():
            return
        self._chunks = 0
        self._checkpoint_s = clock.monotonic_s()
        self._checkpoint = asyncio.create_task(self._record_progress(opened))

    async def _record_progress(self, opened: _Opened) -> None:
        """Store what a killed process would leave owed; grow the hold as the answer does."""
        job, hold = self._job, self._job.admitted.hold
        offer, written = opened.offer, opened.chat.output_tokens_estimate
        lines = metered_lines(offer, self._prompt_tokens, written)
        job.charge.bill(lines, cap_nanos=self._room_nanos, cost_nanos=cost_of(lines, offer))
        if self._continuation is not None:
            self._continuation.join()
        used = job.charge.charge_nanos
        grows = job.admitted.may_grow and used >= hold.amount_nanos * GROW_AT
        wanted = hold.amount_nanos if grows else 0
        try:
            grown = await job.gateway.credits.checkpoint(hold, job.charge.record(), wanted)
        except GatewayError:
            return
        if wanted and grown == 0 and used >= hold.amount_nanos:
            self._out_of_credit = True
