"""How rows say that they serve embeddings, rerank and moderations, and what they may not say."""

from typing import Any

import pytest

from gatewayz.dialects.one_shot import Endpoint
from gatewayz.providers.config import load_providers, parse_provider
from gatewayz.providers.provider import Provider
from gatewayz.providers.tables import TableError

ROW: dict[str, Any] = {
    "name": "Acme",
    "dialect": "openai_chat",
    "base_url": "https://api.acme.example/v1",
    "credential": "ACME_KEY",
}


def row(**more: Any) -> Provider:
    return parse_provider("file.toml", "acme", ROW | more)


def test_a_word_is_enough_for_a_row_of_the_usual_dialect() -> None:
    served = row(endpoints=["chat", "embeddings", "rerank"])
    assert served.kinds == {"embeddings": Endpoint("openai"), "rerank": Endpoint("shared")}
    assert row().kinds == {}
    # Of another dialect nothing is known by a word alone.
    assert row(dialect="google", endpoints=["generate", "embeddings"]).kinds == {}


def test_a_table_says_what_differs() -> None:
    served = row(
        embeddings={
            "wire": "voyage",
            "takes": ["base64", "images"],
            "rename": {"input_type": "task"},
            "words": {"query": "retrieval.query"},
            "drop": ["user"],
            "max_items": 7,
        }
    )
    assert served.kinds["embeddings"] == Endpoint(
        "voyage",
        takes=frozenset({"base64", "images"}),
        drop=frozenset({"user"}),
        rename={"input_type": "task"},
        words={"query": "retrieval.query"},
        max_items=7,
    )
    assert "embeddings" in served.endpoints


def test_a_kind_may_have_an_address_of_its_own() -> None:
    served = row(rerank={"base_url": "https://other.acme.example/v2"})
    assert served.also["rerank"] == "https://other.acme.example/v2"
    with pytest.raises(TableError, match="https"):
        row(rerank={"base_url": "http://other.acme.example/v2"})


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"wire": "morse"}, "is not one of"),
        ({"takes": ["wishes"]}, "is none of"),
        ({"takes": "base64"}, "a list"),
        ({"rename": {"input": "text"}}, "written by the gateway"),
        ({"drop": ["model"]}, "written by the gateway"),
        ({"max_items": 0}, "above 0"),
        ({"speed": 1}, "unknown key"),
    ],
    ids=str,
)
def test_what_no_code_implements_is_refused_at_load(table: dict[str, Any], problem: str) -> None:
    with pytest.raises(TableError, match=problem):
        row(embeddings=table)


def test_the_rows_that_ship_serve_what_is_promised() -> None:
    rows = load_providers(sandbox_url="http://127.0.0.1:1/v1")
    embeds = {slug for slug, known in rows.items() if "embeddings" in known.kinds}
    ranks = {slug for slug, known in rows.items() if "rerank" in known.kinds}
    judges = {slug for slug, known in rows.items() if "moderations" in known.kinds}
    assert embeds >= {
        "openai", "cohere", "voyage", "jina", "mistral", "google", "google-vertex", "together",
        "deepinfra",
        "ollama", "vllm", "llamacpp", "lmstudio", "tei", "sandbox",
    }  # fmt: skip
    assert ranks >= {"cohere", "voyage", "jina", "together", "deepinfra", "vllm", "tei"}
    assert judges >= {"openai", "mistral", "sandbox"}
    assert "google-vertex-anthropic" not in embeds
