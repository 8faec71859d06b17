"""Everything one data-plane process needs, assembled once; its load limits and its stopping."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from gatewayz.accounts.limits_anonymous import Anonymous
from gatewayz.accounts.limits_guard import AddressGuard
from gatewayz.accounts.limits_local import StandIn
from gatewayz.accounts.limits_velocity import Velocity
from gatewayz.accounts.principals import Principals
from gatewayz.billing.credits import Credits
from gatewayz.billing.drain import Drain
from gatewayz.billing.plans import plan_limits
from gatewayz.billing.settlement import Settlement
from gatewayz.catalog.discover import with_local_servers
from gatewayz.catalog.load import load_own
from gatewayz.catalog.model import Catalog, Known
from gatewayz.catalog.resolver import Resolver
from gatewayz.core import clock
from gatewayz.core.errors import NotFound
from gatewayz.core.settings import Settings
from gatewayz.core.waits import Waits
from gatewayz.inference.own import OwnClients
from gatewayz.inference.replay import Replays
from gatewayz.net.egress import Egress, read_networks
from gatewayz.net.http import HttpClient
from gatewayz.providers.client import ProviderClient
from gatewayz.providers.config import Provider
from gatewayz.routing.board import Board
from gatewayz.routing.budget import RetryBudget
from gatewayz.routing.pins import Pins
from gatewayz.stores.open import Stores, open_stores
from gatewayz.telemetry.remote_flags import RemoteFlags

if TYPE_CHECKING:
    from gatewayz.telemetry.trace import Tracer

# A model server started after us is found when somebody asks for one of its models.
DISCOVER_EVERY_S = 5.0


class Gateway:
    """`requests` counts what is running; `stop_at_s` is set once SIGTERM came (D38)."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        catalog: Catalog,
        providers: Mapping[str, Provider],
        *,
        resolver: Resolver | None = None,
    ) -> None:
        """`catalog` holds what only this process knows; `resolver` finds the rest."""
        self.settings = settings
        self.stores = stores
        self.catalog = self._known_catalog = catalog
        self.providers = self._known_providers = providers
        self.resolver = resolver or Resolver(
            stores.redis, catalog, ready=catalog.ready, known=frozenset(providers)
        )
        self._discover_at_s = 0.0
        self.credits = Credits(
            stores.postgres, stores.redis, lease_ttl_s=settings.credit.lease_ttl_s
        )
        self.settlement = Settlement(stores.queue, self.credits, stores.postgres)
        keys = settings.keys
        self.principals = Principals(
            stores.postgres,
            stores.redis,
            keys.pepper,
            keys.legacy_salt,
            plans=plan_limits(free=settings.plan_limits),
        )
        self.velocity = Velocity(stores.redis, stores.postgres)
        guard = AddressGuard(
            stores.redis, stores.postgres, settings.limits.address_per_minute, self.velocity
        )
        self.principals.guard = guard
        self.anonymous = Anonymous(settings, stores.redis, stores.postgres, guard, self.velocity)
        self.credits.stand_in = StandIn().take
        self.http = HttpClient()
        self.egress = Egress(read_networks(settings.http.fetch_networks))
        self.client = ProviderClient(self.http, stores.secrets.find, stores.secrets.refresh)
        self.own = OwnClients(self.http, stores.secrets.find)
        self.board = Board(stores.redis)
        self.budget = RetryBudget()
        self.pins = Pins()
        self.replays = Replays(stores, self.spawn)
        self.requests = 0
        self.inflight_bytes = 0
        self.stop_at_s: float | None = None
        self.waits = Waits(lambda: self.stop_at_s)
        self.drain = Drain(stores.postgres, stores.queue, after_s=settings.credit.drain_after_s)
        self._running: set[asyncio.Task[Any]] = set()
        self.tracer = _open_tracer(settings, self.http)
        self.flags = RemoteFlags(settings, self.http)
        self._has_sinks = False

    def open_telemetry(self) -> None:
        """Have metrics told to whom the settings name; nothing of it is loaded without."""
        if self.settings.telemetry.watched:
            from gatewayz.telemetry.sinks import open_sinks

            open_sinks(self.settings, self.stores.redis)
            self._has_sinks = True

    async def _close_telemetry(self) -> None:
        if self.tracer is not None:
            await self.tracer.exporter.close()
        if self._has_sinks:
            from gatewayz.telemetry.sinks import close_sinks

            await close_sinks()

    @property
    def full(self) -> bool:
        http = self.settings.http
        return (
            self.stop_at_s is not None
            or self.requests >= http.max_requests
            or self.inflight_bytes >= http.max_inflight_bytes
        )

    async def discover(self) -> bool:
        """Look for model servers of this machine again; whether a look was due (local stack)."""
        now_s = clock.monotonic_s()
        if not self.settings.catalog.discover_local or now_s < self._discover_at_s:
            return False
        self._discover_at_s = now_s + DISCOVER_EVERY_S
        self.providers, self.catalog = await with_local_servers(
            self._known_providers,
            self._known_catalog,
            self.http,
            own_ports=(self.settings.http.port,),
            secrets=self.stores.secrets,
        )
        self.resolver.grown(self.catalog)
        return True

    async def resolve(self, name: str) -> Known:
        """What a model's name means here; NotFound (`model_not_found`) names some like it."""
        try:
            return await self.resolver.resolve(name)
        except NotFound:
            if not await self.discover():
                raise
            return await self.resolver.resolve(name)

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """A task that outlives its caller's cancellation and is waited for when stopping."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def begin_stop(self) -> None:
        """Take no new requests; running streams end with an error frame after the grace time."""
        if self.stop_at_s is None:
            self.stop_at_s = clock.monotonic_s() + self.settings.http.stop_grace_s

    async def close(self) -> None:
        """Wait for what runs, then close clients and stores."""
        while self._running:
            await asyncio.wait(self._running)
        await self.credits.finish_background()
        await self.board.finish_background()
        await self.velocity.finish_background()
        await self._close_telemetry()
        await self.http.aclose()
        await self.stores.close()


def _open_tracer(settings: Settings, http: HttpClient) -> "Tracer | None":
    """None without a collector, and then nothing of it is loaded."""
    if not settings.telemetry.endpoint:
        return None
    from gatewayz.telemetry.trace import Tracer

    return Tracer.of(settings, http)


def open_gateway(settings: Settings) -> Gateway:
    """The process's gateway; connects lazily. SettingsError when something is missing."""
    stores = open_stores(settings)
    own = load_own(settings.catalog, stores.secrets)
    resolver = Resolver(
        stores.redis,
        own.catalog,
        ready=own.ready,
        known=frozenset(own.providers),
        overlays=own.drafts,
    )
    return Gateway(settings, stores, own.catalog, own.providers, resolver=resolver)
