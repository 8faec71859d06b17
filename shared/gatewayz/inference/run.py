"""Start here: what happens to one inference request, from a known caller to a settled charge.

    resolve the model → plan offers → hold credit → attempt → relay → settle → last byte

Everything else in this package is a step of `run`. No provider, dialect or price is decided here.
"""

import asyncio
import hashlib
import math
from zlib import crc32

from gatewayz.accounts.labels import tags_in
from gatewayz.accounts.limits import NO_LIMITS, Budget
from gatewayz.accounts.principals import Principal
from gatewayz.billing.credits import Ask, StalePrincipal
from gatewayz.billing.settlement import ChargeMessage
from gatewayz.catalog.model import Offer
from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import (
    GatewayError,
    InternalError,
    echo,
)
from gatewayz.core.ids import new_request_id
from gatewayz.core.log import bind, get_log
from gatewayz.core.metrics import metric
from gatewayz.inference.admit import Worst, admit
from gatewayz.inference.answer import answer_whole
from gatewayz.inference.course import Course
from gatewayz.inference.gateway import Gateway
from gatewayz.inference.job import Job, send_error
from gatewayz.inference.limits import check_free, last_shown, refused, shown
from gatewayz.inference.measure import measure
from gatewayz.inference.operation import Operation
from gatewayz.inference.relay import StreamRelay
from gatewayz.inference.standing import barred
from gatewayz.inference.tell import tell
from gatewayz.net.asgi import Call
from gatewayz.pricing.charge import UNITS_PER_PRICE

log = get_log(__name__)
TRACEPARENT_CHARS = 55


async def run(
    gateway: Gateway, operation: Operation, principal: Principal, call: Call, *, fresh: bool = False
) -> None:
    """Serve one request to its end. Errors are rendered here; only StalePrincipal escapes,
    before anything was sent: the caller's key must be read again, unless it is `fresh`.

    The work outlives the connection: a caller who leaves is charged for what was used (D20).
    """
    request_id = new_request_id()
    bind(request_id=request_id)
    course = await _reject_early(gateway, operation, principal, call, request_id, fresh=fresh)
    if course is None:
        return
    offers = course.plan.offers
    started_s = clock.monotonic_s()
    deadline = Deadline.after(
        min(gateway.settings.http.deadline_s, course.wishes.timeout_s or math.inf)
    )
    charge = _new_charge(request_id, operation, principal, call)
    if call.trace is not None:
        charge.trace = call.trace.onward()
    elif (parent := call.header(b"traceparent")) is not None and len(parent) == TRACEPARENT_CHARS:
        # Nobody traces here; an account's own service still gets it below the client's span.
        charge.trace = parent.decode("latin-1")
    # Beside the credit hold, in the same write to Redis (D12).
    asking = asyncio.create_task(course.ask()) if course.asks else None
    try:
        ask = _ask(gateway, operation, principal, charge, offers)
        admitted = await admit(gateway.credits, ask, offers, operation)
    except GatewayError as refusal:
        error = refused(principal, barred(principal, refusal), fresh=fresh)
        metric("admissions", outcome=error.code)
        return await send_error(call, operation, error, request_id)
    metric("admissions", outcome="admitted")
    log.debug("admitted", account=principal.account, model=operation.model)
    charge.lease, charge.close = admitted.hold.lease, admitted.hold.private
    if principal.limits is not NO_LIMITS:
        charge.scopes = list(admitted.hold.scopes)
        principal.limits.seen[:] = (admitted.hold.shown,)
        call.notes = [*call.notes, *shown(admitted.hold.shown, principal.limits.trial)]
    if call.trace is not None:
        call.trace.serve(charge, operation.routing.body)
    job = Job(gateway, operation, call, charge, offers, admitted, deadline, started_s, course)
    try:
        if asking is not None:
            await job.confirm(await asking)
    except Exception:
        # Whatever it was: from the hold on every request ends in one message (D19).
        log.exception("request_crashed", request_id=request_id)
        return await _settle_crash(job)
    relay = StreamRelay(job) if operation.stream else None
    if call.outlives_caller:
        return await _serve(job, relay)
    work = gateway.spawn(_serve(job, relay))
    try:
        await asyncio.shield(work)
    except asyncio.CancelledError:
        if relay is not None:
            relay.caller_left()
        raise


