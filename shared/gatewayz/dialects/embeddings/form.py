"""Embeddings between the dialects: what is to be embedded, what came back. Plain data.

Guarantees that a vector is a list of finite numbers or base64 of little-endian float32, whole, and
that it goes to the client in the form the client asked for.
"""

import base64
import binascii
import struct
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.one_shot import Result
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.pricing.usage import Usage

Encoding = Literal["float", "base64"]
FLOAT, BASE64 = "float", "base64"
FLOAT_BYTES = 4
# Kinds of numbers besides floats → the feature that a provider has with them.
DTYPES: Mapping[str, str] = {
    "int8": "int8",
    "uint8": "int8",
    "binary": "binary",
    "ubinary": "binary",
}
BITS = 8  # numbers of a binary vector in one of its bytes


class Piece(NamedTuple):
    """A part of one input: text, or the URL or data URL of an image. `place` names its field."""

    kind: Literal["text", "image"]
    value: str
    place: str


Item: TypeAlias = "str | list[int] | tuple[Piece, ...]"
Vector: TypeAlias = "list[float] | str"


@dataclass(frozen=True, slots=True)
class EmbeddingsRequest:
    """`items`: texts, lists of token ids, or mixtures of pieces. `truncate`: whether a provider
    may cut an input that is too long; None leaves it to the provider. `types`: in which the
    vectors are shown; floats may be shown as base64. `extras`: fields beyond the form, for
    providers of the client's own protocol. `names`: its words for fields, by ours.
    """

    model: str
    items: tuple[Item, ...]
    types: tuple[str, ...] = (FLOAT,)
    dimensions: int | None = None
    input_type: str | None = None
    truncate: bool | None = None
    user: str | None = None
    session: str | None = None
    form: str = "openai"
    extras: JsonObject = field(default_factory=dict)
    names: tuple[tuple[str, str], ...] = ()

    def name(self, ours: str) -> str:
        return dict(self.names).get(ours, ours)

    @property
    def encoding(self) -> Encoding:
        """How floats may come, so that they need not be written anew."""
        return "base64" if self.types == (BASE64,) else "float"

    @property
    def numbers(self) -> tuple[str, ...]:
        """The kinds of numbers that a provider is asked for."""
        return tuple(dict.fromkeys(FLOAT if t == BASE64 else t for t in self.types))

    @property
    def has_tokens(self) -> bool:
        return any(type(item) is list for item in self.items)

    @property
    def images(self) -> tuple[Piece, ...]:
        """Every image, in order."""
        pieces = (p for item in self.items if type(item) is tuple for p in item)
        return tuple(piece for piece in pieces if piece.kind == "image")


class Vectors(Result):
    """The answer: by kind of number, one vector for each item, in their order."""

    __slots__ = ("by_kind",)

    def __init__(
        self,
        by_kind: Mapping[str, list[Vector]],
        usage: Usage | InvalidUsage | None,
        stated_cost: Any = None,
    ) -> None:
        super().__init__(usage, stated_cost)
        self.by_kind = by_kind

    def shown(self, kind: str) -> list[Vector]:
        """Those of one of the request's types."""
        if kind in DTYPES:
            return self.by_kind[kind]
        encoding: Encoding = "base64" if kind == BASE64 else "float"
        return [encoded(vector, encoding) for vector in self.by_kind[FLOAT]]


def checked(vectors: Iterable[Any], request: EmbeddingsRequest, kind: str = FLOAT) -> list[Vector]:
    """The vectors of an answer; ValueError or TypeError when one is none or some are missing."""
    read = list(vectors)
    lengths = {_length(vector) for vector in read}
    if len(read) != len(request.items) or len(lengths) != 1:
        raise ValueError("other vectors than were asked for")
    wanted = request.dimensions
    if wanted is not None and DTYPES.get(kind) == "binary":
        wanted = -(-wanted // BITS)
    if kind in DTYPES and any(type(number) is not int for vector in read for number in vector):
        raise ValueError("no whole numbers")
    if wanted not in (None, *lengths):
        # A server that ignores the wish gives vectors that fit nothing its caller has.
        raise ValueError("vectors of another length than was asked for")
    return read


def _length(vector: Any) -> int:
    """How many numbers it has; checks that they are numbers."""
    length = len(_unpacked(vector) if type(vector) is str else array("d", vector))
    if length == 0 or type(vector) not in (str, list):
        raise ValueError("an empty vector")
    return length


def encoded(vector: Vector, encoding: Encoding) -> Vector:
    """The vector as a client wants it."""
    if encoding == "base64":
        if type(vector) is str:
            return vector
        return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
    return list(_unpacked(vector)) if type(vector) is str else vector


def _unpacked(text: str) -> tuple[float, ...]:
    try:
        raw = base64.b64decode(text, validate=True)
        return struct.unpack(f"<{len(raw) // FLOAT_BYTES}f", raw)
    except (binascii.Error, struct.error):
        raise ValueError("no base64 of float32") from None
