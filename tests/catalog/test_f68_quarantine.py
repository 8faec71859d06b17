"""F21, F68, F69: a sync that lies, an empty store, a model without a price. By number."""

import json
from typing import Any

import pytest

from gatewayz.catalog.bundle import open_bundle
from gatewayz.catalog.listings.row import Row
from gatewayz.catalog.model import Catalog
from gatewayz.catalog.publish import PublishRefused, publish
from gatewayz.catalog.resolver import POINTER, SCRIPT, Resolver
from gatewayz.catalog.snapshot import bundled_snapshot, load_snapshot
from gatewayz.core.errors import NotFound, StoreUnavailable
from tests.catalog.conftest import SyncWorld, priced

OFFER = "alpha/maker/one"
LIES: dict[str, dict[str, Any]] = {
    "minus one": {"prompt": "-1", "completion": "-1"},
    "negative": {"prompt": "-0.5", "completion": "2"},
    "zero": {"prompt": "0", "completion": "0"},
    "zero input": {"prompt": "0", "completion": "2"},
    "NaN": {"prompt": "NaN", "completion": "2"},
    "Infinity": {"prompt": "Infinity", "completion": "2"},
    "a word": {"prompt": "free", "completion": "free"},
    "1e9": {"prompt": "1e9", "completion": "1e9"},
    "above ten thousand": {"prompt": "10000.01", "completion": "20000"},
    "per token": {"prompt": "0.000001", "completion": "0.000002"},
    "per thousand": {"prompt": "0.001", "completion": "0.002"},
    "a hundred times": {"prompt": "100", "completion": "200"},
    "five times": {"prompt": "5", "completion": "2"},
    "a fifth": {"prompt": "1", "completion": "0.4"},
    "finer than a nano-dollar": {"prompt": "1.00000000001", "completion": "2"},
}


async def test_F68_prices_that_cannot_be_true_are_held_back_and_the_old_ones_stay(
    catalog: SyncWorld,
) -> None:
    """All lies in one listing, each on a model of its own, beside enough honest ones."""
    names = {lie: f"maker/{lie.replace(' ', '-')}" for lie in LIES}
    honest = [priced(f"maker/honest{number}") for number in range(len(LIES))]
    catalog.lists("alpha", *honest, *(priced(name) for name in names.values()))
    await catalog.run()
    told = [{"id": names[lie], "pricing": pricing} for lie, pricing in LIES.items()]
    catalog.lists("alpha", *honest, *told)
    result = await catalog.run()
    assert result.state == "done"
    held = {row["offer_id"]: row for row in await catalog.rpc("catalog_list_quarantine")}
    assert set(held) == {f"alpha/{name}" for name in names.values()}
    old = {"input": 1_000_000_000, "output": 2_000_000_000}
    snapshot = await load_snapshot(catalog.stores)
    shown = {offer.id: offer.price for entry in snapshot.entries for offer in entry.offers}
    for lie, name in names.items():
        row = held[f"alpha/{name}"]
        assert row["standing"]["nanos"] == old, lie
        stored = await catalog.price(f"alpha/{name}")
        assert stored is not None and stored["cost"] == old, lie
        price = shown[f"alpha/{name}"]
        assert price is not None and price.nanos_per_million == old, lie


async def test_F68_a_lie_on_a_new_model_leaves_it_without_a_price(catalog: SyncWorld) -> None:
    catalog.lists("alpha", priced("maker/one"), priced("maker/new", "0", "0"))
    await catalog.run()
    assert await catalog.price("alpha/maker/new") is None
    assert [row["offer"] for row in await catalog.rpc("catalog_unpriced")] == ["alpha/maker/new"]


async def test_F68_free_must_be_declared_even_for_a_known_model(catalog: SyncWorld) -> None:
    catalog.lists("alpha", priced("maker/one"))
    await catalog.run()
    free = {"id": "maker/one", "is_free": True, "pricing": {"prompt": "0", "completion": "0"}}
    catalog.lists("alpha", free)
    await catalog.run()
    (held,) = await catalog.rpc("catalog_list_quarantine")
    assert held["reason"] == "became_free"


