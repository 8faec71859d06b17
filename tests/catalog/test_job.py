"""The schedule: hourly, off on a developer's machine, never twice at once."""

import importlib
from dataclasses import replace
from typing import Any

import pytest

from gatewayz.catalog.results import RunResult
from gatewayz.catalog.syncing import scheduled
from gatewayz.core.errors import Conflict
from gatewayz.core.settings import Settings, load_settings


@pytest.mark.parametrize(
    ("stage", "sync", "runs"),
    [("production", "auto", True), ("staging", "auto", True), ("local", "auto", False),
     ("test", "auto", False), ("local", "on", True), ("production", "off", False)],
)  # fmt: skip
def test_listings_are_read_by_the_clock_where_that_is_wanted(
    stage: str, sync: str, runs: bool
) -> None:
    settings = load_settings({"GATEWAYZ_STAGE": stage, "GATEWAYZ_SYNC": sync})
    assert scheduled(settings) is runs


async def test_the_job_says_what_it_did_and_that_another_one_runs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = importlib.import_module("functions.sync_models.job")
    on = replace(settings, catalog=replace(settings.catalog, sync="on"))
    monkeypatch.setattr(job, "load_settings", lambda: on)
    outcomes: list[Any] = [RunResult("sync_1"), Conflict("sync running", code="sync_running")]

    async def stand_in(stores: Any, given: Settings) -> RunResult:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome  # type: ignore[no-any-return]

    monkeypatch.setattr(job, "sync_catalog", stand_in)
    assert (await job.sync_models(None))["state"] == "done"
    assert await job.sync_models(None) == {"state": "busy", "detail": "sync_running"}
    monkeypatch.setattr(job, "load_settings", lambda: settings)
    assert await job.sync_models(None) == {"state": "off"}
    assert job.schedule.every_s(settings) == 3600


async def test_a_first_sync_starts_from_the_bundled_catalog(settings: Settings) -> None:
    """Nothing can be asked for from here: the bundled prices are stored, and published."""
    from gatewayz.catalog.bundle import open_bundle
    from gatewayz.catalog.fetch import Fetcher
    from gatewayz.catalog.snapshot import load_snapshot
    from gatewayz.catalog.sync import Sync
    from gatewayz.net.http import HttpClient
    from gatewayz.providers.config import load_providers
    from gatewayz.stores.open import open_stores

    stores, http = open_stores(settings), HttpClient()
    fetcher = Fetcher(http, lambda name: None)
    rows = {slug: replace(p, listing=None) for slug, p in load_providers().items()}

    async def no_feed(name: str, today: str) -> list[Any]:
        return []

    async def no_hub() -> dict[str, Any]:
        return {}

    fetcher.feed = no_feed  # type: ignore[method-assign]
    fetcher.hub = no_hub  # type: ignore[method-assign]
    result = await Sync(stores, rows, fetcher).run()
    assert result.seeded == open_bundle().about.offers
    assert {one.state for one in result.providers} == {"skipped"}
    assert result.published is not None
    snapshot = await load_snapshot(stores)
    shown = {o.id: o.price for e in snapshot.entries for o in e.offers if o.price}
    assert shown == {o.id: o.price for e in open_bundle().entries() for o in e.offers if o.price}
    await http.aclose()
    await stores.close()
