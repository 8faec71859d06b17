"""What clients send to be reranked, read strictly: the one form that all have, v1 and v2.

Guarantees that whatever is wrong is InvalidRequest naming the field.
"""

from typing import Any

from gatewayz.dialects.checks import array, flag, integer, needed_text, text, wrong
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_chat.request import (
    GATEWAY_FIELDS,
    GATEWAY_PREFIXES,
    MAX_USER_CHARS,
)
from gatewayz.dialects.rerank.form import Document, RerankRequest

MAX_DOCUMENTS = 10_000
MAX_TOP_N = 2**31 - 1
_KNOWN = frozenset(
    {"model", "query", "documents", "top_n", "top_k", "return_documents", "max_tokens_per_doc",
     "user", "session_id"}
)  # fmt: skip


def read_request(body: JsonObject, *, with_documents: bool) -> RerankRequest:
    """`with_documents`: whether results repeat their documents when the caller says nothing."""
    model, query = needed_text(body, "model"), needed_text(body, "query")
    if not model:
        raise wrong("model", "must be a non-empty string")
    if not query:
        raise wrong("query", "must not be empty")
    documents = array(body, "documents")
    if not documents:
        raise wrong("documents", "must be a non-empty array")
    if len(documents) > MAX_DOCUMENTS:
        raise wrong("documents", f"must have at most {MAX_DOCUMENTS} entries")
    top_n, top_k = (integer(body, name, low=1, high=MAX_TOP_N) for name in ("top_n", "top_k"))
    wish = flag(body, "return_documents")
    return RerankRequest(
        model=model,
        query=query,
        documents=tuple(_document(d, f"documents[{i}]") for i, d in enumerate(documents)),
        top_n=top_n or top_k,
        with_documents=with_documents if wish is None else wish,
        most_tokens=integer(body, "max_tokens_per_doc", low=1),
        user=text(body, "user", most=MAX_USER_CHARS),
        session=text(body, "session_id", most=256),
        extras={
            name: value
            for name, value in body.items()
            if name not in _KNOWN
            and name not in GATEWAY_FIELDS
            and not name.startswith(GATEWAY_PREFIXES)
            and value is not None
        },
    )


def _document(value: Any, place: str) -> Document:
    if type(value) is str:
        if not value:
            raise wrong(place, "must not be empty")
        return Document(value, None, value)
    if type(value) is not dict:
        raise wrong(place, "must be a string or an object with 'text' or 'image'")
    words, image = text(value, "text", f"{place}."), text(value, "image", f"{place}.")
    if not words and not image:
        raise wrong(place, "must have 'text' or 'image'")
    if image is not None and not image.startswith(("data:", "http://", "https://")):
        raise wrong(f"{place}.image", "must be an http(s) URL or a data URL")
    return Document(words or None, image or None, value)
