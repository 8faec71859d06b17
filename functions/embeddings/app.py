"""Embeddings, rerank and moderations: routes and readers of the data plane. Raw ASGI, lean.

The edge is `gatewayz.inference.entry`; what happens to a request is `gatewayz.inference.run`.
"""

from importlib import import_module
from typing import Any, NamedTuple

from gatewayz.core.errors import GatewayError, NotFound
from gatewayz.core.settings import Settings
from gatewayz.dialects.cohere.write_error import encode_cohere_error
from gatewayz.dialects.form import Style
from gatewayz.dialects.moderations.form import DEFAULT_MODEL
from gatewayz.dialects.one_shot import OneShotCall
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.inference.entry import Entry
from gatewayz.inference.gateway import Gateway
from gatewayz.inference.kinds import MODALITIES
from gatewayz.inference.operations.one_shot import OneShot
from gatewayz.inference.routing import read_routing
from gatewayz.net.asgi import Call, RawHeaders, raw_headers
from gatewayz.net.body import parse_object
from gatewayz.runtime.stopping import on_stop


class Route(NamedTuple):
    """The kind of request, the form its client speaks, whose manners it expects (D25)."""

    kind: str
    form: str
    style: Style


USUAL = Route("embeddings", "openai", "openai")
ROUTES: dict[str, Route] = {
    "/v1/embeddings": USUAL,
    "/api/v1/embeddings": Route("embeddings", "openai", "openrouter"),
    "/v2/embed": Route("embeddings", "cohere", "openai"),
    "/v1/rerank": Route("rerank", "openai", "openai"),
    "/api/v1/rerank": Route("rerank", "openai", "openrouter"),
    "/v2/rerank": Route("rerank", "cohere", "openai"),
    "/v1/moderations": Route("moderations", "openai", "openai"),
    "/api/v1/moderations": Route("moderations", "openai", "openrouter"),
}
# Loaded when the first request of its kind comes: a cold start pays only for what it is asked.
CALLS = {
    "embeddings": "EmbeddingsCall",
    "rerank": "RerankCall",
    "moderations": "ModerationsCall",
}


class EmbeddingsApp(Entry[Route]):
    """The function's application."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(on_stop, settings)

    def find(self, path: str) -> Route | None:
        return ROUTES.get(path)

    async def read(self, gateway: Gateway, call: Call, route: Route, raw: bytes) -> OneShot | None:
        body = parse_object(raw)
        routing = read_routing(body, call.headers)
        if route.kind == "moderations" and body.get("model") is None:
            body["model"] = await usual_moderation(gateway)
        return OneShot(read_call(route, body), route.style, routing)

    def render(
        self, error: GatewayError, route: Route | None, request_id: str
    ) -> tuple[int, bytes, RawHeaders]:
        route = route or USUAL
        encode = encode_cohere_error if route.form == "cohere" else encode_error
        status, body, headers = encode(error, style=route.style, request_id=request_id)
        return status, body, raw_headers(headers)


async def usual_moderation(gateway: Gateway) -> str:
    """The model of a caller who names none: the one that clients of this protocol mean, where it
    can be asked, else one that this process has of its own."""
    try:
        if (await gateway.resolve(DEFAULT_MODEL)).servable:
            return DEFAULT_MODEL
    except NotFound:
        pass
    catalog = gateway.catalog
    judges = (m.id for m in catalog.models() if MODALITIES["moderations"] in m.output_modalities)
    return next((name for name in judges if catalog.servable(name)), DEFAULT_MODEL)


def read_call(route: Route, body: dict[str, Any]) -> OneShotCall:
    """The request in the client's form; InvalidRequest names what is wrong with it."""
    kind: Any = getattr(import_module(f"gatewayz.dialects.{route.kind}.call"), CALLS[route.kind])
    call: OneShotCall = kind(route.form, body)
    return call


app = EmbeddingsApp()
