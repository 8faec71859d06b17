"""Control-plane applications: `create_app`, the caller of a request, the process's stores.

Guarantees one error shape per mount (D25) and that nothing internal reaches a caller.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from gatewayz.accounts.callers import Members
from gatewayz.accounts.limits_guard import AddressGuard
from gatewayz.accounts.origin import origin_of
from gatewayz.accounts.principals import Principal, Principals
from gatewayz.accounts.rules import Origin
from gatewayz.accounts.scopes import scope_of
from gatewayz.accounts.tokens import Tokens, issuers_of
from gatewayz.api.guard import count_public, refuse
from gatewayz.core.errors import (
    Forbidden,
    GatewayError,
    InternalError,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
)
from gatewayz.core.ids import new_request_id
from gatewayz.core.log import bind, configure_logging, get_log
from gatewayz.core.metrics import configure_metrics, flush_metrics
from gatewayz.core.settings import Settings, SettingsError, load_settings
from gatewayz.core.version import version_headers
from gatewayz.dialects.form import Style
from gatewayz.dialects.openai_chat.errors import encode_error
from gatewayz.net.asgi import Call, RawHeaders, Receive, Scope, Send
from gatewayz.net.cors import Cors, is_preflight
from gatewayz.stores.open import Stores, open_stores

log = get_log(__name__)
OPENROUTER_MOUNT = "/api/v1/"
METHODS = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"


@dataclass(frozen=True, slots=True)
class Plane:
    """What a control-plane function needs: settings, stores, and who is calling."""

    settings: Settings
    stores: Stores
    principals: Principals
    cors: Cors
    tokens: Tokens
    members: Members


class _Planes:
    """One Plane per event loop: store connections belong to the loop they were made on."""

    def __init__(self, settings: Settings | None) -> None:
        self._settings = settings
        self._plane: Plane | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def get(self) -> Plane:
        loop = asyncio.get_running_loop()
        if self._plane is None or self._loop is not loop:
            settings = self._settings or load_settings()
            configure_logging(settings.log_level)
            configure_metrics(settings.metrics)
            stores = open_stores(settings, plane="control")
            if settings.telemetry.watched:
                from gatewayz.telemetry.sinks import open_sinks

                open_sinks(settings, stores.redis)
            own = settings.keys
            principals = Principals(stores.postgres, stores.redis, own.pepper, own.legacy_salt)
            principals.guard = AddressGuard(
                stores.redis, stores.postgres, settings.limits.address_per_minute
            )
            principals.counts_keyless = False  # the edge does
            http = settings.http
            cors = Cors.of(http.cors_origins, credentials=http.cors_credentials)
            tokens = Tokens(issuers_of(settings))
            members = Members(stores.postgres, tokens, settings)
            self._plane = Plane(settings, stores, principals, cors, tokens, members)
            self._loop = loop
        return self._plane

    @property
    def settings(self) -> Settings | None:
        """Those in use; None before the first plane."""
        return self._plane.settings if self._plane is not None else None

    async def close(self) -> None:
        plane, self._plane = self._plane, None
        if plane is not None:
            await plane.stores.close()


class _App(FastAPI):
    """Gives every answer, errors and crashes included, its X-Request-ID and its CORS headers."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await super().__call__(scope, receive, send)
        planes: _Planes = self.state.planes
        try:
            cors = planes.get().cors
        except SettingsError:  # the handler meets it again, and answers 500
            cors = Cors(frozenset())
        call = Call(scope, receive, send)
        request_id = new_request_id()
        bind(request_id=request_id)
        scope.setdefault("state", {})["request_id"] = request_id
        label = call.client_request_id or request_id
        own = [*cors.answer_headers(call.headers), (b"x-request-id", label.encode())]
        if planes.settings is not None:
            own += version_headers(planes.settings)
        if is_preflight(call.method, call.headers):
            return await call.answer(204, b"", cors.preflight(call.headers, METHODS))

        try:
            own += await self._counted(planes, call)
        except GatewayError as error:
            style: Style = "openrouter" if call.path.startswith(OPENROUTER_MOUNT) else "openai"
            return await refuse(call, error, style, own)
        answered = 500

        async def send_with_headers(message: Scope) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                answered = message["status"]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        traced = self._begin(planes, call)
        try:
            await super().__call__(scope, receive, send_with_headers)
        finally:
            if traced is not None:
                traced.end(scope, answered)
            flush_metrics()

    async def _counted(self, planes: _Planes, call: Call) -> RawHeaders:
        try:
            plane = planes.get()
        except SettingsError:
            return []
        return await count_public(plane.principals.guard, plane.settings, self.title, call)

    def _begin(self, planes: _Planes, call: Call) -> Any:
        """A span of this request; None where nothing is traced, and nothing of it is loaded."""
        settings = planes.settings
        if settings is None or not settings.telemetry.endpoint:
            return None
        from gatewayz.telemetry.control import ServedSpan, control_tracer

        tracer = control_tracer(settings)
        return None if tracer is None else ServedSpan(tracer, call, self.title)


