"""One request as several calls of its provider: for several answers, prompts or batches of inputs
that one call cannot take. Answers are joined in order, streams interleaved; usage is the sum.

Guarantees all or nothing: one call that fails is the failure of all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gatewayz.core.errors import UpstreamError
from gatewayz.dialects.events import (
    ArgumentsDelta,
    Begin,
    BlockStart,
    BlockStop,
    CitationDelta,
    Done,
    Ended,
    Event,
    Failed,
    SignatureDelta,
    TextDelta,
    ThinkingDelta,
    UsageSeen,
)
from gatewayz.dialects.exchange import Exchange, TranslatedExchange, translate
from gatewayz.dialects.form import Target, UsageReport
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.hidden import hidden
from gatewayz.dialects.protocol import Client, Headers, HttpRequest, Reply, StreamDecoder, Upstream
from gatewayz.dialects.translated import TranslatedAnswer, TranslatedStream
from gatewayz.pricing.usage import Usage

_OF_CHOICES = (
    BlockStart, TextDelta, ThinkingDelta, SignatureDelta, ArgumentsDelta, CitationDelta, BlockStop,
    Ended,
)  # fmt: skip


class Several:
    """An exchange of several calls; `branches` are those of each, in order."""

    __slots__ = ()

    @property
    def branches(self) -> Sequence[Exchange]:
        raise NotImplementedError

    def join(self, answers: Sequence[Any]) -> Any:
        """The answers of all branches, in their order, as one."""
        raise NotImplementedError


class Piece(bytes):
    """A block of one branch's stream; without bytes that branch is at its end, with a `failure`
    it could not be opened. Never false: a stream is over when all of them are."""

    branch: int
    failure: UpstreamError | None

    @classmethod
    def of(cls, branch: int, block: bytes, failure: UpstreamError | None = None) -> "Piece":
        piece = cls(block)
        piece.branch, piece.failure = branch, failure
        return piece

    def __bool__(self) -> bool:
        return True


@dataclass(slots=True)
class FannedExchange(Several):
    """Through the internal form, whatever the dialects; branch k gives `sizes[k]` choices."""

    client: Client
    upstream: Upstream
    calls: tuple[TranslatedExchange, ...]
    sizes: tuple[int, ...]
    request: HttpRequest
    target: Target
    reply: Reply
    stream_as: type[TranslatedStream] = TranslatedStream

    @property
    def branches(self) -> Sequence[Exchange]:
        return self.calls

    def join(self, answers: Sequence[TranslatedAnswer]) -> TranslatedAnswer:
        return join_answers(answers)

    def read_answer(self, raw: bytes) -> TranslatedAnswer:
        raise AssertionError("each branch reads its own")

    def render_answer(self, answer: TranslatedAnswer, report: UsageReport) -> bytes:
        shown = hidden(answer.generation, self.reply.hides)
        return self.client.encode_answer(shown, self.reply, report)

    def open_stream(self) -> TranslatedStream:
        decoders = [
            self.upstream.stream_decoder(self.target, call.request.notes, n=size)
            for call, size in zip(self.calls, self.sizes, strict=True)
        ]
        return self.stream_as(
            FannedDecoder(decoders, self.sizes),
            self.client.stream_encoder(self.reply),
            n=self.reply.n,
            notes=self.request.notes,
            hides=self.reply.hides,
        )

    def decode_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        return self.upstream.decode_error(self.target, status, headers, body)


def fan_out(
    client: Client,
    upstream: Upstream,
    forms: Sequence[GenerationRequest],
    target: Target,
    reply: Reply,
    limit_tokens: int | None,
    stream_as: type[TranslatedStream] = TranslatedStream,
) -> FannedExchange:
    """`forms` one by one at one target. InvalidRequest names what it cannot take even so."""
    calls = tuple(translate(client, upstream, form, target, reply, limit_tokens) for form in forms)
    return FannedExchange(
        client,
        upstream,
        calls,
        tuple(form.n for form in forms),
        calls[0].request,
        target,
        reply,
        stream_as,
    )


def join_answers(answers: Sequence[TranslatedAnswer]) -> TranslatedAnswer:
    """One answer with the choices of all, in order, and what they used together."""
    generations = [answer.generation for answer in answers]
    first = generations[0]
    usages = [generation.usage for generation in generations]
    counted = [usage for usage in usages if usage is not None]
    costs = [generation.stated_cost for generation in generations]
    stated = [cost for cost in costs if cost is not None]
    # With a count that cannot be true the sum cannot be true either; a missing one is estimated.
    broken = any(g.usage is None and g.raw_usage for g in generations)
    generation = type(first)(
        dialect=first.dialect,
        choices=tuple(choice for generation in generations for choice in generation.choices),
        id=first.id,
        model=first.model,
        created_s=first.created_s,
        usage=Usage.of_calls(counted) if len(counted) == len(usages) else None,
        raw_usage={"calls": [g.raw_usage for g in generations]} if broken else None,
        stated_cost=sum(stated) if len(stated) == len(costs) else None,
        service_tier=first.service_tier,
        extras=first.extras,
    )
    return TranslatedAnswer(
        generation=generation,
        output_tokens_estimate=sum(answer.output_tokens_estimate for answer in answers),
        output_bytes=sum(answer.output_bytes for answer in answers),
        empty=any(answer.empty for answer in answers),
    )


class FannedDecoder:
    """The streams of several calls as one: feed() takes Pieces. Implements StreamDecoder."""

    def __init__(self, decoders: Sequence[StreamDecoder], sizes: Sequence[int]) -> None:
        self._decoders = decoders
        self._offsets = [sum(sizes[:branch]) for branch in range(len(sizes))]
        self._begun = False
        self._over: set[int] = set()
        self._done: set[int] = set()
        self._seen: dict[int, UsageSeen] = {}

    def feed(self, block: bytes) -> list[Event]:
        assert isinstance(block, Piece)
        if block.failure is not None:
            return [Failed(block.failure)]
        branch = block.branch
        if len(block):
            return self._merged(branch, self._decoders[branch].feed(block))
        return self._ended(branch)

    def end(self) -> list[Event]:
        return [event for branch in range(len(self._decoders)) for event in self._ended(branch)]

    def _ended(self, branch: int) -> list[Event]:
        if branch in self._over:
            return []
        self._over.add(branch)
        return self._merged(branch, self._decoders[branch].end())

    def _merged(self, branch: int, events: list[Event]) -> list[Event]:
        offset = self._offsets[branch]
        out: list[Event] = []
        for event in events:
            if isinstance(event, _OF_CHOICES):
                event.choice += offset
            elif isinstance(event, Begin):
                if self._begun:
                    continue
                self._begun = True
                # What one call's prompt was is not what all of them were.
                event.usage = None
            elif isinstance(event, UsageSeen):
                self._seen[branch] = event
                if len(self._seen) < len(self._decoders):
                    continue
                event = self._sum()
            elif isinstance(event, Done):
                self._done.add(branch)
                if len(self._done) < len(self._decoders):
                    continue
            out.append(event)
        return out

    def _sum(self) -> UsageSeen:
        seen = [self._seen[branch] for branch in sorted(self._seen)]
        counted = [each.usage for each in seen if each.usage is not None]
        stated = [each.stated_cost for each in seen if each.stated_cost is not None]
        return UsageSeen(
            Usage.of_calls(counted) if len(counted) == len(seen) else None,
            {"calls": [each.raw for each in seen]},
            sum(stated) if len(stated) == len(seen) else None,
        )
