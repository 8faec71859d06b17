"""Requests that are answered whole and write no tokens: embeddings, rerank, moderations.

Owns what their kinds share: how a row says that it serves one, what a call tells admission, one
attempt. Pure. Guarantees that an answer that is none is a failed attempt, never a wrong result.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

import orjson

from gatewayz.core.errors import InvalidRequest, UpstreamBroken, UpstreamError
from gatewayz.dialects.exchange import ErrorWriter, Exchange, Stream
from gatewayz.dialects.form import JsonObject, Target, UsageReport
from gatewayz.dialects.media import Medium
from gatewayz.dialects.openai_chat.errors import decode_error, decode_error_object, refuses
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.dialects.parts import Source
from gatewayz.dialects.protocol import Headers, HttpRequest, Reply
from gatewayz.pricing.usage import MAX_UNITS, Usage

# As a row's `endpoints` and its tables are called.
KINDS = ("embeddings", "rerank", "moderations")
# The protocols of each kind by their names (its wires.py), the usual one first.
WIRES: Mapping[str, tuple[str, ...]] = {
    "embeddings": ("openai", "cohere", "google", "jina", "vertex", "voyage"),
    "rerank": ("shared", "cohere", "deepinfra", "tei", "voyage"),
    "moderations": ("openai",),
}
# What a row's `takes` may name: parts of a request that not every server understands.
FEATURES = frozenset(
    {"base64", "tokens", "dimensions", "input_type", "user", "images", "int8", "binary"}
)
# Statuses that one vendor has for what others call 401 and 503.
_STATUSES = {498: 401, 499: 503}
NO_UNITS: Mapping[str, int] = {}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a provider serves one kind. `wire` names the protocol (each kind's wires.py).

    `takes`: features, None for the wire's own. `words`: its words for kinds of input.
    `max_items`: most inputs or documents of one call; more inputs are several calls.
    """

    wire: str
    takes: frozenset[str] | None = None
    drop: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    max_items: int | None = None


@dataclass(frozen=True, slots=True)
class Place:
    """One offer as a wire sees it. `priced`: the billing classes that its price knows.

    Of its model: `model` is the public id, `inputs` its input modalities, `lengths` its vectors'
    lengths with the usual one first, `resizes` whether they may be chosen (one length: up to it).
    """

    target: Target
    endpoint: Endpoint
    priced: Collection[str]
    model: str = ""
    inputs: tuple[str, ...] = ("text",)
    lengths: tuple[int, ...] = ()
    resizes: bool = True
    context_tokens: int | None = None

    def refuse(self, param: str, what: str) -> InvalidRequest:
        """The error for a part of the request that this offer cannot take."""
        return InvalidRequest(
            f"'{self.model}' cannot take {what}.", param=param, code="unsupported_parameter"
        )


class Result:
    """What a provider answered; every kind has its own. Implements exchange.Delivered.

    `usage` None: it stated none. Nothing is written, so there is no finish and no output.
    """

    __slots__ = ("_usage", "stated_cost")

    finish: str | None = None
    output_tokens_estimate = 0

    def __init__(self, usage: Usage | InvalidUsage | None, stated_cost: Any = None) -> None:
        self._usage = usage
        self.stated_cost = stated_cost

    def counted(self) -> Usage | None:
        if isinstance(self._usage, InvalidUsage):
            raise self._usage
        return self._usage


R = TypeVar("R", bound=Result)


class OneShotCall(ErrorWriter, Protocol):
    """A client's request of one kind, read once."""

    kind: str
    model: str
    prompt_tokens: int  # upper estimate, all inputs together
    prompts: int  # inputs, each of which may fill the model's context
    units: Mapping[str, int]  # upper estimate of what is billed besides, by class
    end_user: str | None
    session: str | None

    def check(self, place: Place) -> None:
        """InvalidRequest when this offer cannot serve the request as it is."""
        ...

    def media(self, place: Place) -> tuple[Medium, ...]:
        """Images that stand at an address which this offer does not fetch by itself."""
        ...

    def place(self, medium: Medium) -> str:
        """The field in which it stands."""
        ...

    def embed(self, fetched: Mapping[str, Source]) -> None:
        """Put what was fetched in the place of its address."""
        ...

    def exchange(self, place: Place, reply: Reply) -> Exchange: ...


