"""Which model a name means: canonical ids, aliases, suffixes; what is never guessed."""

import string
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayz.catalog.assemble import Listed, regroup
from gatewayz.catalog.bundle import open_bundle
from gatewayz.catalog.grouping import Index, Placed, differs, key_of, own_id, place
from gatewayz.catalog.listings.row import Row
from gatewayz.catalog.load import BUNDLED_ALIASES
from gatewayz.catalog.model import MODEL_ID
from gatewayz.catalog.names import VARIANTS, split_variants
from gatewayz.catalog.suggest import Suggestions

KNOWN = (
    "meta-llama/llama-3.3-70b-instruct", "openai/gpt-oss-120b", "z-ai/glm-5.1", "x-ai/grok-4.3",
    "anthropic/claude-haiku-4.5", "deepseek/deepseek-v3.2", "qwen/qwen3-32b", "openai/gpt-5",
    "openai/gpt-4o", "google/gemini-3.1-pro-preview",
)  # fmt: skip
PLACED = {
    ("groq", "llama-3.3-70b-versatile"): "meta-llama/llama-3.3-70b-instruct",
    ("groq", "openai/gpt-oss-120b"): "openai/gpt-oss-120b",
    ("near-ai", "zai-org/GLM-5.1-FP8"): "z-ai/glm-5.1",
    ("venice", "grok-4-3"): "x-ai/grok-4.3",
    ("venice", "gemini-3-1-pro-preview"): "google/gemini-3.1-pro-preview",
    ("anthropic", "claude-haiku-4-5-20251001"): "anthropic/claude-haiku-4.5",
    ("aws-bedrock", "anthropic.claude-haiku-4-5-20251001-v1:0"): "anthropic/claude-haiku-4.5",
    ("aws-bedrock", "openai.gpt-oss-120b-1:0"): "openai/gpt-oss-120b",
    ("aws-bedrock", "deepseek.v3.2"): "deepseek/deepseek-v3.2",
    ("google-vertex", "claude-haiku-4-5@20251001"): "anthropic/claude-haiku-4.5",
    ("chutes", "Qwen/Qwen3-32B-TEE"): "qwen/qwen3-32b",
    ("perplexity", "xai/grok-4.3"): "x-ai/grok-4.3",
    ("aihubmix", "gpt-5"): "openai/gpt-5",
    ("fireworks", "accounts/fireworks/models/glm-5p1"): "z-ai/glm-5.1",
    ("openrouter", "z-ai/glm-5.1:free"): "z-ai/glm-5.1:free",
    # What nobody can place keeps its provider's name.
    ("fireworks", "accounts/fireworks/models/ember-1"): "fireworks/ember-1",
    ("groq", "groq/compound"): "groq/compound",
    ("venice", "inkling"): "venice/inkling",
}


@pytest.mark.parametrize(("provider", "native_id"), PLACED)
def test_a_native_id_ends_at_its_canonical_one(provider: str, native_id: str) -> None:
    row = Row(native_id, canonical=native_id if provider == "openrouter" else "")
    placed = place(provider, row, Index.of(KNOWN))
    assert placed.model_id == PLACED[provider, native_id]
    assert place(provider, row, Index.of(KNOWN)) == placed, "the same input, the same place"


def test_what_a_name_says_of_weights_is_kept_on_the_offer() -> None:
    assert place("near-ai", Row("zai-org/GLM-5.1-FP8"), Index.of(KNOWN)).quantization == "fp8"
    assert place("chutes", Row("Qwen/Qwen3-32B-TEE"), Index.of(KNOWN)).confidential


def test_nothing_is_joined_across_makers() -> None:
    index = Index.of(["maker/model-7b"])
    assert place("host", Row("other/model-7b"), index).model_id == "other/model-7b"
    index = Index.of(["maker/model-7b", "other/model-7b"])
    assert place("host", Row("model-7b"), index).model_id == "host/model-7b", "two could be meant"


def test_a_dated_snapshot_beside_its_undated_name_is_a_model_of_its_own() -> None:
    both = frozenset({"gpt-4o", "gpt-4o-2024-08-06"})
    index = Index.of(KNOWN)
    dated = Row("gpt-4o-2024-08-06")
    assert place("openai", dated, index, both).model_id == "openai/gpt-4o-2024-08-06"
    alone = frozenset({"gpt-4o-2024-08-06"})
    assert place("openai", dated, index, alone).model_id == "openai/gpt-4o"


