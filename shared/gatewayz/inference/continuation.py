"""An answer cut at one offer goes on at another, if its caller asks for `stream_continuation`.

For plain text of one choice only, in every dialect: never inside a tool call or structured output.
The text so far is an assistant's turn and a user's turn after it asks to go on: no prefill, which
targets refuse. Both legs are priced, and the stream says where one ended and the next began.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import orjson

from gatewayz.billing.settlement import ChargeMessage
from gatewayz.catalog.model import Offer
from gatewayz.core.errors import GatewayError, UpstreamError
from gatewayz.core.ids import public_id
from gatewayz.dialects.exchange import Exchange, TranslatedExchange, with_limit
from gatewayz.dialects.form import UsageReport
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.google.array import ARRAY_TYPE
from gatewayz.dialects.openai_chat.exchange import ID_PREFIX
from gatewayz.dialects.parts import Message, Text
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from gatewayz.dialects.size import prompt_tokens
from gatewayz.dialects.translated import TranslatedStream
from gatewayz.inference.admit import STREAM_HOLD_TOKENS, Worst
from gatewayz.inference.fitness import place_of
from gatewayz.inference.job import Job
from gatewayz.inference.operations.generate import Generate
from gatewayz.inference.own import key_of
from gatewayz.inference.scribe import Scribe, stream_of
from gatewayz.pricing.charge import Line
from gatewayz.providers.config import Provider

ASK = (
    "Your answer above was cut off by a technical fault. Go on exactly where it ends, in the "
    "middle of a word if need be; do not repeat anything and do not mention this."
)
MAX_LEGS = 3
# Fields beyond the form that make an answer more than plain text.
FORBIDDEN = frozenset({"audio", "modalities", "prediction", "web_search_options", "plugins",
                       "container", "mcp_servers", "functions"})  # fmt: skip
MODALITIES = "responseModalities"
# Dialects whose frames name the provider and stand each for itself.
RENAMED = frozenset({"openai_chat", "openai_completions"})
# The dialect whose answers repeat the request's settings.
ECHOING = "openai_responses"
FIELD = "gatewayz_continuation"


@dataclass(slots=True)
class _Leg(TranslatedExchange):
    """An attempt that writes through the request's own scribe."""

    scribe: Scribe
    kind: type[TranslatedStream]

    def open_stream(self) -> TranslatedStream:
        decoder = self.upstream.stream_decoder(self.target, self.request.notes, n=1)
        return self.kind(decoder, self.scribe, notes=self.request.notes)


class _Booked(NamedTuple):
    """What one leg is billed, in nano-USD."""

    lines: tuple[Line, ...]
    charge_nanos: int
    cost_nanos: int
    capped: bool

    @classmethod
    def of(cls, charge: ChargeMessage) -> "_Booked":
        lines = tuple(Line(str(c), int(u), int(p)) for c, u, p in charge.lines)
        return cls(lines, charge.charge_nanos, charge.cost_nanos, charge.cap_nanos is not None)


