"""What clients send to be embedded, read strictly: OpenAI's form, with OpenRouter's images and
input types, and Cohere's.

Guarantees that whatever is wrong is InvalidRequest naming the field; unknown fields travel.
"""

from typing import Any

from gatewayz.dialects.checks import array, integer, needed_text, table, text, texts, wrong
from gatewayz.dialects.embeddings.form import (
    BASE64,
    DTYPES,
    FLOAT,
    EmbeddingsRequest,
    Item,
    Piece,
)
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_chat.request import (
    GATEWAY_FIELDS,
    GATEWAY_PREFIXES,
    MAX_USER_CHARS,
)

MAX_ITEMS = 2048
MAX_TOKENS_PER_ITEM = 1_000_000
MAX_TOKEN_ID = 2**31 - 1
MAX_DIMENSIONS = 65_536
ENCODINGS = ("float", "base64")
URLS = ("data:", "http://", "https://")
# Words for the same kinds of input, by which each provider's own are found.
INPUT_TYPES = {
    "query": "query",
    "search_query": "query",
    "retrieval.query": "query",
    "retrieval_query": "query",
    "document": "document",
    "passage": "document",
    "search_document": "document",
    "retrieval.passage": "document",
    "retrieval_document": "document",
    "classification": "classification",
    "clustering": "clustering",
    "separation": "clustering",
    "similarity": "similarity",
    "text-matching": "similarity",
    "semantic_similarity": "similarity",
}
_KNOWN = frozenset(
    {"model", "input", "encoding_format", "output_dtype", "dimensions", "input_type", "user",
     "session_id"}
)  # fmt: skip
_COHERE_KNOWN = frozenset(
    {"model", "texts", "images", "inputs", "input_type", "embedding_types", "output_dimension",
     "truncate"}
)  # fmt: skip
_COHERE_NAMES = (
    ("input", "texts"),
    ("dimensions", "output_dimension"),
    ("encoding_format", "embedding_types"),
    ("output_dtype", "embedding_types"),
)


def read_openai(body: JsonObject) -> EmbeddingsRequest:
    """POST /v1/embeddings."""
    encoding = text(body, "encoding_format")
    if encoding not in (None, *ENCODINGS):
        raise wrong("encoding_format", "must be 'float' or 'base64'")
    dtype = text(body, "output_dtype")
    if dtype not in (None, "float", *DTYPES):
        raise wrong("output_dtype", f"must be one of float, {', '.join(DTYPES)}")
    # Whole numbers are told as they are: the SDK that asks for base64 unasked reads lists too.
    shown = dtype if dtype in DTYPES else encoding
    return EmbeddingsRequest(
        model=model_of(body),
        items=_items(body.get("input")),
        types=(shown or FLOAT,),
        dimensions=integer(body, "dimensions", low=1, high=MAX_DIMENSIONS),
        input_type=_input_type(body),
        user=text(body, "user", most=MAX_USER_CHARS),
        session=text(body, "session_id", most=256),
        extras=_extras(body, _KNOWN),
    )


def read_cohere(body: JsonObject) -> EmbeddingsRequest:
    """POST /v2/embed."""
    given = [name for name in ("texts", "images", "inputs") if body.get(name) is not None]
    if len(given) != 1:
        raise wrong("texts", "or 'images' or 'inputs' must be given, exactly one of them")
    (name,) = given
    values = array(body, name) or []
    _check_length(name, len(values))
    items: list[Item] = []
    for position, value in enumerate(values):
        place = f"{name}[{position}]"
        if name == "inputs":
            items.append(_content(value, place))
        elif type(value) is not str or not value:
            raise wrong(place, "must be a non-empty string")
        elif name == "texts":
            items.append(value)
        else:
            items.append((Piece("image", _url(value, place), place),))
    cut = text(body, "truncate")
    if cut not in (None, "NONE", "START", "END"):
        raise wrong("truncate", "must be 'NONE', 'START' or 'END'")
    return EmbeddingsRequest(
        model=model_of(body),
        items=tuple(items),
        types=_embedding_types(body),
        dimensions=integer(body, "output_dimension", low=1, high=MAX_DIMENSIONS),
        input_type=_input_type(body),
        # By its own rule END is what happens when nothing is said.
        truncate=cut != "NONE",
        form="cohere",
        extras=_extras(body, _COHERE_KNOWN),
        names=(*_COHERE_NAMES[1:], ("input", name)),
    )


