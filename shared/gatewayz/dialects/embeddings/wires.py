"""What providers are sent to embed, and what their answers mean: one wire for each protocol.

A wire refuses by name what its protocol cannot say; what does no harm to miss is named as dropped.
"""

from collections.abc import Mapping
from typing import Any, Protocol

from gatewayz.dialects.embeddings.form import (
    FLOAT,
    EmbeddingsRequest,
    Item,
    Piece,
    Vectors,
    checked,
)
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.media import read_source
from gatewayz.dialects.one_shot import Place, count, request_of, split, stated, tokens_used
from gatewayz.dialects.openai_chat.usage import find_cost
from gatewayz.dialects.protocol import HttpRequest
from gatewayz.pricing.usage import Usage


class Wire(Protocol):
    """One protocol. `takes`: the features it has unless a provider's row says otherwise.
    `bytes_only`: it takes images as data, no addresses of them. `several`: it gives several kinds
    of numbers at once."""

    takes: frozenset[str]
    bytes_only: bool
    several: bool

    def most(self, place: Place) -> int | None:
        """How many inputs one call may have."""
        ...

    def write(self, request: EmbeddingsRequest, place: Place) -> HttpRequest: ...
    def read(self, body: Any, request: EmbeddingsRequest, place: Place) -> Vectors: ...


def taken(place: Place) -> frozenset[str]:
    """The features that this offer has."""
    endpoint = place.endpoint
    return WIRES[endpoint.wire].takes if endpoint.takes is None else endpoint.takes


def _joined(item: Item) -> str | None:
    """An item that is only text as one text; None for others."""
    if type(item) is str:
        return item
    if type(item) is tuple and all(piece.kind == "text" for piece in item):
        return "\n".join(piece.value for piece in item)
    return None


def _common(request: EmbeddingsRequest, place: Place) -> tuple[JsonObject, tuple[str, ...]]:
    """The optional fields that this place takes, by OpenAI's names, and those it does not."""
    features = taken(place)
    body: JsonObject = {}
    dropped = []
    if request.dimensions is not None and place.resizes:
        body["dimensions"] = request.dimensions
    for name, value in (
        ("input_type", place.endpoint.words.get(request.input_type or "", request.input_type)),
        ("user", request.user),
    ):
        if value is None:
            continue
        if name in features:
            body[name] = value
        else:
            dropped.append(name)
    return body, tuple(dropped)


def _foreign(request: EmbeddingsRequest, form: str) -> tuple[str, ...]:
    """Fields beyond the form that a provider of another protocol would not know."""
    return () if request.form == form else tuple(request.extras)


class _Batched:
    """How many inputs a call has is for the row to say."""

    bytes_only = False
    several = False

    def most(self, place: Place) -> int | None:
        return place.endpoint.max_items


def _kind(request: EmbeddingsRequest) -> str:
    """The only kind of numbers that is asked for."""
    return request.numbers[0]


class OpenAi(_Batched):
    """POST …/embeddings, which most providers and local servers have."""

    takes = frozenset({"base64", "tokens", "dimensions", "user"})
    dtype = "output_dtype"

    def write(self, request: EmbeddingsRequest, place: Place) -> HttpRequest:
        options, dropped = _common(request, place)
        items = [self._item(item, place) for item in request.items]
        body: JsonObject = {
            **(request.extras if request.form == "openai" else {}),
            **options,
            "model": place.target.native_id,
            # One text as a text: some small servers know no lists.
            "input": items[0] if len(items) == 1 and type(items[0]) is str else items,
        }
        if request.encoding == "base64" and "base64" in taken(place):
            body["encoding_format"] = "base64"
        if _kind(request) != FLOAT:
            body[self.dtype] = _kind(request)
        return request_of("/embeddings", body, place, (*dropped, *_foreign(request, "openai")))

    def _item(self, item: Item, place: Place) -> Any:
        text = _joined(item)
        if text is not None:
            return text
        return {"content": [_part(p) for p in item]} if type(item) is tuple else item

    def read(self, body: Any, request: EmbeddingsRequest, place: Place) -> Vectors:
        data = body["data"]
        vectors: list[Any] = [None] * len(data)
        for position, entry in enumerate(data):
            vectors[entry.get("index", position)] = entry["embedding"]
        usage, kind = body.get("usage"), _kind(request)
        return Vectors(
            {kind: checked(vectors, request, kind)},
            stated(lambda: self.used(usage, place)),
            find_cost(body, place.target.usage),
        )

    def used(self, usage: Any, place: Place) -> Usage | None:
        return tokens_used(usage, place)