class Continuation:
    """One streamed request that may go on elsewhere; keeps the text that its caller has seen."""

    def __init__(self, job: Job, operation: Generate) -> None:
        self._job = job
        self._operation = operation
        self._scribe: Scribe | None = None
        self._form: GenerationRequest = operation.call.form
        self._count = 1
        self._before = (self._form, self._count, 0)  # the leg that was cut last, and its hold
        self._held_nanos: int | None = None  # in place of a hold that grew for nothing
        self._legs: list[_Booked] = []  # those that were cut
        self._reports: list[UsageReport] = []

    @classmethod
    def of(cls, job: Job) -> "Continuation | None":
        """None for a request that did not ask, or whose answer is not plain text."""
        course, operation = job.course, job.operation
        if course is None or not course.wishes.continuation or not isinstance(operation, Generate):
            return None
        return cls(job, operation) if is_plain(operation.call.form) else None

    @property
    def grown_tokens(self) -> int:
        """How much longer than the request's own the prompt of this leg is."""
        if self._count == 1:
            return 0
        return max(0, prompt_tokens(self._form) - self._operation.call.prompt_tokens)

    @property
    def room_nanos(self) -> int:
        """What the legs before this one leave of the hold."""
        held = self._held_nanos
        if held is None:
            held = self._job.admitted.hold.amount_nanos
        return max(0, held - sum(leg.charge_nanos for leg in self._legs))

    def rest(self, cut: Offer) -> tuple[Offer, ...]:
        """Who may go on: offers of the plan, then spares, that were not asked yet."""
        course = self._job.course
        if course is None or self._count >= MAX_LEGS:
            return ()
        tried = {entry["offer"] for entry in self._job.charge.attempts}
        return tuple(
            offer
            for offer in (*course.plan.offers, *course.plan.spare)
            if offer.id not in tried
            and offer.id != cut.id
            and offer.model_id == cut.model_id
            and (key_of(offer) is None) == (key_of(cut) is None)  # one payer for all legs
        )

    async def begin(self, offers: tuple[Offer, ...], report: UsageReport) -> bool:
        """Book the leg that was cut and prepare the next; False when it cannot be."""
        scribe = self._scribe
        text = scribe.text if scribe is not None and scribe.plain else ""
        if not text:
            return False
        form = self._operation.call.form
        limit = self._limit(form, sum(r.completion_tokens for r in (*self._reports, report)))
        form = replace(
            form,
            messages=(
                *form.messages,
                Message("assistant", (Text(text),)),
                Message("user", (Text(ASK),)),
            ),
            max_output_tokens=limit,
        )
        leg = _Booked.of(self._job.charge)
        before = (self._form, self._count, self._job.admitted.hold.amount_nanos)
        self.join()
        if not await self._covered(form, offers[0]):
            return False
        self._before = before
        self._form = form
        self._count += 1
        self._legs.append(leg)
        self._reports.append(report)
        return True

    def _limit(self, form: GenerationRequest, written_tokens: int) -> int | None:
        """What is left of the caller's own limit, or of what its balance allows."""
        limit = self._job.admitted.limit_tokens or form.max_output_tokens
        return None if limit is None else max(1, limit - written_tokens)

    def give_up(self) -> None:
        """Nobody goes on: the leg that was cut is the last, billed as if none had been asked."""
        self._reports.pop()
        self._legs.pop()
        self._form, self._count, self._held_nanos = self._before

    async def _covered(self, form: GenerationRequest, offer: Offer) -> bool:
        """Does the hold pay for the next leg besides all that was said? It grows if need be."""
        job, hold = self._job, self._job.admitted.hold
        sized = job.operation
        worst = Worst.of(offer, sized)
        tokens = form.max_output_tokens or STREAM_HOLD_TOKENS
        grown_prompt = max(0, prompt_tokens(form) - sized.prompt_tokens)
        price = offer.price
        assert price is not None
        needed = worst.hold_nanos(tokens) + grown_prompt * (price.of("input") or 0) // 10**6
        missing = job.charge.charge_nanos + needed - hold.amount_nanos
        if missing <= 0:
            return True
        try:
            grown = await job.gateway.credits.checkpoint(hold, job.charge.record(), missing)
        except GatewayError:
            return False
        return grown >= missing

    async def exchange(self, offer: Offer, provider: Provider) -> Exchange:
        """This leg at an offer: always through the internal form, so that the one writer of all
        legs knows what its client has seen."""
        job, operation = self._job, self._operation
        first = self._count == 1
        await operation.prepare(job.gateway.egress, offer, provider)
        call = operation.call
        form = with_limit(call.form, job.admitted.limit_tokens) if first else self._form
        dialect, target = place_of(call, offer, provider)
        reply = self._reply(provider.name)
        client, upstream = CLIENTS[call.name], UPSTREAMS[dialect]
        request = upstream.encode_request(form, target)
        scribe = self._scribe
        if first or scribe is None:
            # What an attempt before this one wrote, nobody has seen.
            scribe = self._scribe = Scribe(client.stream_encoder(reply))
        else:
            renamed = client.stream_encoder(reply) if call.name in RENAMED else None
            scribe.take_up(renamed)
        if job.course is not None:
            job.course.dropped = request.dropped
        kind = stream_of(self._is_array, again=not first)
        return _Leg(client, upstream, request, target, reply, scribe, kind)

    def _reply(self, provider_name: str) -> Reply:
        operation = self._operation
        reply = operation.reply(self._job.charge.request_id, provider_name)
        if operation.call.name != ECHOING:
            return reply
        from gatewayz.dialects.openai_responses.shell import with_echo

        return with_echo(reply, operation.routing.body)

    @property
    def _is_array(self) -> bool:
        return self._operation.call.stream_type == ARRAY_TYPE

    def mark(self, cut: Offer, failure: UpstreamError, to: Offer) -> bytes:
        """What the stream says between two legs; clients that do not look for it pass it over."""
        told = {
            "from": cut.provider,
            "to": to.provider,
            "reason": failure.metric,
            "leg": self._count,
        }
        name, at_s = self._operation.call.name, self._job.charge.admitted_at_ms // 1000
        return _MARKS[name](told, self._reply(to.provider), at_s, self._is_array)

    def join(self) -> None:
        """Bill the legs before this one besides it: each what it was charged, capped or not."""
        if not self._legs:
            return
        charge = self._job.charge
        legs = (*self._legs, _Booked.of(charge))
        charged_nanos = sum(leg.charge_nanos for leg in legs)
        charge.bill(
            tuple(line for leg in legs for line in leg.lines),
            cap_nanos=charged_nanos if any(leg.capped for leg in legs) else None,
            cost_nanos=sum(leg.cost_nanos for leg in legs),
        )

    def whole(self, report: UsageReport) -> UsageReport:
        """Bill all legs together; the report of all."""
        if not self._legs:
            return report
        self.join()
        charge = self._job.charge
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