class WithoutMedia:
    """What a call says whose addresses, if it has any, are the provider's to fetch."""

    def media(self, place: Place) -> tuple[Medium, ...]:
        return ()

    def place(self, medium: Medium) -> str:
        raise AssertionError("nothing is fetched")

    def embed(self, fetched: Mapping[str, Source]) -> None:
        raise AssertionError("nothing is fetched")


@dataclass(slots=True)
class OneShotExchange(Generic[R]):
    """One attempt. `read` makes a result of the parsed body, `write` the client's answer of it."""

    request: HttpRequest
    target: Target
    read: Callable[[Any], R]
    write: Callable[[R, UsageReport], bytes]

    def read_answer(self, raw: bytes) -> R:
        """UpstreamBroken for what is no answer; an error in a 200 raises its own class."""
        provider = self.target.provider
        try:
            body = orjson.loads(raw)
        except orjson.JSONDecodeError:
            raise broken(self.target) from None
        if type(body) is dict and refuses(body):
            raise decode_error_object(provider, body, self.target.errors)
        try:
            return self.read(body)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError):
            # A value of another kind where a list, a number or an object belongs.
            raise broken(self.target) from None

    def render_answer(self, answer: R, report: UsageReport) -> bytes:
        return self.write(answer, report)

    def open_stream(self) -> Stream:
        raise AssertionError("answered whole, never as a stream")

    def decode_error(self, status: int, headers: Headers, body: bytes) -> UpstreamError:
        target = self.target
        known = _STATUSES.get(status, status)
        error = decode_error(target.provider, known, headers, body, target.errors)
        error.upstream_status = status
        return error


def broken(target: Target) -> UpstreamBroken:
    return UpstreamBroken("The provider gave no valid answer.", provider=target.provider)


def apply_endpoint(body: JsonObject, endpoint: Endpoint) -> tuple[str, ...]:
    """A row's differences put into a request body; the fields that were there and are dropped."""
    dropped = tuple(name for name in sorted(endpoint.drop) if name in body)
    for name in dropped:
        del body[name]
    for name, new in endpoint.rename.items():
        if name in body:
            body.setdefault(new, body.pop(name))
    for name, value in endpoint.defaults.items():
        body.setdefault(name, value)
    return dropped


def request_of(
    path: str, body: JsonObject, place: Place, dropped: tuple[str, ...] = ()
) -> HttpRequest:
    """A POST of `body`. `{model}` in the path is the offer's native id."""
    more = apply_endpoint(body, place.endpoint)
    try:
        raw = orjson.dumps(body)
    except TypeError:
        raise InvalidRequest("The request body cannot be written as JSON.") from None
    return HttpRequest(
        path.replace("{model}", place.target.native_id), raw, dropped=(*dropped, *more)
    )


def count(raw: Any, *names: str) -> int | None:
    """The first of these counts that is stated; InvalidUsage when it is none."""
    if type(raw) is not dict:
        return None
    for name in names:
        value = raw.get(name)
        if value is None:
            continue
        if type(value) is float and value.is_integer():
            value = int(value)
        if type(value) is not int or not 0 <= value <= MAX_UNITS:
            raise InvalidUsage(f"{name} is no count")
        return value
    return None


def tokens_used(raw: Any, place: Place) -> Usage | None:
    """Input tokens of an OpenAI-style usage object, those of images apart where they have a price.

    Some servers state 0 for an input that is not empty: that is no count, so it is estimated.
    """
    total = count(raw, "prompt_tokens", "total_tokens", "input_tokens")
    if not total:
        return None
    details = raw.get("prompt_tokens_details")
    images = count(details, "image_tokens") or 0
    return split(total - min(images, total), images, place)


def split(text: int, images: int, place: Place) -> Usage:
    """Disjoint classes: image tokens are billed as text where the price does not tell them apart"""
    if images and "image_in" not in place.priced:
        return Usage({"input": text + images})
    units = {"input": text, "image_in": images}
    return Usage({name: n for name, n in units.items() if n or name == "input"})


def stated(read: Callable[[], Usage | None]) -> Usage | InvalidUsage | None:
    """What `read` finds: a count that cannot be true spoils the bill, not the answer."""
    try:
        return read()
    except InvalidUsage as error:
        return error
