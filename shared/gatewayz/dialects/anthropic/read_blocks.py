"""Content blocks → parts: of a caller's messages and of a provider's answer alike."""

from typing import Any

import orjson

from gatewayz.dialects import checks
from gatewayz.dialects.anthropic.wire import NAME
from gatewayz.dialects.checks import wrong
from gatewayz.dialects.envelope import unseal
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.parts import (
    CacheMark,
    Citation,
    File,
    Image,
    Opaque,
    Part,
    RedactedThinking,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

# Where one of our own signatures of a tool call is kept until the call itself is read.
Signatures = dict[str, tuple[str, str | None]]


def read_cache(holder: JsonObject, where: str) -> CacheMark | None:
    mark = checks.table(holder, "cache_control", where)
    return None if mark is None else CacheMark(checks.text(mark, "ttl", f"{where}cache_control."))


def read_content(content: Any, where: str, *, family: str) -> list[Part]:
    """A message's `content`: text or an array of blocks."""
    if type(content) is str:
        return [Text(content)]
    if type(content) is not list:
        raise wrong(where, "must be a string or an array of blocks")
    signatures: Signatures = {}
    parts: list[Part] = []
    for index, block in enumerate(content):
        part = read_block(block, f"{where}[{index}]", family=family, signatures=signatures)
        if part is not None:
            parts.append(part)
    if not signatures:
        return parts
    return [_sign(part, signatures) for part in parts]


def _sign(part: Part, signatures: Signatures) -> Part:
    if not isinstance(part, ToolCall) or part.id not in signatures:
        return part
    origin, signature = signatures[part.id]
    return ToolCall(
        part.id,
        part.name,
        part.arguments,
        signature=signature,
        origin=origin,
        cache=part.cache,
        extras=part.extras,
    )


def read_block(
    value: Any, where: str, *, family: str, signatures: Signatures | None = None
) -> Part | None:
    """The part a block is; None when it only carried a signature for a tool call."""
    block = checks.needed_table(value, where)
    dot = where + "."
    match block.get("type"):
        case "text":
            return _read_text(block, dot)
        case "thinking":
            return _read_thinking(block, dot, family)
        case "redacted_thinking":
            return _read_redacted(block, dot, family, {} if signatures is None else signatures)
        case "tool_use":
            return _read_call(block, dot)
        case "tool_result":
            return _read_result(block, dot, family)
        case "image":
            extras = checks.rest(block, frozenset({"type", "source", "cache_control"}))
            source = _read_source(block, dot)
            if source is not None:
                return Image(source, cache=read_cache(block, dot), extras=extras)
        case "document":
            extras = checks.rest(block, frozenset({"type", "source", "title", "cache_control"}))
            source = _read_source(block, dot)
            if source is not None:
                name = checks.text(block, "title", dot)
                return File(source, name, read_cache(block, dot), extras)
        case kind if type(kind) is not str:
            raise wrong(dot + "type", "must be a string")
    return Opaque(NAME, block)


def _read_text(block: JsonObject, dot: str) -> Text:
    citations = checks.array(block, "citations", dot) or []
    return Text(
        checks.needed_text(block, "text", dot),
        citations=tuple(c for item in citations if (c := read_citation(item))),
        cache=read_cache(block, dot),
        extras=checks.rest(block, frozenset({"type", "text", "citations", "cache_control"})),
    )


def read_citation(item: Any) -> Citation | None:
    if type(item) is not dict:
        return None
    title = item.get("title") or item.get("document_title")
    url = item.get("url") or item.get("source")
    cited = item.get("cited_text")
    return Citation(
        url=url if type(url) is str else None,
        title=title if type(title) is str else None,
        cited=cited if type(cited) is str else None,
        dialect=NAME,
        raw=item,
    )


def _read_thinking(block: JsonObject, dot: str, family: str) -> Thinking:
    text = checks.needed_text(block, "thinking", dot)
    signature = checks.text(block, "signature", dot)
    sealed = unseal(signature) if signature else None
    if sealed is not None:
        return Thinking(text, sealed.signature, sealed.origin, sealed.id)
    extras = checks.rest(block, frozenset({"type", "thinking", "signature", "cache_control"}))
    return Thinking(text, signature or None, family, extras=extras)


def _read_redacted(
    block: JsonObject, dot: str, family: str, signatures: Signatures
) -> RedactedThinking | None:
    data = checks.needed_text(block, "data", dot)
    sealed = unseal(data)
    if sealed is None:
        extras = checks.rest(block, frozenset({"type", "data", "cache_control"}))
        return RedactedThinking(data, family, extras=extras)
    if sealed.call_id is not None:
        signatures[sealed.call_id] = (sealed.origin, sealed.signature)
        return None
    return RedactedThinking(sealed.signature or "", sealed.origin, sealed.id)


def _read_call(block: JsonObject, dot: str) -> ToolCall:
    given = checks.needed_table(block.get("input"), dot + "input")
    return ToolCall(
        checks.needed_text(block, "id", dot),
        checks.needed_text(block, "name", dot),
        orjson.dumps(given).decode(),
        cache=read_cache(block, dot),
        extras=checks.rest(block, frozenset({"type", "id", "name", "input", "cache_control"})),
    )


def _read_result(block: JsonObject, dot: str, family: str) -> ToolResult:
    content = block.get("content")
    parts = [] if content is None else read_content(content, dot + "content", family=family)
    known = frozenset({"type", "tool_use_id", "content", "is_error", "cache_control"})
    return ToolResult(
        checks.needed_text(block, "tool_use_id", dot),
        tuple(parts),
        is_error=bool(checks.flag(block, "is_error", dot)),
        cache=read_cache(block, dot),
        extras=checks.rest(block, known),
    )


def _read_source(block: JsonObject, dot: str) -> Source | None:
    """None for a source that only this dialect has."""
    source = checks.needed_table(block.get("source"), dot + "source")
    dot += "source."
    match source.get("type"):
        case "base64":
            mime = checks.needed_text(source, "media_type", dot)
            return Source("data", checks.needed_text(source, "data", dot), mime)
        case "url":
            return Source("url", checks.needed_text(source, "url", dot))
        case "file":
            return Source("id", checks.needed_text(source, "file_id", dot))
        case "text":
            return Source("text", checks.needed_text(source, "data", dot), "text/plain")
    return None
