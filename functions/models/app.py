"""What can be asked for: models, their offers and hosts, prices and quotes. Control plane.

Public but for the caller's own list and quotes. Routes with fixed words stand before those that
take any name: the first that fits answers.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request, Response

from gatewayz.accounts.principals import key_in
from gatewayz.api.answers import json_answer
from gatewayz.api.app import Caller, CurrentPlane, Plane, create_app
from gatewayz.api.cached import cached_answer
from gatewayz.api.schemas.models_query import (
    DetailQuery,
    HistoryQuery,
    LowLatencyQuery,
    ModelsQuery,
    PageQuery,
    ProviderQuery,
    RankingQuery,
    Scope,
    SearchQuery,
    StatsQuery,
    TopQuery,
    TrendingQuery,
    UniqueQuery,
)
from gatewayz.api.schemas.models_query import Query as Fields
from gatewayz.billing.plans import markup_of_plan, read_markups
from gatewayz.catalog.views import answers, hosting, older, traffic
from gatewayz.catalog.views.priced_reader import PricedReader
from gatewayz.catalog.views.reader import Reader
from gatewayz.catalog.views.rows import Form
from gatewayz.core import clock
from gatewayz.core.errors import DependencyError, Forbidden, NotFound, Unauthorized
from gatewayz.health.windows import all_endpoint_fields, endpoint_fields, model_fields
from gatewayz.net.body import parse_object, read_body
from gatewayz.pricing.markup import PPM
from gatewayz.runtime import entries

app = create_app("models")
app.state.plane = None
lambda_handler = entries.http(app)

CATEGORY = re.compile(r"[a-z0-9][a-z0-9/_-]{0,63}", re.IGNORECASE)
Available = Annotated[Scope | None, Query()]
Word = Annotated[str, Query(max_length=256)]


async def reader_of(request: Request, plane: CurrentPlane) -> Reader:
    """One for each plane, whose stores belong to its event loop, and each markup of a plan: who
    sends a key sees what that account pays."""
    state = request.app.state
    if state.plane is not plane:
        state.readers, state.plane = {PPM: Reader(plane.settings, plane.stores)}, plane
    readers: dict[int, Reader] = state.readers
    markup_ppm = await _markup_for(request, plane)
    if markup_ppm not in readers:
        readers[markup_ppm] = PricedReader(readers[PPM], markup_ppm)
    return readers[markup_ppm]


def _prices_differ(plane: Plane) -> bool:
    return any(ppm != PPM for ppm in read_markups(plane.settings.billing.plan_markups).values())


async def _markup_for(request: Request, plane: Plane) -> int:
    """That of the caller's plan; the public one for whoever is not known to us."""
    headers = request.scope["headers"]
    if not _prices_differ(plane) or key_in(headers) is None:
        return PPM
    try:
        caller = await plane.principals.authenticate(headers, fresh=True)
    except (Unauthorized, Forbidden, DependencyError):
        return PPM
    return markup_of_plan(caller.plan, plane.settings.billing.plan_markups)


Catalog = Annotated[Reader, Depends(reader_of)]


def form_of(request: Request) -> Form:
    return "openrouter" if request.url.path.startswith("/api/v1/") else "openai"


def asked_of(query: Fields) -> dict[str, Any]:
    return query.model_dump(exclude_none=True)


Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def on_both(path: str) -> Callable[[Endpoint], Endpoint]:
    """GET on both mounts."""

    def decorate(endpoint: Endpoint) -> Endpoint:
        for mount in ("/v1", "/api/v1"):
            app.get(mount + path)(endpoint)
        return endpoint

    return decorate


async def send(request: Request, answer: answers.Answer) -> Response:
    sent = await cached_answer(request, answer.tag, answer.render, media=answer.media)
    if _prices_differ(request.app.state.plane):
        sent.headers["Vary"] = "Accept-Encoding, Authorization"
    return sent


# ---------------------------------------------------------------- lists


@on_both("/models")
async def list_models(
    request: Request, query: Annotated[ModelsQuery, Query()], reader: Catalog
) -> Response:
    """Every model that can be asked for; filters, order and page as the query says."""
    base = str(request.base_url).rstrip("/")
    answer = await answers.model_list(reader, asked_of(query), form_of(request), base_url=base)
    return await send(request, answer)


@on_both("/embeddings/models")
async def list_embedding_models(
    request: Request, query: Annotated[ModelsQuery, Query()], reader: Catalog
) -> Response:
    """The models that /v1/embeddings takes, with the filters of /models."""
    asked = {**asked_of(query), "output_modalities": "embeddings"}
    base = str(request.base_url).rstrip("/")
    answer = await answers.model_list(reader, asked, form_of(request), base_url=base)
    return await send(request, answer)


