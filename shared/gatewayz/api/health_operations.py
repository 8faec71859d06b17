"""The rows of status pages, model health and monitoring, in the API document."""

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from gatewayz.api.operation import ALWAYS, Operation, Parameter
from gatewayz.api.schemas.health import (
    Availability,
    Breaker,
    BreakerList,
    Curve,
    GatewayHealth,
    GatewayHealthList,
    HealthFigures,
    IncidentList,
    ModelHealth,
    ModelHealthList,
    ProviderHealth,
    ProviderHealthList,
    StatusOverview,
    StatusWord,
)

STORED = (*ALWAYS, "billing_unavailable")
KNOWN = (*STORED, "health_not_found")
PROVIDER = Parameter("provider", "path", "a provider's slug", "sandbox")
GATEWAY = Parameter("gateway", "path", "a provider's slug", "sandbox")
MODEL = Parameter("model", "path", "a model id; its slash stays", "sandbox/echo")


def ask(name: str, meaning: str, schema: Any, *, choices: tuple[str, ...] = ()) -> Parameter:
    return Parameter(
        name, "query", meaning, required=False, choices=choices, schema={} if choices else schema
    )


def whole(least: int, most: int) -> dict[str, Any]:
    return {"type": "integer", "minimum": least, "maximum": most}


TEXT = {"type": "string", "maxLength": 128}
LIMIT = ask("limit", "rows at most", whole(1, 1000))
OFFSET = ask("offset", "rows left out", whole(0, 1_000_000))
BY_PROVIDER = ask("provider", "only this provider's", TEXT)
BY_STATUS = ask("status", "only those in this state", {}, choices=get_args(StatusWord))
HOURS = ask("hours", "how far back", whole(1, 720))
ROWS: tuple[tuple[tuple[str, ...], str, type[BaseModel], tuple[Parameter, ...]], ...] = (
    (("/v1/status", "/availability/summary", "/availability/status"),
     "Status in a nutshell", StatusOverview, ()),
    (("/health/system", "/health/summary", "/health/status", "/health/dashboard", "/health/all"),
     "Status with providers and incidents", StatusOverview, ()),
    (("/v1/status/providers", "/v1/model-health/providers", "/health/providers",
      "/health/gateways", "/health/providers/stats", "/api/monitoring/health",
      "/api/monitoring/providers/comparison", "/api/monitoring/error-rates"),
     "Health of providers", ProviderHealthList, ()),
    (("/v1/model-health/provider/{provider}/summary", "/api/monitoring/health/{provider}",
      "/health/provider/{provider}"), "Health of a provider", ProviderHealth, (PROVIDER,)),
    (("/v1/status/models", "/v1/model-health", "/health/models", "/availability/models"),
     "Health of models", ModelHealthList, (BY_PROVIDER, BY_STATUS, LIMIT, OFFSET)),
    (("/v1/status/stats", "/v1/model-health/stats", "/health/models/stats"),
     "Totals", HealthFigures, ()),
    (("/v1/status/search",), "Find models by name", ModelHealthList,
     (ask("q", "a part of the name", TEXT), LIMIT)),
    (("/v1/model-health/unhealthy",), "Models that fail", ModelHealthList,
     (ask("error_threshold", "share of failures",
          {"type": "number", "minimum": 0, "maximum": 1}),
      ask("min_calls", "calls at least", whole(0, 1_000_000)), LIMIT)),
    (("/v1/status/incidents",), "Incidents", IncidentList,
     (ask("active", "only open or only closed ones", {}, choices=("true", "false")), LIMIT,
      BY_PROVIDER)),
    (("/v1/status/uptime/{provider}/{model}",), "Uptime of a model", Curve,
     (PROVIDER, MODEL, ask("period", "how far back", {}, choices=("24h", "7d", "30d")))),
    (("/v1/status/models/{provider}/{model}", "/v1/model-health/{provider}/{model}",
      "/api/monitoring/latency/{provider}/{model}"),
     "Health of a model at a provider", ModelHealth, (PROVIDER, MODEL)),
    (("/availability/model/{model}", "/availability/check/{model}", "/availability/best/{model}",
      "/availability/fallback/{model}", "/health/model/{model}"),
     "Offers of a model, the best first", Availability, (MODEL,)),
    (("/circuit-breakers", "/api/monitoring/circuit-breakers"), "Breakers", BreakerList, ()),
    (("/circuit-breakers/{provider}", "/api/monitoring/circuit-breakers/{provider}"),
     "Breakers of a provider", Breaker, (PROVIDER,)),
    (("/api/monitoring/errors/{provider}",), "Errors of a provider", HealthFigures, (PROVIDER,)),
    (("/api/monitoring/stats/realtime",), "The last hour", Curve, ()),
    (("/api/monitoring/stats/hourly/{provider}", "/api/monitoring/latency-trends/{provider}"),
     "A provider by the hour", Curve, (PROVIDER, HOURS)),
    (("/api/monitoring/token-efficiency/{provider}/{model}",), "Tokens and their cost",
     HealthFigures, (PROVIDER, MODEL)),
    (("/api/monitoring/anomalies", "/health/insights"), "What is unusual", HealthFigures, ()),
    (("/api/monitoring/cost-analysis",), "What providers cost", HealthFigures, ()),
    (("/health/uptime",), "Uptime by the hour", Curve, ()),
    (("/health/gateways/dashboard", "/health/gateways/dashboard/data"),
     "Every back end of the roster", GatewayHealthList, ()),
    (("/health/catalog/models",), "How much is listed", HealthFigures, ()),
    (("/health/catalog/providers", "/health/providers/import-status"),
     "What listings gave last", HealthFigures, ()),
    (("/health/catalog/unpriced",), "Offers without a price", HealthFigures, (LIMIT,)),
    (("/api/monitoring/chat-requests", "/api/monitoring/chat-requests/models"),
     "Requests by model", HealthFigures, ()),
    (("/api/monitoring/chat-requests/providers",), "Requests by provider", HealthFigures, ()),
    (("/api/monitoring/chat-requests/counts",), "Requests in a day", HealthFigures, ()),
    (("/health/monitoring/status",), "Does the schedule probe", HealthFigures, ()),
    (("/health/{gateway}",), "Health of a back end", GatewayHealth, (GATEWAY,)),
    (("/health/quick", "/health/railway", "/health/database"), "Is it up", HealthFigures, ()),
)  # fmt: skip


def _operations() -> Iterator[Operation]:
    for paths, summary, answer, parameters in ROWS:
        named = any(parameter.place == "path" for parameter in parameters)
        query = any(parameter.place == "query" for parameter in parameters)
        errors = (KNOWN if named else STORED) + (("invalid_request",) if query else ())
        for path in paths:
            yield Operation(
                path, "status", summary, answer, parameters=parameters, errors=errors, public=True
            )


HEALTH_OPERATIONS = tuple(_operations())
