"""Downloads and likes of Hugging Face: from the hub's listing to a model's page."""

import json
from typing import Any

import pytest

from gatewayz.catalog import facts, hub
from gatewayz.catalog.fetch import Fetcher, FetchFailed
from gatewayz.catalog.hub import Figures
from gatewayz.catalog.snapshot import load_snapshot
from gatewayz.net.http import HttpClient
from tests.catalog.conftest import Listings, SyncWorld, priced

OPEN = "Maker/Open-7B"


async def figures(catalog: SyncWorld, model_id: str = "maker/open-7b") -> tuple[Any, Any]:
    entries = (await load_snapshot(catalog.stores)).entries
    model = next(entry.model for entry in entries if entry.model.id == model_id)
    return model.hf_downloads, model.hf_likes


async def test_the_figures_reach_the_model_and_a_silent_hub_takes_none_away(
    catalog: SyncWorld,
) -> None:
    catalog.lists("alpha", priced("maker/open-7b", hugging_face_id=OPEN), priced("maker/closed"))
    catalog.hub = {OPEN.lower(): Figures(1000, 40), "maker/closed": Figures(9, 9)}
    first = await catalog.run()
    assert first.feeds["huggingface"] == "figures of 2 models"
    assert await figures(catalog) == (1000, 40)
    assert await figures(catalog, "maker/closed") == (None, None), "it says no id of the hub"
    catalog.hub = None
    again = await catalog.run()
    assert again.feeds["huggingface"] == "failed: status 503"
    assert (again.state, await figures(catalog)) == ("done", (1000, 40))


async def test_a_drift_of_counters_is_no_new_catalog(catalog: SyncWorld) -> None:
    catalog.lists("alpha", priced("maker/open-7b", hugging_face_id=OPEN))
    catalog.hub = {OPEN.lower(): Figures(1000, 40)}
    await catalog.run()
    catalog.hub = {OPEN.lower(): Figures(1050, 42)}
    published = (await catalog.run()).published
    assert published is not None and not published.fresh
    assert await figures(catalog) == (1000, 40), "a twentieth is no move"
    catalog.hub = {OPEN.lower(): Figures(1051, 42)}
    await catalog.run()
    assert await figures(catalog) == (1051, 40)


async def test_the_hub_is_read_task_by_task_and_wholly_or_not(
    listing_server: tuple[Listings, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    listings, url = listing_server
    asked: list[str] = []

    def page(query: str) -> tuple[int, bytes]:
        asked.append(query)
        items = [
            {"id": f"Maker/{len(asked)}", "downloads": len(asked), "likes": 0},
            {"id": "Maker/Half", "downloads": None, "likes": 1},
            {"id": "Maker/Odd", "downloads": True, "likes": -1},
            "no model",
        ]
        return 200, json.dumps(items).encode()

    monkeypatch.setattr(hub, "hub", lambda: {"url": f"{url}/hub"})
    listings.answers["hub"] = page
    http = HttpClient()
    fetcher = Fetcher(http, lambda name: None)
    found = await fetcher.hub()
    assert found == {f"maker/{n}": Figures(n, 0) for n in range(1, len(facts.hub()["tasks"]) + 1)}
    assert asked[0].startswith(
        "pipeline_tag=text-generation&sort=downloads&direction=-1&limit=1000"
    )
    for answer in ((503, b""), (200, b"<html>"), (200, b'{"error": "no"}')):
        listings.answers["hub"] = answer
        with pytest.raises(FetchFailed):
            await fetcher.hub()
    await http.aclose()
