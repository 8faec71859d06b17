"""A name means one model or none; what is offered is what can be called and billed."""

import tomllib
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from gatewayz.catalog.load import BUNDLED_ALIASES, load_catalog
from gatewayz.catalog.model import MAX_EXPANDED, Catalog
from gatewayz.core.settings import CatalogSettings
from gatewayz.providers.config import Provider
from gatewayz.stores.secrets import Secrets

SANDBOX = CatalogSettings(sandbox_url="http://127.0.0.1:9000/v1")
CURATED = Path(BUNDLED_ALIASES).with_name("curated.toml")
LLAMA = "meta-llama/llama-3.3-70b-instruct"


class KeyRing(Secrets):
    """Has the credentials of `slugs` only, or all of them."""

    def __init__(self, *slugs: str, everything: bool = False) -> None:
        self._names = {f"{slug.upper()}_API_KEY" for slug in slugs}
        self._everything = everything

    def find(self, name: str) -> str | None:
        return "secret" if self._everything or name in self._names else None


def load(*slugs: str, everything: bool = False) -> tuple[Mapping[str, Provider], Catalog]:
    return load_catalog(SANDBOX, KeyRing(*slugs, everything=everything))


@pytest.fixture(scope="module")
def whole() -> Catalog:
    return load(everything=True)[1]


def test_the_bundle_is_a_real_catalog_with_prices_and_dates(whole: Catalog) -> None:
    providers = load_catalog(CatalogSettings(), KeyRing())[0]
    priced = 0
    offering = set()
    for model in whole.models():
        for offer in whole.offers(model.id):
            assert offer.provider in providers or offer.provider == "sandbox"
            if offer.price is not None:
                assert offer.source, offer.id
                assert date(2026, 1, 1) <= date.fromisoformat(offer.checked), offer.id
                priced += 1
                offering.add(offer.provider)
    assert priced >= 1000
    assert len(offering) >= 20, sorted(offering)


def test_no_offer_stands_twice(whole: Catalog) -> None:
    ids = [offer.id for model in whole.models() for offer in whole.offers(model.id)]
    assert len(ids) == len(set(ids))


def test_what_was_checked_by_hand_is_in_the_bundle_at_its_price(whole: Catalog) -> None:
    for table in tomllib.loads(CURATED.read_text(), parse_float=Decimal)["models"]:
        for stated in table["offers"]:
            own_id = f"{stated['provider']}/{stated['native_id']}"
            offer = next(o for o in whole.offers(table["id"]) if o.id == own_id)
            assert offer.price is not None, own_id
            for name in ("input", "output", "cache_read"):
                if name in stated:
                    assert offer.price.of(name) == stated[name] * 10**9, own_id


def test_routing_has_choices(whole: Catalog) -> None:
    hosts = {offer.provider for offer in whole.servable(LLAMA)}
    assert hosts >= {"groq", "together", "fireworks", "cerebras"}


def test_only_providers_with_a_credential_are_servable() -> None:
    _, catalog = load("groq")
    assert catalog.ready >= {"groq", "sandbox", "ollama", "llamacpp", "lmstudio", "vllm"}
    assert not catalog.ready & {"openai", "together", "openrouter"}
    assert [offer.provider for offer in catalog.servable(LLAMA)] == ["groq"]
    assert len(catalog.offers(LLAMA)) >= 4
    assert catalog.servable("deepseek/deepseek-chat") == ()
    assert catalog.find("deepseek/deepseek-chat") is not None


def test_a_key_of_a_gateway_is_no_credential_of_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "gw_dev_0123456789")
    monkeypatch.setenv("VLLM_API_KEY", "gw_dev_0123456789")
    monkeypatch.setenv("GROQ_API_KEY", "secret")
    providers, catalog = load_catalog(SANDBOX, Secrets())
    assert "openai" not in catalog.ready
    assert "groq" in catalog.ready
    assert providers["vllm"].credential == "", "nor is it sent to a server of one's own"