async def test_F68_half_of_the_models_gone_means_the_listing_is_broken(
    catalog: SyncWorld,
) -> None:
    models = [priced(f"maker/m{number}") for number in range(10)]
    catalog.lists("alpha", *models)
    await catalog.run()
    for left in (4, 2, 0, 4):
        catalog.lists("alpha", *models[:left])
        result = await catalog.run(force=True)
        assert result.providers[0].state == "failed"
    snapshot = await load_snapshot(catalog.stores)
    assert len(snapshot.entries) == 10, "nothing was hidden"
    (alert,) = await catalog.rpc("catalog_list_alerts")
    assert (alert["kind"], alert["subject"]) == ("listing_shrank", "alpha")


async def test_F68_fewer_than_the_known_minimum_is_a_broken_listing(catalog: SyncWorld) -> None:
    catalog.provider("openrouter")
    catalog.lists("openrouter", *(priced(f"maker/m{n}") for n in range(120)))
    await catalog.run()
    catalog.lists("openrouter", *(priced(f"maker/m{n}") for n in range(99)))
    result = await catalog.run()
    assert result.providers[0].error == (
        "not believed: 99 models, at least 100 are known to be there"
    )


async def test_F68_more_than_a_tenth_changed_at_once_needs_somebody_who_says_so(
    catalog: SyncWorld,
) -> None:
    catalog.lists("alpha", *(priced(f"maker/m{n}", "1", "2") for n in range(30)))
    first = await catalog.run()
    assert first.published is not None
    catalog.lists(
        "alpha", *(priced(f"maker/m{n}", "1.1" if n < 4 else "1", "2") for n in range(30))
    )
    refused = await catalog.run()
    assert refused.state == "refused"
    assert refused.detail.startswith("4 of 30 published offers changed")
    snapshot = await load_snapshot(catalog.stores)
    assert snapshot.version == first.published.version, "the old one is served"
    assert [a["kind"] for a in await catalog.rpc("catalog_list_alerts")] == ["publish_refused"]
    again = await catalog.run()
    assert again.state == "refused", "it does not pass by waiting"
    forced = await catalog.run(force=True)
    assert forced.state == "done"
    assert forced.published is not None and forced.published.changed == 4
    assert await catalog.rpc("catalog_list_alerts") == []


async def test_F68_a_tenth_may_change(catalog: SyncWorld) -> None:
    catalog.lists("alpha", *(priced(f"maker/m{n}", "1", "2") for n in range(30)))
    await catalog.run()
    catalog.lists(
        "alpha", *(priced(f"maker/m{n}", "1.1" if n < 3 else "1", "2") for n in range(30))
    )
    assert (await catalog.run()).state == "done"


@pytest.mark.parametrize(
    ("theirs", "reason"),
    [
        (("10", "20"), "power_of_ten"),
        (("1000", "2000"), "power_of_ten"),
        (("3", "7"), "disagreement"),
    ],
)
async def test_F68_two_sources_that_cannot_both_be_right_are_held_back(
    catalog: SyncWorld, theirs: tuple[str, str], reason: str
) -> None:
    from decimal import Decimal

    rates = {"input": Decimal(theirs[0]), "output": Decimal(theirs[1])}
    catalog.feeds["models_dev"] = [("alpha", Row("maker/one", rates=rates))]
    catalog.lists("alpha", priced("maker/one", "1", "2"), priced("maker/two"))
    await catalog.run()
    (held,) = await catalog.rpc("catalog_list_quarantine")
    assert held["reason"] == reason
    assert await catalog.price(OFFER) is None
    await catalog.rpc("catalog_decide", id=held["id"], decision="accepted", actor="alice")
    price = await catalog.price(OFFER)
    assert price is not None and price["cost"]["input"] == 1_000_000_000
    await catalog.run()
    assert await catalog.rpc("catalog_list_quarantine") == [], "what was decided is not asked again"


async def test_F68_what_was_rejected_is_not_asked_again(catalog: SyncWorld) -> None:
    catalog.lists("alpha", priced("maker/one"))
    await catalog.run()
    catalog.lists("alpha", priced("maker/one", "9", "2"))
    await catalog.run()
    (held,) = await catalog.rpc("catalog_list_quarantine")
    await catalog.rpc("catalog_decide", id=held["id"], decision="rejected", actor="alice")
    await catalog.run()
    assert await catalog.rpc("catalog_list_quarantine") == []
    price = await catalog.price(OFFER)
    assert price is not None and price["cost"]["input"] == 1_000_000_000


# ---------------------------------------------------------------- F21


async def test_F21_an_empty_catalog_is_never_published(catalog: SyncWorld) -> None:
    with pytest.raises(PublishRefused):
        await publish(catalog.stores)
    catalog.lists("alpha", priced("maker/one", "0", "0"))
    result = await catalog.run()
    assert result.state == "refused"
    assert (await load_snapshot(catalog.stores)).source == "bundled"


