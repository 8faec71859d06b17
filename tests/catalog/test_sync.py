"""One run after another, over real stores and HTTP: what is stored, kept, hidden, published."""

import pytest

from gatewayz.catalog.resolver import Resolver
from gatewayz.catalog.snapshot import load_snapshot
from gatewayz.core.errors import Conflict
from tests.catalog.conftest import SyncWorld, priced


async def test_a_listing_becomes_models_offers_prices_and_a_publication(catalog: SyncWorld) -> None:
    catalog.lists("alpha", priced("maker/one", "0.5", "1.5"), priced("maker/two", "3", "15"))
    catalog.lists("beta", priced("Maker/One", "0.6", "1.7"))
    result = await catalog.run()
    assert result.state == "done", result
    assert [(p.provider, p.state, p.fetched, p.added) for p in result.providers] == [
        ("alpha", "good", 2, 2),
        ("beta", "good", 1, 1),
    ]
    snapshot = await load_snapshot(catalog.stores)
    assert snapshot.source == "published"
    assert [entry.model.id for entry in snapshot.entries] == ["maker/one", "maker/two"]
    first = snapshot.entries[0]
    assert {offer.id for offer in first.offers} == {"alpha/maker/one", "beta/Maker/One"}
    prices = {o.provider: o.price.nanos_per_million for o in first.offers if o.price}
    assert prices == {
        "alpha": {"input": 500_000_000, "output": 1_500_000_000},
        "beta": {"input": 600_000_000, "output": 1_700_000_000},
    }


async def test_the_same_listing_again_changes_nothing_and_publishes_nothing(
    catalog: SyncWorld,
) -> None:
    catalog.lists("alpha", priced("maker/one"))
    first = await catalog.run()
    second = await catalog.run()
    assert first.published and second.published
    assert first.published.fresh and not second.published.fresh
    assert first.published.version == second.published.version
    assert (second.providers[0].added, second.providers[0].changed) == (0, 0)
    assert len(await catalog.rpc("price_history", offer="alpha/maker/one")) == 1


async def test_a_changed_price_is_a_new_row_and_the_old_one_stays(catalog: SyncWorld) -> None:
    catalog.lists("alpha", priced("maker/one", "1", "2"))
    await catalog.run()
    catalog.lists("alpha", priced("maker/one", "1.2", "2"))
    result = await catalog.run()
    assert result.providers[0].changed == 1
    new, old = await catalog.rpc("price_history", model="maker/one")
    assert new["cost"]["input"] == 1_200_000_000
    assert old["cost"]["input"] == 1_000_000_000
    assert old["valid_to_ms"] == new["valid_from_ms"]
    assert await catalog.rpc("find_price", version=old["version"]) == old


async def test_a_provider_that_fails_keeps_its_last_good_data(catalog: SyncWorld) -> None:
    catalog.lists("alpha", priced("maker/one"))
    catalog.lists("beta", priced("maker/one", "9", "9"))
    await catalog.run()
    catalog.listings.answers["beta"] = (503, b"away")
    catalog.lists("alpha", priced("maker/one"), priced("maker/two"))
    result = await catalog.run()
    states = {p.provider: (p.state, p.error) for p in result.providers}
    assert states["alpha"][0] == "good"
    assert states["beta"] == ("failed", "status 503")
    snapshot = await load_snapshot(catalog.stores)
    offers = {offer.id for entry in snapshot.entries for offer in entry.offers}
    assert offers == {"alpha/maker/one", "alpha/maker/two", "beta/maker/one"}
    (alert,) = await catalog.rpc("catalog_list_alerts")
    assert (alert["kind"], alert["subject"]) == ("listing_failed", "beta")


