"""Is it up: /health. What is there: /openapi.json and /docs. Public. Control plane."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime
from typing import Any

from fastapi import Response

from gatewayz import VERSION
from gatewayz.api.app import CurrentPlane, create_app
from gatewayz.core import clock
from gatewayz.core.errors import GatewayError
from gatewayz.runtime import entries

app = create_app("status")
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
