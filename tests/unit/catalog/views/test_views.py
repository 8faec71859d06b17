"""Variants, past prices and facts of hosts, one by one."""

from collections.abc import Mapping
from typing import Any

import pytest

from gatewayz.catalog.facts import about, logo_of, named, site_of
from gatewayz.catalog.model import Known
from gatewayz.catalog.views.comparing import compare, speed_tiers
from gatewayz.catalog.views.filters import Measured
from gatewayz.catalog.views.history import current_item, history_item, history_page
from gatewayz.catalog.views.popularity import _trend, trending
from gatewayz.catalog.views.rows import rows_of
from gatewayz.catalog.views.variants import as_asked
from gatewayz.core.errors import NotFound
from tests.unit.catalog.views.shop import BIG, CATALOG, PROVIDERS, SMALL


def known(name: str, *variants: str) -> Known:
    model = CATALOG.find(name)
    assert model is not None
    return Known(model, CATALOG.offers(name), CATALOG.servable(name), variants)


def test_a_variant_shows_the_offers_that_its_name_leaves() -> None:
    assert as_asked(known("acme/big")) == known("acme/big")
    floor = as_asked(known("acme/big", "floor"))
    assert floor.model.id == "acme/big:floor"
    assert [offer.provider for offer in floor.offers] == ["second", "first"]
    free = as_asked(known("acme/small", "free"))
    assert [offer.id for offer in free.servable] == ["first/acme/small"]
    both = as_asked(known("acme/big", "nitro", "online"))
    assert (both.model.id, len(both.offers)) == ("acme/big:nitro:online", 2)
    with pytest.raises(NotFound, match="no free offer"):
        as_asked(known("acme/big", "free"))


def row(offer: str, at_ms: int, to_ms: int | None = None, **more: Any) -> dict[str, Any]:
    return {
        "offer": offer, "model": "acme/big", "provider": "first", "native_id": "big",
        "version": f"p-{at_ms}", "source": "listing", "checked_at_ms": at_ms,
        "valid_from_ms": at_ms, "valid_to_ms": to_ms, "cost": {"input": 10**9, "output": 10**9},
        "tiers": None, "markups_ppm": [None, None, None], **more,
    }  # fmt: skip


def test_a_past_price_says_when_it_held() -> None:
    item = history_item(row("a", 1_000, 2_000))
    assert (item["state"], item["valid_from"]) == ("past", "1970-01-01T00:00:01.000+00:00")
    assert item["pricing"] == {"prompt": "0.000001", "completion": "0.000001"}
    tiers = [[9, {"input": 2 * 10**9}]]
    tiered = history_item(row("a", 1_000, tiers=tiers))
    assert tiered["state"] == "current"
    assert tiered["pricing"]["overrides"] == [{"min_prompt_tokens": 10, "prompt": "0.000002"}]
    assert history_item(row("a", 1_000, cost=None))["pricing"]["prompt"] == "-1"
    dearer = history_item(row("a", 1_000, markups_ppm=[None, 1_500_000, 2_000_000]))
    assert dearer["pricing"] == {"prompt": "0.0000015", "completion": "0.0000015"}
    shipped = current_item(CATALOG.offers("acme/big")[0])
    assert (shipped["checked_at"], shipped["valid_from"]) == ("2026-11-01T00:00:00+00:00", None)


def test_prices_of_one_moment_are_never_torn_apart_by_a_page() -> None:
    rows: list[Mapping[str, Any]] = [
        row("a", 30),
        row("b", 20),
        row("c", 20),
        row("d", 20),
        row("e", 10),
    ]
    seen, before = [], 2**53
    while True:
        page, following = history_page([r for r in rows if r["valid_from_ms"] < before][:3], 3)
        seen += [r["offer"] for r in page]
        if following is None:
            break
        before = following
    assert seen == ["a", "b", "c", "d", "e"]


def test_a_trend_is_against_what_was_before() -> None:
    assert _trend(150, 100)["trend_percentage"] == "50.00%"
    assert _trend(50, 100)["trend_direction"] == "down"
    assert _trend(50, None)["trend_percentage"] == _trend(50, 0)["trend_percentage"] == "--"


def test_a_model_that_is_no_longer_listed_is_in_no_ranking() -> None:
    rows = {each.model.id: each for each in rows_of(CATALOG, PROVIDERS)}
    counts = [
        {"model": name, "requests": n, "prompt_tokens": 10 * n, "completion_tokens": 0,
         "users": 5 - n, "latency_ms": None, "throughput": None}
        for n, name in ((3, "gone/away"), (2, SMALL.id), (1, BIG.id))
    ]  # fmt: skip
    assert [t["id"] for t in trending(counts, rows, "requests")] == [SMALL.id, BIG.id]
    assert [t["id"] for t in trending(counts, rows, "users")] == [BIG.id, SMALL.id]
    assert [t["rank"] for t in trending(counts, rows, "tokens")] == [1, 2]


def test_hosts_are_tiered_by_what_was_measured() -> None:
    ordered, tiers = speed_tiers({"slow": 2500.0, "ultra": 99.0, "fast": 100.0, "usual": 500.0})
    assert ordered == ["ultra", "fast", "usual", "slow"]
    assert [tiers[slug]["tier"] for slug in ordered] == [1, 2, 3, 4]
    assert Measured().latency_ms is None


def test_a_comparison_without_a_price_recommends_nothing_it_does_not_know() -> None:
    unpriced = CATALOG.find("vault/unpriced")
    assert unpriced is not None
    made = compare(unpriced, CATALOG.offers(unpriced.id), CATALOG.ready, None)
    assert made["recommendation"] == {
        "gateway": "first", "reason": "No price is known; the first host.",
    }  # fmt: skip
    assert made["comparisons"][0]["pricing"]["prompt_cost_per_1m"] is None
    nobody = compare(unpriced, (), CATALOG.ready, None)
    assert nobody["recommendation"]["gateway"] is None


def test_facts_of_hosts_are_addresses_or_nothing() -> None:
    from gatewayz.catalog.facts import _facts

    for slug, stated in _facts()["providers"].items():
        assert stated.keys() <= {"site", "color", "icon", "aliases", "headquarters", "privacy",
                                 "terms", "status"}  # fmt: skip
        for key in ("site", "privacy", "terms", "status"):
            assert stated.get(key, "https://").startswith("https://"), slug
    assert about("nobody") == {}
    assert site_of("nobody") is logo_of("nobody") is named("nobody") is None
    assert named("hug") == "huggingface"
