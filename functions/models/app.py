"""What can be asked for: models, their offers, providers. Public. Control plane."""

from typing import Annotated, Literal

from fastapi import Depends, Query, Request, Response

from gatewayz.api.app import CurrentPlane, create_app
from gatewayz.catalog.load import load_catalog
from gatewayz.catalog.shelf import Shelf
from gatewayz.core import clock
from gatewayz.core.settings import Settings
from gatewayz.runtime import entries
from gatewayz.stores.secrets import Secrets

# How long a list of local model servers is believed.
DISCOVER_EVERY_S = 5.0

app = create_app("models")
app.state.shelf_settings = None
app.state.shelf_until_s = 0.0
lambda_handler = entries.http(app)

JSON = "application/json"
# `?available=all` shows what could be served with one more credential, too (D35).
Available = Annotated[Literal["all"] | None, Query()]


async def open_shelf(settings: Settings, secrets: Secrets) -> Shelf:
    """The catalog of this process; on a developer's machine with the model servers found there."""
    providers, catalog = load_catalog(settings.catalog, secrets)
    if settings.catalog.discover_local:
        # Only here: the network client is no business of a deployed control plane.
        from gatewayz.catalog.discover import with_local_servers
        from gatewayz.net.http import HttpClient

        http = HttpClient()
        try:
            providers, catalog = await with_local_servers(
                providers, catalog, http, own_ports=(settings.http.port,), secrets=secrets
            )
        finally:
            await http.aclose()
    return Shelf(providers, catalog)


async def shelf_of(request: Request, plane: CurrentPlane) -> Shelf:
    """Read at the first request and kept; model servers of the machine are looked for again."""
    state, settings = request.app.state, plane.settings
    now_s = clock.monotonic_s()
    fresh = not settings.catalog.discover_local or now_s < state.shelf_until_s
    if state.shelf_settings != settings.catalog or not fresh:
        state.shelf = await open_shelf(settings, plane.stores.secrets)
        state.shelf_settings = settings.catalog
        state.shelf_until_s = now_s + DISCOVER_EVERY_S
    shelf: Shelf = state.shelf
    return shelf


CurrentShelf = Annotated[Shelf, Depends(shelf_of)]


@app.get("/v1/models")
async def list_models(shelf: CurrentShelf, available: Available = None) -> Response:
    """OpenAI's list object; each item has OpenRouter's fields besides."""
    return Response(shelf.openai_list(everything=available == "all"), media_type=JSON)


@app.get("/api/v1/models")
async def list_openrouter_models(shelf: CurrentShelf, available: Available = None) -> Response:
    return Response(shelf.openrouter_list(everything=available == "all"), media_type=JSON)


@app.get("/v1/models/{author}/{slug:path}/endpoints")
@app.get("/api/v1/models/{author}/{slug:path}/endpoints")
async def list_endpoints(
    author: str, slug: str, shelf: CurrentShelf, available: Available = None
) -> Response:
    """The providers of one model with price and limits, in the order in which they are tried."""
    body = shelf.endpoints(f"{author}/{slug}", everything=available == "all")
    return Response(body, media_type=JSON)


@app.get("/v1/models/{model_id:path}")
async def get_model(model_id: str, shelf: CurrentShelf) -> Response:
    return Response(shelf.openai_model(model_id), media_type=JSON)


@app.get("/api/v1/model/{author}/{slug:path}")
async def get_openrouter_model(author: str, slug: str, shelf: CurrentShelf) -> Response:
    return Response(shelf.openrouter_model(f"{author}/{slug}"), media_type=JSON)


@app.get("/v1/provider")
@app.get("/v1/providers")
@app.get("/api/v1/providers")
async def list_providers(shelf: CurrentShelf) -> Response:
    return Response(shelf.provider_list(), media_type=JSON)
