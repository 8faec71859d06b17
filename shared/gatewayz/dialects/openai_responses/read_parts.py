"""Content parts and reasoning items → parts: of a caller's items and of a provider's alike."""

from typing import Any

from gatewayz.dialects import checks
from gatewayz.dialects.checks import wrong
from gatewayz.dialects.envelope import unseal
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.media import read_source, sniff
from gatewayz.dialects.openai_responses.wire import NAME, own_id
from gatewayz.dialects.parts import (
    Audio,
    CacheMark,
    Citation,
    File,
    Image,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Source,
    Text,
    Thinking,
)

# Signatures of tool calls that were kept in reasoning items, by the call's id.
Signatures = dict[str, tuple[str, str]]
BREAKPOINT = "prompt_cache_breakpoint"
_TEXT_KNOWN = frozenset({"type", "text", "annotations", "logprobs", BREAKPOINT})
_IMAGE_KNOWN = frozenset({"type", "image_url", "file_id", "detail", BREAKPOINT})
_FILE_KNOWN = frozenset({"type", "filename", "file_data", "file_url", "file_id", BREAKPOINT})


def read_content(content: Any, where: str) -> list[Part]:
    """A message's `content` or a tool's `output`: text or an array of parts."""
    if type(content) is str:
        return [Text(content)]
    if type(content) is not list:
        raise wrong(where, "must be a string or an array of parts")
    return [read_part(part, f"{where}[{index}]") for index, part in enumerate(content)]


def read_part(value: Any, where: str) -> Part:
    part = checks.needed_table(value, where)
    dot = where + "."
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            noted = checks.array(part, "annotations", dot) or []
            return Text(
                checks.needed_text(part, "text", dot),
                citations=tuple(c for item in noted if (c := read_citation(item))),
                cache=_read_cache(part, dot),
                extras=checks.rest(part, _TEXT_KNOWN),
            )
        case "refusal":
            return Refusal(checks.needed_text(part, "refusal", dot))
        case "input_image":
            return _read_image(part, dot)
        case "input_file":
            return _read_file(part, dot)
        case "input_audio":
            audio = checks.needed_table(part.get("input_audio"), dot + "input_audio")
            spoken = checks.needed_text(audio, "format", dot + "input_audio.")
            data = checks.needed_text(audio, "data", dot + "input_audio.")
            return Audio(Source("data", data, f"audio/{spoken}"), spoken)
        case kind if type(kind) is not str:
            raise wrong(dot + "type", "must be a string")
    return Opaque(NAME, part)


def _read_cache(part: JsonObject, dot: str) -> CacheMark | None:
    mark = checks.table(part, BREAKPOINT, dot)
    return None if mark is None else CacheMark()


def _read_image(part: JsonObject, dot: str) -> Image:
    url, file_id = checks.text(part, "image_url", dot), checks.text(part, "file_id", dot)
    if url is None and file_id is None:
        raise wrong(dot + "image_url", "must be a string")
    source = Source("id", file_id or "") if url is None else read_source(url)
    detail = checks.text(part, "detail", dot)
    extras = checks.rest(part, _IMAGE_KNOWN)
    return Image(source, detail, _read_cache(part, dot), extras)


def _read_file(part: JsonObject, dot: str) -> File:
    data, url = checks.text(part, "file_data", dot), checks.text(part, "file_url", dot)
    file_id = checks.text(part, "file_id", dot)
    if data is not None:
        source = read_source(data)
        if source.kind == "url":
            source = Source("data", data, sniff(data))  # bare base64
    elif url is not None:
        source = Source("url", url)
    elif file_id is not None:
        source = Source("id", file_id)
    else:
        raise wrong(dot + "file_data", "must be a string, unless file_url or file_id is")
    name = checks.text(part, "filename", dot)
    return File(source, name, _read_cache(part, dot), checks.rest(part, _FILE_KNOWN))


def read_citation(item: Any) -> Citation | None:
    if type(item) is not dict:
        return None
    url, title = item.get("url"), item.get("title")
    start, end = item.get("start_index"), item.get("end_index")
    return Citation(
        url=url if type(url) is str else None,
        title=title if type(title) is str else None,
        start=start if type(start) is int else None,
        end=end if type(end) is int else None,
        dialect=NAME,
        raw=item,
    )


def thought_texts(item: JsonObject, dot: str = "") -> list[str]:
    """The texts of a reasoning item: what was thought, or the summary of it."""
    for field in ("content", "summary"):
        held = [checks.needed_table(p, dot + field) for p in checks.array(item, field, dot) or ()]
        if held:
            return [checks.text(part, "text", f"{dot}{field}.") or "" for part in held]
    return []


def read_reasoning(
    item: JsonObject, dot: str, *, family: str, signatures: Signatures
) -> Thinking | RedactedThinking | None:
    """None for an item that says nothing, or that only kept a tool call's signature."""
    identity = own_id(checks.text(item, "id", dot))
    texts = thought_texts(item, dot)
    proof = checks.text(item, "encrypted_content", dot) or None
    origin = family if proof else ""
    sealed = unseal(proof) if proof else None
    if sealed is not None:
        if sealed.call_id is not None:
            signatures[sealed.call_id] = (sealed.origin, sealed.signature or "")
            return None
        origin, proof, identity = sealed.origin, sealed.signature, sealed.id
    if proof and not texts:
        return RedactedThinking(proof, origin, identity)
    text = "\n\n".join(texts)
    if not text and not proof:
        return None
    return Thinking(text, proof, origin, identity, _reasoning_extras(item, len(texts)))


def _reasoning_extras(item: JsonObject, count: int) -> JsonObject:
    """What one summary text cannot say again: several texts, or the thought itself."""
    if not item.get("content") and count < 2:
        return {}
    return {name: item[name] for name in ("summary", "content") if item.get(name)}