class Jina(OpenAi):
    """OpenAI's, where an input is a text or one image."""

    takes = frozenset({"base64", "dimensions", "input_type", "binary"})
    dtype = "embedding_type"

    def _item(self, item: Item, place: Place) -> Any:
        text = _joined(item)
        if text is not None:
            return text
        piece = item[0]
        assert isinstance(piece, Piece)
        if len(item) > 1:
            raise place.refuse(piece.place, "text and images in one input")
        return {"image": read_source(piece.value).value}


class Voyage(OpenAi):
    """OpenAI's for texts; mixtures of text and images have a path of their own."""

    takes = frozenset({"base64", "dimensions", "input_type", "int8", "binary"})

    def write(self, request: EmbeddingsRequest, place: Place) -> HttpRequest:
        options, dropped = _common(request, place)
        extras = request.extras if request.form == "openai" else {}
        dropped = (*dropped, *_foreign(request, "openai"))
        body: JsonObject = {**extras, "model": place.target.native_id}
        if "input_type" in options:
            body["input_type"] = options["input_type"]
        if "dimensions" in options:
            body["output_dimension"] = options["dimensions"]
        if request.truncate is not None:
            body["truncation"] = request.truncate
        mixed = "multimodal" in place.target.native_id
        if request.encoding == "base64":
            body["output_encoding" if mixed else "encoding_format"] = "base64"
        if _kind(request) != FLOAT:
            body[self.dtype] = _kind(request)
        if mixed:
            body["inputs"] = [{"content": self._parts(item)} for item in request.items]
            return request_of("/multimodalembeddings", body, place, dropped)
        body["input"] = [_joined(item) for item in request.items]
        return request_of("/embeddings", body, place, dropped)

    def _parts(self, item: Item) -> list[JsonObject]:
        if type(item) is str:
            return [{"type": "text", "text": item}]
        parts: list[JsonObject] = []
        for piece in item:
            assert isinstance(piece, Piece)
            kind = "image_base64" if piece.value.startswith("data:") else "image_url"
            kind = "text" if piece.kind == "text" else kind
            parts.append({"type": kind, kind: piece.value})
        return parts

    def used(self, usage: Any, place: Place) -> Usage | None:
        """Text and images together are billed as tokens: `total_tokens` counts both."""
        total = count(usage, "total_tokens")
        return Usage({"input": total}) if total else None


class Cohere(_Batched):
    """POST /v2/embed."""

    takes = frozenset({"base64", "dimensions", "input_type", "images", "int8", "binary"})
    bytes_only = True
    several = True

    def write(self, request: EmbeddingsRequest, place: Place) -> HttpRequest:
        options, dropped = _common(request, place)
        body: JsonObject = {
            **(request.extras if request.form == "cohere" else {}),
            "model": place.target.native_id,
            # It has no default, and a text that is not called a query is a document.
            "input_type": options.get("input_type") or COHERE_WORDS["document"],
            "embedding_types": [self._type(kind, request) for kind in request.numbers],
        }
        body["input_type"] = COHERE_WORDS.get(body["input_type"], body["input_type"])
        if "dimensions" in options:
            body["output_dimension"] = options["dimensions"]
        if request.truncate is not None:
            body["truncate"] = "END" if request.truncate else "NONE"
        if request.images:
            body["inputs"] = [{"content": _parts(item)} for item in request.items]
        else:
            body["texts"] = [_joined(item) for item in request.items]
        return request_of("/v2/embed", body, place, (*dropped, *_foreign(request, "cohere")))

    def read(self, body: Any, request: EmbeddingsRequest, place: Place) -> Vectors:
        held = body["embeddings"]
        held = held if type(held) is dict else {FLOAT: held}
        billed = (body.get("meta") or {}).get("billed_units")
        return Vectors(
            {
                kind: checked(held.get(self._type(kind, request)) or held[kind], request, kind)
                for kind in request.numbers
            },
            stated(lambda: self._used(billed, place)),
        )

    def _type(self, kind: str, request: EmbeddingsRequest) -> str:
        """Floats come as they are shown."""
        return request.encoding if kind == FLOAT else kind

    def _used(self, billed: Any, place: Place) -> Usage | None:
        text, images = count(billed, "input_tokens"), count(billed, "image_tokens")
        return split(text or 0, images or 0, place) if text or images else None


COHERE_WORDS: Mapping[str, str] = {
    "query": "search_query",
    "document": "search_document",
    "similarity": "clustering",
}