def test_a_local_server_uses_its_optional_key_only_when_there_is_one() -> None:
    assert load("vllm")[0]["vllm"].credential == "VLLM_API_KEY"
    assert load()[0]["vllm"].credential == ""


def test_the_exact_id_is_found_first_then_an_alias_by_lower_case(whole: Catalog) -> None:
    found = whole.find(LLAMA)
    assert found is not None and found.id == LLAMA
    for alias in ("llama-3.3-70b", "Llama-3.3-70B", "LLAMA-3.3-70B-VERSATILE"):
        found = whole.find(alias)
        assert found is not None and found.id == LLAMA


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nope",
        LLAMA.upper(),
        LLAMA + " ",
        " " + LLAMA,
        LLAMA + "\n",
        "llama-3.3-70b\x00",
        "ｌlama-3.3-70b",
        "sandbox/mock\n",
        "sandbox/mock n5",
        "sandbox/mock-" + "n" * 200,
        "sandbox/",
        "sandbox/*",
    ],
)
def test_nothing_else_is_normalised_or_guessed(whole: Catalog, name: str) -> None:
    assert whole.find(name) is None
    assert whole.offers(name) == ()
    assert whole.servable(name) == ()


def test_every_alias_names_a_model_and_hides_none(whole: Catalog) -> None:
    aliases = tomllib.loads(BUNDLED_ALIASES.read_text())
    ids = {model.id for model in whole.models()}
    for alias, model_id in aliases.items():
        assert alias == alias.lower()
        assert alias not in ids
        assert model_id in ids


def test_the_sandbox_takes_any_behaviour_by_name(whole: Catalog) -> None:
    model = whole.find("sandbox/mock-n200-d10")
    assert model is not None
    assert (model.id, model.sandbox) == ("sandbox/mock-n200-d10", True)
    (offer,) = whole.servable(model.id)
    assert (offer.id, offer.native_id) == ("sandbox/mock-n200-d10", "mock-n200-d10")
    assert offer.model_id == model.id
    assert offer.price is not None
    assert offer.price.of("input") == 500_000_000
    assert whole.find("sandbox/echo-n3") is not None
    assert whole.find("sandbox/ecoh") is None


def test_the_sandbox_is_labelled_in_name_and_text(whole: Catalog) -> None:
    for model in whole.models():
        assert model.sandbox == model.id.startswith("sandbox/")
        if model.sandbox:
            assert "andbox" in model.name
            assert "not a language model" in model.description


def test_wildcard_names_do_not_pile_up(whole: Catalog) -> None:
    for number in range(MAX_EXPANDED + 10):
        assert whole.servable(f"sandbox/mock-n{number}")
    assert len(whole._expanded) <= MAX_EXPANDED


def test_the_sandbox_is_no_model_where_its_address_is_not_set() -> None:
    _, catalog = load_catalog(CatalogSettings(), KeyRing())
    assert catalog.find("sandbox/echo") is None
    assert catalog.find("sandbox/mock-n1") is None


def test_suggestions_are_close_and_can_be_served(whole: Catalog) -> None:
    assert whole.suggest("llama-3.3-70b-instrct")[0] == LLAMA
    assert whole.suggest("OpenAI/GPT-5.4")[0] == "openai/gpt-5.4"
    assert whole.suggest("gpt-oss-12b")[0] == "openai/gpt-oss-120b"
    assert len(whole.suggest("openai/gpt")) <= 3
    assert whole.suggest("zzzzzzzzzzzz") == []
    assert whole.suggest("x" * 100_000) == []
    _, few = load("groq")
    assert "deepseek/deepseek-chat" not in few.suggest("deepseek-chatt")


def test_a_models_limits_are_the_widest_of_its_offers(whole: Catalog) -> None:
    model = whole.find("deepseek/deepseek-v4-pro")
    assert model is not None
    assert model.context_tokens == 1_048_576
    assert model.max_output_tokens == max(
        offer.max_output_tokens or 0 for offer in whole.offers(model.id)
    )
