"""One admitted request on its way: what every step of the use-case reads and writes."""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from gatewayz.billing.settlement import ChargeMessage
from gatewayz.catalog.model import Offer
from gatewayz.core import clock
from gatewayz.core.deadline import Deadline
from gatewayz.core.errors import GatewayError, echo
from gatewayz.core.ids import public_id
from gatewayz.dialects.exchange import Exchange
from gatewayz.inference.admit import Admitted
from gatewayz.inference.gateway import Gateway
from gatewayz.net.asgi import Call, RawHeaders
from gatewayz.providers.config import Provider

MAX_DROPPED = 32
# How long the last bytes may wait for a caller that does not read.
LAST_WRITE_S = 5.0


class Operation(Protocol):
    """A kind of request (D39): its sizes for the estimate; its exchange with an offer, which
    encodes, reads usage and renders; its errors."""

    keepalive: bytes
    stream_type: bytes
    model: str
    stream: bool
    prompt_tokens: int
    candidates: int
    max_output_tokens: int | None
    end_user: str | None
    session: str | None

    def exchange(
        self, offer: Offer, provider: Provider, request_id: str, limit_tokens: int | None
    ) -> Exchange: ...
    def render_error(
        self, error: GatewayError, request_id: str | None
    ) -> tuple[int, bytes, RawHeaders]: ...
    def error_frame(self, error: GatewayError, request_id: str) -> bytes: ...


@dataclass(slots=True)
class Job:
    """`charge` is filled as the request proceeds; `offers` is the plan."""

    gateway: Gateway
    operation: Operation
    call: Call
    charge: ChargeMessage
    offers: tuple[Offer, ...]
    admitted: Admitted
    deadline: Deadline
    started_s: float
    committed: bool = False

    def serve_by(self, offer: Offer, provider: Provider) -> None:
        """The offer now being tried is the one that is billed if it answers."""
        assert offer.price is not None
        self.charge.offer = offer.id
        self.charge.provider = provider.slug
        self.charge.price_version = offer.price.version

    def exchange(self, offer: Offer, provider: Provider) -> Exchange:
        """This request at this offer, within the limit that the balance allows."""
        return self.operation.exchange(
            offer, provider, self.charge.request_id, self.admitted.limit_tokens
        )

    async def commit(self) -> "asyncio.Task[None]":
        """Store the charge message, once; the task returned ends when the hold is freed."""
        hold = self.admitted.hold
        self.charge.lease = hold.lease
        freed = await self.gateway.settlement.commit(hold, self.charge)
        self.committed = True
        return freed

    def stop_clock(self, first_content_s: float | None) -> None:
        self.charge.total_ms = round((clock.monotonic_s() - self.started_s) * 1000)
        if first_content_s is not None:
            self.charge.first_token_ms = round((first_content_s - self.started_s) * 1000)

    async def send_error(self, error: GatewayError) -> None:
        await send_error(self.call, self.operation, error, self.charge.request_id)


def request_headers(call: Call, request_id: str | None) -> RawHeaders:
    """X-Request-ID is the caller's label, else our id; X-Generation-Id is always ours (D1)."""
    headers = list(call.cors)
    label = call.client_request_id or request_id
    if label is not None:
        headers.append((b"x-request-id", label.encode()))
    if request_id is not None:
        headers.append((b"x-generation-id", public_id(request_id, "gen-").encode()))
    return headers


def served_headers(provider: Provider, exchange: Exchange) -> RawHeaders:
    """Who answered, and which of the caller's parameters it does not take."""
    headers = [(b"x-provider", provider.slug.encode())]
    if exchange.request.dropped:
        # The caller's own words: printable, short and few, or they could break the answer's head.
        names = [echo(name) for name in exchange.request.dropped[:MAX_DROPPED]]
        headers.append((b"x-gatewayz-dropped-params", ", ".join(names).encode()))
    return headers


async def send_error(
    call: Call, operation: Operation, error: GatewayError, request_id: str
) -> None:
    """The error as a whole answer, or as the last frame when the status is already out."""
    try:
        async with asyncio.timeout(LAST_WRITE_S):
            if call.started:
                return await call.end(operation.error_frame(error, request_id))
            status, body, headers = operation.render_error(error, request_id)
            await call.answer(status, body, [*headers, *request_headers(call, request_id)])
    except (TimeoutError, OSError):
        pass  # nobody reads it
