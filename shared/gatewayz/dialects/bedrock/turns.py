"""The messages of the internal form → the alternating turns of a Converse request (§2, §4).

System prompts leave their place at the head, tool results come first in the user turn that answers
them, neighbours of one role are joined. What cannot be said is refused by its place.
"""

from collections.abc import Mapping

from gatewayz.dialects.anthropic.write_blocks import parse_input
from gatewayz.dialects.bedrock import write_parts as blocks
from gatewayz.dialects.bedrock.read_parts import write_redacted
from gatewayz.dialects.bedrock.thinking import may_return
from gatewayz.dialects.bedrock.wire import ID_PREFIX, MAX_ID_CHARS, family_of
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.names import safe_id
from gatewayz.dialects.parts import (
    Audio,
    CacheMark,
    File,
    Image,
    Message,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Video,
)

INLINE_SYSTEM = "inline_system"  # the model takes role system between messages
PLACEHOLDER: JsonObject = {"text": "."}
# What another dialect says of a document in words that mean the same here.
_DOCUMENT_EXTRAS = frozenset({"context", "citations"})


class Turns:
    """`names` maps tool names as callers know them to names as they are sent; `marks` tells
    whether the target takes cache points."""

    def __init__(
        self,
        request: GenerationRequest,
        target: Target,
        losses: Losses,
        names: Mapping[str, str],
        *,
        marks: bool,
    ) -> None:
        self._request = request
        self._losses = losses
        self._names = names
        self._marks = marks
        self._inline = INLINE_SYSTEM in target.quirks
        self._family = family_of(target)
        self._documents = blocks.Documents()
        self.system: list[JsonObject] = []
        self.messages: list[JsonObject] = []

    def write(self) -> None:
        for position, message in enumerate(self._request.messages):
            where = f"messages[{position}]"
            self._losses.leave_extras(message.extras, "messages")
            if message.name is not None:
                self._losses.drop_as("messages.name")
            if message.role in ("system", "developer"):
                self._system(message, where)
            else:
                role = "assistant" if message.role == "assistant" else "user"
                self._add(role, self._blocks(message.parts, where))
        if not self.messages or self.messages[0]["role"] == "assistant":
            self.messages.insert(0, {"role": "user", "content": [PLACEHOLDER]})
        for turn in self.messages:
            _accompany(turn["content"])
        if self.messages[-1]["role"] == "assistant":
            _strip_end(self.messages[-1]["content"])
        if self._request.cache is not None and self._marks:
            self._mark(self.messages[-1]["content"], self._request.cache)

    def _system(self, message: Message, where: str) -> None:
        written = self._blocks(message.parts, where)
        if not self.messages:
            self.system += written
        elif self._inline:
            self._add("system", written)
        else:
            for block in written:
                if "text" in block:
                    block["text"] = f"<system>{block['text']}</system>"
            self._add("user", written)

    def _add(self, role: str, written: list[JsonObject]) -> None:
        if not written:
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += written
        else:
            self.messages.append({"role": role, "content": written})

    # ------------------------------------------------------------------ blocks

    def _blocks(self, parts: tuple[Part, ...], where: str) -> list[JsonObject]:
        out: list[JsonObject] = []
        for index, part in enumerate(parts):
            block = self._block(part, f"{where}.content[{index}]")
            if block is None:
                continue
            out.append(block)
            mark = _mark_of(part)
            if mark is not None:
                self._mark(out, mark)
        return out

    def _mark(self, content: list[JsonObject], mark: CacheMark) -> None:
        """A point behind what it marks, or in front of what it may not follow."""
        place = len(content)
        while place and _repels_marks(content[place - 1]):
            place -= 1
        if not self._marks or not place:
            self._losses.drop("cache")
        elif "cachePoint" not in content[place - 1]:
            content.insert(place, blocks.write_mark(mark))

    def _block(self, part: Part, where: str) -> JsonObject | None:
        """None for what says nothing here: blank texts, thoughts of others."""
        self._leave_extras(part)
        match part:
            case Text() | Refusal():
                return {"text": part.text} if part.text.strip() else None
            case Thinking() | RedactedThinking():
                return self._thought(part)
            case ToolCall():
                return self._call(part, where)
            case ToolResult():
                return self._result(part, where)
        return self._media(part, where)

    def _media(self, part: Part, where: str) -> JsonObject:
        source = getattr(part, "source", None)
        if source is not None and source.kind == "id":
            raise self._losses.refuse(where, "A file id of another provider means nothing.")
        if source is not None and source.kind == "url":
            raise self._losses.refuse(where, "Media are taken as data, not by address.")
        block: JsonObject | None = None
        match part:
            case Image():
                block = blocks.write_image(part)
                if part.detail is not None:
                    self._losses.drop_as("messages.content.image_url.detail")
            case File():
                block = self._documents.write(part)
                if block is not None:
                    known = {k: v for k, v in part.extras.items() if k in _DOCUMENT_EXTRAS and v}
                    block["document"].update(known)
            case Video():
                block = blocks.write_video(part)
            case Audio():
                block = blocks.write_audio(part)
        if block is None:
            kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
            raise self._losses.refuse(where, f"A part of type '{kind}' is not supported.")
        return block

    def _leave_extras(self, part: Part) -> None:
        extras = getattr(part, "extras", None) or {}
        if isinstance(part, File):
            extras = {k: v for k, v in extras.items() if k not in _DOCUMENT_EXTRAS}
        self._losses.leave_extras(extras, "messages.content")

    def _thought(self, part: Thinking | RedactedThinking) -> JsonObject | None:
        """Only what this family's models have signed may go back to them."""
        if not may_return(part, self._family):
            self._losses.drop_as("messages.thinking")
            return None
        if isinstance(part, RedactedThinking):
            return {"reasoningContent": {"redactedContent": write_redacted(part)}}
        thought = {"text": part.text, "signature": part.signature}
        return {"reasoningContent": {"reasoningText": thought}}

    def _call(self, part: ToolCall, where: str) -> JsonObject:
        arguments = None if part.custom else parse_input(part.arguments)
        if arguments is None:
            raise self._losses.refuse(where, "The arguments of a tool call are no JSON object.")
        call = {
            "toolUseId": safe_id(part.id, limit=MAX_ID_CHARS, prefix=ID_PREFIX),
            "name": self._names.get(part.name, part.name),
            "input": arguments,
        }
        return {"toolUse": call}

    def _result(self, part: ToolResult, where: str) -> JsonObject:
        content: list[JsonObject] = []
        for index, inner in enumerate(part.parts):
            if not isinstance(inner, Text | Image | File | Video):
                kind = inner.kind if isinstance(inner, Opaque) else type(inner).__name__.lower()
                what = f"A part of type '{kind}' is not supported in a tool's result."
                raise self._losses.refuse(where, what)
            block = self._block(inner, f"{where}.content[{index}]")
            if block is not None:
                content.append(block)
        result: JsonObject = {
            "toolUseId": safe_id(part.call_id, limit=MAX_ID_CHARS, prefix=ID_PREFIX),
            "content": content or [PLACEHOLDER],
        }
        if part.is_error:
            result["status"] = "error"
        return {"toolResult": result}


def _mark_of(part: Part) -> CacheMark | None:
    """A part's mark; within a result no point can stand, so that the last one moves behind it."""
    mark: CacheMark | None = getattr(part, "cache", None)
    if mark is None and isinstance(part, ToolResult):
        inner = [m for p in part.parts if (m := _mark_of(p)) is not None]
        return inner[-1] if inner else None
    return mark


def _repels_marks(block: JsonObject) -> bool:
    """The provider turns documents other than PDF into something that no point may follow."""
    if "reasoningContent" in block:
        return True
    return "document" in block and block["document"]["format"] != "pdf"


def _accompany(content: list[JsonObject]) -> None:
    """A document may not stand without a text beside it."""
    if any("document" in block for block in content) and not any("text" in b for b in content):
        content.append(PLACEHOLDER)


def _strip_end(content: list[JsonObject]) -> None:
    """A prefilled answer may not end in blanks."""
    last = content[-1]
    if "text" in last:
        last["text"] = last["text"].rstrip()
