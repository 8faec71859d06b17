"""What a list shows is what is billed, to the last digit."""

from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.catalog.items import PRICE_KEYS, pricing_item, usd_per_token
from gatewayz.catalog.load import load_catalog
from gatewayz.catalog.shelf import Shelf
from gatewayz.core.errors import NotFound
from gatewayz.core.settings import CatalogSettings
from gatewayz.pricing.price import Price
from gatewayz.stores.secrets import Secrets

LLAMA = "meta-llama/llama-3.3-70b-instruct"


class GroqOnly(Secrets):
    def find(self, name: str) -> str | None:
        return "secret" if name == "GROQ_API_KEY" else None


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    settings = CatalogSettings(sandbox_url="http://127.0.0.1:9000/v1")
    return Shelf(*load_catalog(settings, GroqOnly()))


def by_id(body: bytes) -> dict[str, Any]:
    return {item["id"]: item for item in orjson.loads(body)["data"]}


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


def test_a_list_holds_what_can_be_served_here(shelf: Shelf) -> None:
    shown = by_id(shelf.openrouter_list(everything=False))
    assert LLAMA in shown
    assert "sandbox/echo" in shown
    assert "deepseek/deepseek-chat" not in shown
    assert not any("*" in model_id or "available" in item for model_id, item in shown.items())


def test_the_rest_is_shown_only_when_asked_and_marked(shelf: Shelf) -> None:
    shown = by_id(shelf.openai_list(everything=True))
    assert shown[LLAMA]["available"] is True
    assert shown["deepseek/deepseek-chat"]["available"] is False
    assert shown["deepseek/deepseek-chat"]["pricing"]["prompt"] == "0.00000014"


def test_an_item_has_exactly_the_shape_that_openrouters_clients_know(shelf: Shelf) -> None:
    item = by_id(shelf.openrouter_list(everything=False))[LLAMA]
    assert list(item) == [
        "id", "canonical_slug", "hugging_face_id", "name", "created", "description",
        "context_length", "architecture", "pricing", "top_provider", "per_request_limits",
        "supported_parameters", "default_parameters", "supported_voices", "knowledge_cutoff",
        "expiration_date", "links",
    ]  # fmt: skip
    assert item["pricing"] == {
        "prompt": "0.00000059",
        "completion": "0.00000079",
        "input_cache_read": "0.000000295",
    }
    assert item["architecture"]["modality"] == "text->text"
    assert item["top_provider"]["max_completion_tokens"] == 32768
    assert item["links"] == {"details": f"/api/v1/models/{LLAMA}/endpoints"}


def test_openais_object_carries_the_same_and_its_own_fields(shelf: Shelf) -> None:
    listed = orjson.loads(shelf.openai_list(everything=False))
    assert listed["object"] == "list"
    item = by_id(shelf.openai_list(everything=False))["sandbox/echo"]
    assert (item["object"], item["owned_by"], item["sandbox"]) == ("model", "sandbox", True)
    assert item["created"] == 0
    assert item["pricing"]["prompt"] == "0.0000005"


def test_a_list_is_rendered_once(shelf: Shelf) -> None:
    assert shelf.openai_list(everything=False) is shelf.openai_list(everything=False)
    assert shelf.provider_list() is shelf.provider_list()
    assert shelf.openai_list(everything=False) != shelf.openai_list(everything=True)


def test_endpoints_are_the_offers_in_order(shelf: Shelf) -> None:
    data = orjson.loads(shelf.endpoints("Llama-3.3-70B", everything=True))["data"]
    assert data["id"] == LLAMA
    assert [e["tag"] for e in data["endpoints"]] == ["groq", "together", "fireworks", "cerebras"]
    assert data["endpoints"][1]["pricing"]["prompt"] == "0.00000088"
    mine = orjson.loads(shelf.endpoints(LLAMA, everything=False))["data"]["endpoints"]
    assert [e["provider_name"] for e in mine] == ["Groq"]
    assert mine[0]["supports_implicit_caching"] is True


def test_one_model_is_shown_by_alias_and_even_when_unavailable(shelf: Shelf) -> None:
    assert orjson.loads(shelf.openai_model("llama-3.3-70b"))["id"] == LLAMA
    assert orjson.loads(shelf.openai_model("deepseek-chat"))["available"] is False
    shown = orjson.loads(shelf.openrouter_model("sandbox/mock-n5"))
    assert shown["data"]["id"] == "sandbox/mock-n5"


def test_an_unknown_model_is_answered_with_suggestions(shelf: Shelf) -> None:
    with pytest.raises(NotFound) as missing:
        shelf.openai_model("llama-3.3-70b-instrct")
    assert missing.value.code == "model_not_found"
    assert LLAMA in missing.value.message


def test_providers_tell_whether_they_can_be_called(shelf: Shelf) -> None:
    items = {item["slug"]: item for item in orjson.loads(shelf.provider_list())["data"]}
    assert items["groq"]["available"] is True
    assert items["mistral"]["available"] is False
    assert items["sandbox"]["sandbox"] is True
