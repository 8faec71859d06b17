"""A client's embeddings request as a call: its sizes, what it becomes at a provider, its errors."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from gatewayz.core.errors import GatewayError, InvalidRequest
from gatewayz.dialects.checks import wrong
from gatewayz.dialects.cohere.write_error import encode_cohere_error
from gatewayz.dialects.embeddings.batches import Batches
from gatewayz.dialects.embeddings.form import DTYPES, EmbeddingsRequest, Item, Vectors
from gatewayz.dialects.embeddings.read_request import read_cohere, read_openai
from gatewayz.dialects.embeddings.wires import WIRES, taken
from gatewayz.dialects.embeddings.write_answer import write_cohere, write_openai
from gatewayz.dialects.form import JsonObject, Style, UsageReport
from gatewayz.dialects.media import Medium, read_source
from gatewayz.dialects.one_shot import NO_UNITS, OneShotExchange, Place
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.dialects.parts import Source
from gatewayz.dialects.protocol import Reply
from gatewayz.pricing.estimate import IMAGE_TOKENS, text_tokens

# Our count is an upper estimate: what is beyond thrice the context really does not fit.
CERTAIN_SHARE = 3
Write = Callable[[Vectors, EmbeddingsRequest, Reply, UsageReport], bytes]
EncodeError = Callable[..., tuple[int, bytes, dict[str, str]]]


class Form(NamedTuple):
    """One way of asking: how it is read, answered and refused."""

    read: Callable[[JsonObject], EmbeddingsRequest]
    write: Write
    encode_error: EncodeError


FORMS: Mapping[str, Form] = {
    "openai": Form(read_openai, write_openai, encode_error),
    "cohere": Form(read_cohere, write_cohere, encode_cohere_error),
}


class EmbeddingsCall:
    """One request of either form."""

    kind = "embeddings"
    units = NO_UNITS

    def __init__(self, form: str, body: JsonObject) -> None:
        self._form = FORMS[form]
        self._request = request = self._form.read(body)
        sizes = [_tokens(item) for item in request.items]
        self.model = request.model
        self.prompts = len(sizes)
        self.prompt_tokens = sum(sizes)
        self._longest_tokens = max(sizes)
        self.end_user = request.user
        self.session = request.session

    def check(self, place: Place) -> None:
        request, features = self._request, taken(place)
        self._check_types(place)
        if request.has_tokens and "tokens" not in features:
            raise place.refuse(request.name("input"), "token ids; send text")
        image = next(iter(request.images), None)
        if image is not None and not ("images" in features and "image" in place.inputs):
            raise place.refuse(image.place, "images")
        self._check_dimensions(place, request.dimensions)
        context = place.context_tokens
        if context and not request.truncate and self._longest_tokens // CERTAIN_SHARE > context:
            raise InvalidRequest(
                f"An input does not fit: '{place.model}' takes {context} tokens of each.",
                code="context_length_exceeded",
                param=request.name("input"),
            )

    def _check_types(self, place: Place) -> None:
        numbers, wire = self._request.numbers, WIRES[place.endpoint.wire]
        lacking = next(
            (kind for kind in numbers if kind in DTYPES and DTYPES[kind] not in taken(place)), None
        )
        if lacking is not None:
            raise place.refuse(self._request.name("output_dtype"), f"vectors of {lacking}")
        if len(numbers) > 1 and not wire.several:
            raise place.refuse(
                self._request.name("output_dtype"), "several kinds of numbers at once"
            )

    def _check_dimensions(self, place: Place, wanted: int | None) -> None:
        if wanted is None or wanted in place.lengths:
            return
        param, lengths = self._request.name("dimensions"), place.lengths
        if not place.resizes or "dimensions" not in taken(place):
            raise place.refuse(
                param,
                f"it: its vectors have {lengths[0]} dimensions"
                if lengths
                else "a number of dimensions",
            )
        if len(lengths) > 1:
            known = ", ".join(str(length) for length in sorted(lengths))
            raise wrong(param, f"must be one of {known} for '{place.model}'")
        if lengths and wanted > lengths[0]:
            raise wrong(param, f"must be at most {lengths[0]} for '{place.model}'")

    def media(self, place: Place) -> tuple[Medium, ...]:
        if not WIRES[place.endpoint.wire].bytes_only:
            return ()
        found = (Medium("image", read_source(image.value)) for image in self._request.images)
        return tuple(medium for medium in found if medium.remote)

    def place(self, medium: Medium) -> str:
        images = self._request.images
        return next(image.place for image in images if image.value == medium.source.value)

    def embed(self, fetched: Mapping[str, Source]) -> None:
        def filled(item: Item) -> Item:
            if type(item) is not tuple:
                return item
            return tuple(
                piece._replace(value=fetched[piece.value].data_url)
                if piece.kind == "image" and piece.value in fetched
                else piece
                for piece in item
            )

        items = tuple(filled(item) for item in self._request.items)
        self._request = replace(self._request, items=items)

    def exchange(self, place: Place, reply: Reply) -> OneShotExchange[Vectors] | Batches:
        request, most = self._request, WIRES[place.endpoint.wire].most(place)
        count = len(request.items)
        if most is None or count <= most:
            return self._one(request, place, reply)
        pieces = [request.items[start : start + most] for start in range(0, count, most)]
        calls = tuple(self._one(replace(request, items=p), place, reply) for p in pieces)
        return Batches(
            calls, lambda answer, report: self._form.write(answer, request, reply, report)
        )

    def _one(
        self, request: EmbeddingsRequest, place: Place, reply: Reply
    ) -> OneShotExchange[Vectors]:
        wire = WIRES[place.endpoint.wire]
        return OneShotExchange(
            wire.write(request, place),
            place.target,
            lambda body: wire.read(body, request, place),
            lambda answer, report: self._form.write(answer, request, reply, report),
        )

    def encode_error(
        self, error: GatewayError, *, style: Style, request_id: str | None
    ) -> tuple[int, bytes, dict[str, str]]:
        return self._form.encode_error(error, style=style, request_id=request_id)


def _tokens(item: Item) -> int:
    """At least as many as a provider counts."""
    if type(item) is str:
        return text_tokens(item)
    if type(item) is list:
        return len(item)
    return sum(_piece_tokens(piece) for piece in item)


def _piece_tokens(piece: Any) -> int:
    return IMAGE_TOKENS if piece.kind == "image" else text_tokens(piece.value)
