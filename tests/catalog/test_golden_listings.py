"""Every listing we read, as it was answered: known models end at the right USD per million.

Units span six powers of ten, and several keys look like another unit's. The expected prices stand
here as a person reads them on the provider's page, not as the listing writes them.
"""

from decimal import Decimal
from typing import Any

import pytest

from gatewayz.catalog.listings import SHAPES
from gatewayz.catalog.listings.row import VARIABLE, Row
from gatewayz.providers.config import load_providers
from tests.catalog.recorded import FOLDER, read_as, rows

# File → native id → (input, output, cached input or None) in USD per 10^6 tokens.
PRICED: dict[str, dict[str, tuple[str, str, str | None]]] = {
    "openrouter.json": {
        "anthropic/claude-opus-4.6": ("5", "25", "0.5"),
        "openai/gpt-5.4": ("2.5", "15", "0.25"),
        "google/gemini-2.5-flash": ("0.3", "2.5", "0.03"),
    },
    "groq.json": {
        "llama-3.3-70b-versatile": ("0.59", "0.79", "0.295"),
        "openai/gpt-oss-120b": ("0.15", "0.6", "0.075"),
        "llama-3.1-8b-instant": ("0.05", "0.08", "0.025"),
    },
    "perplexity.json": {
        "anthropic/claude-fable-5": ("10", "50", "1"),
        "xai/grok-4.5": ("2", "6", "0.3"),
        "openai/gpt-5.4": ("2.5", "15", "0.25"),
    },
    "venice.json": {
        "gemini-3-1-pro-preview": ("2.5", "15", "0.5"),
        "grok-4-3": ("1.42", "2.83", "0.23"),
        "llama-3.3-70b": ("0.7", "2.8", None),
    },
    "huggingface-router.json": {
        "MiniMaxAI/MiniMax-M2.1:novita": ("0.3", "1.2", None),
        "openai/gpt-oss-120b:cerebras": ("0.25", "0.69", None),
        "meta-llama/Llama-3.3-70B-Instruct:groq": ("0.59", "0.79", None),
    },
    "together.json": {
        "arcee_ai/arcee-spotlight": ("0.18", "0.18", None),
        "mistralai/Mistral-7B-Instruct-v0.3": ("0.2", "0.2", None),
        "Austism/chronos-hermes-13b": ("0.3", "0.3", None),
    },
    "deepinfra.json": {
        "deepseek-ai/DeepSeek-V4-Pro": ("1.3", "2.6", "0.1"),
        "moonshotai/Kimi-K2.5": ("0.45", "2.25", "0.07"),
    },
    "novita.json": {
        "deepseek/deepseek-prover-v2-671b": ("0.7", "2.5", None),
        "qwen/qwen3-235b-a22b-fp8": ("0.2", "0.8", None),
    },
    "xai-language-models.json": {
        "grok-4.20-0309-non-reasoning": ("1.25", "2.5", None),
        "grok-4": ("3", "15", "0.75"),
    },
    "vercel-ai-gateway.json": {
        "alibaba/qwen-3.6-max-preview": ("1.3", "7.8", "0.26"),
        "alibaba/qwen3-coder": ("1.5", "7.5", "0.3"),
        "alibaba/qwen3-coder-next": ("0.5", "1.2", None),
    },
    "near-ai.json": {
        "zai-org/GLM-5.1-FP8": ("0.85", "3.3", None),
        "openai/gpt-oss-120b": ("0.15", "0.55", None),
    },
    "aihubmix.json": {
        "DeepSeek-V3": ("0.272", "1.088", None),
        "gpt-5": ("1.25", "10", "0.125"),
    },
    "nebius.json": {"deepseek-ai/DeepSeek-V3.2": ("0.3", "0.45", None)},
    "baseten.json": {"moonshotai/Kimi-K2.6": ("0.95", "4", "0.16")},
    "friendli.json": {"zai-org/GLM-5.1": ("1", "3.2", None)},
    "chutes.json": {"Qwen/Qwen3-32B-TEE": ("0.104", "0.416", "0.052")},
    "featherless.json": {"Qwen/Qwen3-32B": ("1.5", "2", None)},
    "cloudflare-workers-ai.json": {"@cf/openai/gpt-oss-120b": ("0.35", "0.75", None)},
    "helicone-registry.json": {"claude-sonnet-4": ("3", "15", "0.3")},
}

