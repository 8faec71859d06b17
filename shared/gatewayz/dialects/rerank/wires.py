"""What providers are sent to rerank, and what their answers mean: one wire for each protocol."""

from collections.abc import Mapping
from typing import Any, Protocol

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.one_shot import Place, count, request_of, stated, tokens_used
from gatewayz.dialects.openai_chat.usage import find_cost
from gatewayz.dialects.protocol import HttpRequest
from gatewayz.dialects.rerank.form import Document, Ranking, RerankRequest, ranked
from gatewayz.pricing.usage import Usage


class Wire(Protocol):
    """One protocol. `images`: whether documents may be images."""

    images: bool

    def write(self, request: RerankRequest, place: Place) -> HttpRequest: ...
    def read(self, body: Any, request: RerankRequest, place: Place) -> Ranking: ...


def _dropped(request: RerankRequest, *, takes_length: bool = False) -> tuple[str, ...]:
    """The caller's fields that a protocol with fixed ones leaves out."""
    cut = request.most_tokens is not None and not takes_length
    return (*request.extras, *(("max_tokens_per_doc",) if cut else ()))


def _used(body: Any, place: Place) -> Usage | None:
    """Searches where the price counts them, else tokens; None when what is billed is not stated."""
    billed = (body.get("meta") or {}).get("billed_units")
    usage = body.get("usage")
    if "search" in place.priced:
        searches = count(billed, "search_units")
        searches = count(usage, "search_units") if searches is None else searches
        return Usage({"search": searches}) if searches else None
    tokens = count(billed, "input_tokens", "total_tokens")
    return Usage({"input": tokens}) if tokens else tokens_used(usage, place)


class Shared:
    """POST …/rerank, as most providers and local servers have it."""

    images = True

    def write(self, request: RerankRequest, place: Place) -> HttpRequest:
        body: JsonObject = {
            **request.extras,
            "model": place.target.native_id,
            "query": request.query,
            "documents": [self._document(document) for document in request.documents],
            "return_documents": False,
        }
        if request.top_n is not None:
            body["top_n"] = request.wanted
        if request.most_tokens is not None:
            body["max_tokens_per_doc"] = request.most_tokens
        return request_of("/rerank", body, place)

    def _document(self, document: Document) -> Any:
        if document.image is None:
            return document.text
        return (
            {"text": document.text, "image": document.image}
            if document.text
            else {"image": document.image}
        )

    def read(self, body: Any, request: RerankRequest, place: Place) -> Ranking:
        results = body["results"] if "results" in body else body["data"]
        pairs = [(entry["index"], entry["relevance_score"]) for entry in results]
        return Ranking(
            ranked(pairs, request),
            stated(lambda: _used(body, place)),
            find_cost(body, place.target.usage),
        )


class Cohere(Shared):
    """POST /v2/rerank."""

    images = False

    def write(self, request: RerankRequest, place: Place) -> HttpRequest:
        body: JsonObject = {
            "model": place.target.native_id,
            "query": request.query,
            "documents": [document.text for document in request.documents],
        }
        if request.top_n is not None:
            body["top_n"] = request.wanted
        if request.most_tokens is not None:
            body["max_tokens_per_doc"] = request.most_tokens
        return request_of("/v2/rerank", body, place, _dropped(request, takes_length=True))


class Voyage(Shared):
    """POST …/rerank with `top_k`; its answer is a list object."""

    images = False

    def write(self, request: RerankRequest, place: Place) -> HttpRequest:
        body: JsonObject = {
            "model": place.target.native_id,
            "query": request.query,
            "documents": [document.text for document in request.documents],
            "truncation": True,
        }
        if request.top_n is not None:
            body["top_k"] = request.wanted
        return request_of("/rerank", body, place, _dropped(request))


class DeepInfra(Shared):
    """POST …/inference/{model}: a query for each document, a score for each pair."""

    images = False

    def write(self, request: RerankRequest, place: Place) -> HttpRequest:
        documents = [document.text for document in request.documents]
        body: JsonObject = {"queries": [request.query] * len(documents), "documents": documents}
        return request_of("/inference/{model}", body, place, _dropped(request))

    def read(self, body: Any, request: RerankRequest, place: Place) -> Ranking:
        scores, status = body["scores"], body.get("inference_status") or {}
        if len(scores) != len(request.documents):
            raise ValueError("other scores than documents")

        def used() -> Usage | None:
            tokens = count(body, "input_tokens") or count(status, "tokens_input")
            return Usage({"input": tokens}) if tokens else None

        return Ranking(ranked(enumerate(scores), request), stated(used), status.get("cost"))


class Tei(Shared):
    """POST /rerank of a text-embeddings-inference server: no model, no usage, a plain list."""

    images = False

    def write(self, request: RerankRequest, place: Place) -> HttpRequest:
        body: JsonObject = {
            "query": request.query,
            "texts": [document.text for document in request.documents],
            "raw_scores": False,
            "return_text": False,
            "truncate": True,
        }
        return request_of("/rerank", body, place, _dropped(request))

    def read(self, body: Any, request: RerankRequest, place: Place) -> Ranking:
        return Ranking(ranked([(entry["index"], entry["score"]) for entry in body], request), None)


WIRES: Mapping[str, Wire] = {
    "shared": Shared(),
    "cohere": Cohere(),
    "deepinfra": DeepInfra(),
    "tei": Tei(),
    "voyage": Voyage(),
}
