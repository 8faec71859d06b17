"""One buffered request: attempts until an offer gives a whole answer, then settle, then send."""

from typing import NamedTuple

from gatewayz.catalog.model import Offer
from gatewayz.core.errors import GatewayError, Overloaded, UpstreamBroken, UpstreamTimeout
from gatewayz.core.waits import Stopped
from gatewayz.dialects.exchange import Delivered, Exchange
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.inference.fan_out import ask
from gatewayz.inference.finish import bill
from gatewayz.inference.job import LAST_WRITE_S, Job, request_headers, served_headers
from gatewayz.providers.config import Provider
from gatewayz.routing.run import EmptyAnswer
from gatewayz.routing.toolcalls import check_answer

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
        exchange = await job.exchange(offer, provider)
        client = await job.client(offer, provider)
        try:
            with job.gateway.waits.within():
                answer = await ask(
                    client,
                    provider,
                    exchange,
                    timeout_s=min(left_s, provider.timeouts.total_s or left_s),
                    max_bytes=job.gateway.settings.http.max_answer_bytes,
                )
        except Stopped:
            raise Overloaded from None
        answered = _Answered(offer, provider, exchange, answer)
        if job.operation.shape.writes and _is_empty(answered.answer):
            raise EmptyAnswer(provider.slug, answered)
        return answered

    try:
        answered = await job.try_offers(attempt)
    except GatewayError as error:
        return await _fail(job, error)
    await _deliver(job, answered)


def _is_empty(answer: Delivered) -> bool:
    """Not a word, no reason to end, and no count that says otherwise."""
    if answer.finish is not None or answer.output_tokens_estimate:
        return False
    try:
        usage = answer.counted()
    except InvalidUsage:
        return True
    return usage is None or not usage.output_tokens


async def _deliver(job: Job, answered: _Answered) -> None:
    provider = answered.provider
    report = bill(
        job.charge,
        answered.answer,
        answered.offer,
        prompt_tokens=job.operation.prompt_tokens,
        hold_nanos=job.admitted.hold.amount_nanos,
        outcome="completed",
        shape=job.operation.shape,
    )
    try:
        body = answered.exchange.render_answer(answered.answer, report)
    except TypeError:
        # Nested deeper than JSON is written: read, but no answer that anybody could be sent.
        return await _fail(job, UpstreamBroken("The provider's answer cannot be written."))
    job.stop_clock(None)
    if job.call.trace is not None:
        job.call.trace.see(body)
    job.served(answered.offer, report, check_answer(body))
    await job.commit()
    headers = [
        JSON,
        *served_headers(provider, answered.exchange, job.course),
        *request_headers(job.call, job.charge.request_id),
    ]
    try:
        # The server closes on a caller that does not read.
        with job.gateway.waits.within(LAST_WRITE_S):
            await job.call.answer(200, job.with_trace(body), headers)
    except (OSError, Stopped):
        pass  # nobody is there, and the answer is paid for
    finally:
        await job.free()


async def _fail(job: Job, error: GatewayError) -> None:
    """No offer answered: nothing is charged, and the caller learns the last cause (D26)."""
    job.charge.outcome = "failed"
    job.charge.bill(())
    job.stop_clock(None)
    await job.commit()
    try:
        await job.send_error(error)
    finally:
        await job.free()
