"""Parts → content parts and items: for a provider's request and for a client's answer.

A foreign signature goes to a client sealed, so that it comes back; to a provider it never goes.
"""

from collections.abc import Iterable
from typing import Any

from gatewayz.dialects.envelope import Sealed, seal
from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.openai_responses.read_parts import BREAKPOINT
from gatewayz.dialects.openai_responses.wire import FAMILY, NAME
from gatewayz.dialects.parts import (
    Audio,
    CacheMark,
    Citation,
    File,
    Image,
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
)

# A file without a name is refused by some providers, whatever it is called.
FILE_NAMES = {"application/pdf": "document.pdf", "text/plain": "document.txt"}


def write_cache(mark: CacheMark | None) -> JsonObject:
    return {} if mark is None else {BREAKPOINT: {"mode": "explicit"}}


def write_input_part(part: Part) -> JsonObject | None:
    """A content part of a user, a system or a tool; None for what this dialect has none for."""
    match part:
        case Text():
            return {"type": "input_text", "text": part.text}
        case Image():
            image: JsonObject = {"type": "input_image"}
            if part.detail is not None:
                image["detail"] = part.detail
            kind = part.source.kind
            if kind == "text":
                return None
            image["file_id" if kind == "id" else "image_url"] = part.source.data_url
            return image
        case File():
            return _write_file(part)
        case Refusal():
            return {"type": "refusal", "refusal": part.text}
        case Audio():
            if part.source.kind != "data":
                return None
            audio = {"data": part.source.value, "format": part.format}
            return {"type": "input_audio", "input_audio": audio}
    return None


def _write_file(part: File) -> JsonObject:
    source = part.source
    if source.kind == "text":
        return {"type": "input_text", "text": source.value}
    file: JsonObject = {"type": "input_file"}
    if part.name is not None:
        file["filename"] = part.name
    match source.kind:
        case "data":
            file["file_data"] = source.value if source.mime is None else source.data_url
        case "url":
            file["file_url"] = source.value
        case _:
            file["file_id"] = source.value
    return file


def write_output_part(part: Text | Refusal) -> JsonObject:
    """A content part of an assistant's message."""
    if isinstance(part, Refusal):
        return {"type": "refusal", "refusal": part.text}
    noted = [n for c in part.citations if (n := write_citation(c, len(part.text)))]
    return {"type": "output_text", "text": part.text, "annotations": noted, "logprobs": []}


def write_citation(citation: Citation, length: int) -> JsonObject | None:
    """`length`: the characters of the text so far, for a citation that is of all of it."""
    if citation.dialect == NAME and citation.raw:
        return dict(citation.raw)
    if citation.url is None:
        return None
    known = citation.start is not None and citation.end is not None
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title or "",
        "start_index": citation.start if known else 0,
        "end_index": citation.end if known else length,
    }


def write_logprobs(logprobs: Any) -> list[JsonObject]:
    """The list of chat completions, which has null where this dialect has no bytes."""
    if type(logprobs) is not list:
        return []
    return [_write_logprob(item) for item in logprobs if type(item) is dict]


def _write_logprob(item: JsonObject) -> JsonObject:
    top = item.get("top_logprobs")
    return {
        "token": item.get("token"),
        "logprob": item.get("logprob"),
        "bytes": item.get("bytes") or [],
        "top_logprobs": write_logprobs(top) if top else [],
    }


def summary(text: str) -> list[JsonObject]:
    return [{"type": "summary_text", "text": text}]


def write_reasoning(part: Thinking | RedactedThinking, *, own: bool) -> JsonObject:
    """A reasoning item without id. `own`: its extras are of this dialect."""
    redacted = isinstance(part, RedactedThinking)
    signature = part.data if isinstance(part, RedactedThinking) else part.signature
    text = "" if isinstance(part, RedactedThinking) else part.text
    # A signature's owner tells a thought without words from a hidden one by its empty summary.
    item: JsonObject = {"type": "reasoning", "summary": [] if redacted else summary(text)}
    if own and part.extras:
        item.update({"summary": [], **part.extras})
    if signature is not None:
        item["encrypted_content"] = proof(signature, part.origin, part.id)
    return item


def proof(signature: str, origin: str, identity: str | None, call_id: str | None = None) -> str:
    """A signature as clients keep it: as it is, or sealed when it is another family's."""
    if origin == FAMILY and call_id is None:
        return signature
    return seal(Sealed(origin, signature, identity, call_id))


def write_call(call: ToolCall) -> JsonObject:
    """A call's item without id."""
    if call.custom:
        named = {"type": "custom_tool_call", "call_id": call.id, "name": call.name}
        return {**named, "input": call.arguments}
    named = {"type": "function_call", "call_id": call.id, "name": call.name}
    return {**named, "arguments": call.arguments}


def write_picture(image: Image) -> JsonObject | None:
    """A made picture's item without id; None when only its address is known."""
    if image.source.kind != "data":
        return None
    form = (image.source.mime or "image/png").removeprefix("image/")
    made = {"type": "image_generation_call", "status": "completed", "result": image.source.value}
    return made if form == "png" else {**made, "output_format": form}


def texts_of(parts: Iterable[Part]) -> list[str] | None:
    """The texts if there is nothing else, and nothing hangs on them."""
    plain = [p.text for p in parts if isinstance(p, Text) and p == Text(p.text)]
    return plain if len(plain) == len(tuple(parts)) else None
