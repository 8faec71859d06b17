"""Embeddings: OpenAI's request and list, as /api/v1 extends them, and Cohere's own of /v2."""

from typing import Annotated, Literal

from pydantic import Field

from gatewayz.api.schemas.chat_request import Label, Object
from gatewayz.api.schemas.shape import Count, GenerationId, Ours, Passed, Usd
from gatewayz.dialects.embeddings.read_request import (
    MAX_DIMENSIONS,
    MAX_ITEMS,
    MAX_TOKEN_ID,
    MAX_TOKENS_PER_ITEM,
)

TokenId = Annotated[int, Field(ge=0, le=MAX_TOKEN_ID)]
TokenIds = Annotated[list[TokenId], Field(min_length=1, max_length=MAX_TOKENS_PER_ITEM)]
Text = Annotated[str, Field(min_length=1)]
Url = Annotated[str, Field(pattern="^(data:|https?://)", description="http(s) or data URL")]
Dimensions = Annotated[int, Field(ge=1, le=MAX_DIMENSIONS)]
Kind = Annotated[
    str,
    Field(
        max_length=64,
        description="what the input is: query, document, classification, clustering, similarity;"
        " the words that providers have for these (search_query, passage, …) mean the same",
    ),
]


class TextPart(Passed):
    type: Literal["text"]
    text: Text


class ImageUrl(Passed):
    url: Url


class ImagePart(Passed):
    type: Literal["image_url"]
    image_url: ImageUrl | Url


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class Mixed(Passed):
    """One input of text and images, for models that take both."""

    content: Annotated[list[Part], Field(min_length=1)]


class EmbeddingsRequest(Passed):
    """Known fields are checked and nothing is coerced. What a model's provider cannot take is
    refused by name; what does no harm to miss is named in X-Gatewayz-Dropped-Params."""

    model: Annotated[str, Field(min_length=1, description="id or alias of an embedding model")]
    input: (
        Text
        | TokenIds
        | Annotated[list[Text | TokenIds | Mixed], Field(min_length=1, max_length=MAX_ITEMS)]
    )
    encoding_format: Literal["float", "base64"] | None = Field(
        None, description="base64: little-endian float32"
    )
    dimensions: Dimensions | None = None
    input_type: Kind | None = None
    user: Label | None = Field(None, description="your name for a person; kept only as a hash")
    session_id: Annotated[str, Field(max_length=256)] | None = None


class CostDetails(Ours):
    upstream_inference_cost: Usd | None


class OneShotUsage(Ours):
    """`estimated`: the provider stated no usage. `cost` is what was charged."""

    prompt_tokens: Count
    total_tokens: Count
    prompt_tokens_details: dict[str, Count] | None = None
    estimated: bool | None = None
    is_byok: bool | None = None
    cost: Usd
    cost_details: CostDetails


class Embedding(Ours):
    object: Literal["embedding"]
    index: Count
    embedding: list[float] | str


class EmbeddingsAnswer(Ours):
    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: OneShotUsage


class RoutedEmbeddingsAnswer(EmbeddingsAnswer):
    """The same at /api/v1, with our id and the provider's name."""

    id: GenerationId
    provider: str


NumberType = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]


class EmbedRequest(Passed):
    """Cohere's request: exactly one of `texts`, `images` and `inputs`."""

    model: Annotated[str, Field(min_length=1)]
    texts: Annotated[list[Text], Field(min_length=1, max_length=MAX_ITEMS)] | None = None
    images: Annotated[list[Url], Field(min_length=1, max_length=MAX_ITEMS)] | None = None
    inputs: Annotated[list[Mixed], Field(min_length=1, max_length=MAX_ITEMS)] | None = None
    input_type: Kind | None = None
    embedding_types: list[NumberType] | None = None
    output_dimension: Dimensions | None = None
    truncate: Literal["NONE", "START", "END"] | None = None


class ApiVersion(Ours):
    version: Literal["1", "2"]


class BilledUnits(Ours):
    input_tokens: Count | None = None
    image_tokens: Count | None = None
    search_units: Count | None = None


class Meta(Ours):
    """Cohere's receipt."""

    api_version: ApiVersion
    billed_units: BilledUnits


class EmbedAnswer(Ours):
    id: GenerationId
    response_type: Literal["embeddings_by_type"]
    embeddings: Object
    texts: list[str]
    meta: Meta
    model: str
    usage: OneShotUsage
