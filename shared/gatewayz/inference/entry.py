"""The data plane's entry: an ASGI application with the checks at the edge, load, method, key, body.

A function of the data plane is a subclass that knows its routes and reads its requests; `run` does
the rest. Never buffers a stream.
"""

import gc
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from gatewayz.accounts.limits_velocity import own_failure
from gatewayz.accounts.origin import origin_of
from gatewayz.accounts.principals import Principal, key_in
from gatewayz.core import clock
from gatewayz.core.errors import (
    GatewayError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    Overloaded,
)
from gatewayz.core.ids import new_request_id
from gatewayz.core.log import bind, configure_logging
from gatewayz.core.metrics import configure_metrics, flush_metrics, metric
from gatewayz.core.settings import Settings, load_settings
from gatewayz.core.version import version_headers
from gatewayz.core.waits import Stopped
from gatewayz.inference.gateway import Gateway, open_gateway
from gatewayz.inference.job import request_headers
from gatewayz.inference.limits import last_shown
from gatewayz.inference.operation import Operation
from gatewayz.inference.replay import digest_of
from gatewayz.inference.run import StalePrincipal, run
from gatewayz.net.asgi import Call, RawHeaders, Receive, Scope, Send
from gatewayz.net.body import read_body
from gatewayz.net.cors import Cors

READY_PATH = "/healthz"
METHODS = b"POST, OPTIONS"
BODY_S = 120.0
UNSTATED_BYTES = 1024 * 1024
# With the default the collector walks the young objects at every third request.
COLLECT_AFTER_OBJECTS = 20_000

# Who sends one of these may get what a twin of the request got.
TWIN_KEY, TWIN_WISH = b"idempotency-key", b"x-gatewayz-coalesce"

Route = TypeVar("Route")


def _forget_what_stays() -> None:
    """Take what is loaded by now out of the collector's rounds: it lives as long as the process."""
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_OBJECTS)


