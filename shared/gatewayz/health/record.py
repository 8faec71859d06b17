"""Writes what requests and probes showed into the windows, and tells all processes which offers are
gone. Losing a sample harms nobody, so nothing here ever fails its caller.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.health.samples import Sample, samples_of
from gatewayz.routing.board import Board
from gatewayz.stores.open import Stores

log = get_log(__name__)

MAX_SAMPLES = 1000
TIMEOUT_S = 5.0


async def record_settled(stores: Stores, messages: Sequence[Mapping[str, Any]]) -> None:
    """The samples of charge messages that were posted just now."""
    await record(stores, (sample for message in messages for sample in samples_of(message)))


async def record(stores: Stores, samples: Iterable[Sample]) -> None:
    """Post samples; an outage only costs them."""
    rows = list(samples)
    gone: list[str] = []
    try:
        for start in range(0, len(rows), MAX_SAMPLES):
            reply = await stores.postgres.rpc(
                "record_health",
                {"samples": rows[start : start + MAX_SAMPLES]},
                timeout_s=TIMEOUT_S,
            )
            gone += [offer for offer, hidden in reply.get("missing") or () if hidden]
    except GatewayError as error:
        log.info("health_not_recorded", samples=len(rows), error=error.metric)
    if gone:
        await hide(stores, gone)


async def hide(stores: Stores, offers: Iterable[str]) -> None:
    """Take offers that do not exist any more out of every plan, until one of them answers."""
    board = Board(stores.redis)
    for offer in offers:
        log.warning("offer_hidden", offer=offer)
        board.tell(offer, "H1")
    await board.finish_background()
