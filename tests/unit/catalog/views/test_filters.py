"""Every filter and every order of the public lists, each against a catalog that tells it apart."""

from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.api.schemas.models_query import ModelsQuery, SearchQuery, Sort
from gatewayz.catalog.shelf import Shelf
from gatewayz.catalog.views.asking import gateways_of, list_filters, search_filters, search_order
from gatewayz.catalog.views.filters import SORTS, Measured
from tests.unit.catalog.views.shop import CATALOG, NOW_S, PROVIDERS

SHELF = Shelf(PROVIDERS, CATALOG, version="v", built_at_ms=NOW_S * 1000)
ALL = ["acme/big", "acme/small", "brush/art", "vault/quiet", "vault/unpriced"]
USAGE = {
    "acme/small": Measured(
        requests=9, tokens=10, tokens_week=10, latency_ms=90, throughput=10, tool_success=0.2
    ),
    "acme/big": Measured(
        requests=3, tokens=99, tokens_week=99, latency_ms=40, throughput=80, tool_success=0.9
    ),
}


def found(form: Any = "openai", everything: bool = True, **query: Any) -> list[str]:
    asked = ModelsQuery(**query).model_dump(exclude_none=True)
    rows = SHELF.chosen(
        list_filters(asked, SHELF, form),
        sort=asked.get("sort"),
        everything=everything,
        now_s=NOW_S,
        usage=USAGE,
    )
    return [row.model.id for row in rows]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, ALL),
        ({"q": "ACME"}, ["acme/big", "acme/small"]),
        ({"q": "quiet"}, ["vault/quiet"]),
        ({"q": "paints"}, []),  # the description is no part of the name
        ({"search": "paints"}, ["brush/art"]),
        ({"search": "second"}, ["acme/big", "brush/art"]),  # a host
        ({"category": "programming"}, ["acme/big"]),
        ({"supported_parameters": "temperature"}, ["acme/big", "acme/small"]),
        ({"supported_parameters": "temperature, tools"}, ["acme/big"]),
        ({"input_modalities": "image"}, ["acme/big"]),
        ({"input_modalities": "text,image"}, ["acme/big"]),
        ({"output_modalities": "image"}, ["brush/art"]),
        ({"output_modalities": "image,text"}, ALL),
        ({"output_modalities": "all"}, ALL),
        ({"context": 32_000}, ["acme/big", "vault/quiet"]),
        ({"context": 32_001}, ["acme/big"]),
        ({"min_price": 1}, ["acme/big", "brush/art", "vault/quiet"]),
        ({"max_price": 1}, ["acme/big", "acme/small"]),
        ({"max_price": 0.999999}, ["acme/small"]),
        ({"max_price": 0}, ["acme/small"]),
        ({"min_output_price": "4.000000001"}, ["brush/art"]),
        ({"max_output_price": 3}, ["acme/small", "vault/quiet"]),
        ({"arch": "gpt"}, ["acme/big", "acme/small"]),
        ({"arch": "Llama"}, ["vault/quiet", "vault/unpriced"]),
        ({"model_authors": "acme,brush"}, ["acme/big", "acme/small", "brush/art"]),
        ({"providers": "Second"}, ["acme/big", "brush/art"]),
        ({"providers": "first host"}, ["acme/big", "acme/small", "vault/unpriced"]),
        ({"providers": "nobody"}, []),
        ({"provider": "vault"}, ["vault/quiet", "vault/unpriced"]),
        ({"provider": "second"}, ["acme/big", "brush/art"]),
        ({"gateway": "second"}, ["acme/big", "brush/art"]),
        ({"gateway": "all"}, ALL),
        ({"gateway": "nobody"}, []),
        ({"distillable": "true"}, []),
        ({"distillable": "false"}, ALL),
        ({"zdr": "true"}, ["acme/big", "vault/quiet"]),
        ({"region": "eu"}, ["acme/big"]),
        ({"region": "us"}, ["acme/big"]),
        ({"is_private": "true"}, ["vault/quiet"]),
        ({"is_private": "false"}, ["acme/big", "acme/small", "brush/art", "vault/unpriced"]),
        ({"min_age_days": 5}, ["acme/big", "acme/small"]),
        ({"max_age_days": 10}, ["acme/big", "brush/art"]),
        ({"min_intelligence_index": 20}, ["acme/big", "acme/small"]),
        ({"max_intelligence_index": 69}, ["acme/small"]),
        ({"min_coding_index": 60}, ["acme/big"]),
        ({"max_agentic_index": 100}, []),  # nobody states one
        ({"min_tool_success_rate": 0.5}, ["acme/big"]),
        ({"max_tool_success_rate": 0.5}, ["acme/small"]),
        ({"unique_models": "true"}, ALL),
        ({"q": "acme", "max_price": 0}, ["acme/small"]),
    ],
)
def test_a_filter_leaves_what_it_says(query: dict[str, Any], ids: list[str]) -> None:
    assert found(**query) == ids


def test_openrouters_list_shows_unasked_what_writes_text() -> None:
    assert found("openrouter") == [model for model in ALL if model != "brush/art"]
    assert found("openrouter", output_modalities="image") == ["brush/art"]
    assert found("openrouter", output_modalities="all") == ALL


def test_what_cannot_be_served_is_shown_only_when_asked() -> None:
    assert found(everything=False) == ["acme/big", "acme/small", "brush/art"]


