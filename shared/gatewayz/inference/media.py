"""Pictures, files, sounds and films in a prompt: which offers take them, which addresses of them
must be fetched for an offer, and what was fetched put in.

Guarantees that a part which no offer takes is named in a 400 and never left out. Fetches through
net/egress.py only.
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from gatewayz.catalog.model import Catalog, Model, Offer
from gatewayz.core.errors import InvalidRequest, PayloadTooLarge, echo, first_of
from gatewayz.dialects.exchange import ClientCall
from gatewayz.dialects.media import KINDS, Medium, media_of, source_of
from gatewayz.dialects.parts import Source
from gatewayz.dialects.registry import UPSTREAMS
from gatewayz.net.egress import Egress, FetchRefused
from gatewayz.providers.provider import Provider

MAX_ADDRESSES = 20
AT_ONCE = 4
MAX_SUGGESTIONS = 3
# Each fetched part is kept as base64, a third larger, until the request is over.
MAX_FETCHED_BYTES = 32 * 1024 * 1024


class Holder(Protocol):
    """A request with media: where each stands, and what was fetched put in their place."""

    def place(self, medium: Medium) -> str: ...
    def embed(self, fetched: Mapping[str, Source]) -> None: ...


class CannotTake(InvalidRequest):
    """No offer of the model takes `kind`; the part stands at `where`."""

    def __init__(self, model: Model, kind: str, where: str) -> None:
        self.kind = kind
        super().__init__(
            f"'{model.id}' takes no {kind} as input.", code="unsupported_modality", param=where
        )

    def naming(self, catalog: Catalog) -> "CannotTake":
        """The same, naming offers of other models that take such a part."""
        names = [offer.id for offer in _taking(catalog, self.kind)]
        if names:
            self.message += f" These do: {', '.join(names)}."
            self.metadata["offers"] = names
        return self


def _taking(catalog: Catalog, kind: str) -> Iterator[Offer]:
    found = 0
    for model in catalog.models():
        offer = next((o for o in catalog.servable(model.id) if kind in _inputs(model, o)), None)
        if offer is not None:
            yield offer
            found += 1
            if found == MAX_SUGGESTIONS:
                return


def _inputs(model: Model, offer: Offer) -> tuple[str, ...]:
    return offer.input_modalities or model.input_modalities


def takers(
    call: ClientCall, model: Model, offers: tuple[Offer, ...], providers: Mapping[str, Provider]
) -> tuple[Offer, ...]:
    """The offers that take every part of the prompt. CannotTake when none does; InvalidRequest
    for one that says it is base64 and is not."""
    if not call.has_media:
        return offers
    for medium in media_of(call.form):
        if not medium.whole:
            raise InvalidRequest(
                "The data is not valid base64.", code="invalid_base64", param=call.place(medium)
            )
        # Nobody says what the models of a server of one's own take.
        able = tuple(
            o for o in offers if providers[o.provider].local or medium.kind in _inputs(model, o)
        )
        if not able:
            raise CannotTake(model, medium.kind, call.place(medium))
        offers = able
    return offers


# ---------------------------------------------------------------- addresses


def to_fetch(call: ClientCall, offer: Offer, provider: Provider) -> tuple[Medium, ...]:
    """The parts whose addresses this offer does not fetch by itself."""
    if not call.has_media:
        return ()
    dialect = provider.speaks(call.name, offer.native_id)
    kinds = set(provider.bytes_only)
    # Who speaks the provider's own dialect to it knows what it takes.
    if dialect != call.name:
        kinds |= {KINDS[part] for part in UPSTREAMS[dialect].bytes_only if part in KINDS}
    return tuple(m for m in media_of(call.form) if m.remote and m.kind in kinds)


async def embed(egress: Egress, call: Holder, media: Iterable[Medium]) -> None:
    """Fetch them and put their bytes in their place. InvalidRequest names a part that cannot be
    had, PayloadTooLarge when all together are too much."""
    wanted = {medium.source.value: medium for medium in media}
    if len(wanted) > MAX_ADDRESSES:
        raise InvalidRequest(
            f"At most {MAX_ADDRESSES} addresses of files are fetched for a request.",
            param=call.place(next(iter(wanted.values()))),
        )
    turns = asyncio.Semaphore(AT_ONCE)
    fetched: dict[str, Source] = {}
    left = MAX_FETCHED_BYTES

    async def one(medium: Medium) -> None:
        nonlocal left
        async with turns:
            source = await _fetch(egress, call, medium)
        left -= len(source.value) * 3 // 4
        if left < 0:
            raise PayloadTooLarge(
                f"The files of the prompt have more than {MAX_FETCHED_BYTES} bytes together.",
                param=call.place(medium),
            )
        fetched[medium.source.value] = source

    try:
        async with asyncio.TaskGroup() as group:
            for medium in wanted.values():
                group.create_task(one(medium))
    except BaseExceptionGroup as errors:
        raise first_of(errors) from None
    call.embed(fetched)


async def _fetch(egress: Egress, call: Holder, medium: Medium) -> Source:
    try:
        found = await egress.fetch(medium.source.value)
    except FetchRefused as error:
        raise _refused(call, medium, str(error)) from None
    if not medium.fits(found.mime):
        raise _refused(call, medium, f"it is {echo(found.mime)}")
    # Writing base64 of many megabytes would hold up every other request.
    return await asyncio.to_thread(source_of, found.body, found.mime)


def _refused(call: Holder, medium: Medium, why: str) -> InvalidRequest:
    return InvalidRequest(
        f"The {medium.kind} cannot be fetched for the provider: {why}.",
        code=f"invalid_{medium.kind}_url",
        param=call.place(medium),
    )
