"""What a list shows is what is billed, to the last digit, in the words its clients know."""

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.catalog.items import (
    PRICE_KEYS,
    endpoint_item,
    model_item,
    openai_item,
    pricing_item,
    usd_per_token,
)
from gatewayz.catalog.shelf import Shelf
from gatewayz.catalog.views.hosts import count_models, counted_item, gateway_item, provider_item
from gatewayz.catalog.views.pages import About, Slice, render_list
from gatewayz.pricing.charge import amount_nanos, lines_of
from gatewayz.pricing.price import Price
from gatewayz.pricing.usage import Usage
from tests.unit.catalog.views.shop import (
    ART,
    BIG,
    CATALOG,
    NOW_S,
    PROVIDERS,
    SMALL,
    TIERED,
    UNPRICED,
)

SHELF = Shelf(PROVIDERS, CATALOG, version="v", built_at_ms=NOW_S * 1000)


def listed(form: Any = "openai", *, everything: bool = False, **part: Any) -> dict[str, Any]:
    if not part:
        answer: dict[str, Any] = orjson.loads(SHELF.whole_list(form, everything=everything))
        return answer
    about = About("/v1/models", NOW_S * 1000, (("q", "a b"), ("offset", "9")))
    body = render_list(SHELF.chosen(everything=True), form, Slice.of(**part), about, marked=True)
    page: dict[str, Any] = orjson.loads(body)
    return page


def by_id(answer: dict[str, Any]) -> dict[str, Any]:
    return {item["id"]: item for item in answer["data"]}


@pytest.mark.parametrize(
    ("nanos", "text"),
    [
        (0, "0"),
        (1, "0.000000000000001"),
        (590_000_000, "0.00000059"),
        (10**15, "1"),
        (10**15 + 1, "1.000000000000001"),
    ],
)
def test_a_token_price_is_exact_plain_decimal(nanos: int, text: str) -> None:
    assert usd_per_token(nanos) == text


@given(st.integers(0, 10**16))
def test_a_token_price_is_the_billed_price(nanos: int) -> None:
    text = usd_per_token(nanos)
    assert Decimal(text) * 10**15 == nanos
    assert "E" not in text


def test_every_stated_class_is_shown_and_no_other() -> None:
    price = Price("p", dict.fromkeys(PRICE_KEYS, 7))
    assert set(pricing_item(price)) == set(PRICE_KEYS.values())
    assert pricing_item(Price("p", {"input": 0, "output": 0})) == {"prompt": "0", "completion": "0"}
    assert pricing_item(None) == {"prompt": "-1", "completion": "-1"}
    # A price that is not stated is unknown, never nothing.
    assert pricing_item(Price("p", {"input": 7}))["completion"] == "-1"


@pytest.mark.parametrize("tokens", [200_000, 200_001])
def test_a_tier_is_shown_from_the_token_on_at_which_it_is_charged(tokens: int) -> None:
    item = pricing_item(TIERED)
    assert item["overrides"] == [
        {"min_prompt_tokens": 200_001, "prompt": "0.000002", "completion": "0.000006"}
    ]
    (tier,) = item["overrides"]
    shown = tier["prompt"] if tokens >= tier["min_prompt_tokens"] else item["prompt"]
    charged = amount_nanos(lines_of(Usage({"input": tokens}), TIERED))
    assert Decimal(shown) * tokens * 10**9 == charged


def test_a_list_holds_what_can_be_served_here() -> None:
    for form in ("openai", "openrouter"):
        shown = by_id(listed(form))
        assert "acme/big" in shown
        assert "vault/quiet" not in shown
        assert not any("available" in item for item in shown.values())
    assert "brush/art" in by_id(listed("openai"))
    assert "brush/art" not in by_id(listed("openrouter"))


def test_the_rest_is_shown_only_when_asked_and_marked() -> None:
    shown = by_id(listed(everything=True))
    assert shown["acme/big"]["available"] is True
    assert shown["vault/quiet"]["available"] is False
    assert shown["vault/quiet"]["pricing"]["prompt"] == "0.000003"
    assert shown["vault/unpriced"]["pricing"] == {"prompt": "-1", "completion": "-1"}


