"""Which models a kind of request may name: an embedding model writes no chat, and the reverse.

A model says by its output modalities what it gives; the error names the route it is asked at.
"""

from collections.abc import Mapping

from gatewayz.catalog.model import Model
from gatewayz.core.errors import InvalidRequest, echo

GENERATION = "generation"
# Kind of request → the output modality of models that serve it.
MODALITIES: Mapping[str, str] = {
    "embeddings": "embeddings",
    "rerank": "rerank",
    "moderations": "moderation",
}
# Modality → what such a model is called, and where it is asked.
PLACES: Mapping[str, tuple[str, str]] = {
    "embeddings": ("an embedding model", "/v1/embeddings"),
    "rerank": ("a rerank model", "/v1/rerank"),
    "moderation": ("a moderation model", "/v1/moderations"),
}
ELSEWHERE = ("a generative model", "/v1/chat/completions")
_ONLY = frozenset(PLACES)


def check_kind(model: Model, kind: str) -> None:
    """InvalidRequest when `model` does not give what `kind` asks for."""
    gives = model.output_modalities
    if kind == GENERATION:
        # Judged by what it gives besides: a server of one's own may do several of them.
        if not gives or not _ONLY.issuperset(gives):
            return
    elif MODALITIES[kind] in gives:
        return
    what, where = next((PLACES[word] for word in gives if word in PLACES), ELSEWHERE)
    raise InvalidRequest(
        f"'{echo(model.id)}' is {what}: use {where}.",
        code="wrong_endpoint",
        param="model",
        metadata={"endpoint": where},
    )
