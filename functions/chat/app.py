"""Chat completions, streaming and not: the data plane's entry. Raw ASGI, imports little.

Owns the routes and the edge checks (load, method, key, body); `gatewayz.inference.run` does the
rest. Never buffers a stream.
"""

from gatewayz.core.errors import GatewayError, MethodNotAllowed, NotFound, Overloaded
from gatewayz.core.ids import new_request_id
from gatewayz.core.log import configure_logging, get_log
from gatewayz.core.metrics import configure_metrics, flush_metrics, metric
from gatewayz.core.settings import Settings, load_settings
from gatewayz.dialects.form import Style
from gatewayz.dialects.openai_chat.request import decode_request
from gatewayz.inference.gateway import Gateway, open_gateway
from gatewayz.inference.job import request_headers
from gatewayz.inference.operations.chat import Chat, render_error
from gatewayz.inference.run import StalePrincipal, run
from gatewayz.net.asgi import Call, Receive, Scope, Send
from gatewayz.net.body import parse_object, read_body
from gatewayz.net.cors import Cors
from gatewayz.runtime.stopping import on_stop

log = get_log("gatewayz.functions.chat")

ROUTES: dict[str, Style] = {
    "/v1/chat/completions": "openai",
    "/api/v1/chat/completions": "openrouter",
}
READY_PATH = "/healthz"
METHODS = b"POST, OPTIONS"


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
        style = ROUTES.get(call.path)
        gateway = self.gateway()
        if call.method == "OPTIONS" and style is not None:
            return await call.answer(204, b"", self._cors.preflight(call.headers, METHODS))
        call.cors = self._cors.answer_headers(call.headers)
        gateway.requests += 1
        try:
            await self._serve(gateway, call, style)
        finally:
            gateway.requests -= 1
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
        return self._gateway

    async def _serve(self, gateway: Gateway, call: Call, style: Style | None) -> None:
        held_bytes = 0
        try:
            if style is None:
                raise NotFound("There is no such route.", code="route_not_found")
            if call.method != "POST":
                raise MethodNotAllowed("Use POST.", headers={"Allow": METHODS.decode()})
            if gateway.full:
                raise Overloaded
            principal = await gateway.principals.authenticate(call.headers)
            raw = await read_body(call.receive, call.headers, gateway.settings.http.max_body_bytes)
            held_bytes = len(raw)
            gateway.inflight_bytes += held_bytes
            request = decode_request(parse_object(raw))
            del raw
            operation = Chat(request, style=style, model_id=request.model)
            try:
                await run(gateway, operation, principal, call)
            except StalePrincipal:
                principal = await gateway.principals.authenticate(call.headers, fresh=True)
                await run(gateway, operation, principal, call)
        except StalePrincipal:
            # Changed twice within one request: as good as an outage of the stores.
            await self._refuse(call, style, Overloaded())
        except GatewayError as error:
            await self._refuse(call, style, error)
        finally:
            gateway.inflight_bytes -= held_bytes

    async def _refuse(self, call: Call, style: Style | None, error: GatewayError) -> None:
        """An error before anything was held or sent."""
        request_id = new_request_id()
        metric("admissions", outcome=error.code)
        status, body, headers = render_error(error, style or "openai", request_id)
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


app = ChatApp()
