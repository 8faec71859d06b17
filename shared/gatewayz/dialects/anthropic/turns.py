"""The messages of the internal form → the alternating turns this dialect wants (§2, §4).

System prompts leave their place at the head, tool results come first in the user turn that answers
them, neighbours of one role are joined. What cannot be said is refused by its place.
"""

from gatewayz.dialects.anthropic import write_blocks as blocks
from gatewayz.dialects.anthropic.wire import FAMILY, NAME
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.names import safe_id
from gatewayz.dialects.parts import (
    CacheMark,
    File,
    Image,
    Message,
    Opaque,
    Part,
    RedactedThinking,
    Refusal,
    Source,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)

INLINE_SYSTEM = "inline_system"  # the model takes role system between messages
ID_PREFIX = "toolu_"
PLACEHOLDER = {"type": "text", "text": "."}


class Turns:
    """`names` maps tool names as callers know them to names as they are sent."""

    def __init__(
        self, request: GenerationRequest, target: Target, losses: Losses, names: dict[str, str]
    ) -> None:
        self._request = request
        self._losses = losses
        self._names = names
        self._own = request.dialect == NAME
        self._inline = self._own or INLINE_SYSTEM in target.quirks
        self._family = target.family or FAMILY
        self.system: list[JsonObject] = []
        self.messages: list[JsonObject] = []

    def write(self) -> None:
        for position, message in enumerate(self._request.messages):
            where = f"messages[{position}]"
            match message.role:
                case "system" | "developer":
                    self._system(message, where)
                case "assistant":
                    self._add("assistant", self._blocks(message.parts, where), message)
                case _:
                    self._add("user", self._blocks(message.parts, where), message)
        if not self.messages or self.messages[0]["role"] == "assistant":
            self.messages.insert(0, {"role": "user", "content": [PLACEHOLDER]})
        last = self.messages[-1]
        if last["role"] == "assistant" and not self._own:
            _strip_end(last["content"])
        for message_body in self.messages:
            content = message_body["content"]
            if len(content) == 1 and content[0].keys() == {"type", "text"}:
                message_body["content"] = content[0]["text"]

    def _system(self, message: Message, where: str) -> None:
        written = self._blocks(message.parts, where)
        if not self.messages:
            self.system += written
        elif self._inline:
            self._add("system", written, message)
        else:
            for block in written:
                block["text"] = f"<system>{block.get('text', '')}</system>"
            self._add("user", written, message)

    def _add(self, role: str, written: list[JsonObject], message: Message) -> None:
        extras = message.extras if self._own else {}
        if not self._own:
            self._losses.leave_extras(message.extras, "messages")
            if message.name is not None:
                self._losses.drop_as("messages.name")
        before = self.messages[-1] if self.messages else None
        if not written:
            return
        if before is not None and before["role"] == role and not extras:
            before["content"] += written
        else:
            self.messages.append({"role": role, "content": written, **extras})

    # ------------------------------------------------------------------ blocks

    def _blocks(self, parts: tuple[Part, ...], where: str) -> list[JsonObject]:
        out: list[JsonObject] = []
        for index, part in enumerate(parts):
            block = self._block(part, f"{where}.content[{index}]")
            if block is None:
                continue
            extras = getattr(part, "extras", None)
            if extras and self._own:
                block = {**block, **extras}
            elif extras:
                self._losses.leave_extras(extras, "messages.content")
            out.append({**block, **_mark(part)})
        return out

    def _block(self, part: Part, where: str) -> JsonObject | None:
        """None for what says nothing here: empty texts, thoughts of others."""
        match part:
            case Text():
                return blocks.write_text(part) if part.text else None
            case Refusal():
                return {"type": "text", "text": part.text} if part.text else None
            case Thinking() | RedactedThinking():
                return self._thought(part)
            case ToolCall():
                return self._call(part, where)
            case ToolResult():
                return self._result(part, where)
            case Image():
                self._check_id(part.source, where)
                block = blocks.write_image(part)
                if part.detail is not None:
                    self._losses.drop_as("messages.content.image_url.detail")
            case File():
                self._check_id(part.source, where)
                block = blocks.write_file(part)
            case Opaque():
                block = part.raw if part.dialect == NAME else None
            case _:
                block = None
        if block is None:
            kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
            raise self._losses.refuse(where, f"A part of type '{kind}' is not supported.")
        return block

    def _check_id(self, source: Source, where: str) -> None:
        if source.kind == "id" and not self._own:
            raise self._losses.refuse(where, "A file id of another provider means nothing.")

    def _thought(self, part: Thinking | RedactedThinking) -> JsonObject | None:
        """Only what this provider's family has signed may go back to it."""
        if part.origin == self._family:
            if isinstance(part, RedactedThinking):
                return {"type": "redacted_thinking", "data": part.data}
            if part.signature is not None:
                return {
                    "type": "thinking",
                    "thinking": part.text,
                    "signature": part.signature,
                }
        self._losses.drop_as("messages.thinking" if self._own else "messages.reasoning")
        return None

    def _call(self, part: ToolCall, where: str) -> JsonObject:
        arguments = None if part.custom else blocks.parse_input(part.arguments)
        if arguments is None:
            raise self._losses.refuse(where, "The arguments of a tool call are no JSON object.")
        return {
            "type": "tool_use",
            "id": safe_id(part.id, prefix=ID_PREFIX),
            "name": self._names.get(part.name, part.name),
            "input": arguments,
        }

    def _result(self, part: ToolResult, where: str) -> JsonObject:
        block: JsonObject = {
            "type": "tool_result",
            "tool_use_id": safe_id(part.call_id, prefix=ID_PREFIX),
        }
        content = self._blocks(part.parts, where)
        if len(content) == 1 and content[0].keys() == {"type", "text"}:
            block["content"] = content[0]["text"]
        elif content:
            block["content"] = content
        if part.is_error:
            block["is_error"] = True
        return block


def _mark(part: Part) -> JsonObject:
    mark: CacheMark | None = getattr(part, "cache", None)
    return blocks.write_cache(mark)


def _strip_end(content: list[JsonObject]) -> None:
    """A prefilled answer may not end in blanks."""
    last = content[-1]
    if last.get("type") != "text":
        return
    last["text"] = last["text"].rstrip()
    if not last["text"] and len(content) > 1:
        content.pop()
