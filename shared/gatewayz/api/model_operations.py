"""The rows of the public catalog, its prices and quotes, in the API document."""

from typing import Any, get_args

from gatewayz.api.operation import ALWAYS, WITH_KEY, Operation, Parameter, on_both
from gatewayz.api.schemas.chat_request import ChatRequest
from gatewayz.api.schemas.models import (
    EndpointsAnswer,
    EndpointsList,
    ModelCountAnswer,
    ModelList,
    ProviderList,
    RoutedModelAnswer,
    RoutedModelList,
)
from gatewayz.api.schemas.models_older import (
    AppRanking,
    BackEndList,
    BatchAnswer,
    BatchRequest,
    CompareAnswer,
    GatewayList,
    HostList,
    HostModelsAnswer,
    HostsSummary,
    HostStatsAnswer,
    LowLatencyAnswer,
    ModelRanking,
    OneModel,
    RouterList,
    SearchAnswer,
    TrendingAnswer,
    UniqueAnswer,
)
from gatewayz.api.schemas.models_query import MOST, Sort
from gatewayz.api.schemas.prices import PriceHistory, QuoteAnswer

YES_NO = ("true", "false")
WHOLE = {"type": ["integer", "null"], "minimum": 0, "maximum": MOST}
POSITIVE = {"type": ["integer", "null"], "minimum": 1, "maximum": MOST}
NUMBER = {"type": ["number", "null"], "minimum": 0, "maximum": 10**9}
SCORE = {"type": ["number", "null"], "minimum": 0}
SHARE = {"type": ["number", "null"], "minimum": 0, "maximum": 1}
TEXT = {"type": "string", "maxLength": 256}
RANGES = ("1h", "24h", "7d", "30d")
SORTS = get_args(Sort)


def ask(name: str, meaning: str, schema: Any = TEXT, *, choices: Any = ()) -> Parameter:
    """An optional parameter of the query."""
    return Parameter(
        name, "query", meaning, required=False, choices=tuple(choices),
        schema={} if choices else schema,
    )  # fmt: skip


