"""Rerank: one request for /v1, /api/v1 and /v2, and its answers; and how /v2 writes an error."""

from typing import Annotated

from pydantic import Field

from gatewayz.api.schemas.chat_request import Label
from gatewayz.api.schemas.embeddings import CostDetails, Meta, Text, Url
from gatewayz.api.schemas.shape import Count, GenerationId, Ours, Passed, RequestId, Usd
from gatewayz.dialects.rerank.read_request import MAX_DOCUMENTS, MAX_TOP_N

TopN = Annotated[int, Field(ge=1, le=MAX_TOP_N)]


class TextDocument(Passed):
    text: Text
    image: Url | None = None


class ImageDocument(Passed):
    image: Url
    text: str | None = None


class RerankRequest(Passed):
    """The documents are ranked by their relevance to the query."""

    model: Annotated[str, Field(min_length=1, description="id or alias of a rerank model")]
    query: Text
    documents: Annotated[
        list[Text | TextDocument | ImageDocument],
        Field(min_length=1, max_length=MAX_DOCUMENTS),
    ]
    top_n: TopN | None = Field(None, description="so many of the best; all without it")
    top_k: TopN | None = None
    return_documents: bool | None = Field(
        None, description="whether results repeat their documents; /v2 does not unless asked"
    )
    max_tokens_per_doc: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    user: Label | None = None
    session_id: Annotated[str, Field(max_length=256)] | None = None


class Document(Passed):
    text: str | None = None
    image: str | None = None


class Result(Ours):
    index: Count
    relevance_score: float
    document: Document | None = None


class RerankUsage(Ours):
    search_units: Count | None = None
    total_tokens: Count
    estimated: bool | None = None
    is_byok: bool | None = None
    cost: Usd
    cost_details: CostDetails


class RerankAnswer(Ours):
    id: GenerationId
    model: str
    results: list[Result]
    usage: RerankUsage
    meta: Meta


class RoutedRerankAnswer(RerankAnswer):
    """The same at /api/v1, with the provider's name."""

    provider: str


class CohereError(Ours):
    """An error as /v2 writes it; the status says the rest."""

    id: RequestId
    message: str
    code: str = Field(description="lower_snake and stable: branch on this and on the status")
    param: str | None = None
