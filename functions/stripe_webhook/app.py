"""Stripe's events: verified, stored, queued; nothing else. Raw ASGI, no SDK: it answers at once."""

import asyncio

from gatewayz.billing.stripe.inbox import take
from gatewayz.billing.stripe.signature import split_secrets
from gatewayz.core.errors import GatewayError, MethodNotAllowed, NotFound
from gatewayz.core.log import configure_logging, get_log
from gatewayz.core.metrics import configure_metrics, flush_metrics
from gatewayz.core.settings import Settings, SettingsError, load_settings
from gatewayz.net.asgi import Call, Receive, Scope, Send
from gatewayz.net.body import read_body
from gatewayz.runtime import entries
from gatewayz.stores.open import Stores, open_stores

log = get_log("gatewayz.functions.stripe_webhook")

ROUTES = {"/api/stripe/webhook": "POST"}
SIGNED_WITH = "STRIPE_WEBHOOK_SECRET"
# Stripe's largest events are far below.
MAX_EVENT_BYTES = 1024 * 1024
JSON = [(b"content-type", b"application/json")]


class WebhookApp:
    """An ASGI application. Without a secret it takes nothing, and outside a developer's machine
    it does not even start."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings
        self._stores: tuple[asyncio.AbstractEventLoop, Stores] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._lifespan(receive, send)
        if scope["type"] == "http":
            await self._serve(Call(scope, receive, send))

    def _open(self) -> tuple[Settings, Stores]:
        settings = self._settings = self._settings or load_settings()
        loop = asyncio.get_running_loop()
        if self._stores is None or self._stores[0] is not loop:
            configure_logging(settings.log_level)
            configure_metrics(settings.metrics)
            self._stores = (loop, open_stores(settings))
        return settings, self._stores[1]

    async def _serve(self, call: Call) -> None:
        try:
            await self._take(call)
        except GatewayError as error:
            body = b'{"error":"%s"}' % error.code.encode()
            await call.answer(error.status, body, JSON)
        except Exception:
            # Stripe sends it again.
            log.exception("request_crashed", path=call.path)
            await call.answer(500, b'{"error":"internal_error"}', JSON)
        finally:
            flush_metrics()

    async def _take(self, call: Call) -> None:
        if call.path not in ROUTES:
            raise NotFound("There is no such route.", code="route_not_found")
        if call.method != "POST":
            raise MethodNotAllowed("Use POST.", headers={"Allow": "POST"})
        settings, stores = self._open()
        secrets = split_secrets(stores.secrets.find(SIGNED_WITH))
        if not secrets:
            log.error("webhook_not_configured", detail=f"{SIGNED_WITH} is not set")
            return await call.answer(503, b'{"error":"not_configured"}', JSON)
        payload = await read_body(call.receive, call.headers, MAX_EVENT_BYTES)
        await take(
            payload,
            (call.header(b"stripe-signature") or b"").decode("latin-1"),
            secrets=secrets,
            livemode=settings.stage == "production",
            postgres=stores.postgres,
            queue=stores.queue,
        )
        await call.answer(200, b'{"received":true}', JSON)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self._check()
                except SettingsError as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
            elif self._stores is not None:
                await self._stores[1].close()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    def _check(self) -> None:
        """Refuse to start where payments are taken and every event would be refused (F75)."""
        find = self._open()[1].secrets.find
        if find("STRIPE_SECRET_KEY") and not split_secrets(find(SIGNED_WITH)):
            raise SettingsError(f"{SIGNED_WITH} is not set: no event could be verified")


app = WebhookApp()
lambda_handler = entries.http(app)