def test_an_item_has_exactly_the_shape_that_openrouters_clients_know() -> None:
    item = model_item(BIG, CATALOG.offers(BIG.id))
    assert list(item) == [
        "id", "canonical_slug", "hugging_face_id", "name", "created", "description",
        "context_length", "architecture", "pricing", "top_provider", "per_request_limits",
        "supported_parameters", "default_parameters", "supported_voices", "knowledge_cutoff",
        "expiration_date", "links", "benchmarks",
    ]  # fmt: skip
    assert item["pricing"]["input_cache_read"] == "0.0000001"
    assert item["architecture"] == {
        "modality": "text+image->text", "input_modalities": ["text", "image"],
        "output_modalities": ["text"], "tokenizer": "GPT", "instruct_type": None,
    }  # fmt: skip
    assert item["top_provider"]["max_completion_tokens"] == 64_000
    assert (item["knowledge_cutoff"], item["expiration_date"]) == ("2026-01-31", "2027-06-01")
    # A word that is none of the contract's would break a strict client.
    assert item["supported_parameters"] == ["temperature", "tools", "tool_choice"]
    assert item["benchmarks"]["artificial_analysis"] == {
        "intelligence_index": 70.5, "coding_index": 60.0, "agentic_index": None,
    }  # fmt: skip
    assert "benchmarks" not in model_item(ART, CATALOG.offers(ART.id))


def test_openais_object_carries_the_same_and_what_the_older_client_reads() -> None:
    item = openai_item(BIG, CATALOG.offers(BIG.id))
    assert (item["object"], item["owned_by"], item["created"]) == ("model", "acme", BIG.created_s)
    assert "made_up" in item["supported_parameters"]
    assert (item["source_gateway"], item["source_gateways"]) == ("first", ["first", "second"])
    assert item["capabilities"]["tools"] is True
    assert item["capabilities"]["reasoning"] is False
    assert (item["is_free"], item["is_private"], item["is_active"]) == (False, False, True)
    assert (item["health_status"], item["average_response_time_ms"]) == ("unknown", None)
    assert item["hugging_face"] == {"downloads": 12, "likes": 3}
    assert openai_item(SMALL, CATALOG.offers(SMALL.id))["is_free"] is True
    assert openai_item(UNPRICED, CATALOG.offers(UNPRICED.id))["is_free"] is False
    quiet = by_id(listed(everything=True))["vault/quiet"]
    assert quiet["is_private"] is True


def test_an_endpoint_says_what_it_is_and_null_where_nothing_was_measured() -> None:
    first, second = CATALOG.offers("acme/big")
    item = endpoint_item(BIG, first, PROVIDERS)
    assert (item["name"], item["tag"]) == ("First Host | acme/big", "first")
    assert (item["quantization"], item["max_prompt_tokens"]) == ("fp8", 300_000)
    assert item["supports_implicit_caching"] is True
    for field in ("uptime_last_5m", "uptime_last_30m", "uptime_last_1d", "latency_last_30m",
                  "throughput_last_30m"):  # fmt: skip
        assert item[field] is None
    assert item["data_policy"] == {
        "training": False, "retains_prompts": None, "zero_data_retention": False,
        "confidential_compute": False, "region": "us-east-1",
    }  # fmt: skip
    assert (item["price_version"], item["price_checked"]) == ("p-tiered", "2026-11-01")
    assert endpoint_item(BIG, second, PROVIDERS)["quantization"] == "unknown"


def test_a_page_tells_where_the_next_one_is() -> None:
    whole = listed()
    assert (whole["total"], whole["returned"], whole["has_more"]) == (3, 3, False)
    assert (whole["links"], whole["limit"], whole["gateway"]) == ({"next": None}, None, "all")
    first = listed(offset=None, limit=2)
    assert (first["returned"], first["total"], first["next_offset"]) == (2, 5, 2)
    assert first["links"]["next"] == "/v1/models?q=a+b&offset=2&limit=2"
    last = listed(offset=4, limit=2)
    assert (last["returned"], last["has_more"], last["next_offset"]) == (1, False, None)
    assert listed(offset=1, limit=None)["limit"] == 500
    beyond = listed("openrouter", offset=50, limit=10)
    assert beyond == {"data": [], "total_count": 5, "links": {"next": None}}


def test_the_tag_follows_the_catalog_and_the_credentials() -> None:
    same = Shelf(PROVIDERS, CATALOG, version="v", built_at_ms=1)
    assert same.tag == SHELF.tag
    assert Shelf(PROVIDERS, CATALOG, version="w").tag != SHELF.tag
    own, other = (
        Shelf(PROVIDERS, CATALOG),
        Shelf(PROVIDERS, CATALOG.extended([], ready=frozenset({"third"}))),
    )
    assert own.tag == Shelf(PROVIDERS, CATALOG).tag != other.tag


def test_providers_tell_whether_they_can_be_called_and_how_many_models_they_have() -> None:
    first = PROVIDERS["first"]
    counts = count_models(SHELF.rows)
    assert counts == {"first": 3, "second": 2, "third": 1}
    assert provider_item(first, available=True)["available"] is True
    assert counted_item(first, 3, available=False)["model_count"] == 3
    badge = gateway_item(first, 3, available=True)
    assert (badge["priority"], badge["color"], badge["site_url"]) == ("fast", "bg-gray-500", None)
    assert gateway_item(first, 0, available=True)["priority"] == "slow"
