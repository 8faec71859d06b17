"""Prices by name, in the catalog that ships: what a person would look up, cached and long included.

And the differential test: our prices against independent feeds, over everything that they share.
"""

from decimal import Decimal

import pytest

from gatewayz.catalog.build import assemble
from gatewayz.catalog.bundle import open_bundle
from gatewayz.catalog.feeds import WIDE, agrees, opinions, power_of_ten, ratio_of
from gatewayz.catalog.listings import portkey
from gatewayz.catalog.listings.row import Rates
from gatewayz.catalog.listings.stream import read_whole
from gatewayz.catalog.model import Offer
from gatewayz.core.money import NANOS_PER_USD
from gatewayz.pricing.charge import amount_nanos, lines_of
from gatewayz.pricing.usage import Usage
from gatewayz.providers.config import load_providers
from tests.catalog.recorded import FOLDER, recorded

# Model, provider → USD per 10^6 tokens by class.
GOLDEN: dict[tuple[str, str], dict[str, str]] = {
    ("openai/gpt-5", "openai"): {"input": "1.25", "output": "10", "cache_read": "0.125"},
    ("openai/gpt-5-mini", "openai"): {"input": "0.25", "output": "2", "cache_read": "0.025"},
    ("openai/gpt-5-nano", "openai"): {"input": "0.05", "output": "0.4", "cache_read": "0.005"},
    ("openai/gpt-5.4", "openai"): {"input": "2.5", "output": "15", "cache_read": "0.25"},
    ("openai/gpt-5.5", "openai"): {"input": "5", "output": "30", "cache_read": "0.5"},
    ("openai/gpt-5.6-sol", "openai"): {"input": "5", "output": "30", "cache_write_5m": "6.25"},
    ("anthropic/claude-opus-4.6", "anthropic"): {
        "input": "5", "output": "25", "cache_read": "0.5", "cache_write_5m": "6.25",
        "cache_write_1h": "10",
    },
    ("anthropic/claude-sonnet-4.5", "anthropic"): {
        "input": "3", "output": "15", "cache_read": "0.3", "cache_write_5m": "3.75",
    },
    ("anthropic/claude-haiku-4.5", "anthropic"): {
        "input": "1", "output": "5", "cache_read": "0.1", "cache_write_5m": "1.25",
    },
    ("google/gemini-2.5-pro", "google"): {"input": "1.25", "output": "10", "cache_read": "0.125"},
    ("google/gemini-2.5-flash", "google"): {"input": "0.3", "output": "2.5", "cache_read": "0.03"},
    ("google/gemini-3.1-pro-preview", "google"): {
        "input": "2", "output": "12", "cache_read": "0.2",
    },
    ("x-ai/grok-4.3", "xai"): {"input": "1.25", "output": "2.5", "cache_read": "0.2"},
    ("x-ai/grok-4", "xai"): {"input": "3", "output": "15", "cache_read": "0.75"},
    ("deepseek/deepseek-v4-pro", "deepseek"): {"input": "0.435", "output": "0.87"},
    ("deepseek/deepseek-v4-flash", "deepseek"): {
        "input": "0.14", "output": "0.28", "cache_read": "0.0028",
    },
    ("meta-llama/llama-3.3-70b-instruct", "groq"): {
        "input": "0.59", "output": "0.79", "cache_read": "0.295",
    },
    ("meta-llama/llama-3.3-70b-instruct", "together"): {"input": "0.88", "output": "0.88"},
    ("meta-llama/llama-3.3-70b-instruct", "cerebras"): {"input": "0.85", "output": "1.2"},
    ("meta-llama/llama-3.3-70b-instruct", "fireworks"): {"input": "0.9", "output": "0.9"},
}  # fmt: skip
# Model, provider → above so many tokens, rates of the whole request.
TIERED: dict[tuple[str, str], tuple[int, dict[str, str]]] = {
    ("openai/gpt-5.4", "openai"): (
        272_000, {"input": "5", "output": "22.5", "cache_read": "0.5"},
    ),
    ("openai/gpt-5.5", "openai"): (272_000, {"input": "10", "output": "45", "cache_read": "1"}),
    ("google/gemini-2.5-pro", "google"): (
        200_000, {"input": "2.5", "output": "15", "cache_read": "0.25"},
    ),
    ("google/gemini-3.1-pro-preview", "google"): (
        200_000, {"input": "4", "output": "18", "cache_read": "0.4"},
    ),
    ("x-ai/grok-4.3", "xai"): (200_000, {"input": "2.5", "output": "5", "cache_read": "0.4"}),
    ("x-ai/grok-4.3", "venice"): (200_000, {"input": "2.83", "output": "5.67"}),
}  # fmt: skip


def offer_of(model_id: str, provider: str) -> Offer:
    entry = open_bundle().find(model_id)
    assert entry is not None, model_id
    return next(offer for offer in entry.offers if offer.provider == provider and offer.price)