@on_both("/models/count")
async def count_models(
    request: Request, query: Annotated[ModelsQuery, Query()], reader: Catalog
) -> Response:
    count = await answers.model_count(reader, asked_of(query), form_of(request))
    return json_answer({"data": {"count": count}})


@on_both("/models/user")
async def list_own_models(
    request: Request, query: Annotated[PageQuery, Query()], caller: Caller, reader: Catalog
) -> Response:
    """The models that the caller's own settings leave."""
    from gatewayz.inference.allowed import allowed_by

    form, allowed = form_of(request), allowed_by(caller)
    body = await answers.own_models(reader, asked_of(query), form, allowed)
    return Response(body, media_type="application/json")


@on_both("/endpoints/zdr")
async def list_zdr_endpoints(
    request: Request, reader: Catalog, plane: CurrentPlane, available: Available = None
) -> Response:
    """Offers whose provider keeps nothing of a request."""
    health = partial(all_endpoint_fields, plane.stores.postgres)
    answer = await answers.zdr(reader, everything=available == "all", health=health)
    return await send(request, answer)


@on_both("/providers")
async def list_providers(request: Request, reader: Catalog) -> Response:
    return await send(request, await answers.providers(reader))


@app.get("/v1/models/search")
async def search_models(query: Annotated[SearchQuery, Query()], reader: Catalog) -> Response:
    body = await answers.search(reader, query.model_dump())
    return Response(body, media_type="application/json")


@app.get("/v1/models/trending")
async def list_trending(query: Annotated[TrendingQuery, Query()], reader: Catalog) -> Response:
    """Models by what was asked of them here; empty until something was."""
    return json_answer(await traffic.trending_models(reader, query.model_dump()))


@app.get("/v1/models/low-latency")
async def list_low_latency(query: Annotated[LowLatencyQuery, Query()], reader: Catalog) -> Response:
    """Models that were measured to begin their answers fast."""
    return json_answer(await traffic.low_latency(reader, query.model_dump()))


@app.get("/v1/models/unique")
async def list_unique(query: Annotated[UniqueQuery, Query()], reader: Catalog) -> Response:
    """Each model once, with all of its hosts."""
    return json_answer(await answers.unique(reader, query.model_dump()))


@app.get("/v1/models/by-category/{category:path}")
async def list_category(
    request: Request, category: str, query: Annotated[ModelsQuery, Query()], reader: Catalog
) -> Response:
    if not CATEGORY.fullmatch(category):
        raise NotFound("There is no such category.", code="model_not_found", param="category")
    asked = {**asked_of(query), "category": category}
    return await send(request, await answers.model_list(reader, asked, "openai"))


@app.post("/v1/models/batch-compare")
async def compare_models(
    request: Request,
    plane: CurrentPlane,
    reader: Catalog,
    criteria: Annotated[answers.Criteria, Query()] = "price",
) -> Response:
    """Several models, each at all of its hosts: by price, context or availability."""
    names = request.query_params.getlist("model_ids")
    raw = await read_body(
        request.receive, request.scope["headers"], plane.settings.http.max_body_bytes
    )
    return json_answer(await answers.batch_compare(reader, names, raw, criteria))


# ---------------------------------------------------------------- single models


@on_both("/models/{author}/{slug:path}/endpoints")
async def list_endpoints(
    request: Request, author: str, slug: str, reader: Catalog, plane: CurrentPlane,
    available: Available = None,
) -> Response:  # fmt: skip
    """The offers of one model with price, limits and data policy, in the order to try them."""
    everything = available == "all"
    health = partial(endpoint_fields, plane.stores.postgres)
    answer = await answers.endpoints(
        reader, f"{author}/{slug}", everything=everything, health=health
    )
    return await send(request, answer)


@app.get("/v1/models/{author}/{slug:path}/compare")
async def compare_hosts(
    author: str, slug: str, reader: Catalog, gateways: Word = "all"
) -> Response:
    return json_answer(await answers.compare_hosts(reader, f"{author}/{slug}", gateways))


@on_both("/model/{author}/{slug:path}")
async def get_routed_model(request: Request, author: str, slug: str, reader: Catalog) -> Response:
    """One model by id, alias or variant."""
    return await send(request, await answers.routed_model(reader, f"{author}/{slug}"))


