"""Reranking between the dialects: a query with its documents, and their order. Plain data."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.one_shot import Result
from gatewayz.dialects.openai_chat.usage import InvalidUsage
from gatewayz.pricing.usage import Usage

# What one search unit pays for: so many documents, and how many tokens with the query are one.
DOCUMENTS_PER_SEARCH = 100
TOKENS_PER_DOCUMENT = 500


class Document(NamedTuple):
    """`text` or `image` (a URL or data URL) or both, and the client's own value for it."""

    text: str | None
    image: str | None
    raw: str | JsonObject


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """`top_n` None: all of them. `most_tokens`: to which length a document is cut, if the caller
    says so."""

    model: str
    query: str
    documents: tuple[Document, ...]
    top_n: int | None = None
    with_documents: bool = True
    most_tokens: int | None = None
    user: str | None = None
    session: str | None = None
    extras: JsonObject = field(default_factory=dict)

    @property
    def wanted(self) -> int:
        """How many results there are at most."""
        return min(self.top_n or len(self.documents), len(self.documents))


class Ranked(NamedTuple):
    position: int
    score: float


class Ranking(Result):
    """The answer: the best documents first."""

    __slots__ = ("results",)

    def __init__(
        self,
        results: list[Ranked],
        usage: Usage | InvalidUsage | None,
        stated_cost: Any = None,
    ) -> None:
        super().__init__(usage, stated_cost)
        self.results = results


def ranked(pairs: Iterable[tuple[Any, Any]], request: RerankRequest) -> list[Ranked]:
    """The best `wanted` of (index, score); ValueError for an answer that cannot be true."""
    found: dict[int, Ranked] = {}
    for index, score in pairs:
        if type(index) is not int or not 0 <= index < len(request.documents):
            raise ValueError("a document that was not sent")
        if index in found or type(score) not in (int, float):
            raise ValueError("no ranking")
        found[index] = Ranked(index, score)
    if len(found) < request.wanted:
        raise ValueError("documents are missing")
    best = sorted(found.values(), key=lambda result: (-result.score, result.position))
    return best[: request.wanted]


def search_units(query_tokens: int, document_tokens: Iterable[int]) -> int:
    """What a price by searches counts: a long document is several of usual length."""
    room = max(1, TOKENS_PER_DOCUMENT - query_tokens)
    documents = sum(max(1, -(-tokens // room)) for tokens in document_tokens)
    return -(-documents // DOCUMENTS_PER_SEARCH)
