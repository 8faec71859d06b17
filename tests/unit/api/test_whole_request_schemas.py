"""Schemas and checks of the hot path agree on embeddings, rerank and moderations, too (D46)."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, ValidationError

from gatewayz.api.openapi import build_document
from gatewayz.api.schemas.embeddings import EmbeddingsRequest, EmbedRequest
from gatewayz.api.schemas.moderations import ModerationsRequest
from gatewayz.api.schemas.rerank import RerankRequest
from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.embeddings.read_request import read_cohere, read_openai
from gatewayz.dialects.moderations.call import read_request as read_moderations
from gatewayz.dialects.rerank.read_request import read_request as read_rerank

URL = "https://x.example/a.png"
TEXT_PART = {"type": "text", "text": "x"}
IMAGE_PART = {"type": "image_url", "image_url": {"url": URL}}
ODD: list[Any] = [
    None, True, False, 0, 1, -1, 2**31 - 1, 2**31, 65_536, 65_537, 0.5, 12.5, "", "x", "float",
    "base64", "int8", "END", "NONE", "u" * 64, "u" * 65, "u" * 256, "u" * 257, "u" * 512,
    "u" * 513, [], {}, [1], [0, 2**31 - 1], [-1], [2**31], [True], ["a"], [""], ["a", ""],
    [None], [[1], [2]], [[]], [[1], "a"], ["a", [1]], [[1.5]], [{}], [{"content": []}],
    [{"content": [TEXT_PART]}], [{"content": [TEXT_PART, IMAGE_PART]}, "a"], ["float"],
    [{"content": [{"type": "text", "text": ""}]}], [{"content": [{"type": "text"}]}],
    [{"content": [{"type": "image_url", "image_url": URL}]}], [URL], ["float", "base64"],
    [{"content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}],
    [{"content": [{"type": "input_audio"}]}], [TEXT_PART], [TEXT_PART, IMAGE_PART],
    [TEXT_PART, "a"], [{"text": "x"}], [{"text": "x", "image": URL}], [{"image": URL}],
    [{"text": "", "image": URL}], [{"text": "", "image": ""}], [{"text": "x", "image": ""}],
    [{"image": "x"}], [{"text": 1}], ["a"] * 2048, ["a"] * 2049, [1] * 2049,
]  # fmt: skip


def _rerank(body: dict[str, Any]) -> object:
    return read_rerank(body, with_documents=True)


KINDS: dict[str, tuple[type[BaseModel], Callable[[dict[str, Any]], object], dict[str, Any]]] = {
    "embeddings": (EmbeddingsRequest, read_openai, {"model": "a/b", "input": "x"}),
    "embed": (EmbedRequest, read_cohere, {"model": "a/b", "texts": ["x"]}),
    "rerank": (RerankRequest, _rerank, {"model": "a/b", "query": "x", "documents": ["x"]}),
    "moderations": (ModerationsRequest, read_moderations, {"input": "x"}),
}
each = pytest.mark.parametrize("kind", KINDS)
COMPONENTS = build_document()["components"]
DESCRIBED = {
    kind: Draft202012Validator(
        {"$ref": f"#/components/schemas/{model.__name__}", "components": COMPONENTS}
    )
    for kind, (model, _, _) in KINDS.items()
}


def takes(kind: str, body: dict[str, Any]) -> tuple[bool, bool, bool]:
    """Whether the reader, the model and the document's schema take a body."""
    model, read, _ = KINDS[kind]
    try:
        read(body)
        read_it = True
    except InvalidRequest:
        read_it = False
    try:
        model.model_validate(body)
        valid = True
    except ValidationError:
        valid = False
    return read_it, valid, DESCRIBED[kind].is_valid(body)


def judge(kind: str, body: dict[str, Any]) -> None:
    read_it, valid, described = takes(kind, body)
    if kind == "embed" and sum(body.get(n) is not None for n in ("texts", "images", "inputs")) != 1:
        # No schema says "exactly one of these": its description does.
        assert not read_it
        return
    assert (valid, described) == (read_it, read_it), body


@each
def test_they_agree_on_every_field_with_every_odd_value(kind: str) -> None:
    model, _, plain = KINDS[kind]
    for name in (*model.model_fields, "future"):
        for value in ODD:
            judge(kind, {**plain, name: value})


@each
def test_they_agree_on_fields_together(kind: str) -> None:
    model, _, plain = KINDS[kind]

    @given(st.dictionaries(st.sampled_from(sorted(model.model_fields)), st.sampled_from(ODD)))
    def agree(fields: dict[str, Any]) -> None:
        judge(kind, {**plain, **fields})

    agree()
