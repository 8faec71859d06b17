"""The messages of the internal form → messages of a Cohere chat request (§2, §4).

Roles stay as they are. Thoughts go back as thoughts to models that think, else as the plan of the
calls they led to. Files are texts only; pictures of a tool's result follow it as a user's.
"""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.cohere.wire import NAME
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.parts import (
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
)

PLACEHOLDER = "."
SEE_BELOW = "(see the following message)"
_TEXT_TYPES = frozenset({"application/json", "application/xml", "application/yaml"})


class Turns:
    """`names` maps tool names as callers know them to names as they are sent; `inline` puts files
    into their message's text, where the request has no room for `documents` beside it."""

    def __init__(
        self,
        request: GenerationRequest,
        target: Target,
        losses: Losses,
        names: Mapping[str, str],
        *,
        inline: bool,
    ) -> None:
        self._request = request
        self._losses = losses
        self._names = names
        self._thinks = target.reasons is True
        self._inline = inline
        self.documents: list[JsonObject] = []
        self.messages: list[JsonObject] = []

    def write(self) -> None:
        for position, message in enumerate(self._request.messages):
            where = f"messages[{position}]"
            self._losses.leave_extras(message.extras, "messages")
            if message.name is not None:
                self._losses.drop_as("messages.name")
            match message.role:
                case "tool":
                    self._results(message, where)
                case "assistant":
                    self._assistant(message, where)
                case role:
                    content = self._content(message.parts, where)
                    if content:
                        role = "system" if role == "developer" else role
                        self.messages.append({"role": role, "content": _plain(content)})

    def _content(self, parts: tuple[Part, ...], where: str) -> list[JsonObject]:
        out: list[JsonObject] = []
        for index, part in enumerate(parts):
            place = f"{where}.content[{index}]"
            self._leave(part)
            if isinstance(part, File):
                out += self._file(part, place)
            elif (item := self._item(part, place)) is not None:
                out.append(item)
        return out

    def _item(self, part: Part, where: str) -> JsonObject | None:
        """None for what says nothing here."""
        if isinstance(part, Text | Refusal):
            return {"type": "text", "text": part.text} if part.text else None
        if isinstance(part, Image):
            if part.source.kind in ("data", "url"):
                image = {"url": part.source.data_url}
                if part.detail is not None:
                    image["detail"] = part.detail
                return {"type": "image_url", "image_url": image}
            raise self._losses.refuse(where, "A file id of another provider means nothing.")
        kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
        raise self._losses.refuse(where, f"A part of type '{kind}' is not supported.")

    def _file(self, part: File, where: str) -> list[JsonObject]:
        """The text of a file in its message, or none: then it stands beside the messages."""
        text = self._text_of(part, where)
        if self._inline:
            head = "" if part.name is None else part.name + ":\n"
            return [{"type": "text", "text": head + text}]
        document = _document(part, text)
        self.documents.append({"id": f"document-{len(self.documents) + 1}", **document})
        return []

    def _text_of(self, part: File, where: str) -> str:
        source = part.source
        mime = source.mime or ""
        if source.kind == "text":
            return source.value
        if source.kind == "data" and (mime.startswith("text/") or mime in _TEXT_TYPES):
            try:
                return base64.b64decode(source.value).decode()
            except (binascii.Error, UnicodeDecodeError, ValueError):
                pass
        raise self._losses.refuse(where, "Of files, only texts are supported.")

    def _leave(self, part: Part) -> None:
        self._losses.leave_extras(getattr(part, "extras", None) or {}, "messages.content")
        if getattr(part, "cache", None) is not None:
            self._losses.drop("cache")

    # ------------------------------------------------------------------ calls and results

    def _assistant(self, message: Message, where: str) -> None:
        said: list[JsonObject] = []
        thoughts: list[str] = []
        calls: list[JsonObject] = []
        for index, part in enumerate(message.parts):
            place = f"{where}.content[{index}]"
            match part:
                case Thinking() | RedactedThinking():
                    if isinstance(part, Thinking) and part.origin in ("", NAME) and part.text:
                        thoughts.append(part.text)
                    else:
                        self._losses.drop_as("messages.reasoning")
                case ToolCall():
                    self._leave(part)
                    calls.append(self._call(part, place))
                case _:
                    said += self._content((part,), place)
        written: JsonObject = {"role": "assistant"}
        if thoughts and self._thinks:
            said = [{"type": "thinking", "thinking": text} for text in thoughts] + said
        elif thoughts and calls:
            written["tool_plan"] = "\n\n".join(thoughts)
        elif thoughts:
            self._losses.drop_as("messages.reasoning")
        if said:
            written["content"] = _plain(said)
        if calls:
            written["tool_calls"] = calls
        if said or calls:
            self.messages.append(written)

    def _call(self, part: ToolCall, where: str) -> JsonObject:
        if part.custom:
            raise self._losses.refuse(where, "A call with free text as input is not supported.")
        name = self._names.get(part.name, part.name)
        function = {"name": name, "arguments": part.arguments or "{}"}
        return {"id": part.id, "type": "function", "function": function}

    def _results(self, message: Message, where: str) -> None:
        shown: list[JsonObject] = []
        for index, result in enumerate(message.parts):
            place = f"{where}.content[{index}]"
            if not isinstance(result, ToolResult):
                raise self._losses.refuse(place, "Only tool results may stand here.")
            self._leave(result)
            content: list[JsonObject] = []
            pictures: list[JsonObject] = []
            for part in result.parts:
                self._leave(part)
                if isinstance(part, File):
                    document = _document(part, self._text_of(part, place))
                    content.append({"type": "document", "document": document})
                elif (item := self._item(part, place)) is not None:
                    (pictures if isinstance(part, Image) else content).append(item)
            if pictures:
                head = f"Content of tool call {result.call_id}:"
                shown += [{"type": "text", "text": head}, *pictures]
                content.append({"type": "text", "text": SEE_BELOW})
            written = _plain(content) if content else PLACEHOLDER
            self.messages.append(
                {"role": "tool", "tool_call_id": result.call_id, "content": written}
            )
        if shown:
            self.messages.append({"role": "user", "content": shown})


def _document(part: File, text: str) -> JsonObject:
    title = {} if part.name is None else {"title": part.name}
    return {"data": {**title, "text": text}}


def _plain(content: list[JsonObject]) -> Any:
    """One text as a text, as most callers write it."""
    if len(content) == 1 and content[0]["type"] == "text":
        return content[0]["text"]
    return content