# Where a sample has fewer than three priced rows: more in the same shape, at list prices of the
# named models, so that three of each shape pass through its unit.
MORE: dict[str, tuple[str, str, Any, dict[str, tuple[str, str, str | None]]]] = {
    "deepinfra": (
        "deepinfra", "cents_per_token",
        [{"model_name": "meta-llama/Llama-3.3-70B-Instruct", "type": "text-generation",
          "pricing": {"type": "tokens", "cents_per_input_token": 2.3e-05,
                      "cents_per_output_token": 4e-05}}],
        {"meta-llama/Llama-3.3-70B-Instruct": ("0.23", "0.4", None)},
    ),
    "novita": (
        "novita", "usd_1e4_per_million",
        {"data": [{"id": "meta-llama/llama-3.3-70b-instruct", "input_token_price_per_m": 1350,
                   "output_token_price_per_m": 4000}]},
        {"meta-llama/llama-3.3-70b-instruct": ("0.135", "0.4", None)},
    ),
    "xai": (
        "xai", "usd_1e4_per_million",
        {"models": [{"id": "grok-3-mini", "prompt_text_token_price": 3000,
                     "cached_prompt_text_token_price": 750,
                     "completion_text_token_price": 5000}]},
        {"grok-3-mini": ("0.3", "0.5", "0.075")},
    ),
    "near": (
        "near", "stated",
        {"models": [{"modelId": "deepseek-ai/DeepSeek-V3.1",
                     "inputCostPerToken": {"amount": 1, "scale": 6, "currency": "USD"},
                     "outputCostPerToken": {"amount": 2500, "scale": 9, "currency": "USD"}}]},
        {"deepseek-ai/DeepSeek-V3.1": ("1", "2.5", None)},
    ),
    "aihubmix": (
        "aihubmix", "usd_per_million",
        {"data": [{"model_id": "gpt-4o-mini", "types": "llm",
                   "pricing": {"input": 0.15, "output": 0.6, "cache_read": 0.075}}]},
        {"gpt-4o-mini": ("0.15", "0.6", "0.075")},
    ),
    "nebius": (
        "openai", "usd_per_token",
        {"data": [
            {"id": "openai/gpt-oss-120b",
             "pricing": {"prompt": "0.00000015", "completion": "0.0000006"}},
            {"id": "Qwen/Qwen3-32B", "pricing": {"prompt": "0.0000001", "completion": "0.0000003"}},
        ]},
        {"openai/gpt-oss-120b": ("0.15", "0.6", None), "Qwen/Qwen3-32B": ("0.1", "0.3", None)},
    ),
    "baseten": (
        "openai", "usd_per_token",
        {"data": [
            {"id": "openai/gpt-oss-120b", "pricing": {"prompt": 1e-07, "completion": 5e-07}},
            {"id": "zai-org/GLM-4.7", "pricing": {"prompt": 6e-07, "completion": 2.2e-06,
                                                  "input_cache_read": 1.2e-07}},
        ]},
        {"openai/gpt-oss-120b": ("0.1", "0.5", None), "zai-org/GLM-4.7": ("0.6", "2.2", "0.12")},
    ),
    "friendli": (
        "friendli", "stated",
        {"data": [
            {"id": "meta-llama/Llama-3.3-70B-Instruct",
             "pricing": {"input": 0.6, "output": 0.6, "unit_type": "TOKEN"}},
            {"id": "meta-llama/Llama-3.1-8B-Instruct",
             "pricing": {"input": 0.1, "output": 0.1, "unit_type": "TOKEN"}},
        ]},
        {"meta-llama/Llama-3.3-70B-Instruct": ("0.6", "0.6", None),
         "meta-llama/Llama-3.1-8B-Instruct": ("0.1", "0.1", None)},
    ),
    "chutes": (
        "openai", "usd_per_million",
        {"data": [
            {"id": "deepseek-ai/DeepSeek-R1", "pricing": {"prompt": 0.3, "completion": 1.2}},
            {"id": "openai/gpt-oss-20b", "pricing": {"prompt": 0.02, "completion": 0.1}},
        ]},
        {"deepseek-ai/DeepSeek-R1": ("0.3", "1.2", None),
         "openai/gpt-oss-20b": ("0.02", "0.1", None)},
    ),
    "featherless": (
        "numbered", "usd_per_token",
        {"data": [
            {"id": "deepseek-ai/DeepSeek-V3-0324",
             "pricing": {"prompt": "0.000003", "completion": "0.0000085"}},
            {"id": "meta-llama/Llama-3.3-70B-Instruct",
             "pricing": {"prompt": "0.0000006", "completion": "0.000001"}},
        ]},
        {"deepseek-ai/DeepSeek-V3-0324": ("3", "8.5", None),
         "meta-llama/Llama-3.3-70B-Instruct": ("0.6", "1", None)},
    ),
    "cloudflare-workers-ai": (
        "cloudflare", "usd_per_token",
        {"result": [
            {"name": "@cf/meta/llama-3.3-70b-instruct-fp8-fast", "properties": [
                {"property_id": "price", "value": [
                    {"unit": "per M input tokens", "price": 0.293, "currency": "USD"},
                    {"unit": "per M output tokens", "price": 2.253, "currency": "USD"}]}]},
            {"id": "@cf/openai/gpt-oss-20b",
             "pricing": {"prompt": "0.0000002", "completion": "0.0000003"}},
        ]},
        {"@cf/meta/llama-3.3-70b-instruct-fp8-fast": ("0.293", "2.253", None),
         "@cf/openai/gpt-oss-20b": ("0.2", "0.3", None)},
    ),
    "helicone": (
        "helicone", "usd_per_million",
        {"data": {"models": [
            {"id": "gpt-4o-mini", "author": "openai", "endpoints": [
                {"provider": "openai", "pricing": {"prompt": 0.15, "completion": 0.6}},
                {"provider": "azure", "pricing": {"prompt": 0.165, "completion": 0.66}}]},
            {"id": "grok-4", "author": "xai", "endpoints": [
                {"provider": "xai", "pricing": {"prompt": 3, "completion": 15}}]},
        ]}},
        {"gpt-4o-mini": ("0.165", "0.66", None), "grok-4": ("3", "15", None)},
    ),
}  # fmt: skip
UNPRICED = (
    "openai.json", "anthropic.json", "google-gemini.json", "mistral.json", "deepseek.json",
    "xai-models.json", "cerebras.json", "aws-bedrock-foundation-models.json",
    "aws-bedrock-mantle.json", "github-copilot.json", "ollama-tags.json", "llamacpp.json",
)  # fmt: skip
FEEDS = ("models-dev-api", "litellm-model-prices", "genai-prices-v2-slim", "portkey-models")


