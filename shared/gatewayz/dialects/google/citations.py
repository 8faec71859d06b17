"""Sources of an answer: groundingMetadata and citationMetadata ⇄ citations of its texts (§10).

This protocol counts bytes of UTF-8, the internal form characters.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.google.wire import NAME, said
from gatewayz.dialects.parts import Citation, Part, Text

_SOURCES = ("web", "retrievedContext", "maps", "image")


def cite(candidate: JsonObject, parts: list[Part]) -> list[Part]:
    """The parts with their citations; a support without a part of its own belongs to the first
    text."""
    first = next((i for i, part in enumerate(parts) if isinstance(part, Text) and part.text), None)
    if first is None or not says_sources(candidate):
        return parts
    found: dict[int, list[Citation]] = {}
    for index, citation in _read(candidate):
        part = parts[index] if index < len(parts) else None
        place = index if isinstance(part, Text) and part.text else first
        text = parts[place]
        assert isinstance(text, Text)
        found.setdefault(place, []).append(_in_characters(citation, text.text))
    out = list(parts)
    for place, citations in found.items():
        text = out[place]
        assert isinstance(text, Text)
        out[place] = replace(text, citations=tuple(citations))
    return out


def cite_text(candidate: JsonObject, text: str) -> list[Citation]:
    """All citations of an answer that is one text."""
    return [_in_characters(citation, text) for _, citation in _read(candidate)]


def says_sources(candidate: JsonObject) -> bool:
    return "groundingMetadata" in candidate or "citationMetadata" in candidate


def _table(value: Any) -> JsonObject:
    return value if type(value) is dict else {}


def _tables(value: Any) -> list[JsonObject]:
    return [item for item in value if type(item) is dict] if type(value) is list else []


def _text(holder: JsonObject, name: str) -> str | None:
    value = holder.get(name)
    return value if type(value) is str else None


def _count(holder: JsonObject, name: str) -> int | None:
    value = holder.get(name)
    return value if type(value) is int and value >= 0 else None


def _read(candidate: JsonObject) -> Iterable[tuple[int, Citation]]:
    """Which part, and the citation with its offsets still in bytes."""
    grounding = _table(candidate.get("groundingMetadata"))
    chunks = _tables(grounding.get("groundingChunks"))
    for support in _tables(grounding.get("groundingSupports")):
        segment = _table(support.get("segment"))
        indices = support.get("groundingChunkIndices")
        for index in indices if type(indices) is list else ():
            if type(index) is not int or not 0 <= index < len(chunks):
                continue
            chunk = chunks[index]
            source = next((_table(chunk[name]) for name in _SOURCES if chunk.get(name)), {})
            yield (
                _count(segment, "partIndex") or 0,
                Citation(
                    url=_text(source, "uri"),
                    title=_text(source, "title"),
                    cited=_text(segment, "text"),
                    # An offset of 0 is not written.
                    start=_count(segment, "startIndex") or 0,
                    end=_count(segment, "endIndex"),
                    dialect=NAME,
                    raw=support,
                ),
            )
    cited = _table(candidate.get("citationMetadata"))
    for item in _tables(cited.get("citations") or cited.get("citationSources")):
        start, end = _count(item, "startIndex") or 0, _count(item, "endIndex")
        url, title = _text(item, "uri"), _text(item, "title")
        yield 0, Citation(url, title, None, start, end, dialect=NAME, raw=item)


def _in_characters(citation: Citation, text: str) -> Citation:
    if citation.start is None or citation.end is None:
        return replace(citation, start=None, end=None)
    raw = text.encode("utf-8", "replace")
    start, end = (len(raw[:n].decode("utf-8", "ignore")) for n in (citation.start, citation.end))
    return replace(citation, start=start, end=max(start, end))


def write_grounding(texts: Sequence[tuple[int, str, Sequence[Citation]]]) -> JsonObject | None:
    """groundingMetadata of texts: (place of the part, its text, its citations). None for none."""
    chunks: list[JsonObject] = []
    supports: list[JsonObject] = []
    for place, text, citations in texts:
        for citation in citations:
            chunk = _chunk(citation)
            if chunk not in chunks:
                chunks.append(chunk)
            segment = _segment(citation, text)
            if place:
                segment["partIndex"] = place
            supports.append({"segment": segment, "groundingChunkIndices": [chunks.index(chunk)]})
    if not supports:
        return None
    return {"groundingChunks": chunks, "groundingSupports": supports}


def _chunk(citation: Citation) -> JsonObject:
    if citation.url is not None:
        return {"web": said(uri=citation.url, title=citation.title)}
    return {"retrievedContext": said(title=citation.title, text=citation.cited)}


def _segment(citation: Citation, text: str) -> JsonObject:
    known = citation.start is not None and citation.end is not None
    start, end = (citation.start or 0, citation.end or 0) if known else (0, len(text))
    begin = len(text[:start].encode("utf-8", "replace"))
    piece = text[start:end]
    segment: JsonObject = {"startIndex": begin} if begin else {}
    segment["endIndex"] = begin + len(piece.encode("utf-8", "replace"))
    return {**segment, "text": piece}
