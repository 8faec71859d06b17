"""The catalog as a process of the control plane reads it: the newest version, looked for every
few seconds; finished pages from the publication, everything else from the whole snapshot.

Guarantees that a list without filters is answered without loading the catalog where a page of it
was prepared, and that an unreachable store leaves the last version in place.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from gatewayz.catalog.load import Own, load_own, whole_catalog
from gatewayz.catalog.model import Known
from gatewayz.catalog.resolver import Resolver
from gatewayz.catalog.shelf import Shelf, tag_of
from gatewayz.catalog.snapshot import current_version, load_page, load_snapshot
from gatewayz.catalog.views.pages import MOST, page_name
from gatewayz.catalog.views.popularity import Popularity
from gatewayz.catalog.views.rows import Form
from gatewayz.core import clock
from gatewayz.core.settings import Settings
from gatewayz.net.encoding import Encoding, pack, unpack
from gatewayz.providers.config import Provider
from gatewayz.stores.open import Stores

# How long a version, and a list of local model servers, is believed.
BELIEVE_S = 5.0
# Answers kept in this process: packed ones of the lists that are asked for again.
KEPT_BYTES = 24 * 1024 * 1024


class Kept:
    """The latest answers by tag and encoding, up to a number of bytes."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._answers: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def find(self, tag: str, encoding: Encoding) -> bytes | None:
        body = self._answers.get((tag, encoding))
        if body is not None:
            self._answers.move_to_end((tag, encoding))
        return body

    def keep(self, tag: str, encoding: Encoding, body: bytes) -> bytes:
        if len(body) > self._most_bytes // 2 or (tag, encoding) in self._answers:
            return body
        self._answers[tag, encoding] = body
        self._bytes += len(body)
        while self._bytes > self._most_bytes:
            _, oldest = self._answers.popitem(last=False)
            self._bytes -= len(oldest)
        return body


class Reader:
    """One for each process and event loop."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self._settings = settings.catalog
        self._port = settings.http.port
        self.most_bytes = settings.http.max_body_bytes
        self.stores = stores
        self.popularity = Popularity(stores.postgres)
        self.kept = Kept()
        self._own: Own | None = None
        self._resolver: Resolver | None = None
        self._shelf: Shelf | None = None
        self._version = ""
        self._until_s = 0.0
        self._changing = asyncio.Lock()

    # ---------------------------------------------------------------- one model

    async def known(self, name: str) -> Known:
        """The model a caller's text names, its suffixes read but not applied; NotFound."""
        await self._refresh()
        assert self._resolver is not None
        return await self._resolver.resolve(name)

    async def hosts(self) -> Mapping[str, Provider]:
        return (await self._refresh()).providers

    # ---------------------------------------------------------------- lists

    async def tag(self) -> str:
        """The catalog's version, as its answers are tagged."""
        own = await self._refresh()
        if self._version and is_plain(own):
            return tag_of(self._version, sorted(own.ready))
        return (await self.shelf()).tag

    async def shelf(self) -> Shelf:
        """The newest catalog whole; loaded when it changed."""
        own = await self._refresh()
        if self._shelf is not None:
            return self._shelf
        async with self._changing:
            if self._shelf is None:
                self._shelf = await self._load(own)
            return self._shelf

    async def whole_list(self, form: Form, encoding: Encoding, *, everything: bool) -> bytes:
        """The list without filters, packed: as the publication prepared it, else made here."""
        tag = f"{await self.tag()}.{form}.{everything}"
        body = self.kept.find(tag, encoding)
        if body is not None:
            return body
        body = await self._prepared(form, encoding, everything)
        if body is None:
            plain = (await self.shelf()).whole_list(form, everything=everything)
            body = pack(plain, encoding)
        if encoding == "identity" and len(body) > self.most_bytes:
            # Larger than a platform lets through: a page, which tells where the next one is.
            body = (await self.shelf()).whole_list(form, everything=everything, limit=MOST)
        return self.kept.keep(tag, encoding, body)

    async def _prepared(self, form: Form, encoding: Encoding, everything: bool) -> bytes | None:
        own = await self._refresh()
        if not self._version or not is_plain(own):
            return None
        kind: Encoding = "br" if encoding == "identity" else encoding
        page = await load_page(self.stores, page_name(form, kind, own.ready, everything=everything))
        if page is None or page.version != self._version:
            return None
        return unpack(page.body, kind) if encoding == "identity" else page.body

    # ---------------------------------------------------------------- keeping up

    async def _refresh(self) -> Own:
        """Look whether there is a newer version, and for local model servers, every few seconds."""
        now_s = clock.monotonic_s()
        if self._own is not None and now_s < self._until_s:
            return self._own
        async with self._changing:
            if self._own is not None and now_s < self._until_s:
                return self._own
            version = await current_version(self.stores)
            # Unknown is no change: an empty or unreachable store leaves what is here.
            if version and version != self._version:
                self._version, self._shelf = version, None
            if self._own is None or self._settings.discover_local:
                await self._look_around()
            self._until_s = clock.monotonic_s() + BELIEVE_S
            assert self._own is not None
            return self._own

    async def _look_around(self) -> None:
        """What only this process knows: providers, credentials, the operator's file, servers."""
        own = load_own(self._settings, self.stores.secrets)
        if self._settings.discover_local:
            own = await self._discovered(own)
        if self._own is not None and own == self._own:
            return
        self._own, self._shelf = own, None
        self._resolver = Resolver(
            self.stores.redis,
            own.catalog,
            ready=own.ready,
            known=frozenset(own.providers),
            overlays=own.drafts,
        )

    async def _load(self, own: Own) -> Shelf:
        snapshot = await load_snapshot(self.stores)
        catalog = whole_catalog(own, snapshot.entries, snapshot.aliases)
        return Shelf(
            own.providers,
            catalog,
            version=snapshot.version if is_plain(own) else "",
            built_at_ms=snapshot.built_at_ms,
        )

    async def _discovered(self, own: Own) -> Own:
        # Only here: the network client is no business of a deployed control plane.
        from gatewayz.catalog.discover import with_local_servers
        from gatewayz.net.http import HttpClient

        http = HttpClient()
        try:
            providers, catalog = await with_local_servers(
                own.providers, own.catalog, http,
                own_ports=(self._port,), secrets=self.stores.secrets,
            )  # fmt: skip
        finally:
            await http.aclose()
        return replace(own, providers=providers, catalog=catalog, ready=catalog.ready)


def is_plain(own: Own) -> bool:
    """Does this process know nothing that a publication does not?"""
    return not own.drafts and not own.catalog.entries()
