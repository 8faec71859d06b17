"""Lists that were prepared by a publication: found, tagged, packed, and never rendered again."""

import gzip
import importlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import brotli
import httpx
import orjson
import pytest

from gatewayz.api.app import _Planes
from gatewayz.catalog.load import load_own, whole_catalog
from gatewayz.catalog.model import Entry, Model, Offer
from gatewayz.catalog.publish import write
from gatewayz.catalog.shelf import Shelf
from gatewayz.catalog.snapshot import Snapshot
from gatewayz.catalog.views import reader as reader_module
from gatewayz.catalog.views.pages import FORMS, PREPARED, page_name, render_pages
from gatewayz.catalog.views.reader import Kept, Reader
from gatewayz.core.errors import StoreUnavailable
from gatewayz.core.settings import Settings
from gatewayz.net.encoding import pack, unpack
from gatewayz.pricing.markup import PPM
from gatewayz.pricing.price import Price
from gatewayz.stores.open import Stores, open_stores

PRICE = Price("p-1", {"input": 10**9, "output": 2 * 10**9})


def snapshot(version: str, *names: str) -> Snapshot:
    """Models at one provider that has a credential and at one that has none."""
    entries = tuple(
        Entry(
            Model(f"acme/{name}", name.title(), output_modalities=("text",)),
            tuple(
                Offer(f"{slug}/{name}", f"acme/{name}", slug, name, PRICE)
                for slug in (("groq", "mistral") if name != "far" else ("mistral",))
            ),
        )
        for name in names
    )
    return Snapshot(version, 1_800_000_000_000, "published", entries, {}, {})


@pytest.fixture(autouse=True)
def one_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk_test")
    monkeypatch.delenv("MISTRAL_API_KEY", raising=False)


@pytest.fixture
async def stores(settings: Settings) -> AsyncIterator[Stores]:
    opened = open_stores(settings)
    yield opened
    await opened.close()


async def publish(settings: Settings, stores: Stores, made: Snapshot) -> None:
    own = load_own(settings.catalog, stores.secrets)
    await write(stores, made, render_pages(made, own.providers, own.ready))


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    app = importlib.import_module("functions.models.app").app
    before = app.state.planes
    app.state.planes = planes = _Planes(settings)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened
    await planes.close()
    app.state.planes = before


def look_again() -> None:
    """The moment after which a version is no longer believed."""
    reader = importlib.import_module("functions.models.app").app.state.readers[PPM]
    reader._until_s = 0.0


async def test_a_prepared_page_is_what_rendering_gives(settings: Settings, stores: Stores) -> None:
    made = snapshot("v1", "one", "two", "far")
    own = load_own(settings.catalog, stores.secrets)
    pages = render_pages(made, own.providers, own.ready)
    catalog = whole_catalog(own, made.entries, made.aliases)
    shelf = Shelf(own.providers, catalog, version="v1", built_at_ms=made.built_at_ms)
    for form in FORMS:
        for everything in (False, True):
            plain = shelf.whole_list(form, everything=everything)
            for encoding in PREPARED:
                name = page_name(form, encoding, own.ready, everything=everything)
                assert unpack(pages[name], encoding) == plain
    assert len(pages) == 8
    assert page_name("openai", "br", ["a"], everything=True) != page_name(
        "openai", "br", ["b"], everything=True
    )


