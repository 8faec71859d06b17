"""Ollama's /api/tags: what a server of one's own has loaded. No prices."""

from collections.abc import Iterator

from gatewayz.catalog.listings.row import Item, Row, at, count_of, id_of


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("model") or item.get("name"))
    if native_id:
        embeds = at(item, "details", "family") in ("bert", "nomic-bert")
        yield Row(
            native_id,
            context_tokens=count_of(at(item, "details", "context_length")),
            output_modalities=("embeddings",) if embeds else ("text",),
        )