def create_app(title: str, settings: Settings | None = None) -> FastAPI:
    """A FastAPI application with our errors; no docs pages, which would name versions (F95)."""
    app = _App(title=title, docs_url=None, redoc_url=None, openapi_url=None, lifespan=_lifespan)
    app.state.planes = _Planes(settings)
    app.add_exception_handler(GatewayError, _render_known)
    app.add_exception_handler(RequestValidationError, _render_invalid)
    app.add_exception_handler(HTTPException, _render_http)
    app.add_exception_handler(Exception, _render_unknown)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    planes: _Planes = app.state.planes
    await planes.close()


async def plane_of(request: Request) -> Plane:
    planes: _Planes = request.app.state.planes
    return planes.get()


async def caller_of(request: Request) -> Principal:
    """The account behind the request's key, session or sign-in token, fresh: no admission script
    guards these routes.

    Forbidden unless key or role has the scope of the route and may be used from there.
    """
    plane = await plane_of(request)
    scope = request.scope
    headers = scope["headers"]
    wanted = scope_of(request.app.title, request.method, scope["route"].path)
    seat = await plane.members.find(headers, request.method)
    if seat is not None:
        return await plane.members.permitted(seat, wanted, place_of(request, plane))
    return await plane.principals.permitted(
        headers, wanted, lambda: place_of(request, plane), fresh=True
    )


def place_of(request: Request, plane: Plane) -> Origin:
    """Where the request comes from."""
    scope = request.scope
    return origin_of(plane.settings.http.client_ip, scope.get("client"), scope["headers"])


CurrentPlane = Annotated[Plane, Depends(plane_of)]
Caller = Annotated[Principal, Depends(caller_of)]


async def person_of(caller: Caller) -> Principal:
    """A member who is signed in; Forbidden (sign_in_needed) for keys, which are nobody."""
    if not caller.person:
        raise Forbidden("Sign in for this: a key is no person.", code="sign_in_needed")
    return caller


Signed = Annotated[Principal, Depends(person_of)]


def _render(request: Request, error: GatewayError) -> Response:
    style: Style = "openrouter" if request.url.path.startswith(OPENROUTER_MOUNT) else "openai"
    status, body, headers = encode_error(error, style=style, request_id=request.state.request_id)
    return Response(body, status, headers)


async def _render_known(request: Request, error: Any) -> Response:
    return _render(request, error)


async def _render_invalid(request: Request, error: Any) -> Response:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"] if part not in ("query", "body", "path"))
    return _render(request, InvalidRequest(f"{where}: {first['msg']}", param=where or None))


async def _render_http(request: Request, error: Any) -> Response:
    if error.status_code == 404:
        return _render(request, NotFound("There is no such route.", code="route_not_found"))
    if error.status_code == 405:
        allowed = error.headers["Allow"]
        return _render(request, MethodNotAllowed(f"Use {allowed}.", headers={"Allow": allowed}))
    return _render(request, InvalidRequest("The request cannot be read."))


async def _render_unknown(request: Request, error: Any) -> Response:
    log.exception("request_crashed", path=request.url.path)
    return _render(request, InternalError())
