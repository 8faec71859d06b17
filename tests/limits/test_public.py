"""Callers without a key, or with one that nobody knows: by address, before any look-up."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import redis

from gatewayz.accounts import attempts
from gatewayz.accounts.attempts import allow, check
from gatewayz.accounts.keys import generate_key
from gatewayz.accounts.limits_address import Rule, count, key_of, subject_of
from gatewayz.accounts.limits_guard import AddressGuard, publish_exemptions
from gatewayz.accounts.limits_local import MAX_KEYS, LocalLimits, StandIn
from gatewayz.catalog.model import Catalog, Entry
from gatewayz.core import clock
from gatewayz.core.errors import RateLimited, StoreUnavailable
from gatewayz.core.settings import Settings
from gatewayz.stores.open import Stores, open_stores
from tests.contract.test_hand_over import NoRedis
from tests.world import World

BODY = {"model": "sandbox/echo", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def tune(request: pytest.FixtureRequest) -> Callable[[Settings], Settings]:
    changes = getattr(request, "param", {})
    source = {"client_ip": "header:x-from"}

    def change(settings: Settings) -> Settings:
        http = replace(settings.http, **source)
        limits = replace(settings.limits, **{"address_per_minute": 20, **changes})
        return replace(settings, http=http, limits=limits)

    return change


@pytest.fixture
async def stores(settings: Settings) -> Any:
    opened = open_stores(settings)
    yield opened
    await opened.close()


async def knock(world: World, ip: str, key: str | None) -> Any:
    headers = {"x-from": ip} | ({"authorization": f"Bearer {key}"} if key else {})
    return await world.client.post("/v1/chat/completions", json=BODY, headers=headers)


@pytest.mark.parametrize("kind", ["no key", "malformed", "unknown"])
async def test_an_address_without_a_valid_key_has_so_many_requests_a_minute(
    world: World, kind: str
) -> None:
    keys = {"no key": lambda: None, "malformed": lambda: "gw_test_x",
            "unknown": lambda: generate_key("test").text}  # fmt: skip
    statuses = [(await knock(world, "192.0.2.1", keys[kind]())).status_code for _ in range(23)]
    assert statuses == [401] * 20 + [429] * 3
    refused = await knock(world, "192.0.2.1", keys[kind]())
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert int(refused.headers["retry-after"]) >= 1
    assert refused.headers["x-ratelimit-limit"] == "20"
    assert refused.headers["x-ratelimit-reason"] == "address"
    assert (await knock(world, "192.0.2.2", keys[kind]())).status_code == 401


async def test_a_known_key_is_never_counted_there(world: World) -> None:
    account = await world.account()
    await knock(world, "192.0.2.9", account.key)
    for _ in range(25):
        await knock(world, "192.0.2.1", None)
    assert (await knock(world, "192.0.2.1", account.key)).status_code == 200
    for _ in range(30):
        assert (await knock(world, "192.0.2.7", account.key)).status_code == 200
    with redis.Redis.from_url(world.settings.stores.redis_url) as client:
        assert not client.exists(key_of("address", subject_of("192.0.2.7")))


async def test_the_control_plane_has_the_same_layer_but_for_monitors(world: World) -> None:
    headers = {"x-from": "192.0.2.1"}
    answers = [await world.client.get("/v1/models", headers=headers) for _ in range(22)]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [200] * 20 + [429] * 2
    assert answers[3].headers["ratelimit-remaining"] == "16"
    assert answers[-1].json()["error"]["code"] == "rate_limit_exceeded"
    assert (await world.client.get("/health", headers=headers)).status_code == 200
    # Other functions know of it.
    other = [await world.client.get("/v1/credits", headers=headers) for _ in range(4)]
    assert other[-1].status_code == 429


async def test_two_processes_share_the_layer(settings: Settings) -> None:
    guards, opened = [], []
    for _ in range(2):
        stores = open_stores(settings)
        opened.append(stores)
        guards.append(AddressGuard(stores.redis, stores.postgres, 100))
    refused = 0
    for number in range(200):
        verdict = await guards[number % 2].judge("192.0.2.1", looks_up=True)
        assert verdict is not None
        refused += not verdict.allowed
    assert refused == 100
    # What needs no look-up is told when it becomes much.
    told = [AddressGuard(stores.redis, stores.postgres, 100) for stores in opened]
    allowed = 0
    for number in range(300):
        verdict = await told[number % 2].judge("192.0.2.9", looks_up=False)
        assert verdict is not None
        allowed += verdict.allowed
    assert 100 <= allowed <= 102
    for stores in opened:
        await stores.close()


async def test_ipv6_counts_by_its_network_and_all_spellings_are_one(stores: Stores) -> None:
    assert subject_of("2001:db8::1") == subject_of("2001:db8:0:0:ffff::2")
    assert subject_of("2001:db8::1") != subject_of("2001:db8:0:1::1")
    assert subject_of("::ffff:192.0.2.1") == subject_of("192.0.2.1")
    assert subject_of(None) == subject_of("nonsense")
    rule = Rule("address", 2, 60, "rate")
    verdicts = [await count(stores.redis, rule, subject_of(f"2001:db8::{n}")) for n in range(3)]
    assert [v.allowed for v in verdicts] == [True, True, False]


async def test_an_exempt_address_passes_until_its_exemption_ends(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    rpc = stores.postgres.rpc
    ask = {"network": "192.0.2.0/24", "reason": "load test", "actor": "test"}
    await rpc("set_ip_exemption", ask | {"life_ms": 3_600_000})
    rows = await rpc("list_ip_exemptions", {})
    await publish_exemptions(stores.redis, rows)
    guard = AddressGuard(stores.redis, stores.postgres, 3)
    for _ in range(10):
        await guard.admit("192.0.2.77")
    for _ in range(3):
        await guard.admit("198.51.100.1")
    with pytest.raises(RateLimited):
        await guard.admit("198.51.100.1")
    later = clock.now_ms() + 3_700_000
    monkeypatch.setattr(clock, "now_ms", lambda: later)
    refused = await guard.refusal("192.0.2.77", await guard.judge("192.0.2.77", looks_up=True))
    assert refused is not None


# ------------------------------------------------------------------ attempts


@pytest.mark.parametrize(("kind", "most"), [("login", 10), ("register", 3), ("coupon", 60)])
async def test_attempts_are_few_by_address(stores: Stores, kind: str, most: int) -> None:
    for _ in range(most):
        await allow(kind, "192.0.2.1", redis=stores.redis)
    with pytest.raises(RateLimited) as refused:
        await allow(kind, "192.0.2.1", redis=stores.redis)
    assert refused.value.code == "too_many_attempts"
    wait_s = int(refused.value.headers["Retry-After"])
    assert attempts.RULES[kind].period_s - 5 <= wait_s <= attempts.RULES[kind].period_s
    await allow(kind, "192.0.2.2", redis=stores.redis)


async def test_attempts_on_one_account_are_few_from_wherever_they_come(stores: Stores) -> None:
    for number in range(10):
        await allow("login", f"192.0.2.{number}", redis=stores.redis, account="ann@example.com")
    with pytest.raises(RateLimited):
        await allow("login", "198.51.100.1", redis=stores.redis, account="ann@example.com")
    await allow("login", "198.51.100.1", redis=stores.redis, account="bob@example.com")


async def test_attempts_at_once_are_counted_each(stores: Stores) -> None:
    results = await asyncio.gather(
        *(allow("login", "192.0.2.1", redis=stores.redis) for _ in range(30)),
        return_exceptions=True,
    )
    assert results.count(None) == 10


async def test_attempts_without_redis_are_fewer_and_not_unlimited() -> None:
    redis_away: Any = NoRedis()
    for _ in range(5):
        await allow("login", "203.0.113.9", redis=redis_away)
    with pytest.raises(RateLimited) as refused:
        await allow("login", "203.0.113.9", redis=redis_away)
    assert int(refused.value.headers["Retry-After"]) >= 1


# ------------------------------------------------------------------ without Redis


def test_the_stand_in_knows_five_hundred_keys_and_grants_a_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    stand_in = StandIn()
    for _ in range(5):
        stand_in.take("key_1", 10)
    with pytest.raises(RateLimited) as refused:
        stand_in.take("key_1", 10)
    assert refused.value.headers["Retry-After"] == "12"
    now[0] += 12.0
    stand_in.take("key_1", 10)
    local = LocalLimits()
    for number in range(3 * MAX_KEYS):
        assert local.take(f"k{number}", 1, 60.0) == 0
    assert len(local) == MAX_KEYS
    assert local.take(f"k{3 * MAX_KEYS - 1}", 1, 60.0) > 0
    assert local.take("k0", 1, 60.0) == 0
    now[0] += 901.0
    assert local.take(f"k{3 * MAX_KEYS - 1}", 1, 3600.0) == 0


# ------------------------------------------------------------------ anonymous callers

ON = {"anonymous": True, "anonymous_per_day": 3}


async def test_without_a_word_nobody_is_served_without_a_key(world: World) -> None:
    assert (await knock(world, "192.0.2.1", None)).status_code == 401


@pytest.mark.parametrize("tune", [ON], indirect=True)
async def test_three_free_requests_a_day_for_an_address(world: World, monkeypatch: Any) -> None:
    for _ in range(3):
        paid = await knock(world, "192.0.2.50", None)
        assert paid.status_code == 403
        assert paid.json()["error"]["code"] == "anonymous_model_restricted"
    _make_free(world)
    answers = [await knock(world, "192.0.2.1", None) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[0].headers["x-ratelimit-remaining"] == "2"
    assert answers[-1].json()["error"]["code"] == "anonymous_daily_limit"
    assert int(answers[-1].headers["retry-after"]) <= 86_400
    assert (await knock(world, "192.0.2.2", None)).status_code == 200
    await world.settle()
    assert await world.violations() == []


def _make_free(world: World) -> None:
    """The sandbox's echo costs nothing from now on."""
    gateway = world.chat.gateway()
    model = gateway.catalog.find("sandbox/echo")
    (offer,) = gateway.catalog.offers("sandbox/echo")
    free = replace(offer.price, version="free", nanos_per_million={"input": 0, "output": 0})
    catalog = Catalog(
        [Entry(model, (replace(offer, price=free),))], aliases={}, ready=frozenset({"sandbox"})
    )
    gateway.catalog = gateway._known_catalog = catalog
    gateway.resolver.grown(catalog)