def up_to(most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": 1, "maximum": most}


AVAILABLE = ask("available", "`all`: also what has no credential here", choices=("all",))
AUTHOR = Parameter("author", "path", "the part of a model id before the slash", "sandbox")
SLUG = Parameter("slug", "path", "the part after it", "echo")
MODEL_ID = Parameter(
    "model_id", "path", "a model id, alias or variant; its slash stays. A word without a slash may"
    " also be an organisation: then all of its models", "sandbox/echo",
)  # fmt: skip
CATEGORY = Parameter("category", "path", "as in a model's categories", "programming")
OFFSET = ask("offset", "how many to skip", WHOLE)
LIMIT = ask("limit", "at most so many; without it and offset all", up_to(1000))
GATEWAY = ask("gateway", "a host, or `all`; its own price is shown then")
FILTERS = (
    ask("q", "text in the id or name"),
    ask("category", "a use, as in a model's categories"),
    ask("supported_parameters", "separated by commas; all of them"),
    ask("input_modalities", "separated by commas; all of them"),
    ask("output_modalities", "separated by commas; any of them, or `all`"),
    ask("context", "tokens it takes at least", POSITIVE),
    ask("min_price", "of a prompt, USD per million tokens", NUMBER),
    ask("max_price", "of a prompt, USD per million tokens", NUMBER),
    ask("min_output_price", "of an answer, USD per million tokens", NUMBER),
    ask("max_output_price", "of an answer, USD per million tokens", NUMBER),
    ask("arch", "family, as in architecture.tokenizer"),
    ask("model_authors", "organisations, separated by commas"),
    ask("providers", "hosts by slug or name, separated by commas"),
    ask("distillable", "`true`: known to allow it; no feed says so of any", choices=YES_NO),
    ask("zdr", "`true`: some host keeps nothing", choices=YES_NO),
    ask("region", "where some host runs it", choices=("eu", "us")),
    ask("min_age_days", "since its release", WHOLE),
    ask("max_age_days", "since its release", WHOLE),
    *[
        ask(f"{bound}_{name}_index", "as its feed states it", SCORE)
        for name in ("intelligence", "coding", "agentic")
        for bound in ("min", "max")
    ],
    ask("min_tool_success_rate", "share of answers that end in tool calls", SHARE),
    ask("max_tool_success_rate", "share of answers that end in tool calls", SHARE),
    ask("provider", "an organisation or a host"),
    GATEWAY,
    ask("is_private", "confidential compute at some host", choices=YES_NO),
    ask("unique_models", "every list has each model once", choices=YES_NO),
    ask("search", "text in the id, name, description or host"),
)
SHOWN = (
    OFFSET,
    LIMIT,
    ask("sort", "what has no value comes last", choices=SORTS),
    ask("use_rss", "an RSS feed", choices=YES_NO),
    ask("use_rss_chat_links", "whose items lead to a chat", choices=YES_NO),
)
CACHED = ("X-Request-ID", "ETag")
REFUSED = (*ALWAYS, "invalid_request")
NAMED = (*REFUSED, "model_not_found")
COUNTED = (*REFUSED, "billing_unavailable")
HOSTED = (*COUNTED, "provider_not_found")
HOST = Parameter("provider", "path", "a host's slug", "sandbox")
STATS_RANGE = ask("time_range", "24h unasked", choices=(*RANGES, "all"))
LIST_DETAIL = """\
Public. `/api/v1` unasked shows the models that write text, `/v1` all of them, with what the older
web client reads. Answers carry an ETag (send it as If-None-Match) and come as br or gzip. A filter
on what is unknown excludes; an order puts it last."""
QUOTE_DETAIL = """\
Send a whole request in any dialect, as it would go to its own route: it is told apart by its
shape, or named by `dialect`. Every offer that could serve it comes with its expected and maximum
price, fit and data policy, every other one with a reason code. Nothing is executed, no credit is
touched. The prices hold for 60 s: send `quote_id` with the request, as the header
X-Gatewayz-Quote-Id or a field of the body. Unknown or over, it changes nothing."""


def _public(path: str, summary: str, answer: Any, **more: Any) -> Operation:
    return Operation(path, "models", summary, answer, public=True, **{"errors": REFUSED, **more})


LISTS = (("/v1", ModelList), ("/api/v1", RoutedModelList))
MODEL_OPERATIONS: tuple[Operation, ...] = (
    *[
        _public(
            f"{mount}/models", "List models", answer, detail=LIST_DETAIL,
            parameters=(AVAILABLE, *FILTERS, *SHOWN), errors=COUNTED, answer_headers=CACHED,
            also_media=("application/rss+xml",),
        )
        for mount, answer in LISTS
    ],
    *[
        _public(
            f"{mount}/embeddings/models", "List embedding models", answer,
            detail="Those that /embeddings takes, with the filters of the list of all models.",
            parameters=(AVAILABLE, *FILTERS, *SHOWN), errors=COUNTED, answer_headers=CACHED,
            also_media=("application/rss+xml",),
        )
        for mount, answer in LISTS
    ],
    *on_both(
        "/models/count", "models", "Count models", ModelCountAnswer, public=True,
        detail="With the filters of the list.", parameters=(AVAILABLE, *FILTERS), errors=COUNTED,
    ),
    *[
        Operation(
            f"{mount}/models/user", "models", "List the models that your settings leave", answer,
            parameters=(OFFSET, LIMIT), errors=(*WITH_KEY, "invalid_request"),
        )
        for mount, answer in LISTS
    ],
    *on_both(
        "/models/{author}/{slug}/endpoints", "models", "List the offers of a model",
        EndpointsAnswer, public=True, detail="In the order in which they are tried.",
        parameters=(AUTHOR, SLUG, AVAILABLE), errors=NAMED, answer_headers=CACHED,
    ),
    *on_both(
        "/endpoints/zdr", "models", "List the offers that keep nothing", EndpointsList,
        public=True, parameters=(AVAILABLE,), errors=REFUSED, answer_headers=CACHED,
    ),
    *on_both(
        "/model/{author}/{slug}", "models", "Show a model", RoutedModelAnswer, public=True,
        parameters=(AUTHOR, SLUG), errors=(*ALWAYS, "model_not_found"), answer_headers=CACHED,
    ),
    *on_both(
        "/providers", "models", "List providers", ProviderList, public=True, errors=ALWAYS,
        answer_headers=CACHED,
    ),
    _public(
        "/v1/models/search", "Search models", SearchAnswer,
        parameters=(
            AVAILABLE,
            ask("q", "text in the id, name, description or host"),
            ask("modality", "read or written: text, image, audio, video, multimodal, …"),
            ask("is_private", "confidential compute at some host", choices=YES_NO),
            ask("min_context", "tokens", WHOLE),
            ask("max_context", "tokens", WHOLE),
            ask("min_price", "mean of prompt and answer, USD per token", NUMBER),
            ask("max_price", "mean of prompt and answer, USD per token", NUMBER),
            GATEWAY,
            ask("sort_by", "price unasked", choices=("price", "context", "popularity", "name")),
            ask("order", "asc unasked", choices=("asc", "desc")),
            ask("limit", "20 unasked", up_to(100)),
            OFFSET,
        ),
        errors=COUNTED,
    ),
    _public(
        "/v1/models/trending", "List the models that are asked most", TrendingAnswer,
        parameters=(
            GATEWAY,
            ask("time_range", "24h unasked", choices=RANGES),
            ask("limit", "10 unasked", up_to(100)),
            OFFSET,
            ask("sort_by", "requests unasked", choices=("requests", "tokens", "users")),
        ),
        errors=COUNTED,
    ),
    _public(
        "/v1/models/low-latency", "List the models that answer fast", LowLatencyAnswer,
        parameters=(
            GATEWAY,
            ask("include_ultra_only", "below 100 ms only", choices=YES_NO),
            ask("include_alternatives", "the fastest of each family", choices=YES_NO),
        ),
        errors=COUNTED,
    ),
    _public(
        "/v1/models/unique", "List models with all of their hosts", UniqueAnswer,
        parameters=(
            ask("limit", "100 unasked", up_to(1000)),
            OFFSET,
            ask("min_providers", "hosts it has at least", POSITIVE),
            ask("sort_by", "provider_count unasked",
                choices=("provider_count", "name", "cheapest_price")),
            ask("order", "desc unasked", choices=("asc", "desc")),
            ask("include_inactive", "also what has no credential here", choices=YES_NO),
        ),
    ),
    _public(
        "/v1/models/by-category/{category}", "List the models for a use", ModelList,
        parameters=(CATEGORY, AVAILABLE, OFFSET, LIMIT), errors=(*COUNTED, "model_not_found"),
        answer_headers=CACHED,
    ),
    _public(
        "/v1/models/batch-compare", "Compare the hosts of several models", BatchAnswer,
        method="post", request=BatchRequest,
        parameters=(
            ask("criteria", "price unasked", choices=("price", "context", "availability")),
        ),
        errors=(*REFUSED, "invalid_json", "duplicate_key", "request_too_large"),
    ),
    _public(
        "/v1/models/{author}/{slug}/compare", "Compare the hosts of a model", CompareAnswer,
        parameters=(AUTHOR, SLUG, ask("gateways", "hosts, separated by commas, or `all`")),
        errors=NAMED,
    ),
    _public(
        "/v1/models/{model_id}", "Show a model", OneModel,
        parameters=(MODEL_ID, GATEWAY), errors=NAMED, answer_headers=CACHED,
    ),
    _public(
        "/api/models/detail", "Show a model", OneModel,
        parameters=(
            Parameter("modelId", "query", "a whole id", "sandbox/echo", required=False,
                      schema=TEXT),
            ask("developer", "in place of it, with modelName"),
            ask("modelName", "in place of it, with developer"),
            GATEWAY,
        ),
        errors=NAMED, answer_headers=CACHED,
    ),
    _public(
        "/v1/provider", "List hosts and the number of their models", HostList,
        parameters=(
            ask("moderated_only", "none is", choices=YES_NO),
            ask("limit", "at most so many", up_to(500)),
            OFFSET,
            ask("gateway", "a host, or `all`"),
        ),
    ),
    _public("/v1/gateways", "List back ends", GatewayList, errors=ALWAYS),
    *[
        _public(
            path, "Show our traffic at a host", HostStatsAnswer, errors=HOSTED,
            parameters=(HOST, STATS_RANGE),
        )
        for path in ("/v1/provider/{provider}/stats", "/v1/gateway/{provider}/stats")
    ],
    _public(
        "/v1/provider/{provider}/top-models", "List the models asked of a host", HostModelsAnswer,
        errors=HOSTED, parameters=(HOST, STATS_RANGE, ask("limit", "5 unasked", up_to(100))),
    ),
    _public(
        "/v1/gateways/summary", "Show our traffic by host", HostsSummary, errors=COUNTED,
        parameters=(STATS_RANGE,),
    ),
    _public("/v1/gateways/status", "Which back ends can be called", BackEndList, errors=ALWAYS),
    _public("/v1/routers", "List what chooses in place of the caller", RouterList, errors=ALWAYS),
    *[
        _public(
            path, f"Rank {what} by our own traffic", answer, errors=COUNTED,
            parameters=(OFFSET, LIMIT, ask("time_range", "7d unasked", choices=RANGES)),
        )
        for path, what, answer in (
            ("/ranking/models", "models", ModelRanking),
            ("/ranking/apps", "applications", AppRanking),
        )
    ],
    _public(
        "/v1/prices/history", "List the past prices of offers", PriceHistory,
        parameters=(
            Parameter("model", "query", "a model by any name", "sandbox/echo", required=False,
                      schema=TEXT),
            ask("offer", "one offer, by its id"),
            ask("provider", "one host"),
            ask("limit", "100 unasked", up_to(1000)),
            ask("before_ms", "older than this, Unix milliseconds", WHOLE),
        ),
        errors=(*NAMED, "billing_unavailable"),
    ),
    *on_both(
        "/quote", "models", "Quote a request", QuoteAnswer, method="post", request=ChatRequest,
        detail=QUOTE_DETAIL,
        parameters=(
            ask("dialect", "what the body is written in, where its shape does not tell"),
            ask("model", "for dialects that have it in their address"),
            ask("expected_output_tokens", "400 unasked",
                {"type": "integer", "minimum": 0, "maximum": 10_000_000}),
        ),
        errors=(
            *WITH_KEY, "invalid_request", "invalid_json", "duplicate_key", "model_not_found",
            "unsupported_parameter", "request_too_large",
        ),
    ),
)  # fmt: skip