def _check(found: dict[str, Row], expected: dict[str, tuple[str, str, str | None]]) -> None:
    for native_id, (usd_in, usd_out, cached) in expected.items():
        rates = found[native_id].rates
        stated = (rates["input"], rates["output"], rates.get("cache_read"))
        wanted = (Decimal(usd_in), Decimal(usd_out), None if cached is None else Decimal(cached))
        assert stated == wanted, native_id


@pytest.mark.parametrize("file", PRICED)
def test_known_models_of_a_recorded_listing_cost_what_they_cost(file: str) -> None:
    _check(rows(file), PRICED[file])


@pytest.mark.parametrize("name", MORE)
def test_more_rows_of_the_same_shape_cost_what_they_cost(name: str) -> None:
    kind, unit, body, expected = MORE[name]
    _check(read_as(kind, unit, body), expected)


def test_at_least_three_models_of_each_priced_listing_are_checked() -> None:
    more = {"near-ai": "near", "xai-language-models": "xai", "helicone-registry": "helicone"}
    for file, expected in PRICED.items():
        name = file.removesuffix(".json")
        extra = MORE.get(more.get(name, name))
        assert len(expected) + (len(extra[3]) if extra else 0) >= 3, file


@pytest.mark.parametrize("file", UNPRICED)
def test_a_listing_without_prices_states_none(file: str) -> None:
    found = rows(file)
    assert found
    assert all(not row.rates and not row.free for row in found.values())


