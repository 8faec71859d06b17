"""Is it up, how do offers fare, what is there: status pages and the API document. Public.

Everything shown was measured; where nothing was, the figure is null. Control plane.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from fastapi import Depends, Query, Request, Response

from gatewayz import VERSION
from gatewayz.api.answers import json_answer
from gatewayz.api.app import CurrentPlane, create_app
from gatewayz.api.staff import Staff
from gatewayz.catalog.reports import import_states, listing_summary
from gatewayz.catalog.store import CatalogStore
from gatewayz.catalog.views.reader import Reader
from gatewayz.core import clock
from gatewayz.core.errors import GatewayError, NotFound
from gatewayz.health import maintenance
from gatewayz.health.pages import Pages
from gatewayz.health.rows import counts_of, efficiency_of, now_text
from gatewayz.health.watch import reset
from gatewayz.health.windows import Windows
from gatewayz.runtime import entries

app = create_app("status")
app.state.pages = app.state.plane = app.state.catalog = app.state.of_plane = None
lambda_handler = entries.http(app)

CHECK_TIMEOUT_S = 1.0
# It changes with a release only.
KEEP_DOCUMENT = {"Cache-Control": "public, max-age=300"}


async def _state(check: Awaitable[Any]) -> str:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            await check
    except (GatewayError, TimeoutError):
        return "unavailable"
    return "ok"


@app.get("/health")
@app.get("/v1/health")
async def get_health(plane: CurrentPlane) -> dict[str, Any]:
    """`degraded` when a store is away: requests may still be served (reliability §0.4)."""
    postgres, redis, queue = await asyncio.gather(
        _state(plane.stores.postgres.rpc("ping", {})),
        _state(plane.stores.redis.script("ping_v1", ["ping"], [])),
        _state(plane.stores.queue.depth("charges")),
    )
    stores = {"postgres": postgres, "redis": redis, "queue": queue}
    healthy = all(state == "ok" for state in stores.values())
    now = datetime.fromtimestamp(clock.now_ms() / 1000, tz=UTC)
    return {
        "status": "ok" if healthy else "degraded",
        "version": VERSION,
        "commit": plane.settings.telemetry.revision or None,
        "timestamp": now.isoformat(timespec="milliseconds"),
        "stores": stores,
    }


@app.get("/openapi.json")
async def get_document() -> Response:
    """Every function's routes in one OpenAPI 3.1 document."""
    from gatewayz.api.openapi import render_document

    return Response(render_document(), media_type="application/json", headers=KEEP_DOCUMENT)


@app.get("/docs")
async def get_docs() -> Response:
    """The document as a page."""
    from gatewayz.api.docs import PAGE_HEADERS, render_page

    return Response(
        render_page(), media_type="text/html", headers={**PAGE_HEADERS, **KEEP_DOCUMENT}
    )


# ---------------------------------------------------------------- how offers fare


async def pages_of(request: Request, plane: CurrentPlane) -> Pages:
    """One for each plane: its stores belong to the plane's event loop."""
    state = request.app.state
    if state.pages is None or state.plane is not plane:
        state.pages, state.plane = Pages(Windows(plane.stores)), plane
    pages: Pages = state.pages
    return pages


async def catalog_of(request: Request, plane: CurrentPlane) -> Reader:
    """The catalog as this plane reads it."""
    state = request.app.state
    if state.catalog is None or state.of_plane is not plane:
        state.catalog, state.of_plane = Reader(plane.settings, plane.stores), plane
    reader: Reader = state.catalog
    return reader


