"""Generation in every client dialect, streaming and not: routes and readers of the data plane.

The edge is `gatewayz.inference.entry`; what happens to a request is `gatewayz.inference.run`.
"""

from functools import partial
from typing import Any, NamedTuple

from gatewayz.core.errors import GatewayError
from gatewayz.core.settings import Settings
from gatewayz.dialects.exchange import PATH_HEADER, QUERY_HEADER, ClientCall
from gatewayz.dialects.form import Style
from gatewayz.dialects.registry import CALLS, CLIENTS
from gatewayz.inference.entry import Entry
from gatewayz.inference.gateway import Gateway
from gatewayz.inference.job import request_headers
from gatewayz.inference.operations.generate import Generate, render_error
from gatewayz.inference.routing import read_routing
from gatewayz.net.asgi import Call, RawHeaders
from gatewayz.net.body import parse_object
from gatewayz.pricing.estimate import likely_share
from gatewayz.runtime.stopping import on_stop


class Route(NamedTuple):
    """What a client that calls this path speaks, and whose manners it expects (D25)."""

    dialect: str
    style: Style


CHAT = Route("openai_chat", "openai")
GOOGLE = Route("google", "openai")
# Where its clients look for models: by default, as `apiVersion: v1`, and as those of its cloud do.
GOOGLE_MOUNTS = ("/v1beta/", "/v1/", "/v1beta1/{place:path}/")
ROUTES: dict[str, Route] = {
    "/v1/chat/completions": CHAT,
    "/api/v1/chat/completions": Route("openai_chat", "openrouter"),
    "/v1/messages": Route("anthropic", "openai"),
    "/api/v1/messages": Route("anthropic", "openrouter"),
    "/v1/messages/count_tokens": Route("anthropic", "openai"),
    "/api/v1/messages/count_tokens": Route("anthropic", "openrouter"),
    "/v1/responses": Route("openai_responses", "openai"),
    "/api/v1/responses": Route("openai_responses", "openrouter"),
    "/v1/completions": Route("openai_completions", "openai"),
    "/api/v1/completions": Route("openai_completions", "openrouter"),
    **{
        f"{mount}models/{{model:path}}:{method}": GOOGLE
        for mount in GOOGLE_MOUNTS
        for method in ("generateContent", "streamGenerateContent", "countTokens")
    },
}
# Routes whose end is the caller's: its model, and a method that need not exist.
PREFIXES = {path.partition("{")[0]: route for path, route in ROUTES.items() if "{" in path}


class ChatApp(Entry[Route]):
    """The function's application."""

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(on_stop, settings)

    def find(self, path: str) -> Route | None:
        return find_route(path)

    async def read(self, gateway: Gateway, call: Call, route: Route, raw: bytes) -> Generate | None:
        body = parse_object(raw)
        routing = read_routing(body, call.headers, route.dialect)
        asked = decode_call(route, call, body)
        if asked.counts:
            await self._count(gateway, call, asked)
            return None
        return Generate(asked, route.style, routing, reread=partial(decode_call, route, call, body))

    def render(
        self, error: GatewayError, route: Route | None, request_id: str
    ) -> tuple[int, bytes, RawHeaders]:
        dialect, style = route or CHAT
        return render_error(CLIENTS[dialect], error, style, request_id)

    def credentials(self, call: Call, route: Route) -> RawHeaders:
        """One dialect's clients send their key in the address."""
        if "key=" not in call.query or route is not GOOGLE:
            return call.headers
        keys = [part[4:] for part in call.query.split("&") if part.startswith("key=")]
        return [*call.headers, *((b"x-goog-api-key", key.encode("latin-1")) for key in keys)]

    async def _count(self, gateway: Gateway, call: Call, asked: ClientCall) -> None:
        """How long a prompt is, by our own count: asking a provider would cost a round trip."""
        await gateway.resolve(asked.model)
        body = asked.encode_count(likely_share(asked.prompt_tokens))
        headers = [(b"content-type", b"application/json"), (b"x-gatewayz-estimated", b"true")]
        await call.answer(200, body, [*headers, *request_headers(call, None)])


def find_route(path: str) -> Route | None:
    route = ROUTES.get(path)
    if route is None:
        route = next((r for prefix, r in PREFIXES.items() if path.startswith(prefix)), None)
    return route


def read_call(route: Route, call: Call, raw: bytes) -> ClientCall:
    """The request in the client's dialect; InvalidRequest names what is wrong with it."""
    return decode_call(route, call, parse_object(raw))


def decode_call(route: Route, call: Call, body: dict[str, Any]) -> ClientCall:
    """The same of a body that was parsed."""
    headers: dict[str, str] = {}
    if route.dialect != CHAT.dialect:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in call.headers}
        headers |= {PATH_HEADER: call.path, QUERY_HEADER: call.query}
    return CALLS[route.dialect](body, headers)


app = ChatApp()
