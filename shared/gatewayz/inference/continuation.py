"""An answer cut at one offer goes on at another, if its caller asks for `stream_continuation`.

For plain text of one choice only: never inside a tool call or structured output. The text so far
is an assistant's turn and a user's turn after it asks to go on: no prefill, which targets refuse.
Both legs are priced, and a frame in the stream says where one ended and the next began.
"""

from typing import Any

import orjson

from gatewayz.catalog.model import Offer
from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.core.ids import public_id
from gatewayz.dialects.exchange import Exchange
from gatewayz.dialects.form import UsageReport
from gatewayz.dialects.openai_chat.exchange import ID_PREFIX, ChatCall
from gatewayz.dialects.protocol import Reply
from gatewayz.inference.admit import STREAM_HOLD_TOKENS, Worst
from gatewayz.inference.job import Job
from gatewayz.pricing.charge import Line
from gatewayz.providers.config import Provider

ASK = (
    "Your answer above was cut off by a technical fault. Go on exactly where it ends, in the "
    "middle of a word if need be; do not repeat anything and do not mention this."
)
MAX_LEGS = 3
# What makes an answer more than plain text of one choice.
FORBIDDEN = ("tools", "functions", "response_format", "audio", "modalities", "prediction")
STYLES = {"/v1/chat/completions": "openai", "/api/v1/chat/completions": "openrouter"}


class Continuation:
    """One streamed request that may go on elsewhere; keeps the text that its caller has seen."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._blocks: list[bytes] = []
        self._legs: list[Line] = []
        self._reports: list[UsageReport] = []
        self._call: ChatCall | None = None
        self._count = 1
        self._booked = 0  # lines of the legs before the last one

    @classmethod
    def of(cls, job: Job) -> "Continuation | None":
        """None for a request that did not ask, or whose answer is not plain text."""
        course = job.course
        if course is None or not course.wishes.continuation or job.call.path not in STYLES:
            return None
        body = job.operation.routing.body
        if any(body.get(name) for name in FORBIDDEN) or (body.get("n") or 1) != 1:
            return None
        return cls(job)

    def see(self, out: bytes) -> None:
        self._blocks.append(out)

    def rest(self, cut: Offer) -> tuple[Offer, ...]:
        """Who may go on: offers of the plan, then spares, that were not asked yet."""
        course = self._job.course
        if course is None or self._count >= MAX_LEGS:
            return ()
        tried = {entry["offer"] for entry in self._job.charge.attempts}
        return tuple(
            offer
            for offer in (*course.plan.offers, *course.plan.spare)
            if offer.id not in tried and offer.id != cut.id and offer.model_id == cut.model_id
        )

    async def begin(self, offers: tuple[Offer, ...], report: UsageReport) -> bool:
        """Book the leg that was cut and prepare the next; False when it cannot be."""
        job = self._job
        text = _text_of(self._blocks)
        if not text:
            return False
        body = dict(job.operation.routing.body)
        body["messages"] = [
            *body["messages"],
            {"role": "assistant", "content": text},
            {"role": "user", "content": ASK},
        ]
        for name in ("max_tokens", "max_completion_tokens"):
            if body.get(name) is not None:
                body[name] = max(1, body[name] - report.completion_tokens)
        call = ChatCall(body, {})
        if not await self._covered(call, offers[0], report):
            return False
        self._call = call
        self._count += 1
        charge = job.charge
        self._booked = len(self._legs)
        self._legs += [Line(str(c), int(u), int(p)) for c, u, p in charge.lines]
        self._reports.append(report)
        return True

    def give_up(self) -> None:
        """Nobody goes on: the leg that was cut is the whole answer."""
        self._reports.pop()
        del self._legs[self._booked :]

    async def _covered(self, call: ChatCall, offer: Offer, report: UsageReport) -> bool:
        """Does the hold pay for the next leg besides what was said? It grows if need be."""
        job, hold = self._job, self._job.admitted.hold
        sized = job.operation
        worst = Worst.of(offer, sized)
        tokens = call.max_output_tokens or STREAM_HOLD_TOKENS
        grown_prompt = max(0, call.prompt_tokens - sized.prompt_tokens)
        price = offer.price
        assert price is not None
        needed = worst.hold_nanos(tokens) + grown_prompt * (price.of("input") or 0) // 10**6
        missing = report.cost_nanos + needed - hold.amount_nanos
        if missing <= 0:
            return True
        try:
            grown = await job.gateway.credits.checkpoint(hold, job.charge.record(), missing)
        except GatewayError:
            return False
        return grown >= missing

    def exchange(self, offer: Offer, provider: Provider) -> Exchange | None:
        """The next leg at an offer; None while the first one runs."""
        if self._call is None:
            return None
        job = self._job
        dialect = provider.speaks(self._call.name, offer.native_id)
        target = provider.target(
            offer.native_id, max_output_tokens=offer.max_output_tokens, reasons=offer.reasons,
            dialect=dialect,
        )  # fmt: skip
        style = STYLES[job.call.path]
        reply = Reply(
            job.charge.request_id, offer.model_id, provider.name, style,  # type: ignore[arg-type]
            include_usage=self._call.include_usage,
        )  # fmt: skip
        return self._call.exchange(dialect, target, reply, None)

    def mark(self, cut: Offer, failure: UpstreamError, to: Offer) -> bytes:
        """The frame between two legs."""
        job = self._job
        style = STYLES[job.call.path]
        frame = {
            "id": public_id(job.charge.request_id, ID_PREFIX[style]),  # type: ignore[index]
            "object": "chat.completion.chunk",
            "created": job.charge.admitted_at_ms // 1000,
            "model": to.model_id,
            "choices": [{"index": 0, "delta": {}, "finish_reason": None}],
            "gatewayz_continuation": {
                "from": cut.provider,
                "to": to.provider,
                "reason": failure.metric,
                "leg": self._count,
            },
        }
        return b"data: " + orjson.dumps(frame) + b"\n\n"

    def whole(self, report: UsageReport) -> UsageReport:
        """Bill all legs together; the report of all."""
        if not self._legs:
            return report
        charge = self._job.charge
        lines = [Line(str(c), int(u), int(p)) for c, u, p in charge.lines]
        charge.bill((*self._legs, *lines))
        if charge.outcome in ("failed", "empty"):
            charge.outcome = "cut"
        reports = (*self._reports, report)
        return report._replace(
            cost_nanos=charge.charge_nanos,
            prompt_tokens=sum(r.prompt_tokens for r in reports),
            completion_tokens=sum(r.completion_tokens for r in reports),
            cached_tokens=sum(r.cached_tokens for r in reports),
            reasoning_tokens=sum(r.reasoning_tokens for r in reports),
            cache_savings_nanos=sum(r.cache_savings_nanos for r in reports),
            estimated=True,
            units={},
        )


def _text_of(blocks: list[bytes]) -> str:
    """The text of a choice as its caller has it; "" when it holds more than text."""
    said: list[str] = []
    for line in b"".join(blocks).splitlines():
        if not line.startswith(b"data: {"):
            continue
        frame: Any = orjson.loads(line[6:])
        for choice in frame.get("choices") or ():
            delta = choice.get("delta") or {}
            if delta.get("tool_calls") or delta.get("audio") or delta.get("refusal"):
                return ""
            said.append(delta.get("content") or "")
    return "".join(said)
