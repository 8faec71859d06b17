"""Reads one provider's listing, a price feed, the hub's figures: over the network, bounded, once.

Guarantees LISTING_S for all pages together and one model in memory besides the rows kept. A
failure is a FetchFailed with one line; a 5xx or a time-out proves nothing about any model.
"""

import asyncio
import urllib.parse
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass

from gatewayz.catalog import facts
from gatewayz.catalog.hub import MAX_PAGE_BYTES, Figures, page_url, read_page
from gatewayz.catalog.listings import SHAPES, Items, Row, Shape, UnreadableListing, feeds_read
from gatewayz.core.errors import GatewayError
from gatewayz.core.log import get_log
from gatewayz.net.http import HttpClient, HttpStream, NetError
from gatewayz.providers import access
from gatewayz.providers.auth import Signer
from gatewayz.providers.provider import Listing, Provider

log = get_log(__name__)

LISTING_S = 30.0
HEAD_S = 15.0
IDLE_S = 10.0
MAX_LISTING_BYTES = 96 * 1024 * 1024
MAX_ROWS = 60_000
MAX_PAGES = 500
PAGE_SIZE = 1000
# What one feed may come to; the largest known has a few megabytes.
MAX_FEED_BYTES = 32 * 1024 * 1024
# Where the feeds are; a feed without an address is read from its own installed package.
FEED_URLS = {
    "models_dev": "https://models.dev/api.json",
    "litellm": "https://raw.githubusercontent.com/BerriAI/litellm/main/"
    "model_prices_and_context_window.json",
    "genai_prices": "",
}

Progress = Callable[[int], None]


class FetchFailed(Exception):
    """The listing could not be read; the message is one line without a secret."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """Rows by native id, in the listing's order, each once."""

    rows: tuple[Row, ...]


