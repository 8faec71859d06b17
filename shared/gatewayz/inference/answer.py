"""One buffered request: attempts until an offer gives a whole answer, then settle, then send."""

from typing import NamedTuple

from gatewayz.catalog.model import Offer
from gatewayz.core.errors import GatewayError, UpstreamBroken, UpstreamTimeout
from gatewayz.dialects.exchange import Delivered, Exchange
from gatewayz.inference.finish import bill
from gatewayz.inference.job import Job, request_headers, served_headers
from gatewayz.providers.config import Provider
from gatewayz.routing.run import run_attempts

JSON = (b"content-type", b"application/json")


class _Answered(NamedTuple):
    offer: Offer
    provider: Provider
    exchange: Exchange
    answer: Delivered


async def answer_whole(job: Job) -> None:
    """Serve a non-streamed job to its end."""

    async def attempt(offer: Offer) -> _Answered:
        provider = job.gateway.providers[offer.provider]
        job.serve_by(offer, provider)
        left_s = job.deadline.left_s()
        if left_s <= 0:
            raise UpstreamTimeout("The request took too long.", stage="total")
        exchange = job.exchange(offer, provider)
        raw = await job.gateway.client.send(
            provider,
            exchange,
            timeout_s=min(left_s, provider.timeouts.total_s or left_s),
            max_bytes=job.gateway.settings.http.max_answer_bytes,
        )
        return _Answered(offer, provider, exchange, exchange.read_answer(raw))

    try:
        answered = await run_attempts(job.offers, attempt, job.charge.attempts)
    except GatewayError as error:
        return await _fail(job, error)
    await _deliver(job, answered)


async def _deliver(job: Job, answered: _Answered) -> None:
    provider = answered.provider
    report = bill(
        job.charge,
        answered.answer,
        answered.offer,
        prompt_tokens=job.operation.prompt_tokens,
        hold_nanos=job.admitted.hold.amount_nanos,
        outcome="completed",
    )
    try:
        body = answered.exchange.render_answer(answered.answer, report)
    except TypeError:
        # Nested deeper than JSON is written: read, but no answer that anybody could be sent.
        return await _fail(job, UpstreamBroken("The provider's answer cannot be written."))
    job.stop_clock(None)
    freed = await job.commit()
    headers = [
        JSON,
        *served_headers(provider, answered.exchange),
        *request_headers(job.call, job.charge.request_id),
    ]
    await job.call.answer(200, body, headers)
    await freed


async def _fail(job: Job, error: GatewayError) -> None:
    """No offer answered: nothing is charged, and the caller learns the last cause (D26)."""
    job.charge.outcome = "failed"
    job.charge.bill(())
    job.stop_clock(None)
    freed = await job.commit()
    await job.send_error(error)
    await freed