def test_every_recorded_listing_is_checked_here() -> None:
    files = {path.name for path in FOLDER.glob("*.json")} - {"index.json"}
    assert files == {*PRICED, *UNPRICED, *(f"{name}.json" for name in FEEDS)}


def test_every_provider_row_names_a_shape_and_a_unit_that_the_shape_is_in() -> None:
    listed = {s: p.listing for s, p in load_providers().items() if p.listing is not None}
    assert len(listed) >= 40
    for slug, listing in listed.items():
        assert listing.kind in SHAPES, slug
        assert listing.price_unit in SHAPES[listing.kind].units, slug
    with_prices = {s for s, known in listed.items() if known.price_unit != "none"}
    assert len(with_prices) >= 15, sorted(with_prices)


# ---------------------------------------------------------------- the traps, one by one


def test_a_router_has_no_price_and_is_no_mistake() -> None:
    row = rows("openrouter.json")["openrouter/auto"]
    assert not row.rates
    assert set(row.problems) == {VARIABLE}


def test_moving_names_and_half_price_batches_are_no_offers() -> None:
    assert not [i for i in rows("openrouter.json") if i.startswith("~") or i.endswith(":batch")]


def test_free_is_free_only_where_the_listing_says_so() -> None:
    found = rows("openrouter.json")
    free = [row for row in found.values() if row.free]
    assert free
    assert all(row.native_id.endswith(":free") for row in free)
    nobody = rows("huggingface-router.json")["allenai/Olmo-3-7B-Think:publicai"]
    assert not nobody.free
    assert nobody.problems == ("every price is 0, and it is not declared free",)


def test_prices_of_long_prompts_are_tiers() -> None:
    pro = rows("openrouter.json")["google/gemini-2.5-pro"]
    assert pro.tiers[0][0] == 199_999
    assert pro.tiers[0][1]["input"] == Decimal("2.5")
    coder = rows("vercel-ai-gateway.json")["alibaba/qwen3-coder"]
    assert [(above, rates["input"]) for above, rates in coder.tiers] == [
        (32_000, Decimal("2.7")),
        (128_000, Decimal("4.5")),
    ]
    venice = rows("venice.json")["grok-4-3"]
    assert venice.tiers == (
        (
            200_000,
            {"input": Decimal("2.83"), "output": Decimal("5.67"), "cache_read": Decimal("0.45")},
        ),
    )


def test_seconds_of_a_machine_and_characters_of_speech_are_no_token_prices() -> None:
    assert not rows("friendli.json")["LGAI-EXAONE/K-EXAONE-236B-A23B"].rates
    assert not rows("deepinfra.json")["runwayml/stable-diffusion-v1-5"].rates
    assert not rows("deepinfra.json")["nvidia/asr"].rates
    assert not rows("groq.json")["canopylabs/orpheus-v1-english"].rates


def test_searches_are_priced_by_the_piece() -> None:
    assert rows("xai-language-models.json")["grok-4"].rates["search"] == 25_000
    assert rows("openrouter.json")["anthropic/claude-opus-4.6"].rates["search"] == 10_000


def test_a_unit_that_nobody_knows_is_no_price() -> None:
    body = {"data": [{"id": "a/b", "pricing": {"input": 1, "output": 2, "unit": "usd_per_word"}}]}
    row = read_as("openai", "stated", body)["a/b"]
    assert not row.rates
    assert row.problems == ("unit: 'usd_per_word' is not known",)


def test_a_number_that_went_through_floats_is_what_was_meant() -> None:
    body = {
        "data": [{"id": "a/b", "pricing": {"prompt": 2.9999999999999997e-06, "completion": 9e-6}}]
    }
    assert read_as("openai", "usd_per_token", body)["a/b"].rates["input"] == 3


def test_confidential_computing_is_read_where_it_is_told() -> None:
    assert rows("chutes.json")["Qwen/Qwen3-32B-TEE"].confidential
    assert rows("near-ai.json")["openai/gpt-oss-120b"].confidential
