"""The data plane's view of the catalog: what a name costs to resolve, warm, cold and changed."""

from typing import Any

import pytest

from gatewayz.catalog.bundle import open_bundle
from gatewayz.catalog.entries import Draft
from gatewayz.catalog.model import Catalog, Entry, Model, Offer
from gatewayz.catalog.record import encode
from gatewayz.catalog.resolver import FRESH_S, Resolver
from gatewayz.catalog.soundness import made
from gatewayz.core import clock
from gatewayz.core.errors import NotFound

PRICE = made({"input": 10**9, "output": 2 * 10**9})
READY = frozenset({"alpha", "mine"})


def entry(model_id: str, *providers: str) -> Entry:
    offers = (Offer(f"{p}/x", model_id, p, "x", PRICE, context_tokens=1000) for p in providers)
    return Entry(Model(model_id, model_id), tuple(offers))


class FakeRedis:
    """The script's contract over a dictionary; the real one is tested in tests/catalog."""

    def __init__(self, *entries: Entry, version: str = "v1") -> None:
        self.version = version
        self.records = {e.model.id: encode(e).decode() for e in entries}
        self.calls: list[str] = []

    async def script(self, name: str, keys: Any, args: Any) -> Any:
        self.calls.append(args[0])
        if args[0] == "state":
            return [self.version, "", 1 if self.version else 0]
        for place, model_id in enumerate(args[2::2], start=1):
            if model_id in self.records:
                return [self.version, "", place, "m", self.records[model_id]]
        return [self.version, "", 0, "", ""]

    async def close(self) -> None: ...


class StoppedClock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def now_ms(self) -> int:
        return int(self.now_s * 1000)

    def monotonic_s(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def time() -> Any:
    stopped = StoppedClock()
    before = clock.use(stopped)
    yield stopped
    clock.use(before)


def resolver(redis: Any, *local: Entry, **more: Any) -> Resolver:
    catalog = Catalog(local, aliases={}, ready=READY)
    return Resolver(redis, catalog, ready=READY, known=READY, **more)


async def test_a_warm_name_costs_no_round_trip(time: StoppedClock) -> None:
    redis = FakeRedis(entry("m/one", "alpha"))
    known = resolver(redis)
    first = await known.resolve("m/one")
    for _ in range(50):
        assert await known.resolve("m/one") is first
    assert redis.calls == ["find"]


async def test_a_name_with_suffixes_costs_one_round_trip_too(time: StoppedClock) -> None:
    redis = FakeRedis(entry("m/one", "alpha"), entry("m/one:free", "alpha"))
    known = resolver(redis)
    assert (await known.resolve("m/one:floor:nitro")).variants == ("floor", "nitro")
    listed = await known.resolve("m/one:free")
    assert (listed.model.id, listed.variants) == ("m/one:free", ())
    assert redis.calls == ["find", "find"]


async def test_a_change_is_seen_after_a_while_behind_a_request(time: StoppedClock) -> None:
    redis = FakeRedis(entry("m/one", "alpha"))
    known = resolver(redis)
    await known.resolve("m/one")
    redis.version = "v2"
    redis.records["m/one"] = encode(entry("m/one", "alpha", "mine")).decode()
    assert len((await known.resolve("m/one")).servable) == 1, "within the time it is believed"
    time.now_s += FRESH_S + 1
    assert len((await known.resolve("m/one")).servable) == 1, "the request itself does not wait"
    checking = known._checking
    assert checking is not None
    await checking
    assert len((await known.resolve("m/one")).servable) == 2
    assert redis.calls == ["find", "state", "find"]


async def test_the_same_version_keeps_everything(time: StoppedClock) -> None:
    redis = FakeRedis(entry("m/one", "alpha"))
    known = resolver(redis)
    first = await known.resolve("m/one")
    time.now_s += FRESH_S + 1
    await known.resolve("m/one")
    assert known._checking is not None
    await known._checking
    assert await known.resolve("m/one") is first
    assert redis.calls == ["find", "state"]


async def test_an_unknown_name_is_remembered_for_a_while(time: StoppedClock) -> None:
    redis = FakeRedis(entry("m/one", "alpha"))
    known = resolver(redis)
    for _ in range(5):
        with pytest.raises(NotFound) as missing:
            await known.resolve("m/nobody-has-this")
    assert redis.calls == ["find"]
    assert missing.value.code == "model_not_found"
    with pytest.raises(NotFound):
        await known.resolve("no name\n")
    assert redis.calls == ["find"], "what cannot be a name is not looked up"


async def test_the_process_own_models_need_nobody(time: StoppedClock) -> None:
    redis = FakeRedis(version="")
    known = resolver(redis, entry("mine/model", "mine"))
    assert (await known.resolve("mine/model:nitro")).variants == ("nitro",)
    assert redis.calls == []


async def test_an_operators_offer_joins_the_published_model(time: StoppedClock) -> None:
    redis = FakeRedis(entry("m/one", "alpha"))
    mine = Offer("mine/x", "m/one", "mine", "x", PRICE)
    draft = Draft({}, {"mine/x": mine})
    known = resolver(redis, entry("m/one", "mine"), overlays={"m/one": draft})
    found = await known.resolve("m/one")
    assert [offer.id for offer in found.offers] == ["alpha/x", "mine/x"]
    redis = FakeRedis(version="v1")
    known = resolver(redis, entry("m/one", "mine"), overlays={"m/one": draft})
    assert [offer.id for offer in (await known.resolve("m/one")).offers] == ["mine/x"]


async def test_offers_of_providers_that_are_not_here_are_not_shown(time: StoppedClock) -> None:
    known = resolver(FakeRedis(entry("m/one", "alpha", "elsewhere")))
    assert [offer.provider for offer in (await known.resolve("m/one")).offers] == ["alpha"]


async def test_without_a_publication_the_bundled_catalog_answers(time: StoppedClock) -> None:
    bundled = next(open_bundle().entries())
    providers = frozenset(offer.provider for offer in bundled.offers)
    local = Catalog([], aliases={}, ready=providers)
    known = Resolver(FakeRedis(version=""), local, ready=providers, known=providers)
    assert (await known.resolve(bundled.model.id)).model == bundled.model
    alias, target = next(iter(open_bundle().aliases().items()))
    assert (await known.resolve(alias.upper())).model.id == target


async def test_suggestions_can_be_served(time: StoppedClock) -> None:
    known = resolver(FakeRedis(version=""), entry("mine/model-one", "mine"))
    with pytest.raises(NotFound) as missing:
        await known.resolve("mine/model-on")
    assert missing.value.metadata["suggestions"] == ["mine/model-one"]


def test_a_sample_has_what_could_be_asked_for_instead(time: StoppedClock) -> None:
    bundled = next(e for e in open_bundle().entries() if e.offers[0].price is not None)
    providers = frozenset({bundled.offers[0].provider, "mine"})
    local = Catalog([entry("mine/model", "mine")], aliases={}, ready=providers)
    sample = Resolver(None, local, ready=providers, known=providers).sample()
    assert sample.servable("mine/model")
    assert sample.servable(bundled.model.id)
    offered = {o.provider for m in sample.models() for o in sample.offers(m.id)}
    assert offered <= providers