@pytest.mark.parametrize("tune", [ON], indirect=True)
async def test_without_both_stores_nobody_in_particular_is_let_in(world: World) -> None:
    gateway = world.chat.gateway()
    _make_free(world)
    assert (await knock(world, "192.0.2.1", None)).status_code == 200

    async def away(*_: Any, **__: Any) -> Any:
        raise StoreUnavailable("away")

    gateway.stores.redis.script = away
    gateway.stores.postgres.rpc = away
    assert (await knock(world, "192.0.2.3", None)).status_code in (429, 503)


async def test_what_counts_only_when_it_fails_is_looked_at_first(stores: Stores) -> None:
    for _ in range(70):
        await check("coupon", "192.0.2.1", redis=stores.redis)
    for _ in range(60):
        await allow("coupon", "192.0.2.1", redis=stores.redis)
    with pytest.raises(RateLimited):
        await check("coupon", "192.0.2.1", redis=stores.redis)


async def test_codes_are_guessed_a_few_times_from_one_address(world: World) -> None:
    statuses = []
    for _ in range(56):
        await allow("coupon", "192.0.2.1", redis=world.stores.redis)
    for _ in range(6):
        account = await world.account(usd=0)
        answer = await world.client.post(
            "/coupons/redeem", json={"code": "NOBODY"},
            headers=account.headers | {"x-from": "192.0.2.1"},
        )  # fmt: skip
        statuses.append(answer.status_code)
    assert statuses == [400] * 4 + [429] * 2
