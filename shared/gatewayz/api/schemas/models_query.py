"""The queries of the public lists: OpenRouter's filters and sorts, and the older web client's."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

YesNo = Literal["true", "false"]
Sort = Literal[
    "most-popular", "newest", "top-weekly", "pricing-low-to-high", "pricing-high-to-low",
    "context-high-to-low", "throughput-high-to-low", "latency-low-to-high",
    "intelligence-high-to-low", "coding-high-to-low", "agentic-high-to-low",
    "design-arena-elo-high-to-low",
]  # fmt: skip
Scope = Literal["all"]


def _unset(value: object) -> object:
    """Some clients write a field that they leave open as nothing, or as the word."""
    return None if value in ("", "null") else value


def _plain(value: object) -> object:
    """A number as people write it; Python would read 1_000 as well."""
    if not str(value).isascii() or "_" in str(value):
        raise ValueError("must be a number")
    return value


def _plain_or_unset(value: object) -> object:
    return _plain(_unset(value))


Plain, Unset = BeforeValidator(_plain), BeforeValidator(_unset)
Open = BeforeValidator(_plain_or_unset)
# The largest whole number that every JSON reader keeps exactly.
MOST = 2**53 - 1
# Bounds stand inside: they are for what is there, and a field may be left open.
Whole = Annotated[Annotated[int, Field(ge=0, le=MOST)] | None, Open]
Positive = Annotated[Annotated[int, Field(ge=1, le=MOST)] | None, Open]
Limit = Annotated[Annotated[int, Field(ge=1, le=1000)] | None, Plain]
Score = Annotated[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, Open]
Share = Annotated[Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | None, Open]
Price = Annotated[Annotated[Decimal, Field(ge=0, le=10**9, allow_inf_nan=False)] | None, Open]
Word = Annotated[Annotated[str, Field(max_length=256)] | None, Unset]
Switch = YesNo | None


class Query(BaseModel):
    """What is not named here is ignored, as clients add fields of their own."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class PageQuery(Query):
    offset: Whole = None
    limit: Limit = None


class ModelsQuery(PageQuery):
    """Prices in USD per million tokens; lists are separated by commas."""

    available: Scope | None = None
    category: Word = None
    supported_parameters: Word = None
    input_modalities: Word = None
    output_modalities: Word = None
    sort: Sort | None = None
    q: Word = None
    context: Positive = None
    min_price: Price = None
    max_price: Price = None
    min_output_price: Price = None
    max_output_price: Price = None
    arch: Word = None
    model_authors: Word = None
    providers: Word = None
    distillable: Switch = None
    zdr: Switch = None
    region: Literal["eu", "us"] | None = None
    min_age_days: Whole = None
    max_age_days: Whole = None
    min_intelligence_index: Score = None
    max_intelligence_index: Score = None
    min_coding_index: Score = None
    max_coding_index: Score = None
    min_agentic_index: Score = None
    max_agentic_index: Score = None
    min_tool_success_rate: Share = None
    max_tool_success_rate: Share = None
    use_rss: Switch = None
    use_rss_chat_links: Switch = None
    # the older web client's
    provider: Word = None
    gateway: Word = None
    is_private: Switch = None
    unique_models: Switch = None
    search: Word = None


class SearchQuery(Query):
    """Prices in USD per token, the mean of prompt and completion."""

    q: Word = None
    modality: Word = None
    is_private: Switch = None
    min_context: Whole = None
    max_context: Whole = None
    min_price: Price = None
    max_price: Price = None
    gateway: Word = None
    sort_by: Literal["price", "context", "popularity", "name"] = "price"
    order: Literal["asc", "desc"] = "asc"
    limit: Annotated[int, Plain, Field(ge=1, le=100)] = 20
    offset: Annotated[int, Plain, Field(ge=0, le=MOST)] = 0
    available: Scope | None = None


class TrendingQuery(Query):
    gateway: Word = None
    time_range: Literal["1h", "24h", "7d", "30d"] = "24h"
    limit: Annotated[int, Plain, Field(ge=1, le=100)] = 10
    offset: Annotated[int, Plain, Field(ge=0, le=MOST)] = 0
    sort_by: Literal["requests", "tokens", "users"] = "requests"


class LowLatencyQuery(Query):
    gateway: Word = None
    include_ultra_only: YesNo = "false"
    include_alternatives: YesNo = "true"


class UniqueQuery(Query):
    limit: Annotated[int, Plain, Field(ge=1, le=1000)] = 100
    offset: Annotated[int, Plain, Field(ge=0, le=MOST)] = 0
    min_providers: Positive = None
    sort_by: Literal["provider_count", "name", "cheapest_price"] = "provider_count"
    order: Literal["asc", "desc"] = "desc"
    include_inactive: YesNo = "false"


class ProviderQuery(Query):
    moderated_only: YesNo = "false"
    limit: Annotated[Annotated[int, Field(ge=1, le=500)] | None, Plain] = None
    offset: Annotated[int, Plain, Field(ge=0, le=MOST)] = 0
    gateway: Word = None


class RankingQuery(Query):
    limit: Limit = None
    offset: Annotated[int, Plain, Field(ge=0, le=MOST)] = 0
    time_range: Literal["1h", "24h", "7d", "30d"] = "7d"


class StatsQuery(Query):
    time_range: Literal["1h", "24h", "7d", "30d", "all"] = "24h"


class TopQuery(StatsQuery):
    limit: Annotated[int, Plain, Field(ge=1, le=100)] = 5


class DetailQuery(Query):
    modelId: Word = None
    developer: Word = None
    modelName: Word = None
    gateway: Word = None


class HistoryQuery(Query):
    model: Word = None
    offer: Word = None
    provider: Word = None
    limit: Annotated[int, Plain, Field(ge=1, le=1000)] = 100
    before_ms: Whole = None
