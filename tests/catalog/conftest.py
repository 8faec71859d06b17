"""A world of provider listings on loopback, real stores, and the sync over them."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from gatewayz.catalog.fetch import Fetcher, FetchFailed
from gatewayz.catalog.hub import Figures
from gatewayz.catalog.results import RunResult
from gatewayz.catalog.store import CatalogStore
from gatewayz.catalog.sync import Sync
from gatewayz.core.settings import Settings
from gatewayz.net.http import HttpClient
from gatewayz.providers.provider import Listing, Provider
from gatewayz.stores.open import Stores, open_stores
from tests.world import Server, sandbox, tune, world

__all__ = ["sandbox", "tune", "world"]

Answer = tuple[int, bytes]


class Listings:
    """Serves one listing for each provider; a test changes what is listed."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[str], Answer] | Answer] = {}
        self.asked: list[str] = []
        self.hold: asyncio.Event | None = None

    def models(self, slug: str, *models: dict[str, Any]) -> None:
        """The listing of `slug` in the usual shape."""
        self.answers[slug] = (200, json.dumps({"data": list(models)}).encode())

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        slug = scope["path"].split("/")[1]
        self.asked.append(slug)
        known = self.answers.get(slug, (404, b"{}"))
        status, body = known(scope["query_string"].decode()) if callable(known) else known
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for start in range(0, len(body), 65536):
            await send(
                {
                    "type": "http.response.body",
                    "body": body[start : start + 65536],
                    "more_body": start + 65536 < len(body),
                }
            )
        if not body:
            await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="session")
def listing_server() -> Iterator[tuple[Listings, str]]:
    app = Listings()
    server = Server(app)
    yield app, server.url
    server.stop()


def priced(model_id: str, usd_in: str = "1", usd_out: str = "2", **more: Any) -> dict[str, Any]:
    """A model at so many USD per 10^6 tokens, in the usual shape."""
    pricing = {"prompt": usd_in, "completion": usd_out, **more.pop("pricing", {})}
    return {"id": model_id, "context_length": 100_000, "pricing": pricing, **more}


@dataclass
class SyncWorld:
    """What a test needs to act as providers, as the schedule and as an operator."""

    listings: Listings
    url: str
    stores: Stores
    http: HttpClient
    providers: dict[str, Provider] = field(default_factory=dict)
    feeds: dict[str, list[Any]] = field(default_factory=dict)
    # None: the hub cannot be read.
    hub: dict[str, Figures] | None = field(default_factory=dict)

    @property
    def store(self) -> CatalogStore:
        return CatalogStore(self.stores.postgres)

    def provider(self, slug: str, *, kind: str = "openai", unit: str = "usd_per_million") -> None:
        self.providers[slug] = Provider(
            slug=slug,
            name=slug.title(),
            dialect="openai_chat",
            base_url=f"{self.url}/{slug}",
            listing=Listing(kind, unit, public=True),  # type: ignore[arg-type]
        )

    def lists(self, slug: str, *models: dict[str, Any]) -> None:
        if slug not in self.providers:
            self.provider(slug)
        self.listings.models(slug, *models)

    def sync(self, **more: Any) -> Sync:
        fetcher = Fetcher(self.http, lambda name: None)
        feeds = self.feeds

        async def feed(name: str, today: str) -> list[Any]:
            return feeds.get(name, [])

        async def hub() -> Mapping[str, Figures]:
            if self.hub is None:
                raise FetchFailed("status 503")
            return self.hub

        fetcher.feed = feed  # type: ignore[method-assign]
        fetcher.hub = hub  # type: ignore[method-assign]
        return Sync(self.stores, self.providers, fetcher, **more)

    async def run(self, *only: str, **more: Any) -> RunResult:
        return await self.sync().run(only, **more)

    async def rpc(self, name: str, **params: Any) -> Any:
        return await self.stores.postgres.rpc(name, params)

    async def price(self, offer: str) -> dict[str, Any] | None:
        """The newest stored price of an offer."""
        rows = await self.rpc("price_history", offer=offer)
        return rows[0] if rows else None


@pytest.fixture
def no_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the bundled catalog: a test sees its own models only."""

    async def nothing(store: Any, run_id: str, providers: Any) -> int:
        return 0

    monkeypatch.setattr("gatewayz.catalog.sync.seed", nothing)


@pytest.fixture
async def catalog(
    settings: Settings, listing_server: tuple[Listings, str], no_seed: None
) -> AsyncIterator[SyncWorld]:
    listings, url = listing_server
    listings.answers.clear()
    listings.asked.clear()
    stores = open_stores(settings)
    http = HttpClient()
    yield SyncWorld(listings, url, stores, http)
    await http.aclose()
    await stores.close()