async def test_an_offer_is_hidden_after_three_good_runs_without_it_and_comes_back(
    catalog: SyncWorld,
) -> None:
    both = [priced("maker/one"), priced("maker/two")]
    catalog.lists("alpha", *both)
    await catalog.run()

    async def shown() -> set[str]:
        snapshot = await load_snapshot(catalog.stores)
        return {entry.model.id for entry in snapshot.entries}

    catalog.lists("alpha", both[0])
    for _ in range(2):
        result = await catalog.run(force=True)
        assert result.providers[0].missing == 1
        assert await shown() == {"maker/one", "maker/two"}
    # A failure in between proves nothing: it counts for nobody.
    catalog.listings.answers["alpha"] = (500, b"")
    await catalog.run(force=True)
    assert await shown() == {"maker/one", "maker/two"}
    catalog.lists("alpha", both[0])
    await catalog.run(force=True)
    assert await shown() == {"maker/one"}
    assert await catalog.price("alpha/maker/two") is not None, "hidden, never deleted"
    catalog.lists("alpha", *both)
    await catalog.run(force=True)
    assert await shown() == {"maker/one", "maker/two"}


async def test_two_syncs_never_overlap(catalog: SyncWorld) -> None:
    await catalog.rpc("catalog_begin_sync", run_id="sync_A", kind="all", ttl_ms=60_000)
    with pytest.raises(Conflict) as refused:
        await catalog.run()
    assert refused.value.code == "sync_running"


async def test_a_run_that_died_is_taken_up_where_it_was(catalog: SyncWorld) -> None:
    catalog.lists("alpha", priced("maker/one"))
    catalog.lists("beta", priced("maker/two"))
    begun = await catalog.sync().run(["alpha"])
    await catalog.rpc("catalog_begin_sync", run_id="sync_DEAD", kind="all", ttl_ms=60_000)
    await catalog.rpc(
        "catalog_close_provider", run_id="sync_DEAD", provider="alpha", fetched=1, added=0,
        changed=0, quarantined=0,
    )  # fmt: skip
    await catalog.rpc("catalog_finish_sync", run_id="sync_DEAD", state="running")
    catalog.listings.asked.clear()
    result = await catalog.run()
    assert (begun.run_id, result.resumed, result.run_id) == (begun.run_id, True, "sync_DEAD")
    assert catalog.listings.asked == ["beta"], "alpha was done already"
    assert result.state == "done"


async def test_who_lost_the_lock_stores_nothing_more(catalog: SyncWorld) -> None:
    await catalog.rpc("catalog_begin_sync", run_id="sync_A", kind="all", ttl_ms=60_000)
    await catalog.rpc("catalog_finish_sync", run_id="sync_A", state="failed")
    with pytest.raises(Conflict) as refused:
        await catalog.rpc(
            "catalog_store", run_id="sync_A", provider="alpha", offers=[], quarantine=[]
        )
    assert refused.value.code == "sync_lock_lost"


async def test_a_dry_run_tells_what_would_change_and_changes_nothing(catalog: SyncWorld) -> None:
    catalog.lists("alpha", priced("maker/one", "1", "2"), priced("maker/two"))
    await catalog.run()
    before = await catalog.rpc("catalog_runs")
    catalog.lists("alpha", priced("maker/one", "1.5", "2"), priced("maker/new", "-3", "1"))
    result = await catalog.run(dry_run=True)
    (alpha,) = result.providers
    assert (result.state, alpha.added, alpha.changed, alpha.missing) == ("dry", 1, 1, 1)
    assert alpha.changes == [("maker/one", "input 1, output 2", "input 1.5, output 2")]
    assert alpha.held == [("maker/new", "unreadable", "input: -3 is negative")]
    assert await catalog.rpc("catalog_runs") == before
    assert (await catalog.price("alpha/maker/one") or {})["cost"]["input"] == 1_000_000_000


async def test_the_data_plane_sees_what_was_published(catalog: SyncWorld) -> None:
    from gatewayz.catalog.model import Catalog

    catalog.lists("alpha", priced("maker/one"))
    await catalog.run()
    ready = frozenset({"alpha"})
    local = Catalog([], aliases={}, ready=ready)
    resolver = Resolver(catalog.stores.redis, local, ready=ready, known=ready)
    known = await resolver.resolve("maker/one:nitro")
    assert (known.model.id, known.variants) == ("maker/one", ("nitro",))
    assert [offer.id for offer in known.servable] == ["alpha/maker/one"]
    known = await resolver.resolve("maker/one")
    assert known.variants == ()