Shown = Annotated[Pages, Depends(pages_of)]
Catalog = Annotated[Reader, Depends(catalog_of)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Name = Annotated[str | None, Query(max_length=128)]
Period = Annotated[Literal["24h", "7d", "30d"], Query()]
State = Annotated[
    Literal["operational", "degraded", "partial_outage", "major_outage", "offline", "unknown"]
    | None,
    Query(),
]
Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def gets(*paths: str) -> Callable[[Endpoint], Endpoint]:
    """GET on several paths: the existing API has a page under more than one name."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        for path in paths:
            app.get(path)(endpoint)
        return endpoint

    return decorate


def known(page: Any, what: str = "model") -> Response:
    if page is None:
        raise NotFound(f"Nothing is known of this {what}.", code="health_not_found")
    return json_answer(page)


def cut(rows: list[Any], limit: int, offset: int = 0) -> dict[str, Any]:
    shown = rows[offset : offset + limit]
    return {"total": len(rows), "limit": limit, "offset": offset, "models": shown}


@gets("/v1/status", "/availability/summary", "/availability/status")
async def get_status(pages: Shown) -> Response:
    """The public status page in a nutshell."""
    return json_answer(await pages.overview())


@gets("/health/system", "/health/summary", "/health/status", "/health/dashboard", "/health/all")
async def get_system(pages: Shown) -> Response:
    """The same with providers and open incidents."""
    overview = await pages.overview()
    overview["providers"] = await pages.providers()
    overview["incidents"] = await pages.incidents(active=True)
    return json_answer(overview)


@gets(
    "/v1/status/providers", "/v1/model-health/providers", "/health/providers", "/health/gateways",
    "/health/providers/stats", "/api/monitoring/health", "/api/monitoring/providers/comparison",
    "/api/monitoring/error-rates",
)  # fmt: skip
async def list_providers(pages: Shown) -> Response:
    """Every provider that was ever asked."""
    rows = await pages.providers()
    return json_answer({"total": len(rows), "providers": rows})


@gets(
    "/v1/model-health/provider/{provider}/summary", "/api/monitoring/health/{provider}",
    "/health/provider/{provider}",
)  # fmt: skip
async def get_provider(pages: Shown, provider: str) -> Response:
    rows = await pages.providers()
    return known(next((p for p in rows if p["provider"] == provider), None), "provider")


@gets("/v1/status/models", "/v1/model-health", "/health/models", "/availability/models")
async def list_models(
    pages: Shown, provider: Name = None, status: State = None,
    limit: Limit = 100, offset: Offset = 0,
) -> Response:  # fmt: skip
    """A row for each model at each provider."""
    rows = await pages.models(provider=provider, status=status)
    filters = {"provider": provider, "status": status}
    return json_answer({**cut(rows, limit, offset), "filters": filters})


@gets("/v1/status/stats", "/v1/model-health/stats", "/health/models/stats")
async def get_stats(pages: Shown) -> Response:
    return json_answer(await pages.stats())


@gets("/v1/status/search")
async def search_status(
    pages: Shown, q: Annotated[str, Query(max_length=128)] = "", limit: Limit = 20
) -> Response:
    rows = await pages.models(text=q)
    return json_answer({**cut(rows, limit), "query": q})


@gets("/v1/model-health/unhealthy")
async def list_unhealthy(
    pages: Shown, error_threshold: Annotated[float, Query(ge=0, le=1)] = 0.2,
    min_calls: Annotated[int, Query(ge=0, le=1_000_000)] = 1, limit: Limit = 100,
) -> Response:  # fmt: skip
    """Models whose share of errors in a day is above the threshold."""
    rows = [
        row
        for row in await pages.models()
        if row["call_count"] >= min_calls and (row["error_rate"] or 0.0) > 100 * error_threshold
    ]
    rows.sort(key=lambda row: -row["error_rate"])
    return json_answer({**cut(rows, limit), "threshold": error_threshold})


@gets("/v1/status/incidents")
async def list_incidents(
    pages: Shown, active: Annotated[bool | None, Query()] = None, limit: Limit = 50,
    provider: Name = None,
) -> Response:  # fmt: skip
    rows = await pages.incidents(active=active, limit=limit, provider=provider)
    return json_answer({"total": len(rows), "incidents": rows})


@gets("/v1/status/uptime/{provider}/{model:path}")
async def get_uptime(pages: Shown, provider: str, model: str, period: Period = "24h") -> Response:
    return known(await pages.uptime(provider, model, period))


@gets(
    "/v1/status/models/{provider}/{model:path}", "/v1/model-health/{provider}/{model:path}",
    "/api/monitoring/latency/{provider}/{model:path}",
)  # fmt: skip
async def get_model(pages: Shown, provider: str, model: str) -> Response:
    """One model at one provider, with percentiles and incidents."""
    return known(await pages.model(provider, model))


@gets(
    "/availability/model/{model:path}", "/availability/check/{model:path}",
    "/availability/best/{model:path}", "/availability/fallback/{model:path}",
    "/health/model/{model:path}",
)  # fmt: skip
async def get_availability(pages: Shown, model: str) -> Response:
    """A model's offers, the best first."""
    return known(await pages.availability(model))


# ---------------------------------------------------------------- breakers and monitoring


@gets("/circuit-breakers", "/api/monitoring/circuit-breakers")
async def list_breakers(pages: Shown) -> Response:
    rows = await pages.breakers()
    return json_answer({"total": len(rows), "circuit_breakers": rows})


@gets("/circuit-breakers/{provider}", "/api/monitoring/circuit-breakers/{provider}")
async def get_breaker(pages: Shown, provider: str) -> Response:
    rows = await pages.breakers(provider)
    return known(rows[0] if rows else None, "provider")


@app.post("/circuit-breakers/reset-all")
@app.post("/circuit-breakers/{provider}/reset")
async def reset_breakers(request: Request, plane: CurrentPlane, staff: Staff) -> Response:
    """Close every breaker, or those of a provider and of its offers."""
    provider = request.path_params.get("provider")
    done = await reset(plane.stores, provider=provider)
    told = {"reset": done, "by": staff.name} if done or provider is None else None
    return known(told, "provider")


@gets("/api/monitoring/errors/{provider}")
async def get_errors(pages: Shown, provider: str) -> Response:
    return json_answer(await pages.errors(provider))


@gets("/api/monitoring/stats/realtime")
async def get_realtime(pages: Shown) -> Response:
    """The last hour in five-minute steps, provider by provider."""
    points = await pages.curve(None, span_s=300, since_s=3600)
    return json_answer({"last_updated": now_text(), "points": points})


@gets("/api/monitoring/stats/hourly/{provider}", "/api/monitoring/latency-trends/{provider}")
async def get_hourly(
    pages: Shown, provider: str, hours: Annotated[int, Query(ge=1, le=720)] = 24
) -> Response:
    points = await pages.curve(provider, span_s=3600, since_s=hours * 3600)
    return json_answer({"provider": provider, "hours": hours, "points": points})


@gets("/api/monitoring/token-efficiency/{provider}/{model:path}")
async def get_efficiency(pages: Shown, provider: str, model: str) -> Response:
    stand = await pages.stand(provider=provider, model=model)
    told = {"provider": provider, "model": model, **efficiency_of(stand)}
    return known(told if stand.rows else None)


@gets("/api/monitoring/anomalies", "/health/insights")
async def list_anomalies(pages: Shown) -> Response:
    """What differs from its own day, and what is known to be down."""
    incidents = await pages.incidents(active=True)
    return json_answer({"anomalies": await pages.anomalies(), "incidents": incidents})


@gets("/api/monitoring/cost-analysis")
async def get_costs(pages: Shown) -> Response:
    """What providers cost us in a day."""
    return json_answer({"providers": await pages.costs()})


# ---------------------------------------------------------------- what is listed, who is there


@gets("/health/gateways/dashboard", "/health/gateways/dashboard/data")
async def get_gateways(pages: Shown, catalog: Catalog) -> Response:
    """Every back end of the roster: can it be called, and how does it fare."""
    shelf = await catalog.shelf()
    rows = [
        await pages.gateway(provider, configured=slug in shelf.catalog.ready)
        for slug, provider in shelf.providers.items()
    ]
    return json_answer({"total": len(rows), "gateways": rows, "last_updated": now_text()})


@gets("/health/catalog/models")
async def get_catalog(catalog: Catalog, plane: CurrentPlane) -> Response:
    """How much is listed, and of which publication."""
    store = CatalogStore(plane.stores.postgres)
    return json_answer(await listing_summary(store, (await catalog.shelf()).rows))


@gets("/health/catalog/providers", "/health/providers/import-status")
async def get_imports(plane: CurrentPlane) -> Response:
    """What each provider's listing gave last, and whether that is fewer than it should be."""
    rows = await import_states(CatalogStore(plane.stores.postgres))
    return json_answer({"total": len(rows), "providers": rows})


@gets("/health/catalog/unpriced")
async def get_unpriced(plane: CurrentPlane, limit: Limit = 100) -> Response:
    """Offers that cannot be sold, because nobody knows their price."""
    rows = await CatalogStore(plane.stores.postgres).call("catalog_unpriced", {"limit": limit})
    return json_answer({"total": len(rows), "offers": rows})


@gets("/api/monitoring/chat-requests", "/api/monitoring/chat-requests/models")
async def list_asked_models(pages: Shown) -> Response:
    """How many requests each model had in a day; whose they were is for their account alone."""
    rows = await pages.requests(by="model")
    return json_answer({"total": len(rows), "models": rows})


@gets("/api/monitoring/chat-requests/providers")
async def list_asked_providers(pages: Shown) -> Response:
    rows = await pages.requests(by="provider")
    return json_answer({"total": len(rows), "providers": rows})


@gets("/api/monitoring/chat-requests/counts")
async def count_requests(pages: Shown) -> Response:
    return json_answer(counts_of(await pages.stand()))


@gets("/health/monitoring/status")
async def get_monitoring(plane: CurrentPlane) -> Response:
    return json_answer(await maintenance.probing(plane.stores))


@gets("/health/uptime")
async def get_system_uptime(pages: Shown) -> Response:
    points = await pages.curve(None, span_s=3600, since_s=86_400)
    overview = await pages.overview()
    return json_answer({"uptime_percentage": overview["uptime_percentage"], "points": points})


@gets("/health/quick", "/health/railway")
async def get_quick() -> Response:
    """Whether this process answers at all; asks no store."""
    return json_answer({"status": "ok", "timestamp": now_text()})


@gets("/health/database")
async def get_database(plane: CurrentPlane) -> Response:
    state = await _state(plane.stores.postgres.rpc("ping", {}))
    return json_answer({"status": state, "timestamp": now_text()})


# After all fixed words: this takes any.
@gets("/health/{gateway}")
async def get_gateway(pages: Shown, catalog: Catalog, gateway: str) -> Response:
    """One back end of the roster; what was not measured is null."""
    shelf = await catalog.shelf()
    provider = shelf.providers.get(gateway)
    if provider is None:
        return known(None, "provider")
    return json_answer(await pages.gateway(provider, configured=gateway in shelf.catalog.ready))
