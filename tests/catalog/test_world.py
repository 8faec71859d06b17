"""Many providers, a reader that never stops, and death at every step: the old catalog or the new
one, whole. The size grows with CATALOG_WORLD (models in all); `make catalog-world` runs 10,000.
"""

import asyncio
import os
import tracemalloc
from dataclasses import replace
from typing import Any

import pytest

from gatewayz.catalog.model import Catalog
from gatewayz.catalog.publish import publish
from gatewayz.catalog.record import decode
from gatewayz.catalog.resolver import POINTER, SCRIPT, Resolver
from gatewayz.catalog.snapshot import load_snapshot
from gatewayz.core import clock
from gatewayz.stores.open import Stores
from tests.catalog.conftest import SyncWorld, priced

PROVIDERS = 60
MODELS = int(os.environ.get("CATALOG_WORLD", "240"))
HOSTS_PER_MODEL = 2
# A function of fifteen minutes; here only the largest size comes near a bound that means anything.
MAX_SYNC_S = 600.0
MAX_BYTES = 600 * 1024 * 1024


class Killed(BaseException):
    """The process is gone: nothing of ours runs any more."""


class Mortal:
    """Calls go through until the one at which the process dies: before it, or right after."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.calls = 0
        self._at = at
        self._after = after

    def wrap(self, stores: Stores) -> Stores:
        redis, postgres, blobs = stores.redis, stores.postgres, stores.blobs
        mortal = self

        class Redis:
            async def script(self, *args: Any) -> Any:
                return await mortal.call(redis.script, *args)

        class Postgres:
            async def rpc(self, *args: Any, **more: Any) -> Any:
                return await mortal.call(postgres.rpc, *args, **more)

        class Blobs:
            async def put(self, *args: Any, **more: Any) -> Any:
                return await mortal.call(blobs.put, *args, **more)

            get, list_keys, delete = blobs.get, blobs.list_keys, blobs.delete

        return replace(
            stores,
            redis=Redis(),  # type: ignore[arg-type]
            postgres=Postgres(),  # type: ignore[arg-type]
            _opened=[Blobs()],  # type: ignore[list-item]
        )

    async def call(self, do: Any, *args: Any, **more: Any) -> Any:
        self.calls += 1
        if self.calls == self._at and not self._after:
            raise Killed
        answer = await do(*args, **more)
        if self.calls == self._at:
            raise Killed
        return answer


async def shown(catalog: SyncWorld) -> set[tuple[str, int]]:
    snapshot = await load_snapshot(catalog.stores)
    return {
        (entry.model.id, offer.price.nanos_per_million["input"])
        for entry in snapshot.entries
        for offer in entry.offers
        if offer.price is not None
    }


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
async def test_killed_at_any_step_of_publishing_the_catalog_is_the_old_one_or_the_new_one(
    catalog: SyncWorld, after: bool
) -> None:
    names = [f"maker/m{number}" for number in range(5)]
    catalog.lists("alpha", *(priced(name, "1", "2") for name in names))
    await catalog.run()
    old = {(name, 1_000_000_000) for name in names}
    new = {(name, 1_100_000_000) for name in names}
    assert await shown(catalog) == old
    catalog.lists("alpha", *(priced(name, "1.1", "2") for name in names))
    await _store_only(catalog)
    died = 0
    for step in range(1, 200):
        mortal = Mortal(step, after=after)
        try:
            await publish(mortal.wrap(catalog.stores), force=True)
        except Killed:
            died += 1
            assert await shown(catalog) in (old, new), step
            ready = frozenset({"alpha"})
            local = Catalog([], aliases={}, ready=ready)
            resolver = Resolver(catalog.stores.redis, local, ready=ready, known=ready)
            seen = set()
            for name in names:
                (offer,) = (await resolver.resolve(name)).servable
                assert offer.price is not None
                seen.add((name, offer.price.nanos_per_million["input"]))
            assert seen in (old, new), step
            continue
        break
    assert died >= 8
    assert await shown(catalog) == new


async def _store_only(catalog: SyncWorld) -> None:
    """What a run stores, without its publication."""
    sync = catalog.sync()

    async def nothing(result: Any, *, force: bool) -> None:
        result.state = "done"

    sync._publish = nothing  # type: ignore[method-assign]
    await sync.run()


async def test_killed_anywhere_in_a_run_the_old_catalog_stays_and_the_next_run_finishes_it(
    catalog: SyncWorld,
) -> None:
    names = [f"maker/m{number}" for number in range(30)]
    for slug in ("alpha", "beta"):
        catalog.lists(slug, *(priced(name, "1", "2") for name in names))
    await catalog.run()
    old = {(name, 1_000_000_000) for name in names}
    real = catalog.stores
    step, died = 1, 0
    while True:
        changed = [priced(name, "1.1" if name == "maker/m0" else "1", "2") for name in names]
        catalog.lists("alpha", *changed)
        catalog.lists("beta", *changed)
        catalog.stores = Mortal(step, after=step % 2 == 0).wrap(real)
        try:
            result = await catalog.run()
        except Killed:
            died += 1
            catalog.stores = real
            found = await shown(catalog)
            assert len(found) == len(old), step
            # The lock of a dead run lapses; here the test does not wait for that.
            await _unlock(catalog)
            step += 2
            continue
        break
    catalog.stores = real
    assert died >= 4
    assert result.state == "done", result
    assert ("maker/m0", 1_100_000_000) in await shown(catalog)


async def _unlock(catalog: SyncWorld) -> None:
    for run in await catalog.rpc("catalog_runs", limit=3):
        await catalog.rpc("catalog_finish_sync", run_id=run["run_id"], state="running")
        break


async def test_a_reader_sees_one_version_or_the_other_never_a_mixture(catalog: SyncWorld) -> None:
    names = [f"maker/m{number}" for number in range(25)]
    versions: dict[str, int] = {}
    stop = asyncio.Event()
    seen: dict[str, int] = {}

    async def read() -> None:
        number = 0
        while not stop.is_set():
            name = names[number % len(names)]
            number += 1
            reply = await catalog.stores.redis.script(SCRIPT, [POINTER], ["find", "", name, name])
            if reply[0]:
                price = decode(reply[4]).offers[0].price
                assert price is not None, (reply[0], name)
                told = seen.setdefault(reply[0], price.nanos_per_million["input"])
                assert told == price.nanos_per_million["input"], "a mixture of versions"

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for number in range(5):
        catalog.lists("alpha", *(priced(name, f"1.{number}", "2") for name in names))
        result = await catalog.run(force=True)
        assert result.published is not None
        versions[result.published.version] = 1_000_000_000 + number * 100_000_000
    stop.set()
    await asyncio.gather(*readers)
    assert seen.items() <= versions.items()
    assert len(seen) >= 2


async def test_sixty_providers_are_read_at_once_and_published_whole(catalog: SyncWorld) -> None:
    per_provider = MODELS * HOSTS_PER_MODEL // PROVIDERS
    for number in range(PROVIDERS):
        models = [
            priced(f"maker{m % 40}/model-{(number * per_provider // 2 + m) % MODELS}", "1", "2")
            for m in range(per_provider)
        ]
        catalog.lists(f"host{number}", *models)
    catalog.listings.answers["host7"] = (502, b"")
    big = MODELS >= 1000
    if big:
        tracemalloc.start()
    started_s = clock.monotonic_s()
    result = await catalog.run(force=True)
    took_s = clock.monotonic_s() - started_s
    most_bytes = tracemalloc.get_traced_memory()[1] if big else 0
    tracemalloc.stop()
    print(f"{result.published}: {took_s:.1f} s, {most_bytes / 2**20:.0f} MB at most")
    assert took_s < MAX_SYNC_S
    assert most_bytes < MAX_BYTES
    states = [one.state for one in result.providers]
    assert (states.count("good"), states.count("failed")) == (PROVIDERS - 1, 1)
    assert result.published is not None
    assert result.published.offers == (PROVIDERS - 1) * per_provider