@app.get("/v1/models/{model_id:path}")
async def get_model(
    request: Request,
    model_id: str,
    query: Annotated[ModelsQuery, Query()],
    reader: Catalog,
    plane: CurrentPlane,
) -> Response:
    """One model by id, alias or variant; else all models of the organisation of that name."""
    health = partial(model_fields, plane.stores.postgres)
    answer = await answers.model_or_author(reader, model_id, asked_of(query), health)
    return await send(request, answer)


@app.get("/api/models/detail")
async def get_model_detail(
    request: Request, query: Annotated[DetailQuery, Query()], reader: Catalog, plane: CurrentPlane
) -> Response:
    health = partial(model_fields, plane.stores.postgres)
    return await send(request, await answers.detail(reader, query.model_dump(), health))


# ---------------------------------------------------------------- hosts and rankings


@app.get("/v1/provider")
async def list_hosts(query: Annotated[ProviderQuery, Query()], reader: Catalog) -> Response:
    return json_answer(older.provider_answer(await reader.shelf(), query.model_dump()))


@app.get("/v1/provider/{provider}/stats")
@app.get("/v1/gateway/{provider}/stats")
async def show_host_stats(
    provider: str, query: Annotated[StatsQuery, Query()], reader: Catalog
) -> Response:
    """What our traffic at one host came to."""
    return json_answer(await hosting.host_stats(reader, provider, query.time_range))


@app.get("/v1/provider/{provider}/top-models")
async def list_host_models(
    provider: str, query: Annotated[TopQuery, Query()], reader: Catalog
) -> Response:
    """The models that were asked of one host, the most first."""
    return json_answer(await hosting.host_models(reader, provider, query.model_dump()))


@app.get("/v1/gateways/summary")
async def show_hosts_summary(query: Annotated[StatsQuery, Query()], reader: Catalog) -> Response:
    """Every host that was asked, and all of them together."""
    return json_answer(await hosting.hosts_summary(reader, query.time_range))


@app.get("/v1/gateways/status")
async def show_hosts_status(reader: Catalog) -> Response:
    """Which back ends can be called from here."""
    return json_answer(hosting.hosts_status(await reader.shelf()))


@app.get("/v1/gateways")
async def list_gateways(reader: Catalog) -> Response:
    return json_answer(older.gateways_answer(await reader.shelf()))


@app.get("/v1/routers")
async def list_routers(reader: Catalog) -> Response:
    return json_answer(older.routers_answer(await reader.shelf()))


@app.get("/ranking/models")
async def rank_models(query: Annotated[RankingQuery, Query()], reader: Catalog) -> Response:
    """Models by the tokens of our own traffic; empty until there is some."""
    return json_answer(await traffic.ranked_models(reader, query.model_dump(), clock.now_ms()))


@app.get("/ranking/apps")
async def rank_apps(query: Annotated[RankingQuery, Query()], reader: Catalog) -> Response:
    """Applications that name themselves, by the tokens of our own traffic."""
    return json_answer(await traffic.ranked_apps(reader, query.model_dump(), clock.now_ms()))


# ---------------------------------------------------------------- prices and quotes


@app.get("/v1/prices/history")
async def list_price_history(query: Annotated[HistoryQuery, Query()], reader: Catalog) -> Response:
    """Every price that an offer ever had, the newest first."""
    return json_answer(await answers.price_history(reader, asked_of(query)))


async def quote(
    request: Request,
    caller: Caller,
    plane: CurrentPlane,
    reader: Catalog,
    dialect: Word = "",
    model: Word = "",
    expected_output_tokens: Annotated[int | None, Query(ge=0, le=10_000_000)] = None,
) -> Response:
    """What a request would cost at each offer, and why not at the others. Nothing is executed."""
    from gatewayz.inference.own import key_of, own_of
    from gatewayz.inference.pinned import pin_prices
    from gatewayz.inference.quote import make_quote, show_quote
    from gatewayz.inference.quoted import read_asked

    headers = request.scope["headers"]
    raw = await read_body(request.receive, headers, plane.settings.http.max_body_bytes)
    asked, names = read_asked(
        parse_object(raw),
        headers,
        principal=caller,
        dialect=dialect,
        model=model,
        expected_output_tokens=expected_output_tokens,
    )
    groups = [await reader.known(name) for name in names]
    hosts = await reader.hosts()
    own = own_of(caller, hosts, plane.stores.secrets.find, plane.settings.billing)
    made = make_quote(asked, groups, hosts, at_ms=clock.now_ms(), own=own)
    offers = [offer for offer in made.offers if key_of(offer) is None]
    pinned = await pin_prices(plane.stores.redis, caller.account, made.id, offers)
    return json_answer(show_quote(made, hosts, pinned=pinned))


for _mount in ("/v1", "/api/v1"):
    app.post(_mount + "/quote")(quote)
