"""GET /v1/prices/history over what real syncs stored and published, old versions and tiers too."""

import importlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from gatewayz.api.app import _Planes
from gatewayz.core.settings import Settings
from tests.catalog.conftest import SyncWorld, priced

ONE = "/v1/prices/history?model=maker/one"


@pytest.fixture
async def shop(settings: Settings, catalog: SyncWorld) -> AsyncIterator[httpx.AsyncClient]:
    """The function that shows the catalog, over the stores that the syncs write."""
    app = importlib.import_module("functions.models.app").app
    before = app.state.planes
    app.state.planes = _Planes(replace(settings))
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://models") as client:
        yield client
    await app.state.planes.close()
    app.state.planes = before


async def history(shop: httpx.AsyncClient, path: str = ONE) -> list[dict[str, Any]]:
    got = await shop.get(path)
    assert got.status_code == 200, got.text
    rows: list[dict[str, Any]] = got.json()["data"]
    return rows


async def test_every_price_that_an_offer_had_is_told_with_its_time(
    catalog: SyncWorld, shop: httpx.AsyncClient
) -> None:
    for usd in ("1", "1.2", "1.5"):
        catalog.lists("groq", priced("maker/one", usd, "2"), priced("maker/two"))
        catalog.lists("together", priced("maker/one", "3", "4"))
        await catalog.run(force=True)
    rows = await history(shop)
    assert sorted((r["offer"], r["pricing"]["prompt"], r["state"]) for r in rows) == [
        ("groq/maker/one", "0.000001", "past"),
        ("groq/maker/one", "0.0000012", "past"),
        ("groq/maker/one", "0.0000015", "current"),
        ("together/maker/one", "0.000003", "current"),
    ]
    assert [r["valid_from"] for r in rows] == sorted((r["valid_from"] for r in rows), reverse=True)
    mine = [r for r in rows if r["offer"] == "groq/maker/one"]
    assert [r["valid_to"] for r in mine] == [None, mine[0]["valid_from"], mine[1]["valid_from"]]
    assert all(r["source"] == "listing" and r["checked_at"] for r in rows)
    shown = (await shop.get("/v1/models/maker/one/endpoints?available=all")).json()["data"]
    now = {e["tag"]: e["pricing"]["prompt"] for e in shown["endpoints"]}
    assert now == {"groq": "0.0000015", "together": "0.000003"}, "current is what is published"
    assert {e["price_version"] for e in shown["endpoints"]} == {
        r["version"] for r in rows if r["state"] == "current"
    }
    told: list[dict[str, Any]] = []
    before: str | None = ""
    while before is not None:
        page = (await shop.get(f"{ONE}&limit=2{before}")).json()
        told += page["data"]
        after = page["next_before_ms"]
        before = None if after is None else f"&before_ms={after}"
    assert told == rows
    assert await history(shop, "/v1/prices/history?offer=together/maker/one") == [
        r for r in rows if r["provider"] == "together"
    ]
    assert len(await history(shop, "/v1/prices/history?provider=groq")) == 4


async def test_tiers_and_cached_prices_of_the_past_are_told_in_full(
    catalog: SyncWorld, shop: httpx.AsyncClient
) -> None:
    catalog.provider("routes", kind="openrouter", unit="usd_per_token")
    for usd in ("0.000002", "0.000003"):
        long = {"min_prompt_tokens": 200001, "prompt": "0.000004", "completion": "0.00002"}
        pricing = {"prompt": usd, "completion": "0.00001", "input_cache_read": "0.0000002",
                   "overrides": [long]}  # fmt: skip
        catalog.listings.models(
            "routes", {"id": "maker/long", "context_length": 1_000_000, "pricing": pricing}
        )
        await catalog.run(force=True)
    new, old = await history(shop, "/v1/prices/history?model=maker/long")
    assert (new["pricing"]["prompt"], old["pricing"]["prompt"]) == ("0.000003", "0.000002")
    for row in (new, old):
        assert row["pricing"]["input_cache_read"] == "0.0000002"
        (tier,) = row["pricing"]["overrides"]
        assert (tier["min_prompt_tokens"], tier["prompt"]) == (200001, "0.000004")


async def test_the_past_is_shown_as_it_is_sold(catalog: SyncWorld, shop: httpx.AsyncClient) -> None:
    for usd in ("1", "1.2"):
        catalog.lists("groq", priced("maker/one", usd, "2"))
        await catalog.run(force=True)
    await catalog.rpc("catalog_set_offer", offer="groq/maker/one", actor="ann", markup_ppm=1500000)
    new, old = await history(shop)
    assert (new["pricing"]["prompt"], old["pricing"]["prompt"]) == ("0.0000018", "0.0000015")
    assert (await catalog.rpc("find_price", version=old["version"]))["cost"]["input"] == 10**9


async def test_a_price_that_was_held_back_is_no_past_price_until_it_is_accepted(
    catalog: SyncWorld, shop: httpx.AsyncClient
) -> None:
    catalog.lists("groq", priced("maker/one", "1", "2"))
    await catalog.run()
    catalog.lists("groq", priced("maker/one", "100", "200"))
    await catalog.run(force=True)
    assert [r["pricing"]["prompt"] for r in await history(shop)] == ["0.000001"]
    (held,) = await catalog.rpc("catalog_list_quarantine")
    await catalog.rpc("catalog_decide", id=held["id"], decision="accepted", actor="ann")
    await catalog.run(force=True)
    assert [r["pricing"]["prompt"] for r in await history(shop)] == ["0.0001", "0.000001"]