def is_plain(form: GenerationRequest) -> bool:
    """Can the answer be nothing but text, and one?"""
    structured = form.response_format is not None and form.response_format.kind != "text"
    if form.tools or structured or form.n != 1 or form.logprobs:
        return False
    if any(form.extras.get(name) not in (None, [], ["text"]) for name in FORBIDDEN):
        return False
    config = form.extras.get("generationConfig")
    shown = (config or {}).get(MODALITIES) if type(config) is dict else None
    named = form.extras.get(f"generationConfig.{MODALITIES}")
    return not shown and not named


# ------------------------------------------------------------------ the mark between two legs


def _event(data: dict[str, Any], kind: str = "") -> bytes:
    head = f"event: {kind}\n".encode() if kind else b""
    return head + b"data: " + orjson.dumps(data) + b"\n\n"


def _chat_mark(told: dict[str, Any], reply: Reply, at_s: int, array: bool) -> bytes:
    choice = {"index": 0, "delta": {}, "finish_reason": None}
    own = {"id": public_id(reply.request_id, ID_PREFIX[reply.style]), "created": at_s}
    chunk = {**own, "object": "chat.completion.chunk", "model": reply.model, "choices": [choice]}
    return _event({**chunk, FIELD: told})


def _completions_mark(told: dict[str, Any], reply: Reply, at_s: int, array: bool) -> bytes:
    choice = {"index": 0, "text": "", "logprobs": None, "finish_reason": None}
    prefix = "cmpl-" if reply.style == "openai" else "gen-"
    own = {"id": public_id(reply.request_id, prefix), "created": at_s}
    chunk = {**own, "object": "text_completion", "model": reply.model, "choices": [choice]}
    return _event({**chunk, FIELD: told})


def _messages_mark(told: dict[str, Any], reply: Reply, at_s: int, array: bool) -> bytes:
    return _event({"type": "ping", FIELD: told}, "ping")


def _responses_mark(told: dict[str, Any], reply: Reply, at_s: int, array: bool) -> bytes:
    kind = "gatewayz.continuation"
    return _event({"type": kind, FIELD: told}, kind)


def _google_mark(told: dict[str, Any], reply: Reply, at_s: int, array: bool) -> bytes:
    candidate = {"content": {"parts": [{"text": ""}], "role": "model"}, "index": 0}
    chunk = {"candidates": [candidate], "modelVersion": reply.model, FIELD: told}
    return b",\n" + orjson.dumps(chunk) if array else _event(chunk)


_MARKS = {
    "openai_chat": _chat_mark,
    "openai_completions": _completions_mark,
    "anthropic": _messages_mark,
    "openai_responses": _responses_mark,
    "google": _google_mark,
}
__all__ = ["Continuation", "is_plain"]
