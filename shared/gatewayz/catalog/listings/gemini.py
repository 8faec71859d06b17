"""Google's list of Gemini models: no prices; paged by nextPageToken; ids begin with models/."""

from collections.abc import Iterator

from gatewayz.catalog.listings.row import Item, Row, count_of, id_of, text_of

PREFIX = "models/"
PAGE = "nextPageToken"
METHODS = {"embedContent": "embeddings", "predict": "image", "predictLongRunning": "video"}


def read(item: Item, unit: str) -> Iterator[Row]:
    native_id = id_of(item.get("name")).removeprefix(PREFIX)
    methods = item.get("supportedGenerationMethods")
    if not native_id or not isinstance(methods, list):
        return
    output = "text"
    if "generateContent" not in methods:
        output = next((METHODS[m] for m in methods if isinstance(m, str) and m in METHODS), "")
        if not output:
            return
    thinks = item.get("thinking") is True
    yield Row(
        native_id,
        name=text_of(item.get("displayName"), 120),
        description=text_of(item.get("description")),
        context_tokens=count_of(item.get("inputTokenLimit")),
        max_output_tokens=count_of(item.get("outputTokenLimit")),
        output_modalities=(output,),
        capabilities=("reasoning",) if thinks else (),
        reasons=thinks,
        tokenizer="Gemini",
    )