async def _serve(job: Job, relay: StreamRelay | None) -> None:
    try:
        if relay is not None:
            await relay.run()
        else:
            await answer_whole(job)
    except Exception:
        log.exception("request_crashed", request_id=job.charge.request_id)
        await _settle_crash(job)
    finally:
        measure(job)
        if job.call.trace is not None and job.gateway.tracer is not None:
            job.gateway.tracer.end(job.call.trace)


async def _settle_crash(job: Job) -> None:
    """A bug of ours: nothing is charged, the hold is freed, the caller gets a 500."""
    if job.stored is not None:
        # Paid for already, and a second message would contradict the first.
        if not job.call.started:
            await job.send_error(InternalError())
        return
    job.charge.outcome, job.charge.reason = "failed", "crash"
    job.charge.bill(())
    job.stop_clock(None)
    await job.commit()
    try:
        if not job.call.ended:
            await job.send_error(InternalError())
    finally:
        await job.free()


async def _reject_early(
    gateway: Gateway,
    operation: Operation,
    principal: Principal,
    call: Call,
    request_id: str,
    *,
    fresh: bool,
) -> Course | None:
    """Where the request may go; None when it was answered with an error."""
    course = Course(gateway, operation, principal, seed=crc32(request_id.encode()))
    try:
        await course.lay()
        check_free(principal, course.plan, fresh=fresh)
    except GatewayError as error:
        if principal.restricted and not fresh:
            # What was read of the key a while ago refuses nobody.
            raise StalePrincipal from error
        metric("admissions", outcome=error.code)
        call.notes = [*call.notes, *last_shown(principal)]
        await send_error(call, operation, error, request_id, tell(course))
        return None
    if course.redirected_from:
        note = f"{echo(course.redirected_from)} -> {operation.model}"
        call.notes = [*call.notes, (b"x-gatewayz-redirected", note.encode("ascii", "replace"))]
    return course


def _new_charge(
    request_id: str, operation: Operation, principal: Principal, call: Call
) -> ChargeMessage:
    title = call.header(b"x-title") or call.header(b"http-referer")
    labels = call.header(b"x-gatewayz-tags")
    return ChargeMessage(
        request_id=request_id,
        account=principal.account,
        key_id=principal.key_id,
        model=operation.model,
        stream=operation.stream,
        admitted_at_ms=clock.now_ms(),
        client_request_id=call.client_request_id,
        app=echo(title.decode("latin-1")) if title else None,
        end_user=_hashed(principal.account, operation.end_user),
        session=_hashed(principal.account, operation.session),
        team=principal.team,
        tags=tags_in(labels) if labels else [],
    )


def _ask(
    gateway: Gateway,
    operation: Operation,
    principal: Principal,
    charge: ChargeMessage,
    offers: tuple[Offer, ...],
) -> Ask:
    settings = gateway.settings
    first = offers[0]
    assert first.price is not None
    charge.offer, charge.provider = first.id, first.provider
    charge.price_version = first.price.version
    prompt_nanos = -(-Worst.of(first, operation).prompt_scaled // UNITS_PER_PRICE)
    # What a caller's own key used is owed by its owner.
    charge.writeoff_nanos = 0 if charge.byok else prompt_nanos
    record = charge.record()
    charge.writeoff_nanos = 0
    limits = principal.limits
    lines, budgets = "", tuple[Budget, ...]()
    if limits is not NO_LIMITS:
        lines = limits.lines_of(charge.end_user, charge.session, strained=gateway.velocity.strained)
        budgets = limits.budgets_of(charge.end_user, charge.session)
    return Ask(
        request_id=charge.request_id,
        account=principal.account,
        epoch=principal.epoch,
        amount_nanos=0,
        live_s=settings.http.deadline_s + settings.credit.hold_grace_s,
        record=record,
        lines=lines,
        budgets=budgets,
        key=principal.key_id,
        per_minute=limits.per_minute,
    )


def _hashed(account: str, label: str | None) -> str | None:
    """A caller's own label for a person or session: kept only as a keyed hash (D8)."""
    if label is None:
        return None
    return hashlib.blake2s(label.encode(), key=account.encode()[:32], digest_size=12).hexdigest()


__all__ = ["StalePrincipal", "run"]
