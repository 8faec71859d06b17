"""Start here: what happens to one inference request, from a known caller to a settled charge.

    resolve the model → plan offers → hold credit → attempt → relay → settle → last byte

Everything else in this package is a step of `run`. No provider, dialect or price is decided here.
"""

import asyncio
import hashlib

from gatewayz.accounts.principals import Principal
from gatewayz.billing.credits import Ask, StalePrincipal
from gatewayz.billing.settlement import ChargeMessage
from gatewayz.catalog.model import Offer, model_not_found
from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import (
    GatewayError,
    InternalError,
    NotFound,
    ProviderNotConfigured,
    echo,
)
from gatewayz.core.ids import new_request_id
from gatewayz.core.log import bind, get_log
from gatewayz.core.metrics import metric
from gatewayz.inference.admit import Worst, admit
from gatewayz.inference.answer import answer_whole
from gatewayz.inference.gateway import Gateway
from gatewayz.inference.job import Job, Operation, send_error
from gatewayz.inference.relay import StreamRelay
from gatewayz.net.asgi import Call
from gatewayz.pricing.charge import UNITS_PER_PRICE
from gatewayz.routing.plan import plan

log = get_log(__name__)


async def run(gateway: Gateway, operation: Operation, principal: Principal, call: Call) -> None:
    """Serve one request to its end. Errors are rendered here; only StalePrincipal escapes,
    before anything was sent: the caller's key must be read again.

    The work outlives the connection: a caller who leaves is charged for what was used (D20).
    """
    request_id = new_request_id()
    bind(request_id=request_id)
    offers = await _reject_early(gateway, operation, call, request_id)
    if not offers:
        return
    started_s = clock.monotonic_s()
    deadline = Deadline.after(gateway.settings.http.deadline_s)
    charge = _new_charge(request_id, operation, principal, call)
    try:
        ask = _ask(gateway, operation, principal, charge, offers)
        admitted = await admit(gateway.credits, ask, offers, operation)
    except GatewayError as error:
        metric("admissions", outcome=error.code)
        return await send_error(call, operation, error, request_id)
    metric("admissions", outcome="admitted")
    log.debug("admitted", account=principal.account, model=operation.model)
    charge.lease, charge.close = admitted.hold.lease, admitted.hold.private
    job = Job(gateway, operation, call, charge, offers, admitted, deadline, started_s)
    relay = StreamRelay(job) if operation.stream else None
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


async def _settle_crash(job: Job) -> None:
    """A bug of ours: nothing is charged, the hold is freed, the caller gets a 500."""
    if job.committed:
        # Paid for already, and a second message would contradict the first.
        if not job.call.started:
            await job.send_error(InternalError())
        return
    job.charge.outcome, job.charge.reason = "failed", "crash"
    job.charge.bill(())
    job.stop_clock(None)
    freed = await job.commit()
    if not job.call.ended:
        await job.send_error(InternalError())
    await freed


async def _reject_early(
    gateway: Gateway, operation: Operation, call: Call, request_id: str
) -> tuple[Offer, ...]:
    """The plan, or an empty one when the request was answered with an error."""
    try:
        try:
            return _plan(gateway, operation)
        except NotFound:
            if not await gateway.discover():
                raise
            return _plan(gateway, operation)
    except GatewayError as error:
        metric("admissions", outcome=error.code)
        await send_error(call, operation, error, request_id)
        return ()


def _plan(gateway: Gateway, operation: Operation) -> tuple[Offer, ...]:
    catalog = gateway.catalog
    model = catalog.find(operation.model)
    if model is None:
        raise model_not_found(catalog, operation.model)
    operation.model = model.id
    offers = catalog.servable(model.id)
    if not offers:
        raise ProviderNotConfigured(_what_is_missing(gateway, model.id))
    return plan(offers, prompt_tokens=operation.prompt_tokens)


def _what_is_missing(gateway: Gateway, model_id: str) -> str:
    """On a developer's machine also the variables that would help."""
    text = f"No provider of '{model_id}' is configured here."
    if gateway.settings.stage != "local":
        return text
    rows = [gateway.providers[offer.provider] for offer in gateway.catalog.offers(model_id)]
    names = dict.fromkeys(row.credential for row in rows if row.credential)
    return f"{text} Set {' or '.join(names)} in .env and start again." if names else text


def _new_charge(
    request_id: str, operation: Operation, principal: Principal, call: Call
) -> ChargeMessage:
    title = call.header(b"x-title") or call.header(b"http-referer")
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
    charge.writeoff_nanos = prompt_nanos
    record = charge.record()
    charge.writeoff_nanos = 0
    return Ask(
        request_id=charge.request_id,
        account=principal.account,
        epoch=principal.epoch,
        amount_nanos=0,
        live_s=settings.http.deadline_s + settings.credit.hold_grace_s,
        record=record,
    )


def _hashed(account: str, label: str | None) -> str | None:
    """A caller's own label for a person or session: kept only as a keyed hash (D8)."""
    if label is None:
        return None
    return hashlib.blake2s(label.encode(), key=account.encode()[:32], digest_size=12).hexdigest()


__all__ = ["StalePrincipal", "run"]