class Fetcher:
    """Over one HTTP client. `find` gives secrets by name."""

    def __init__(self, http: HttpClient, find: Callable[[str], str | None]) -> None:
        self._http = http
        self._find = find
        self._signer = Signer(http, find)

    def can_ask(self, provider: Provider) -> str:
        """ "" when the listing can be asked for from here, else what is missing."""
        listing = provider.listing
        if listing is None or listing.kind not in SHAPES:
            return "has no listing that is read"
        if not provider.enabled:
            return "is switched off"
        lacks = [] if listing.public else list(access.missing(provider, self._find))
        return f"needs {' and '.join(lacks)}" if lacks else ""

    async def listing(self, provider: Provider, progress: Progress | None = None) -> Fetched:
        """All rows of a provider's own listing; FetchFailed."""
        listing = provider.listing
        assert listing is not None
        try:
            async with asyncio.timeout(LISTING_S):
                return await self._pages(provider, listing, progress or (lambda _: None))
        except TimeoutError:
            raise FetchFailed(f"took longer than {LISTING_S:.0f} s") from None
        except (NetError, UnreadableListing, GatewayError, access.Unreachable) as error:
            raise FetchFailed(f"{type(error).__name__}: {error}"[:300]) from error

    async def _pages(self, provider: Provider, listing: Listing, progress: Progress) -> Fetched:
        shape = SHAPES[listing.kind]
        address = self._address(provider, listing)
        rows: dict[str, Row] = {}
        url, page = _first_page(shape, address), 1
        while url:
            items = Items(shape.path)
            before = len(rows)
            async for row in self._rows(provider, listing, shape, items, url):
                rows.setdefault(row.native_id, row)
                if len(rows) > MAX_ROWS:
                    raise FetchFailed(f"more than {MAX_ROWS} models")
            progress(len(rows))
            page += 1
            grew = len(rows) > before
            url = _next_page(shape, address, items, page) if grew and page <= MAX_PAGES else ""
        return Fetched(tuple(rows.values()))

    async def _rows(
        self, provider: Provider, listing: Listing, shape: Shape, items: Items, url: str
    ) -> AsyncIterator[Row]:
        stream = await self._open(provider, listing, url)
        try:
            read = 0
            while chunk := await stream.read(IDLE_S):
                read += len(chunk)
                if read > MAX_LISTING_BYTES:
                    raise FetchFailed(f"larger than {MAX_LISTING_BYTES} bytes")
                for item in items.feed(chunk):
                    for row in _rows_of(shape, item, listing.price_unit):
                        yield row
            for item in items.feed(b"", last=True):
                for row in _rows_of(shape, item, listing.price_unit):
                    yield row
        finally:
            await stream.aclose()

    async def _open(self, provider: Provider, listing: Listing, url: str) -> HttpStream:
        headers = {"accept": "application/json", **provider.headers}
        way = access.sign_in(provider, self._find)
        if way is not None and (not listing.public or self._find(way.credential)):
            headers = dict(await self._signer.sign(way, "GET", url, headers=headers, body=b""))
        stream = await self._http.open(
            "GET", url, headers=headers, timeout_s=HEAD_S, total_s=LISTING_S
        )
        if stream.status != 200:
            await stream.aclose()
            raise FetchFailed(f"status {stream.status}")
        return stream

    def _address(self, provider: Provider, listing: Listing) -> str:
        if "://" in listing.path:
            return access.fill(provider, listing.path, self._find)
        return access.base_url(provider, self._find) + listing.path

    async def feed(self, name: str, today: str) -> list[tuple[str, Row]]:
        """Everything in one price feed; FetchFailed."""
        url = FEED_URLS[name]
        try:
            body = None
            if url:
                answer = await self._http.request(
                    "GET", url, headers={"accept": "application/json"}, timeout_s=LISTING_S,
                    max_bytes=MAX_FEED_BYTES,
                )  # fmt: skip
                if answer.status != 200:
                    raise FetchFailed(f"status {answer.status}")
                body = answer.body
            return list(feeds_read(name, body, today))
        except (NetError, UnreadableListing) as error:
            raise FetchFailed(f"{type(error).__name__}: {error}"[:300]) from error

    async def hub(self) -> Mapping[str, Figures]:
        """Downloads and likes by the hub's id in small letters; FetchFailed unless all is read."""
        found: dict[str, Figures] = {}
        try:
            async with asyncio.timeout(LISTING_S):
                for task in facts.hub()["tasks"]:
                    answer = await self._http.request(
                        "GET", page_url(task), headers={"accept": "application/json"},
                        timeout_s=HEAD_S, max_bytes=MAX_PAGE_BYTES,
                    )  # fmt: skip
                    if answer.status != 200:
                        raise FetchFailed(f"status {answer.status}")
                    found.update(read_page(answer.body))
        except TimeoutError:
            raise FetchFailed(f"took longer than {LISTING_S:.0f} s") from None
        except (NetError, ValueError) as error:
            raise FetchFailed(f"{type(error).__name__}: {error}"[:300]) from error
        return found


def _rows_of(shape: Shape, item: object, unit: str) -> Iterator[Row]:
    """An item that is no object is no model; what its reader cannot take is left out."""
    if isinstance(item, dict):
        yield from shape.read(item, unit)


def _first_page(shape: Shape, address: str) -> str:
    return _with_query(address, {"page": "1", "per_page": str(PAGE_SIZE)} if shape.pages else {})


def _next_page(shape: Shape, address: str, items: Items, page: int) -> str:
    if shape.pages:
        full = items.count >= PAGE_SIZE
        query = {"page": str(page), "per_page": str(PAGE_SIZE)}
        return _with_query(address, query) if full else ""
    token = items.rest.get(shape.page_key) if shape.page_key else None
    more = items.rest.get("has_more", True)
    if not isinstance(token, str) or not token or more is False:
        return ""
    return _with_query(address, {shape.page_query: token})


def _with_query(address: str, query: dict[str, str]) -> str:
    if not query:
        return address
    return address + ("&" if "?" in address else "?") + urllib.parse.urlencode(query)