def _resolver(catalog: SyncWorld, *ready: str) -> Resolver:
    names = frozenset(ready)
    return Resolver(
        catalog.stores.redis, Catalog([], aliases={}, ready=names), ready=names, known=names
    )


async def test_F21_an_empty_store_is_served_from_the_bundled_catalog(catalog: SyncWorld) -> None:
    bundled = next(e for e in open_bundle().entries() if e.offers[0].price is not None)
    resolver = _resolver(catalog, bundled.offers[0].provider)
    known = await resolver.resolve(bundled.model.id)
    assert known.model == bundled.model
    assert known.servable
    assert (await load_snapshot(catalog.stores)).version == bundled_snapshot().version


async def test_F21_a_store_that_lost_the_entries_leaves_what_is_in_memory(
    catalog: SyncWorld, redis_url: str
) -> None:
    import redis

    catalog.lists("alpha", priced("maker/one"), priced("maker/two"))
    await catalog.run()
    resolver = _resolver(catalog, "alpha")
    before = await resolver.resolve("maker/one")
    with redis.Redis.from_url(redis_url) as client:
        client.flushall()
    await resolver._check()
    assert await resolver.resolve("maker/one") == before
    with pytest.raises(NotFound):
        await resolver.resolve("maker/two")
    assert (await load_snapshot(catalog.stores)).source == "blob", "the blobs have it whole"


async def test_F21_a_damaged_entry_is_answered_from_the_version_before(
    catalog: SyncWorld, redis_url: str
) -> None:
    import redis

    catalog.lists("alpha", priced("maker/one", "1", "2"))
    await catalog.run()
    catalog.lists("alpha", priced("maker/one", "1.1", "2"))
    second = await catalog.run(force=True)
    assert second.published is not None
    with redis.Redis.from_url(redis_url) as client:
        client.hset(f"{POINTER}:{second.published.version}", "m:maker/one", '{"v": 99}')
    known = await _resolver(catalog, "alpha").resolve("maker/one")
    price = known.servable[0].price
    assert price is not None and price.of("input") == 1_000_000_000


async def test_F21_redis_away_is_served_from_memory_then_from_the_bundle(
    catalog: SyncWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog.lists("alpha", priced("maker/one"))
    await catalog.run()
    resolver = _resolver(catalog, "alpha", "groq")
    await resolver.resolve("maker/one")

    async def away(*args: Any) -> Any:
        raise StoreUnavailable("away")

    monkeypatch.setattr(catalog.stores.redis, "script", away)
    assert (await resolver.resolve("maker/one")).model.id == "maker/one"
    known = await resolver.resolve("meta-llama/llama-3.3-70b-instruct")
    assert [offer.provider for offer in known.servable] == ["groq"]


async def test_F21_a_version_that_is_not_whole_is_never_switched_to(catalog: SyncWorld) -> None:
    script = catalog.stores.redis.script
    await script(SCRIPT, [POINTER], ["put", "v1", 60, "m:a/b", "{}"])
    assert await script(SCRIPT, [POINTER], ["switch", "v1", 2, 60]) == ["incomplete", ""]
    assert await script(SCRIPT, [POINTER], ["state"]) == ["", "", 0]
    assert await script(SCRIPT, [POINTER], ["switch", "v1", 1, 60]) == ["switched", ""]


# ---------------------------------------------------------------- F69


async def test_F69_a_model_without_a_price_is_found_but_cannot_be_served(
    catalog: SyncWorld,
) -> None:
    unpriced = {"id": "maker/secret", "context_length": 1000}
    catalog.lists("alpha", priced("maker/one"), unpriced)
    await catalog.run()
    known = await _resolver(catalog, "alpha").resolve("maker/secret")
    assert [offer.price for offer in known.offers] == [None]
    assert known.servable == ()
    assert not known.offers[0].free, "unknown is never zero"


def test_F69_no_bundled_offer_costs_nothing_unless_it_says_so() -> None:
    for entry in open_bundle().entries():
        for offer in entry.offers:
            if offer.price is not None and not any(offer.price.nanos_per_million.values()):
                declared = offer.native_id.endswith(":free") or "moderation" in offer.native_id
                assert declared, offer.id


def test_the_lies_are_json_a_provider_could_send() -> None:
    assert json.loads(json.dumps(LIES)) == LIES