@given(st.text(string.printable, min_size=1, max_size=60))
def test_every_native_id_gets_an_id_that_can_be_asked_for(native_id: str) -> None:
    if not (found := native_id.strip()) or any(c.isspace() for c in found):
        return
    assert MODEL_ID.fullmatch(own_id("host", found))


def test_contexts_that_differ_by_more_than_twice_are_flagged_not_merged() -> None:
    assert differs(8_000, 131_072) and differs(131_072, 8_000)
    assert not differs(65_536, 131_072) and not differs(None, 10)
    group = [
        Listed(slug, Row("m/x", context_tokens=context), Placed("m/x", how), None, "", "")
        for slug, context, how in (
            ("a", 131_072, "rule"), ("b", 131_072, "rule"), ("c", 8_192, "rule"),
            ("d", 8_192, "curated"), ("e", None, "rule"),
        )
    ]  # fmt: skip
    stay, leave = regroup(group)
    assert [listed.provider for listed in stay] == ["a", "b", "d", "e"]
    assert [listed.provider for listed in leave] == ["c"]


# ---------------------------------------------------------------- aliases


def test_there_are_many_aliases_each_for_one_listed_model_in_one_hop() -> None:
    aliases = tomllib.loads(BUNDLED_ALIASES.read_text())
    bundle = open_bundle()
    names = set(bundle.names())
    lower = {name.lower() for name in names}
    assert len(aliases) >= 120
    for alias, model_id in aliases.items():
        assert alias == alias.lower()
        assert model_id in names, alias
        assert model_id not in aliases, "one hop, and doing it twice changes nothing"
        assert alias not in lower, "an alias hides no model"
        assert bundle.alias(alias) == model_id


def test_an_alias_renames_and_never_names_another_version() -> None:
    """What an alias says of a version is what the model's id says of it."""
    for alias, model_id in tomllib.loads(BUNDLED_ALIASES.read_text()).items():
        said = [
            part for part in alias.replace("_", "-").replace(".", "-").split("-") if part.isdigit()
        ]
        told = key_of(model_id)
        for digits in said:
            if len(digits) < 6 and model_id not in UNVERSIONED:
                assert digits in told, (alias, model_id)


# The makers' own shorter or longer words for exactly this model.
UNVERSIONED = frozenset(
    {
        "openai/gpt-5.6-sol",
        "anthropic/claude-opus-4",
        "anthropic/claude-sonnet-4",
        "x-ai/grok-4",
    }
)


# ---------------------------------------------------------------- suffixes


@pytest.mark.parametrize("word", VARIANTS)
def test_a_suffix_is_parsed_off(word: str) -> None:
    assert split_variants(f"a/b:{word}") == ("a/b", (word,))
    assert split_variants(f"a/b:{word.upper()}") == ("a/b", (word,))


def test_suffixes_combine_and_anything_else_is_part_of_the_name() -> None:
    assert split_variants("a/b:free:nitro") == ("a/b", ("free", "nitro"))
    assert split_variants("a/b:nitro:nitro") == ("a/b", ("nitro",))
    for name in ("a/b", "a/b:0324", "a/b:", ":free", "a/b:free:v2", ""):
        assert split_variants(name) == (name, ())


@given(st.text(max_size=40))
def test_splitting_twice_is_splitting_once(name: str) -> None:
    base, found = split_variants(name)
    assert split_variants(base) == (base, ())
    assert set(found) <= set(VARIANTS)


# ---------------------------------------------------------------- suggestions


def test_suggestions_are_close_whatever_is_asked() -> None:
    near = Suggestions.of_ids(open_bundle().names())
    assert near.close("llama-3.3-70b-instrct", 3)[0] == "meta-llama/llama-3.3-70b-instruct"
    assert near.close("OpenAI/GPT-5.4", 3)[0] == "openai/gpt-5.4"
    assert near.close("zzzzzzzzzzz", 3) == []
    assert near.close("x" * 100_000, 3) == []
    assert len(near.close("openai/gpt", 3)) <= 3
