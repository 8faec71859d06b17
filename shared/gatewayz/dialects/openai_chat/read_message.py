"""Messages of chat completions → parts: what clients send and what providers answer."""

from collections.abc import Mapping
from typing import Any

import orjson

from gatewayz.dialects import checks
from gatewayz.dialects.checks import wrong
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.media import read_source
from gatewayz.dialects.openai_chat.thoughts import read_thoughts
from gatewayz.dialects.parts import (
    Audio,
    CacheMark,
    Citation,
    File,
    Image,
    Opaque,
    Part,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    Video,
)

NAME = "openai_chat"
# Of a message: read here, or only repeating what is read here.
KNOWN = frozenset(
    {
        "role", "content", "name", "refusal", "tool_calls", "function_call", "tool_call_id",
        "reasoning", "reasoning_content", "reasoning_details", "annotations", "images",
    }
)  # fmt: skip


def read_cache(holder: Mapping[str, Any], where: str) -> CacheMark | None:
    mark = checks.table(holder, "cache_control", where)
    return None if mark is None else CacheMark(checks.text(mark, "ttl", f"{where}cache_control."))


def read_content(content: Any, where: str) -> list[Part]:
    """A message's `content`: null, text or an array of parts."""
    if content is None:
        return []
    if type(content) is str:
        return [Text(content)]
    if type(content) is not list:
        raise wrong(where, "must be a string or an array of parts")
    return [_read_part(part, f"{where}[{i}]") for i, part in enumerate(content)]


def _read_part(value: Any, where: str) -> Part:
    part = checks.needed_table(value, where)
    kind, dot = part.get("type"), where + "."
    match kind:
        case "text" | "input_text" | "output_text":
            extras = checks.rest(part, frozenset({"type", "text", "cache_control"}))
            text = checks.needed_text(part, "text", dot)
            return Text(text, cache=read_cache(part, dot), extras=extras)
        case "refusal":
            return Refusal(checks.needed_text(part, "refusal", dot))
        case "image_url":
            return _read_image(part, where)
        case "input_audio":
            audio = checks.needed_table(part.get("input_audio"), dot + "input_audio")
            spoken = checks.needed_text(audio, "format", dot + "input_audio.")
            data = checks.needed_text(audio, "data", dot + "input_audio.")
            return Audio(Source("data", data, f"audio/{spoken}"), spoken, read_cache(part, dot))
        case "file":
            return _read_file(part, where)
        case "video_url":
            video = checks.needed_table(part.get("video_url"), dot + "video_url")
            url = checks.needed_text(video, "url", dot + "video_url.")
            return Video(read_source(url), read_cache(part, dot))
        case "thinking":
            return Thinking(_thought(part.get("thinking")))
    return Opaque(NAME, part)


def _read_image(part: JsonObject, where: str) -> Image:
    held = part.get("image_url")
    image = {"url": held} if type(held) is str else checks.needed_table(held, where + ".image_url")
    url = checks.needed_text(image, "url", where + ".image_url.")
    detail = checks.text(image, "detail", where + ".image_url.")
    extras = checks.rest(part, frozenset({"type", "image_url", "cache_control"}))
    return Image(read_source(url), detail, read_cache(part, where + "."), extras)


def _read_file(part: JsonObject, where: str) -> File:
    dot = where + ".file."
    file = checks.needed_table(part.get("file"), where + ".file")
    name = checks.text(file, "filename", dot)
    data, file_id = checks.text(file, "file_data", dot), checks.text(file, "file_id", dot)
    if data is None and file_id is None:
        raise wrong(where + ".file", "must have file_data or file_id")
    cache = read_cache(part, where + ".")
    if data is None:
        return File(Source("id", file_id or ""), name, cache)
    source = read_source(data)
    if source.kind == "url" and "://" not in data[:16]:
        source = Source("data", data)  # bare base64
    return File(source, name, cache)


def _thought(inner: Any) -> str:
    if type(inner) is list:
        return "".join(str(p.get("text", "")) for p in inner if type(p) is dict)
    return inner if type(inner) is str else ""


def read_assistant(message: JsonObject, where: str, *, family: str = "") -> list[Part]:
    """What an assistant said: thoughts, then content, then tool calls."""
    parts: list[Part] = list(read_thoughts(message, family))
    content = read_content(message.get("content"), where + ".content")
    parts += [p for p in content if p != Text("")]
    cited = _read_citations(message.get("annotations"))
    if cited:
        _cite(parts, cited)
    refusal = checks.text(message, "refusal", where + ".")
    if refusal:
        parts.append(Refusal(refusal))
    for index, image in enumerate(checks.array(message, "images", where + ".") or ()):
        parts.append(_read_part(image, f"{where}.images[{index}]"))
    calls = checks.array(message, "tool_calls", where + ".") or []
    parts += [_read_call(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls)]
    return parts


def _cite(parts: list[Part], cited: tuple[Citation, ...]) -> None:
    """Annotations are of the whole text: they go to its first part."""
    for position, part in enumerate(parts):
        if isinstance(part, Text):
            parts[position] = Text(part.text, cited, cache=part.cache, extras=part.extras)
            return


def _read_citations(annotations: Any) -> tuple[Citation, ...]:
    if type(annotations) is not list:
        return ()
    return tuple(c for item in annotations if (c := read_citation(item)))


def read_citation(item: Any) -> Citation | None:
    if type(item) is not dict:
        return None
    inner = item.get("url_citation")
    if type(inner) is not dict:
        return Citation(dialect=NAME, raw=item)
    texts = [v if type(v := inner.get(k)) is str else None for k in ("url", "title", "content")]
    spans = [v if type(v := inner.get(k)) is int else None for k in ("start_index", "end_index")]
    return Citation(*texts, *spans, dialect=NAME, raw=item)  # type: ignore[misc, arg-type]


def _read_call(value: Any, where: str) -> ToolCall:
    call = checks.needed_table(value, where)
    custom = call.get("type") == "custom"
    held = "custom" if custom else "function"
    function = checks.needed_table(call.get(held), f"{where}.{held}")
    name = checks.needed_text(function, "name", f"{where}.{held}.")
    arguments = function.get("input" if custom else "arguments")
    if type(arguments) in (dict, list):
        arguments = orjson.dumps(arguments).decode()
    if arguments is not None and type(arguments) is not str:
        raise wrong(f"{where}.{held}.arguments", "must be a string")
    extras = checks.rest(call, frozenset({"id", "type", "index", held, "extra_content"}))
    signature = read_signature(call)
    extra = call.get("extra_content")
    if extra is not None and signature is None:
        extras["extra_content"] = extra
    return ToolCall(
        id=checks.text(call, "id", where + ".") or "",
        name=name,
        arguments=arguments or "",
        custom=custom,
        signature=signature,
        origin="google" if signature else "",
        extras=extras,
    )


def read_signature(call: JsonObject) -> str | None:
    """A proof of thought on a tool call, as Google's own OpenAI surface writes it."""
    value: Any = call
    for name in ("extra_content", "google", "thought_signature"):
        value = value.get(name) if type(value) is dict else None
    return value if type(value) is str and value else None