def model_of(body: JsonObject) -> str:
    model = needed_text(body, "model")
    if not model:
        raise wrong("model", "must be a non-empty string")
    return model


def _embedding_types(body: JsonObject) -> tuple[str, ...]:
    wanted = texts(body, "embedding_types") or (FLOAT,)
    known = (FLOAT, BASE64, *DTYPES)
    if any(each not in known for each in wanted):
        raise wrong("embedding_types", f"must hold some of {', '.join(known)}")
    return tuple(dict.fromkeys(wanted))


def _input_type(body: JsonObject) -> str | None:
    word = text(body, "input_type", most=64)
    return None if not word else INPUT_TYPES.get(word.lower(), word)


def _extras(body: JsonObject, known: frozenset[str]) -> JsonObject:
    return {
        name: value
        for name, value in body.items()
        if name not in known
        and name not in GATEWAY_FIELDS
        and not name.startswith(GATEWAY_PREFIXES)
        and value is not None
    }


def _items(value: Any) -> tuple[Item, ...]:
    if type(value) is str:
        if not value:
            raise wrong("input", "must not be empty")
        return (value,)
    if type(value) is not list:
        raise wrong("input", "must be a string or an array")
    if value and all(type(entry) is int for entry in value):
        return (_tokens(value, "input"),)
    _check_length("input", len(value))
    return tuple(_item(entry, f"input[{position}]") for position, entry in enumerate(value))


def _check_length(name: str, length: int) -> None:
    if not length:
        raise wrong(name, "must not be empty")
    if length > MAX_ITEMS:
        raise wrong(name, f"must have at most {MAX_ITEMS} entries, it has {length}")


def _item(entry: Any, place: str) -> Item:
    if type(entry) is str:
        if not entry:
            raise wrong(place, "must not be empty")
        return entry
    if type(entry) is list:
        return _tokens(entry, place)
    if type(entry) is dict:
        return _content(entry, place)
    raise wrong(place, "must be a string, an array of token ids or an object with 'content'")


def _tokens(entry: list[Any], place: str) -> list[int]:
    if not entry:
        raise wrong(place, "must not be empty")
    if len(entry) > MAX_TOKENS_PER_ITEM:
        raise wrong(place, f"must have at most {MAX_TOKENS_PER_ITEM} token ids")
    for token in entry:
        if type(token) is not int:
            raise wrong(place, "must hold token ids, all of them integers")
        if not 0 <= token <= MAX_TOKEN_ID:
            raise wrong(place, f"has a token id outside 0 to {MAX_TOKEN_ID}")
    return entry


def _content(entry: Any, place: str) -> tuple[Piece, ...]:
    """An input of several pieces: {"content": [{"type": "text" | "image_url", …}]}."""
    content = array(entry, "content", f"{place}.") if type(entry) is dict else None
    if not content:
        raise wrong(f"{place}.content", "must be a non-empty array of parts")
    return tuple(_piece(part, f"{place}.content[{i}]") for i, part in enumerate(content))


def _piece(part: Any, place: str) -> Piece:
    kind = part.get("type") if type(part) is dict else None
    if kind == "text":
        if not needed_text(part, "text", f"{place}."):
            raise wrong(f"{place}.text", "must not be empty")
        return Piece("text", part["text"], place)
    if kind == "image_url":
        holder = part.get("image_url")
        url = holder if type(holder) is str else None
        if url is None:
            url = needed_text(
                table(part, "image_url", f"{place}.") or {}, "url", f"{place}.image_url."
            )
        return Piece("image", _url(url, f"{place}.image_url"), place)
    raise wrong(f"{place}.type", "must be 'text' or 'image_url': no model here embeds others")


def _url(text: str, place: str) -> str:
    if not text.startswith(URLS):
        raise wrong(place, "must be an http(s) URL or a data URL")
    return text
