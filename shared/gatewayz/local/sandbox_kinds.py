"""What the sandbox says to embeddings, rerank and moderations. Pure and deterministic.

It knows words, not what they mean: vectors are near when texts share words, documents rank by the
words they share with the query, a few words are flagged. Options of a model's name bend the answer
as in sandbox_behaviour.py; `usage.tokens` states a ranking's tokens in place of its searches.
"""

import base64
import hashlib
import math
import re
import struct
from collections.abc import Callable
from typing import Any

from gatewayz.local.sandbox_behaviour import BYTES_PER_TOKEN, CREATED, Behaviour, JsonObject

DIMENSIONS = 256
IMAGE_TOKENS = 85
DOCUMENTS_PER_SEARCH = 100
FLAGGED = {
    "harassment": ("stupid", "idiot"),
    "hate": ("hate",),
    "violence": ("kill", "hurt", "attack"),
}
_WORD = re.compile(r"\w+")


class Refused(ValueError):
    """The request is no request; the message says why."""


def embeddings(behaviour: Behaviour, body: JsonObject) -> JsonObject:
    """OpenAI's list object."""
    given = body.get("input")
    items = given if type(given) is list and not _is_tokens(given) else [given]
    length = body.get("dimensions") or DIMENSIONS
    texts = [_text(item) for item in items]
    tokens = [_tokens(item) for item in items]
    images = sum(_images(item) for item in items) * IMAGE_TOKENS
    vectors = [_vector(text, length) for text in texts]
    data = [
        {"object": "embedding", "index": i, "embedding": _encoded(vector, body)}
        for i, vector in enumerate(vectors)
    ]
    total = sum(tokens) + images if behaviour.prompt is None else behaviour.prompt
    usage: JsonObject = {"prompt_tokens": total, "total_tokens": total}
    if images:
        usage["prompt_tokens_details"] = {"text_tokens": total - images, "image_tokens": images}
    if behaviour.empty:
        data = []
    return _with_usage({"object": "list", "data": data, "model": behaviour.model}, behaviour, usage)


def rerank(behaviour: Behaviour, body: JsonObject) -> JsonObject:
    """The form that most providers have."""
    documents, query = body.get("documents"), _words(str(body.get("query") or ""))
    if type(documents) is not list or not documents or not query:
        raise Refused("query and documents are needed")
    texts = [_text(document) for document in documents]
    scores = [len(query & _words(text)) / len(query) for text in texts]
    order = sorted(range(len(texts)), key=lambda i: (-scores[i], i))
    top = body.get("top_n") or len(order)
    results = [{"index": i, "relevance_score": scores[i]} for i in order[:top]]
    tokens = sum(_tokens(text) for text in texts)
    searches = (
        -(-len(texts) // DOCUMENTS_PER_SEARCH) if behaviour.prompt is None else (behaviour.prompt)
    )
    usage: JsonObject = {"total_tokens": tokens}
    if behaviour.usage != "tokens":
        usage = {"search_units": searches, **usage}
    answer: JsonObject = {"id": "sandbox-rerank", "model": behaviour.model}
    answer["results"] = [] if behaviour.empty else results
    return _with_usage(answer, behaviour, usage)


def moderations(behaviour: Behaviour, body: JsonObject) -> JsonObject:
    """OpenAI's object; like its own it states no usage."""
    given = body.get("input")
    parts = type(given) is list and given and all(type(item) is dict for item in given)
    items = given if type(given) is list and not parts else [given]
    results = []
    for item in items:
        text = " ".join(_text(part) for part in item) if type(item) is list else _text(item)
        found = {name: bool(_words(text) & set(words)) for name, words in FLAGGED.items()}
        results.append(
            {
                "flagged": any(found.values()),
                "categories": found,
                "category_scores": {name: float(hit) for name, hit in found.items()},
                "category_applied_input_types": {name: ["text"] for name in found},
            }
        )
    answer: JsonObject = {"id": f"modr-sandbox-{CREATED}", "model": behaviour.model}
    return answer | {"results": [] if behaviour.empty else results}


ANSWERS: dict[str, Callable[[Behaviour, JsonObject], JsonObject]] = {
    "/v1/embeddings": embeddings,
    "/v1/rerank": rerank,
    "/v1/moderations": moderations,
}


def _with_usage(answer: JsonObject, behaviour: Behaviour, usage: JsonObject) -> JsonObject:
    """Usage as the model's name wants it: none, all zero, nonsense, or true."""
    if behaviour.usage == "none":
        return answer
    if behaviour.usage == "zero":
        usage = {name: 0 for name in usage if name != "prompt_tokens_details"}
    elif behaviour.usage == "neg":
        usage = {name: -1 for name in usage if name != "prompt_tokens_details"}
    return answer | {"usage": usage}


def _is_tokens(value: list[Any]) -> bool:
    return bool(value) and all(type(entry) is int for entry in value)


def _text(item: Any) -> str:
    if type(item) is str:
        return item
    if type(item) is list:
        return " ".join(str(entry) for entry in item)
    if type(item) is not dict:
        raise Refused("an input is no text")
    if type(item.get("content")) is list:
        return " ".join(_text(part) for part in item["content"])
    image = item.get("image") or (item.get("image_url") or {}).get("url")
    return f"{item.get('text') or ''} {image or ''}".strip()


def _tokens(item: Any) -> int:
    """Deterministic: a quarter of the bytes, at least 1; token ids count themselves."""
    if type(item) is list:
        return len(item)
    return max(1, len(_text(item).encode()) // BYTES_PER_TOKEN)


def _images(item: Any) -> int:
    parts = item.get("content") if type(item) is dict else None
    return sum("image_url" in part for part in parts or () if type(part) is dict)


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def _vector(text: str, length: int) -> list[float]:
    """Each word adds to a few places that its hash names; the whole has length one."""
    numbers = [0.0] * length
    for word in sorted(_words(text)) or [""]:
        digest = hashlib.blake2s(word.encode()).digest()
        for (place,) in struct.iter_unpack("<H", digest):
            numbers[place % length] += 1.0 if place & 0x8000 else -1.0
    size = math.sqrt(sum(number * number for number in numbers)) or 1.0
    # As float32, so that both encodings say the same.
    packed = struct.pack(f"<{length}f", *(number / size for number in numbers))
    return list(struct.unpack(f"<{length}f", packed))


def _encoded(vector: list[float], body: JsonObject) -> Any:
    if body.get("encoding_format") != "base64":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