@pytest.mark.parametrize(
    ("sort", "ids"),
    [
        ("newest", ["brush/art", "acme/big", "acme/small", "vault/quiet", "vault/unpriced"]),
        ("pricing-low-to-high",
         ["acme/small", "acme/big", "vault/quiet", "brush/art", "vault/unpriced"]),
        ("pricing-high-to-low",
         ["brush/art", "vault/quiet", "acme/big", "acme/small", "vault/unpriced"]),
        ("context-high-to-low",
         ["acme/big", "vault/quiet", "acme/small", "vault/unpriced", "brush/art"]),
        ("most-popular", ["acme/small", "acme/big", *ALL[2:]]),
        ("top-weekly", ALL),
        ("throughput-high-to-low", ALL),
        ("latency-low-to-high", ALL),
        ("intelligence-high-to-low", ALL),
        ("coding-high-to-low", ALL),
        ("agentic-high-to-low", ALL),
        ("design-arena-elo-high-to-low", ALL),
    ],
)  # fmt: skip
def test_an_order_puts_what_has_no_value_last(sort: str, ids: list[str]) -> None:
    assert found(sort=sort) == ids


def test_the_orders_are_those_that_a_query_may_name() -> None:
    assert get_args(Sort) == SORTS


def test_one_host_asked_for_shows_its_own_price() -> None:
    asked = ModelsQuery(gateway="second").model_dump(exclude_none=True)
    row = SHELF.chosen(list_filters(asked, SHELF, "openai"))[0]
    assert (row.prompt_nanos, row.offers[0].provider) == (500_000_000, "second")
    assert {offer.provider for offer in row.offers} == {"first", "second"}


def test_a_makers_word_means_each_of_its_clouds() -> None:
    slugs = ("google", "google-vertex", "google-vertex-anthropic", "second")
    shelf = Shelf(dict.fromkeys(slugs, PROVIDERS["first"]), CATALOG)
    assert gateways_of("google", shelf) == ("google", "google-vertex")
    assert gateways_of("google-vertex", shelf) == ("google-vertex",)
    assert gateways_of("Second,first", shelf) == ("second", "first")
    assert gateways_of("ALL", shelf) == gateways_of(None, shelf) == ()


def searched(**query: Any) -> list[str]:
    asked = SearchQuery(**query).model_dump()
    rows = SHELF.chosen(search_filters(asked, SHELF), everything=True)
    ordered = search_order(rows, asked["sort_by"], falling=asked["order"] == "desc", usage=USAGE)
    return [row.model.id for row in ordered]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({}, ["acme/small", "acme/big", "vault/quiet", "brush/art", "vault/unpriced"]),
        ({"order": "desc"}, ["brush/art", "vault/quiet", "acme/big", "acme/small",
                             "vault/unpriced"]),
        ({"q": "paints"}, ["brush/art"]),
        ({"modality": "image"}, ["acme/big", "brush/art"]),
        ({"modality": "multimodal"}, ["acme/big", "brush/art"]),
        ({"is_private": "true"}, ["vault/quiet"]),
        ({"min_context": 8_000, "max_context": 32_000}, ["acme/small", "vault/quiet"]),
        # USD per token, of the mean: 2.5, 3 and 12.5 per million
        ({"min_price": "0.0000025"}, ["acme/big", "vault/quiet", "brush/art"]),
        ({"max_price": "0.0000025"}, ["acme/small", "acme/big"]),
        ({"max_price": "0.00000249"}, ["acme/small"]),
        ({"gateway": "second"}, ["acme/big", "brush/art"]),
        ({"sort_by": "context", "order": "desc"},
         ["acme/big", "vault/quiet", "acme/small", "vault/unpriced", "brush/art"]),
        ({"sort_by": "popularity", "order": "desc"}, ["acme/small", "acme/big", *ALL[2:]]),
        ({"sort_by": "name", "order": "desc"},
         ["vault/unpriced", "vault/quiet", "brush/art", "acme/small", "acme/big"]),
    ],
)  # fmt: skip
def test_the_older_search_finds_and_orders(query: dict[str, Any], ids: list[str]) -> None:
    assert searched(**query) == ids


@given(least=st.integers(0, 10**11), most=st.integers(0, 10**11))
def test_a_price_bound_is_exact_to_the_nano(least: int, most: int) -> None:
    """Against the same comparison in whole numbers."""
    shown = found(min_price=_usd(least), max_price=_usd(most))
    prices = {"acme/big": 10**9, "acme/small": 0, "brush/art": 5 * 10**9, "vault/quiet": 3 * 10**9}
    assert shown == [model for model, nanos in prices.items() if least <= nanos <= most]


def _usd(nanos: int) -> str:
    return f"{nanos // 10**9}.{nanos % 10**9:09d}"


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0}, {"limit": 1001}, {"offset": -1}, {"limit": "ten"}, {"sort": "best"},
        {"context": 0}, {"min_price": -1}, {"max_price": "nan"}, {"max_price": "1_0"},
        {"min_tool_success_rate": 1.1}, {"zdr": "yes"}, {"region": "mars"}, {"available": "some"},
        {"min_age_days": "1.5"}, {"min_intelligence_index": "inf"},
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(query))):
        ModelsQuery(**query)


def test_a_field_left_open_is_no_filter() -> None:
    assert found(q="", min_price="null", context="") == ALL
