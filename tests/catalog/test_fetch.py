"""Reading listings from the network: pages, size, time, sign-in, and what a failure says."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from gatewayz.catalog import fetch
from gatewayz.catalog.fetch import Fetcher, FetchFailed
from gatewayz.catalog.listings.stream import MAX_ITEM_CHARS, Items, UnreadableListing, read_whole
from gatewayz.net.http import HttpClient
from gatewayz.providers.provider import Listing, Provider
from tests.catalog.conftest import Listings

ROWS = 22_000


@pytest.fixture
async def http() -> Any:
    client = HttpClient()
    yield client
    await client.aclose()


def row_of(url: str, slug: str, kind: str = "openai", **more: Any) -> Provider:
    listing = Listing(kind, "usd_per_token", public=True)
    return replace(Provider(slug, slug, "openai_chat", f"{url}/{slug}", listing=listing), **more)


def test_a_listing_of_fifty_megabytes_is_never_held() -> None:
    row = json.dumps(
        {"id": "maker/model", "description": "x" * 2200, "context_length": 32768,
         "pricing": {"prompt": "0.0000015", "completion": "0.000002"}}
    ).encode()  # fmt: skip
    items = Items(("data",))
    read = held = 0
    batch = b",".join([row] * 25)
    found = list(items.feed(b'{"object": "list", "data": [' + batch))
    for _ in range(ROWS // 25 - 1):
        piece = b"," + batch
        read += len(piece)
        found = list(items.feed(piece))
        held = max(held, len(items._text) - items._at)
    assert found[-1]["id"] == "maker/model"
    list(items.feed(b"]}", last=True))
    assert (items.count, read > 50_000_000) == (ROWS, True)
    assert held < 100_000, "one model at most is left over between two pieces"


async def test_a_listing_comes_in_pieces_over_the_network(
    http: HttpClient, listing_server: tuple[Listings, str]
) -> None:
    listings, url = listing_server
    rows = [{"id": f"maker/model-{n}", "description": "x" * 1000} for n in range(3000)]
    listings.answers["feather"] = (200, json.dumps({"data": rows}).encode())
    seen: list[int] = []
    fetcher = Fetcher(http, lambda name: None)
    fetched = await fetcher.listing(row_of(url, "feather"), seen.append)
    assert len(fetched.rows) == 3000
    assert seen == [3000]


async def test_numbered_pages_are_read_to_the_last(
    http: HttpClient, listing_server: tuple[Listings, str]
) -> None:
    listings, url = listing_server
    asked: list[str] = []

    def page(query: str) -> tuple[int, bytes]:
        asked.append(query)
        number = int(query.partition("page=")[2].partition("&")[0])
        count = fetch.PAGE_SIZE if number < 3 else 7
        models = [{"id": f"m/{number}-{n}"} for n in range(count)]
        return 200, json.dumps({"data": models}).encode()

    listings.answers["paged"] = page
    fetched = await Fetcher(http, lambda name: None).listing(row_of(url, "paged", "numbered"))
    assert len(fetched.rows) == 2 * fetch.PAGE_SIZE + 7
    assert asked == [f"page={n}&per_page={fetch.PAGE_SIZE}" for n in (1, 2, 3)]


async def test_pages_by_token_are_read_to_the_last_and_never_in_a_circle(
    http: HttpClient, listing_server: tuple[Listings, str]
) -> None:
    listings, url = listing_server

    def page(query: str) -> tuple[int, bytes]:
        number = int(query.partition("pageToken=t")[2] or 0)
        model = {"name": f"models/g-{number}", "supportedGenerationMethods": ["generateContent"]}
        more = {"nextPageToken": f"t{number + 1}"} if number < 3 else {}
        return 200, json.dumps({"models": [model], **more}).encode()

    listings.answers["gem"] = page
    fetcher = Fetcher(http, lambda name: None)
    fetched = await fetcher.listing(row_of(url, "gem", "gemini"))
    assert [row.native_id for row in fetched.rows] == ["g-0", "g-1", "g-2", "g-3"]
    model = {"name": "models/g", "supportedGenerationMethods": ["generateContent"]}
    same = json.dumps({"models": [model], "nextPageToken": "again"}).encode()
    listings.answers["gem"] = (200, same)
    fetched = await fetcher.listing(row_of(url, "gem", "gemini"))
    assert len(fetched.rows) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((500, b""), "status 500"),
        ((401, b""), "status 401"),
        ((200, b"<html>"), "UnreadableListing"),
        ((200, b'{"data": [{"id": "a/b"}'), "UnreadableListing: it ends in the middle"),
        ((200, b'{"error": "no"}'), "UnreadableListing: no models at data"),
        ((200, b'{"data": [' + b"1" * (MAX_ITEM_CHARS + 70000) + b"]}"), "UnreadableListing"),
    ],
)
async def test_a_failure_is_one_line(
    http: HttpClient, listing_server: tuple[Listings, str], answer: Any, said: str
) -> None:
    listings, url = listing_server
    listings.answers["bad"] = answer
    with pytest.raises(FetchFailed) as failed:
        await Fetcher(http, lambda name: None).listing(row_of(url, "bad"))
    assert str(failed.value).startswith(said)
    assert "\n" not in str(failed.value)


async def test_a_listing_that_never_ends_is_cut_in_time(
    http: HttpClient, listing_server: tuple[Listings, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url = listing_server

    async def never(*args: Any, **more: Any) -> Any:
        await asyncio.Event().wait()

    monkeypatch.setattr(fetch, "LISTING_S", 0.05)
    monkeypatch.setattr(http, "open", never)
    with pytest.raises(FetchFailed, match="took longer"):
        await Fetcher(http, lambda name: None).listing(row_of(url, "slow"))


def test_who_cannot_be_asked_says_what_is_missing(http: HttpClient) -> None:
    fetcher = Fetcher(http, lambda name: None)
    listed = row_of("http://x", "p", credential="P_API_KEY")
    private = replace(listed, listing=Listing("openai"))
    assert fetcher.can_ask(listed) == ""
    assert fetcher.can_ask(private) == "needs P_API_KEY"
    assert fetcher.can_ask(replace(listed, enabled=False)) == "is switched off"
    assert fetcher.can_ask(replace(listed, listing=None)) == "has no listing that is read"
    assert Fetcher(http, lambda name: "secret").can_ask(private) == ""


# ---------------------------------------------------------------- the reader of pieces


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 4096])
def test_pieces_of_any_size_give_the_same_items(size: int) -> None:
    text = '{"x": {"data": [9]}, "data" : [ {"id":"ä\\"[}"}, 1.50, [2], null ,"s"], "z": {"a": 1}}'
    body = text.encode()
    items = Items(("data",))
    found: list[Any] = []
    for start in range(0, len(body), size):
        found += items.feed(body[start : start + size])
    found += items.feed(b"", last=True)
    assert found == [{"id": 'ä"[}'}, json.loads("1.5"), [2], None, "s"]
    assert items.rest == {"x": {"data": [9]}, "z": {"a": 1}}


def test_items_stand_at_a_path_at_the_top_or_are_members() -> None:
    assert read_whole(b"[1, 2]", ("data",)) == [1, 2]
    assert read_whole(b'{"data": {"models": [1], "total": 1}}', ("data", "models")) == [1]
    assert read_whole(b'{"a": 1, "b": {"c": 2}}', (), members=True) == [("a", 1), ("b", {"c": 2})]


@pytest.mark.parametrize(
    "body", [b"", b"1", b'{"data": 1}', b'{"data": [1]} x', b"[1,", b"[nul]", b"\xff[]", b"{1: 2}"]
)
def test_what_is_no_listing_is_refused(body: bytes) -> None:
    with pytest.raises(UnreadableListing):
        read_whole(body, ("data",))
