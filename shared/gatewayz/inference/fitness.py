"""Offers that can do all a request asks for, and the 400 that names some when none of its model's
can. Several answers are never quietly one: who gives one at a time is asked several times.
"""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gatewayz.catalog.model import Catalog, Offer
from gatewayz.core.errors import InvalidRequest, echo
from gatewayz.dialects.exchange import ClientCall
from gatewayz.dialects.fan_out import FannedExchange, fan_out
from gatewayz.dialects.fitness import NOBODY, Fit, fit, lost_parameters
from gatewayz.dialects.form import Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.protocol import Reply
from gatewayz.dialects.registry import CLIENTS, UPSTREAMS
from gatewayz.dialects.size import prompt_tokens
from gatewayz.inference.media import MAX_SUGGESTIONS
from gatewayz.providers.provider import Provider

# Calls of one request at most.
MAX_BRANCHES = 64


class Branches(NamedTuple):
    """A request as several: what each asks, and the upper estimate of their prompts together."""

    forms: tuple[GenerationRequest, ...]
    prompt_tokens: int

    @classmethod
    def of(cls, forms: tuple[GenerationRequest, ...]) -> "Branches":
        sizes = {id(form): form for form in forms}
        tokens = {name: prompt_tokens(form) for name, form in sizes.items()}
        return cls(forms, sum(tokens[id(form)] for form in forms))

    def exchange(
        self,
        call: ClientCall,
        upstream: str,
        target: Target,
        reply: Reply,
        limit_tokens: int | None,
    ) -> FannedExchange:
        """All of it at one target."""
        client, other = CLIENTS[call.name], UPSTREAMS[upstream]
        return fan_out(client, other, self.forms, target, reply, limit_tokens, call.stream_as)


class CannotDo(InvalidRequest):
    """No offer of the model takes the parameter that `refusal` names."""

    def __init__(
        self, refusal: InvalidRequest, call: ClientCall, providers: Mapping[str, Provider]
    ) -> None:
        super().__init__(refusal.message, code=refusal.code, param=refusal.param)
        self._call = call
        self._providers = providers

    def naming(self, catalog: Catalog) -> "CannotDo":
        """The same, naming offers of other models that take it."""
        names = [offer.id for offer in self._able(catalog)]
        if names:
            self.message += f" These do: {', '.join(names)}."
            self.metadata["offers"] = names
        return self

    def _able(self, catalog: Catalog) -> Iterator[Offer]:
        found = 0
        for model in catalog.models():
            for offer in catalog.servable(model.id)[:1]:
                if found < MAX_SUGGESTIONS and judge(self._call, offer, self._providers).whole:
                    found += 1
                    yield offer


class LosesParameters(InvalidRequest):
    """Every offer of the model would leave out a parameter, and the caller requires all of them."""

    status = 404

    def __init__(self, model_id: str, lacking: Mapping[str, tuple[str, ...]]) -> None:
        names = list(dict.fromkeys(name for lost in lacking.values() for name in lost))
        super().__init__(
            f"No offer of '{model_id}' takes every parameter of the request: "
            f"{', '.join(map(echo, names))}.",
            code="constraint_filtered",
            param="provider.require_parameters",
            metadata={
                "excluded_by": ["require_parameters"],
                "excluded": [
                    {"provider": offer.partition("/")[0], "model": model_id,
                     "reason": "require_parameters", "parameters": list(map(echo, lost))}
                    for offer, lost in lacking.items()
                ],
            },
        )  # fmt: skip


def place_of(call: ClientCall, offer: Offer, provider: Provider) -> tuple[str, Target]:
    """The dialect in which an offer is called for this caller, and how it differs."""
    dialect = provider.speaks(call.name, offer.native_id)
    target = provider.target(
        offer.native_id,
        max_output_tokens=offer.max_output_tokens,
        reasons=offer.reasons,
        dialect=dialect,
    )
    return dialect, target


def judge(call: ClientCall, offer: Offer, providers: Mapping[str, Provider]) -> Fit:
    """How the request fits an offer."""
    return fit(call, *place_of(call, offer, providers[offer.provider]))


def keepers(
    call: ClientCall,
    model_id: str,
    offers: tuple[Offer, ...],
    providers: Mapping[str, Provider],
    ways: Mapping[str, Branches],
) -> tuple[Offer, ...]:
    """The offers that take every parameter of the request; LosesParameters when none does."""
    lacking: dict[str, tuple[str, ...]] = {}
    for offer in offers:
        way = ways.get(offer.id)
        if way is None:
            lost = judge(call, offer, providers).lost
        else:
            dialect, target = place_of(call, offer, providers[offer.provider])
            sent = way.exchange(call, dialect, target, NOBODY, None).request
            lost = lost_parameters(sent.dropped)
        if lost:
            lacking[offer.id] = lost
    if len(lacking) == len(offers):
        raise LosesParameters(model_id, lacking)
    return tuple(offer for offer in offers if offer.id not in lacking)


def doers(
    call: ClientCall, offers: tuple[Offer, ...], providers: Mapping[str, Provider]
) -> tuple[tuple[Offer, ...], Mapping[str, Branches]]:
    """The offers that can give as many answers as are asked for, and those among them, by id, that
    have to be asked several times; CannotDo when there is none at all. Who can give them at once
    reads the prompt once, so the others come in only where there is nobody else."""
    if call.choices == 1:
        return offers, {}
    judged = [(offer, judge(call, offer, providers).refusal) for offer in offers]
    able = tuple(offer for offer, refusal in judged if refusal is None)
    if able:
        return able, {}
    ways: dict[str, Branches] = {}
    refusal = next((refusal for _, refusal in judged if refusal is not None), None)
    for single in (False, True):
        try:
            branches = Branches.of(call.branches(single=single))
        except InvalidRequest as error:
            raise CannotDo(error, call, providers) from None
        if len(branches.forms) > MAX_BRANCHES:
            continue
        for offer in offers:
            if offer.id in ways:
                continue
            dialect, target = place_of(call, offer, providers[offer.provider])
            try:
                branches.exchange(call, dialect, target, NOBODY, None)
            except InvalidRequest as error:
                refusal = error if single else refusal
                continue
            ways[offer.id] = branches
    if not ways and refusal is not None:
        raise CannotDo(refusal, call, providers)
    return tuple(offer for offer in offers if offer.id in ways), ways