async def test_a_list_without_filters_never_loads_the_catalog_where_a_page_is(
    settings: Settings, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(settings, stores, snapshot("v1", "one", "far"))

    async def refuse(stores: Stores) -> Any:
        raise AssertionError("the whole catalog was loaded")

    monkeypatch.setattr(reader_module, "load_snapshot", refuse)
    reader = Reader(settings, stores)
    for encoding, read in (
        ("br", brotli.decompress),
        ("gzip", gzip.decompress),
        ("identity", bytes),
    ):
        body = read(await reader.whole_list("openai", encoding, everything=False))  # type: ignore[arg-type]
        assert b'"acme/one"' in body
        assert b'"acme/far"' not in body
    assert (await reader.known("acme/far")).servable == ()
    with pytest.raises(AssertionError, match="loaded"):
        await reader.shelf()


async def test_pages_of_other_credentials_are_not_served(
    settings: Settings, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(settings, stores, snapshot("v1", "one", "far"))
    monkeypatch.setenv("MISTRAL_API_KEY", "secret")
    reader = Reader(settings, stores)
    body = await reader.whole_list("openai", "identity", everything=False)
    assert b'"acme/far"' in body


async def test_an_unreachable_store_leaves_the_last_version_in_place(
    settings: Settings, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    await publish(settings, stores, snapshot("v1", "one"))
    reader = Reader(settings, stores)
    before = await reader.tag(), [row.model.id for row in (await reader.shelf()).rows]

    async def away(name: str, keys: Any, args: Any) -> Any:
        raise StoreUnavailable("Redis cannot be reached.")

    monkeypatch.setattr(stores.redis, "script", away)
    reader._until_s = 0.0
    assert (await reader.tag(), [r.model.id for r in (await reader.shelf()).rows]) == before
    # A process that starts now has the blobs, and last what ships with the code.
    fresh = await Reader(settings, stores).shelf()
    assert [row.model.id for row in fresh.rows] == ["acme/one"]


async def test_a_new_version_is_seen_and_has_another_tag(
    settings: Settings, stores: Stores, client: httpx.AsyncClient
) -> None:
    await publish(settings, stores, snapshot("v1", "one"))
    first = await client.get("/v1/models")
    assert [item["id"] for item in first.json()["data"]] == ["acme/one"]
    await publish(settings, stores, snapshot("v2", "one", "two"))
    look_again()
    second = await client.get("/v1/models", headers={"if-none-match": first.headers["etag"]})
    assert second.status_code == 200
    assert [item["id"] for item in second.json()["data"]] == ["acme/one", "acme/two"]
    assert second.headers["etag"] != first.headers["etag"]
    assert [i["id"] for i in (await client.get("/v1/models?q=two")).json()["data"]] == ["acme/two"]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/models", "/api/v1/models", "/v1/models?available=all", "/v1/models?q=one",
        "/v1/models?gateway=all", "/api/v1/models?sort=newest&limit=1", "/v1/models/acme/one",
        "/api/v1/model/acme/one", "/api/v1/models/acme/one/endpoints", "/v1/providers",
        "/v1/endpoints/zdr", "/api/models/detail?modelId=acme/one",
        "/v1/models?sort=most-popular", "/v1/models?use_rss=true",
    ],
)  # fmt: skip
async def test_who_has_the_answer_gets_a_304(
    settings: Settings, stores: Stores, client: httpx.AsyncClient, path: str
) -> None:
    await publish(settings, stores, snapshot("v1", "one"))
    first = await client.get(path)
    assert first.status_code == 200
    tag = first.headers["etag"]
    assert tag.startswith('W/"')
    for known in (tag, tag.removeprefix("W/"), f'"other", {tag}', "*"):
        again = await client.get(path, headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
        assert "content-type" not in again.headers
    for foreign in ('"other"', 'W/"other"', ""):
        other = await client.get(path, headers={"if-none-match": foreign})
        assert (other.status_code, other.content) == (200, first.content)


async def test_different_questions_have_different_tags(
    settings: Settings, stores: Stores, client: httpx.AsyncClient
) -> None:
    await publish(settings, stores, snapshot("v1", "one"))
    paths = ["/v1/models", "/api/v1/models", "/v1/models?available=all", "/v1/models?q=one",
             "/v1/models?q=two", "/v1/models?limit=1", "/v1/models?offset=1&limit=1",
             "/api/v1/models?q=one", "/v1/models?sort=newest"]  # fmt: skip
    tags = [(await client.get(path)).headers["etag"] for path in paths]
    assert len(set(tags)) == len(paths)


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("br", "br"), ("gzip", "gzip"), ("gzip, deflate, br", "br"), ("gzip;q=1, br;q=0.5", "gzip"),
        ("br;q=0, gzip", "gzip"), ("*", "br"), ("identity", None), ("deflate", None), ("", None),
        ("gzip;q=0.5, identity", None), ("GZIP", "gzip"), ("gzip;q=nonsense", None),
    ],
)  # fmt: skip
async def test_an_answer_comes_in_the_encoding_that_is_asked_for(
    settings: Settings,
    stores: Stores,
    client: httpx.AsyncClient,
    accepted: str,
    encoding: str | None,
) -> None:
    await publish(settings, stores, snapshot("v1", "one"))
    for path in ("/v1/models", "/v1/models?q=one"):
        request = client.build_request("GET", path, headers={"accept-encoding": accepted})
        answer = await client.send(request, stream=True)
        raw = b"".join([part async for part in answer.aiter_raw()])
        assert answer.headers.get("content-encoding") == encoding
        assert "accept-encoding" in answer.headers["vary"].lower()
        assert answer.headers["cache-control"] == "private, max-age=60"
        assert int(answer.headers["content-length"]) == len(raw)
        assert b'"acme/one"' in unpack(raw, encoding or "identity")  # type: ignore[arg-type]
        await answer.aclose()


async def test_a_list_too_large_for_the_platform_comes_as_a_page_to_who_takes_it_unpacked(
    settings: Settings, stores: Stores
) -> None:
    names = [f"m{number:04d}" for number in range(1100)]
    await publish(settings, stores, snapshot("v1", *names))
    small = replace(settings, http=replace(settings.http, max_body_bytes=400_000))
    reader = Reader(small, stores)
    page = orjson.loads(await reader.whole_list("openrouter", "identity", everything=True))
    assert (len(page["data"]), page["total_count"]) == (1000, 1100)
    assert page["links"]["next"] == "/api/v1/models?available=all&offset=1000&limit=1000"
    packed = brotli.decompress(await reader.whole_list("openrouter", "br", everything=True))
    assert len(orjson.loads(packed)["data"]) == 1100


def test_packed_answers_unpack_to_themselves() -> None:
    body = b"a catalog " * 500
    for encoding in ("br", "gzip", "identity"):
        for kept in (False, True):
            assert unpack(pack(body, encoding, kept=kept), encoding) == body  # type: ignore[arg-type]


def test_kept_answers_make_room_for_newer_ones() -> None:
    kept = Kept(most_bytes=100)
    for number in range(10):
        kept.keep(f"t{number}", "br", bytes(30))
    assert [n for n in range(10) if kept.find(f"t{n}", "br") is not None] == [7, 8, 9]
    assert kept.keep("large", "br", bytes(60)) == bytes(60)
    assert kept.find("large", "br") is None
    assert kept.find("t9", "gzip") is None


async def test_a_model_that_only_the_operator_has_needs_no_publication(
    settings: Settings, stores: Stores, tmp_path: Any
) -> None:
    path = tmp_path / "operator.toml"
    path.write_text(
        '[[models]]\nid = "acme/mine"\nprovider = "groq"\nnative_id = "mine"\n'
        "input = 1\noutput = 2\n"
    )
    await publish(settings, stores, snapshot("v1", "one"))
    own = replace(settings, catalog=replace(settings.catalog, providers_file=str(path)))
    reader = Reader(own, stores)
    body = await reader.whole_list("openai", "identity", everything=False)
    assert b'"acme/mine"' in body
    assert b'"acme/one"' in body
    assert await reader.tag() != await Reader(settings, stores).tag()