class Google(_Batched):
    """POST …:batchEmbedContents."""

    takes = frozenset({"dimensions", "input_type"})
    bytes_only = True

    def write(self, request: EmbeddingsRequest, place: Place) -> HttpRequest:
        options, dropped = _common(request, place)
        shared: JsonObject = {"model": f"models/{place.target.native_id}"}
        if "input_type" in options:
            word = options["input_type"]
            shared["taskType"] = GOOGLE_WORDS.get(word, word.upper())
        if "dimensions" in options:
            shared["outputDimensionality"] = options["dimensions"]
        requests = [
            {**shared, "content": {"parts": self._parts(item, place)}} for item in request.items
        ]
        path = "/models/{model}:batchEmbedContents"
        return request_of(path, {"requests": requests}, place, (*dropped, *request.extras))

    def _parts(self, item: Item, place: Place) -> list[JsonObject]:
        if type(item) is str:
            return [{"text": item}]
        parts: list[JsonObject] = []
        for piece in item:
            assert isinstance(piece, Piece)
            if piece.kind == "text":
                parts.append({"text": piece.value})
                continue
            source = read_source(piece.value)
            if source.kind != "data":
                raise place.refuse(piece.place, "an image by its address; send a data URL")
            parts.append({"inlineData": {"mimeType": source.mime, "data": source.value}})
        return parts

    def read(self, body: Any, request: EmbeddingsRequest, place: Place) -> Vectors:
        vectors = [entry["values"] for entry in body["embeddings"]]
        usage = body.get("usageMetadata")
        return Vectors({FLOAT: checked(vectors, request)}, stated(lambda: self._used(usage, place)))

    def _used(self, usage: Any, place: Place) -> Usage | None:
        total = count(usage, "promptTokenCount", "totalTokenCount")
        if not total:
            return None
        details = [d for d in usage.get("promptTokensDetails") or () if type(d) is dict]
        images = sum(count(d, "tokenCount") or 0 for d in details if d.get("modality") == "IMAGE")
        return split(total - min(total, images), min(total, images), place)


class Vertex(_Batched):
    """POST …:predict of the same models at their owner's cloud."""

    takes = frozenset({"dimensions", "input_type"})

    def most(self, place: Place) -> int | None:
        """The newer models take one at a time."""
        return 1 if place.target.native_id.startswith("gemini") else place.endpoint.max_items

    def write(self, request: EmbeddingsRequest, place: Place) -> HttpRequest:
        options, dropped = _common(request, place)
        shared: JsonObject = {}
        if "input_type" in options:
            word = options["input_type"]
            shared["task_type"] = GOOGLE_WORDS.get(word, word.upper())
        body: JsonObject = {
            "instances": [{"content": _joined(item), **shared} for item in request.items]
        }
        parameters: JsonObject = {}
        if "dimensions" in options:
            parameters["outputDimensionality"] = options["dimensions"]
        if request.truncate is not None:
            parameters["autoTruncate"] = request.truncate
        if parameters:
            body["parameters"] = parameters
        path = "/models/{model}:predict"
        return request_of(path, body, place, (*dropped, *request.extras))

    def read(self, body: Any, request: EmbeddingsRequest, place: Place) -> Vectors:
        found = [entry["embeddings"] for entry in body["predictions"]]
        vectors = checked((entry["values"] for entry in found), request)
        return Vectors({FLOAT: vectors}, stated(lambda: self._used(found)))

    def _used(self, found: list[Any]) -> Usage | None:
        counts = [count(entry.get("statistics"), "token_count") for entry in found]
        known = [each for each in counts if each is not None]
        return Usage({"input": sum(known)}) if known and len(known) == len(counts) else None


GOOGLE_WORDS: Mapping[str, str] = {
    "query": "RETRIEVAL_QUERY",
    "document": "RETRIEVAL_DOCUMENT",
    "similarity": "SEMANTIC_SIMILARITY",
}


def _part(piece: Any) -> JsonObject:
    """A piece as OpenRouter and Cohere write it."""
    if piece.kind == "text":
        return {"type": "text", "text": piece.value}
    return {"type": "image_url", "image_url": {"url": piece.value}}


def _parts(item: Item) -> list[JsonObject]:
    if type(item) is str:
        return [{"type": "text", "text": item}]
    return [_part(piece) for piece in item]


WIRES: Mapping[str, Wire] = {
    "openai": OpenAi(),
    "cohere": Cohere(),
    "google": Google(),
    "jina": Jina(),
    "vertex": Vertex(),
    "voyage": Voyage(),
}
