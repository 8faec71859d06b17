"""Probes: the smallest request an offer can be sent, through the adapter that traffic takes.

Guarantees a bound on what probing costs a day, that no two processes probe an offer at once, and
that only "no such model", three times in a row, hides an offer.
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gatewayz.catalog.model import Offer
from gatewayz.core import clock
from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.core.log import get_log
from gatewayz.dialects.openai_chat.exchange import ChatCall
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.protocol import Reply
from gatewayz.health.record import record
from gatewayz.health.samples import OK, Sample, class_of
from gatewayz.health.tiers import FAILING_S, Seen, due
from gatewayz.pricing.charge import UNITS_PER_PRICE, UnpricedUsage, amount_nanos, lines_of
from gatewayz.pricing.usage import INPUT_CLASSES, OUTPUT_CLASSES
from gatewayz.providers.client import ProviderClient
from gatewayz.providers.provider import Provider
from gatewayz.routing.board import Board
from gatewayz.routing.run import note_failure
from gatewayz.stores.open import Stores

log = get_log(__name__)

TIMEOUT_S = 30.0
MAX_BYTES = 1024 * 1024
# Some providers take no smaller limit.
MAX_TOKENS = 16
PROMPT_TOKENS = 40  # an upper estimate of the few words sent
AT_ONCE = 8
MAX_A_RUN = 200
TEXT = {"text"}


@dataclass(frozen=True, slots=True)
class Target:
    """An offer that can be called from here."""

    offer: Offer
    provider: Provider


class Prober:
    """`free_only`: probe nothing that costs (a developer's machine)."""

    def __init__(
        self,
        stores: Stores,
        client: ProviderClient,
        board: Board,
        *,
        budget_nanos: int,
        free_only: bool = False,
    ) -> None:
        self._stores = stores
        self._client = client
        self._board = board
        self._budget_nanos = budget_nanos
        self._free_only = free_only

    async def due(self) -> list[tuple[tuple[str, str], int]]:
        """((model, provider), period in seconds) of what is to be probed now."""
        rows = [Seen(*row) for row in await self._stores.postgres.rpc("probe_plan", {})]
        return [((seen.model, seen.provider), every_s) for seen, every_s in due(rows)][:MAX_A_RUN]

    async def probe(self, wanted: Iterable[tuple[Target, int]]) -> dict[str, int]:
        """Probe these (offer, period in seconds), a few at a time."""
        turns = asyncio.Semaphore(AT_ONCE)
        counts: dict[str, int] = {}
        samples: list[Sample] = []

        async def one(target: Target, every_s: int) -> None:
            async with turns:
                outcome, sample = await self._one(target, every_s)
            counts[outcome] = counts.get(outcome, 0) + 1
            if sample is not None:
                samples.append(sample)

        await asyncio.gather(*[one(target, every_s) for target, every_s in wanted])
        await record(self._stores, samples)
        await self._board.finish_background()
        return counts

    async def _one(self, target: Target, every_s: int) -> tuple[str, Sample | None]:
        offer = target.offer
        worst = worst_nanos(offer)
        if self._free_only and worst:
            return "not_free", None
        claim = await self._stores.postgres.rpc(
            "claim_probe",
            {
                "model": offer.model_id,
                "provider": offer.provider,
                "offer": offer.id,
                "cost_nanos": worst,
                "budget_nanos": self._budget_nanos,
                # A little less: the schedule is not exact, and a period late is a period lost.
                "every_ms": max(0, every_s - FAILING_S // 5) * 1000,
            },
        )
        if not claim["granted"]:
            return str(claim["reason"]), None
        sample = await self.sample(target)
        back = worst - int(sample.get("cost_nanos") or 0)
        if back > 0:
            await self._stores.postgres.rpc("close_probe", {"back_nanos": back})
        return str(sample["class"]), sample

    async def sample(self, target: Target) -> Sample:
        """One probe and what it showed."""
        offer, provider = target.offer, target.provider
        started_s = clock.monotonic_s()
        found: Sample = {
            "model": offer.model_id,
            "provider": offer.provider,
            "offer": offer.id,
            "probe": True,
            "class": OK,
        }
        try:
            found |= await self._call(offer, provider)
        except UpstreamError as error:
            found["class"] = class_of(error.metric, error.upstream_status) or OK
            found["status"] = error.upstream_status
            if found["class"] != OK:
                note_failure(self._board, offer, error)
        except GatewayError as error:
            # Our dialect cannot ask it this way: that says nothing of the offer.
            log.info("probe_not_possible", offer=offer.id, error=error.metric)
        if found["class"] == OK:
            # It was sent after whatever closed the offer, so it proves that it is over.
            for scope in (offer.id, offer.provider):
                self._board.tell(scope, "r")
        found["ms"] = round((clock.monotonic_s() - started_s) * 1000)
        return found

    async def _call(self, offer: Offer, provider: Provider) -> Sample:
        body = {
            "model": offer.model_id,
            "messages": [{"role": "user", "content": "Reply with OK."}],
            "max_tokens": MAX_TOKENS,
        }
        call = ChatCall(body, {})
        dialect = provider.speaks(call.name, offer.native_id)
        target = provider.target(
            offer.native_id,
            max_output_tokens=offer.max_output_tokens,
            reasons=offer.reasons,
            dialect=dialect,
        )
        exchange = call.exchange(dialect, target, Reply("req_probe", offer.model_id), None)
        raw = await self._client.send(provider, exchange, timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES)
        return _cost_of(exchange.read_answer(raw), offer)


def _cost_of(answer: Any, offer: Offer) -> Sample:
    """What the answer used and cost; nothing when it does not say."""
    assert offer.price is not None
    try:
        usage = answer.counted()
        if usage is None:
            return {}
        lines = lines_of(usage, (offer.cost or offer.price).at(usage.input_tokens))
    except (InvalidUsage, UnpricedUsage):
        return {}
    return {
        "prompt_tokens": sum(line.units for line in lines if line.cls in INPUT_CLASSES),
        "output_tokens": sum(line.units for line in lines if line.cls in OUTPUT_CLASSES),
        "cost_nanos": amount_nanos(lines),
    }


def worst_nanos(offer: Offer) -> int:
    """The most a probe may cost at an offer."""
    price = offer.cost or offer.price
    if price is None:
        return 0
    of = price.of
    scaled = PROMPT_TOKENS * (of("input") or 0) + (of("request") or 0)
    scaled += MAX_TOKENS * max(of("output") or 0, of("reasoning") or 0)
    return -(-scaled // UNITS_PER_PRICE)


def can_probe(offer: Offer, model_outputs: tuple[str, ...]) -> bool:
    """Only what writes text can be probed by asking for a word."""
    outputs = offer.output_modalities or model_outputs
    return offer.price is not None and (not outputs or not TEXT.isdisjoint(outputs))
