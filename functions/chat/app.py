"""Generation in every client dialect, streaming and not: the data plane's entry. Raw ASGI, lean.

Owns the routes and the edge checks (load, method, key, body); `gatewayz.inference.run` does the
rest. Never buffers a stream.
"""

import asyncio
import gc
from typing import NamedTuple

from gatewayz.core.errors import (
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
)
from gatewayz.core.ids import new_request_id
from gatewayz.core.log import configure_logging, get_log
from gatewayz.core.metrics import configure_metrics, flush_metrics, metric
from gatewayz.core.settings import Settings, load_settings
from gatewayz.dialects.exchange import PATH_HEADER, QUERY_HEADER, ClientCall
from gatewayz.dialects.form import Style
from gatewayz.dialects.registry import CALLS, CLIENTS
from gatewayz.inference.gateway import Gateway, open_gateway
from gatewayz.inference.job import request_headers
from gatewayz.inference.operations.generate import Generate, render_error
from gatewayz.inference.run import StalePrincipal, run
from gatewayz.net.asgi import Call, RawHeaders, Receive, Scope, Send
from gatewayz.net.body import parse_object, read_body
from gatewayz.net.cors import Cors
from gatewayz.pricing.estimate import likely_share
from gatewayz.runtime.stopping import on_stop

log = get_log("gatewayz.functions.chat")


class Route(NamedTuple):
    """What a client that calls this path speaks, and whose manners it expects (D25)."""

    dialect: str
    style: Style


CHAT = Route("openai_chat", "openai")
GOOGLE = Route("google", "openai")
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
    "/v1beta/models/{model:path}:generateContent": GOOGLE,
    "/v1beta/models/{model:path}:streamGenerateContent": GOOGLE,
    "/v1beta/models/{model:path}:countTokens": GOOGLE,
}
# Routes whose end is the caller's: its model, and a method that need not exist.
PREFIXES = {path.partition("{")[0]: route for path, route in ROUTES.items() if "{" in path}
READY_PATH = "/healthz"
METHODS = b"POST, OPTIONS"
BODY_S = 120.0
UNSTATED_BYTES = 1024 * 1024
# The one dialect whose clients put their key into the address, where logs find it.
KEY_IN_ADDRESS = "/v1beta/"


# With the default the collector walks the young objects at every third request.
COLLECT_AFTER_OBJECTS = 20_000


def _forget_what_stays() -> None:
    """Take what is loaded by now out of the collector's rounds: it lives as long as the process."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS)


class ChatApp:
    """An ASGI application; its gateway is opened on the loop of the first event."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._gateway: Gateway | None = None
        self._cors = Cors(frozenset())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        if scope["type"] != "http":
            return
        call = Call(scope, receive, send)
        if call.path == READY_PATH:
            return await call.answer(200, b"ok", [(b"content-type", b"text/plain")])
        route = find_route(call.path)
        gateway = self.gateway()
        if call.method == "OPTIONS" and route is not None:
            return await call.answer(204, b"", self._cors.preflight(call.headers, METHODS))
        call.cors = self._cors.answer_headers(call.headers)
        gateway.requests += 1
        try:
            await self._serve(gateway, call, route)
        finally:
            gateway.requests -= 1
            # A platform may freeze the process from here on: a step half reserved would be stuck.
            await gateway.credits.finish_background()
            flush_metrics()

    def gateway(self) -> Gateway:
        if self._gateway is None:
            settings = self._settings or load_settings()
            configure_logging(settings.log_level)
            configure_metrics(settings.metrics)
            self._cors = Cors.of(
                settings.http.cors_origins, credentials=settings.http.cors_credentials
            )
            self._gateway = open_gateway(settings)
            on_stop(self._gateway.begin_stop)
            _forget_what_stays()
        return self._gateway

    async def _serve(self, gateway: Gateway, call: Call, route: Route | None) -> None:
        held_bytes = 0
        try:
            if route is None:
                raise NotFound("There is no such route.", code="route_not_found")
            if call.method != "POST":
                raise MethodNotAllowed("Use POST.", headers={"Allow": METHODS.decode()})
            if gateway.full:
                raise Overloaded
            principal = await gateway.principals.authenticate(credentials(call))
            limit = gateway.settings.http.max_body_bytes
            held_bytes = declared_bytes(call, limit)
            gateway.inflight_bytes += held_bytes
            raw = await read_in_time(call, limit)
            gateway.inflight_bytes += len(raw) - held_bytes
            held_bytes = len(raw)
            asked = read_call(route, call, raw)
            del raw
            if asked.counts:
                return await self._count(call, asked)
            operation = Generate(asked, route.style)
            try:
                await run(gateway, operation, principal, call)
            except StalePrincipal:
                principal = await gateway.principals.authenticate(credentials(call), fresh=True)
                await run(gateway, operation, principal, call)
        except StalePrincipal:
            # Changed twice within one request: as good as an outage of the stores.
            await self._refuse(call, route, Overloaded())
        except GatewayError as error:
            await self._refuse(call, route, error)
        finally:
            gateway.inflight_bytes -= held_bytes

    async def _count(self, call: Call, asked: ClientCall) -> None:
        """How long a prompt is, by our own count: asking a provider would cost a round trip."""
        body = asked.encode_count(likely_share(asked.prompt_tokens))
        headers = [(b"content-type", b"application/json"), (b"x-gatewayz-estimated", b"true")]
        await call.answer(200, body, [*headers, *request_headers(call, None)])

    async def _refuse(self, call: Call, route: Route | None, error: GatewayError) -> None:
        """An error before anything was held or sent."""
        request_id = new_request_id()
        metric("admissions", outcome=error.code)
        dialect, style = route or CHAT
        status, body, headers = render_error(CLIENTS[dialect], error, style, request_id)
        await call.answer(status, body, [*headers, *request_headers(call, request_id)])

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self.gateway()
                except Exception as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                if self._gateway is not None:
                    await self._gateway.close()
                flush_metrics(now=True)
                await send({"type": "lifespan.shutdown.complete"})
                return


def credentials(call: Call) -> RawHeaders:
    """Headers with a key; one dialect's clients send theirs in the address."""
    if "key=" not in call.query or not call.path.startswith(KEY_IN_ADDRESS):
        return call.headers
    keys = [part[4:] for part in call.query.split("&") if part.startswith("key=")]
    return [*call.headers, *((b"x-goog-api-key", key.encode("latin-1")) for key in keys)]


def declared_bytes(call: Call, limit: int) -> int:
    """What a body will come to, before it is read: its stated length, else what is usual."""
    stated = call.header(b"content-length") or b""
    return min(int(stated), limit) if stated.isdigit() and len(stated) < 16 else UNSTATED_BYTES


async def read_in_time(call: Call, limit: int) -> bytes:
    """The body; a caller that trickles it does not hold its place for ever."""
    try:
        async with asyncio.timeout(BODY_S):
            return await read_body(call.receive, call.headers, limit)
    except TimeoutError:
        raise InvalidRequest("The request body did not arrive in time.") from None


def find_route(path: str) -> Route | None:
    route = ROUTES.get(path)
    if route is None:
        route = next((r for prefix, r in PREFIXES.items() if path.startswith(prefix)), None)
    return route


def read_call(route: Route, call: Call, raw: bytes) -> ClientCall:
    """The request in the client's dialect; InvalidRequest names what is wrong with it."""
    headers: dict[str, str] = {}
    if route.dialect != CHAT.dialect:
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in call.headers}
        headers |= {PATH_HEADER: call.path, QUERY_HEADER: call.query}
    return CALLS[route.dialect](parse_object(raw), headers)


app = ChatApp()