class Entry(ABC, Generic[Route]):
    """An ASGI application; its gateway is opened on the loop of the first event.

    `on_stop` is told what to call once the platform wants the process to end.
    """

    def __init__(
        self, on_stop: Callable[[Callable[[], None]], None], settings: Settings | None = None
    ) -> None:
        self._on_stop = on_stop
        self._settings = settings
        self._gateway: Gateway | None = None
        self._cors = Cors(frozenset())
        self._version: RawHeaders = []

    @abstractmethod
    def find(self, path: str) -> Route | None: ...

    @abstractmethod
    async def read(
        self, gateway: Gateway, call: Call, route: Route, raw: bytes
    ) -> Operation | None:
        """What the caller asks for; None when it was answered already. InvalidRequest."""

    @abstractmethod
    def render(
        self, error: GatewayError, route: Route | None, request_id: str
    ) -> tuple[int, bytes, RawHeaders]:
        """An error in the form of the route, or in the usual one."""

    def credentials(self, call: Call, route: Route) -> RawHeaders:
        """Headers with the caller's key."""
        return call.headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        if scope["type"] != "http":
            return
        call = Call(scope, receive, send)
        if call.path == READY_PATH:
            return await call.answer(200, b"ok", [(b"content-type", b"text/plain")])
        route = self.find(call.path)
        gateway = self.gateway()
        if call.method == "OPTIONS" and route is not None:
            return await call.answer(204, b"", self._cors.preflight(call.headers, METHODS))
        call.cors = self._cors.answer_headers(call.headers)
        call.notes = self._version
        gateway.requests += 1
        tracer = gateway.tracer
        if tracer is not None:
            parent, state = call.header(b"traceparent"), call.header(b"tracestate")
            call.trace = tracer.begin(call.method, call.path, parent, state)
            bind(trace_id=call.trace.hex)
        try:
            await self._serve(gateway, call, route)
        finally:
            if tracer is not None and call.trace.charge is None:
                tracer.end(call.trace)
            gateway.requests -= 1
            if call.fault is not None:
                gateway.velocity.saw(failed=call.fault)
            # A platform may freeze the process from here on: a step half reserved would be stuck.
            if gateway.credits.busy:
                await gateway.credits.finish_background()
            if gateway.drain.due and call.ended:
                await gateway.drain.run()
            if gateway.board.busy:
                await gateway.board.finish_background()
            if gateway.velocity.busy:
                await gateway.velocity.finish_background()
            flush_metrics()
            if gateway.flags.due:
                gateway.spawn(gateway.flags.refresh())

    def gateway(self) -> Gateway:
        if self._gateway is None:
            settings = self._settings or load_settings()
            configure_logging(settings.log_level)
            configure_metrics(settings.metrics)
            self._cors = Cors.of(
                settings.http.cors_origins, credentials=settings.http.cors_credentials
            )
            self._version = version_headers(settings)
            self._gateway = open_gateway(settings)
            self._gateway.open_telemetry()
            self._on_stop(self._gateway.begin_stop)
            _forget_what_stays()
        return self._gateway

    async def _serve(self, gateway: Gateway, call: Call, route: Route | None) -> None:
        held_bytes, known = 0, None
        try:
            if route is None:
                raise NotFound("There is no such route.", code="route_not_found")
            if call.method != "POST":
                raise MethodNotAllowed("Use POST.", headers={"Allow": METHODS.decode()})
            if gateway.full:
                raise Overloaded
            principal = gateway.principals.at_hand(self.credentials(call, route))
            if principal is None:
                principal = await self._caller(gateway, call, route)
            known = principal
            call.fault = False
            limit = gateway.settings.http.max_body_bytes
            held_bytes = declared_bytes(call, limit)
            gateway.inflight_bytes += held_bytes
            waiting_s = clock.monotonic_s()
            raw = await read_in_time(gateway, call, limit)
            call.begun_s += clock.monotonic_s() - waiting_s
            gateway.inflight_bytes += len(raw) - held_bytes
            held_bytes = len(raw)
            asks_twins = call.header(TWIN_KEY) or call.header(TWIN_WISH)
            digest = digest_of(call, raw) if asks_twins else ""
            operation = await self.read(gateway, call, route, raw)
            del raw
            if operation is None:
                return

            wishes = operation.routing.wishes
            if wishes.idempotency_key is None and not wishes.coalesce:
                return await self._run(gateway, operation, principal, call, route)

            async def work(call: Call) -> None:
                await self._run(gateway, operation, principal, call, route)

            await gateway.replays.serve(
                principal.account, wishes.idempotency_key, digest, call, work
            )
        except GatewayError as error:
            if known is not None:
                call.notes = [*call.notes, *last_shown(known)]
            await self._refuse(call, route, error)
        finally:
            gateway.inflight_bytes -= held_bytes

    async def _caller(
        self, gateway: Gateway, call: Call, route: Route, *, fresh: bool = False
    ) -> Principal:
        """Who calls, if the key may be used for inference from there."""
        source = gateway.settings.http.client_ip
        if gateway.anonymous.allowed and key_in(self.credentials(call, route)) is None:
            place = origin_of(source, call.client, call.headers)
            caller, told = await gateway.anonymous.admit(place.ip, again=fresh)
            call.notes = [*call.notes, *told]
            return caller
        return await gateway.principals.permitted(
            self.credentials(call, route),
            "inference",
            lambda: origin_of(source, call.client, call.headers),
            fresh=fresh,
        )

    async def _run(
        self,
        gateway: Gateway,
        operation: Operation,
        principal: Principal,
        call: Call,
        route: Route,
    ) -> None:
        """Serve a request that was read, whatever becomes of it."""
        # Planning writes what it found over what was asked; a second plan begins at the question.
        requested, notes = operation.model, call.notes
        try:
            try:
                await run(gateway, operation, principal, call)
            except StalePrincipal:
                operation.model, call.notes = requested, notes
                principal = await self._caller(gateway, call, route, fresh=True)
                await run(gateway, operation, principal, call, fresh=True)
        except StalePrincipal:
            # Changed twice within one request: as good as an outage of the stores.
            await self._refuse(call, route, Overloaded())
        except GatewayError as error:
            await self._refuse(call, route, error)

    async def _refuse(self, call: Call, route: Route | None, error: GatewayError) -> None:
        """An error before anything was held or sent."""
        request_id = new_request_id()
        call.failed = True
        call.fault = own_failure(error) or call.fault
        if call.trace is not None:
            call.trace.error = error.code
        metric("admissions", outcome=error.code)
        status, body, headers = self.render(error, route, request_id)
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


def declared_bytes(call: Call, limit: int) -> int:
    """What a body will come to, before it is read: its stated length, else what is usual."""
    stated = call.header(b"content-length") or b""
    return min(int(stated), limit) if stated.isdigit() and len(stated) < 16 else UNSTATED_BYTES


async def read_in_time(gateway: Gateway, call: Call, limit: int) -> bytes:
    """The body; a caller that trickles it does not hold its place for ever."""
    try:
        with gateway.waits.within(BODY_S):
            return await read_body(call.receive, call.headers, limit)
    except TimeoutError:
        raise InvalidRequest("The request body did not arrive in time.") from None
    except Stopped:
        raise Overloaded from None