def nanos(usd: str) -> int:
    return int(Decimal(usd) * NANOS_PER_USD)


@pytest.mark.parametrize(("model_id", "provider"), GOLDEN)
def test_a_price_is_what_its_maker_asks(model_id: str, provider: str) -> None:
    price = offer_of(model_id, provider).price
    assert price is not None
    for name, usd in GOLDEN[model_id, provider].items():
        assert price.nanos_per_million[name] == nanos(usd), name


@pytest.mark.parametrize(("model_id", "provider"), TIERED)
def test_a_long_prompt_costs_what_its_maker_asks(model_id: str, provider: str) -> None:
    above, rates = TIERED[model_id, provider]
    price = offer_of(model_id, provider).price
    assert price is not None
    at, longer = price.at(above), price.at(above + 1)
    for name, usd in rates.items():
        assert longer.of(name) == nanos(usd), name
        assert at.of(name) == price.nanos_per_million[name], name
    # A cliff: the whole request at the tier's rates, cached input counted as input.
    usage = Usage({"input": above, "cache_read": 1, "output": 1_000_000})
    cached = longer.of("cache_read") or 0
    expected = above * nanos(rates["input"]) + cached + 10**6 * nanos(rates["output"])
    assert amount_nanos(lines_of(usage, price)) == -(-expected // 10**6)


def test_llama_is_offered_by_at_least_three_hosts_at_their_own_prices() -> None:
    entry = open_bundle().find("meta-llama/llama-3.3-70b-instruct")
    assert entry is not None
    prices = {offer.price.version for offer in entry.offers if offer.price}
    assert len({offer.provider for offer in entry.offers}) >= 5
    assert len(prices) >= 5


def test_the_bundle_says_how_old_it_is() -> None:
    about = open_bundle().about
    assert about.priced >= 1000
    assert about.oldest <= about.built
    entries = list(open_bundle().entries())
    assert (about.models, about.offers) == (len(entries), sum(len(e.offers) for e in entries))
    assert about.built == max(o.checked for e in entries for o in e.offers)


def test_the_bundle_is_what_the_recorded_listings_make() -> None:
    """Who changes a reader or a listing makes it again: python -m gatewayz.catalog.build."""
    providers = {s: p for s, p in load_providers().items() if not (p.sandbox or p.local)}
    made, _ = assemble(*recorded(), providers)
    kept = {entry.model.id: entry for entry in open_bundle().entries()}
    assert set(made) == set(kept)
    for model_id, entry in made.items():
        assert entry == kept[model_id], model_id


# ---------------------------------------------------------------- against independent feeds

# A thousand times dearer there than anywhere: their file is in another unit for this one.
EXPLAINED = {"together/MiniMaxAI/MiniMax-M2.5"}


def rates_of(offer: Offer) -> Rates:
    assert offer.price is not None
    return {
        name: Decimal(value).scaleb(-9) for name, value in offer.price.nanos_per_million.items()
    }


def test_no_wide_disagreement_between_two_sources_is_accepted_silently() -> None:
    """Every offer that two feeds know: agreed, explained by a third source, or without a price."""
    _, feeds = recorded()
    compared = agreed = 0
    silent = []
    for entry in open_bundle().entries():
        for offer in entry.offers:
            said = opinions(feeds, offer.provider, offer.native_id)
            if offer.price is None or not said or offer.free:
                continue
            rates = rates_of(offer)
            compared += 1
            agreed += all(agrees(rates, opinion.row.rates) for opinion in said)
            apart = [
                o for o in said
                if ratio_of(rates, o.row.rates) >= WIDE or power_of_ten(rates, o.row.rates)
            ]  # fmt: skip
            others = [o for o in said if o not in apart]
            if apart and not any(agrees(rates, other.row.rates) for other in others):
                silent.append((offer.id, [opinion.feed for opinion in apart]))
    assert compared >= 400
    assert agreed / compared >= 0.8, f"{agreed} of {compared}"
    assert silent == [], "accepted although nobody agrees"


def test_a_feed_that_the_catalog_does_not_read_agrees_with_it() -> None:
    """Portkey's files are no source of ours: cents per token, so a unit error would show."""
    files = dict(read_whole((FOLDER / "portkey-models.json").read_bytes(), (), members=True))
    names = {"together-ai": "together", "fireworks-ai": "fireworks", "bedrock": "aws-bedrock"}
    known = {
        (offer.provider, offer.native_id.lower()): offer
        for entry in open_bundle().entries()
        for offer in entry.offers
        if offer.price is not None
    }
    compared = 0
    apart = set()
    for name, members in files.items():
        for native, item in members.items():
            for row in portkey.read(native, item):
                offer = known.get((names.get(name) or name, row.native_id.lower()))
                if offer is None:
                    continue
                compared += 1
                if ratio_of(rates_of(offer), row.rates) >= WIDE:
                    apart.add(offer.id)
    assert compared >= 10
    assert apart == EXPLAINED
