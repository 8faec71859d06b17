"""Messages → the items of a request's `input`, with the whole conversation of a tool's use.

What a provider cannot take of it is named or refused by its place; a thought goes back only to the
family that made it.
"""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.names import safe_id
from gatewayz.dialects.openai_responses import write_parts as write
from gatewayz.dialects.openai_responses.wire import FAMILY, NAME
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

# Flags of a provider's row, on top of the plain protocol.
CACHE_BREAKPOINT = "cache_breakpoint"  # reads marks on content parts
THOUGHTS_BACK = "reasoning_text_back"  # wants its open thoughts again
_ITEM_FIELDS = frozenset({"phase"})  # of a text's extras, those that are its item's


class Items:
    """`names` maps tool names as callers know them to names as they are sent."""

    def __init__(
        self,
        request: GenerationRequest,
        target: Target,
        losses: Losses,
        names: Mapping[str, str],
    ) -> None:
        self._losses = losses
        self._names = names
        self._own = request.dialect == NAME
        self._family = target.family or FAMILY
        self._quirks = target.quirks
        self._custom = {
            part.id
            for message in request.messages
            for part in message.parts
            if isinstance(part, ToolCall) and part.custom
        }

    def write(self, message: Message, where: str) -> list[JsonObject]:
        if message.role == "assistant":
            return self._assistant(message, where)
        if message.role == "tool":
            return [
                self._result(part, f"{where}.content[{i}]") for i, part in enumerate(message.parts)
            ]
        content = [self.part(p, f"{where}.content[{i}]") for i, p in enumerate(message.parts)]
        return [self._message(message, content)]

    def _message(self, message: Message, content: list[JsonObject]) -> JsonObject:
        if message.name is not None:
            self._losses.drop_as("messages.name")
        item = {"type": "message", "role": message.role, "content": content}
        return {**item, **self._extras(message.extras, "messages")}

    def _extras(self, extras: Mapping[str, Any], place: str) -> JsonObject:
        if self._own:
            return dict(extras)
        self._losses.leave_extras(extras, place)
        return {}

    def part(self, part: Part, where: str) -> JsonObject:
        if isinstance(part, Opaque) and part.dialect == NAME:
            return part.raw
        if not self._own:
            self._check(part, where)
        written = write.write_input_part(part)
        if written is None:
            kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
            raise self._losses.refuse(where, f"A part of type '{kind}' is not supported.")
        if isinstance(part, File) and "file_data" in written and not self._own:
            written.setdefault("filename", write.FILE_NAMES.get(part.source.mime or "", "document"))
        extras = self._extras(getattr(part, "extras", {}), "messages.content")
        return {**written, **extras, **self._cache(getattr(part, "cache", None))}

    def _check(self, part: Part, where: str) -> None:
        if isinstance(part, Image | File) and part.source.kind == "id":
            raise self._losses.refuse(where, "A file id of another provider means nothing.")
        if isinstance(part, Audio | Video):
            kind = type(part).__name__.lower()
            raise self._losses.refuse(where, f"A part of type '{kind}' is not supported.")

    def _cache(self, mark: CacheMark | None) -> JsonObject:
        if mark is None or self._own or CACHE_BREAKPOINT in self._quirks:
            return write.write_cache(mark)
        self._losses.drop("cache")
        return {}

    # ------------------------------------------------------------------ tools

    def _result(self, part: Part, where: str) -> JsonObject:
        if not isinstance(part, ToolResult):
            raise self._losses.refuse(where, "Only tool results may stand here.")
        custom = part.call_id in self._custom
        item: JsonObject = {
            "type": "custom_tool_call_output" if custom else "function_call_output",
            "call_id": self._id(part.call_id),
            "output": self._output(part.parts, where),
        }
        if part.name is not None and self._own:
            item["name"] = part.name
        if part.cache is not None:
            self._losses.drop("cache")
        return {**item, **self._extras(part.extras, "messages.content")}

    def _output(self, parts: tuple[Part, ...], where: str) -> Any:
        plain = write.texts_of(parts)
        if plain is not None and len(plain) < 2:
            return "".join(plain)
        return [self.part(part, where) for part in parts]

    def _id(self, call_id: str) -> str:
        return call_id if self._own else safe_id(call_id)

    # ------------------------------------------------------------------ assistant

    def _assistant(self, message: Message, where: str) -> list[JsonObject]:
        if message.name is not None:
            self._losses.drop_as("messages.name")
        self._extras({} if self._own else message.extras, "messages")
        out: list[JsonObject] = []
        for index, part in enumerate(message.parts):
            place = f"{where}.content[{index}]"
            match part:
                case Text() | Refusal():
                    self._say(out, part)
                case Thinking() | RedactedThinking():
                    self._think(out, part)
                case ToolCall():
                    out.append(self._call(part))
                case Image() if made := write.write_picture(part):
                    if not self._own:
                        raise self._losses.refuse(place, "An assistant's image is not supported.")
                    out.append({**made, **part.extras})
                case Opaque() if part.dialect == NAME:
                    out.append(part.raw)
                case _:
                    kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
                    raise self._losses.refuse(place, f"A part of type '{kind}' is not supported.")
        return out

    def _say(self, out: list[JsonObject], part: Text | Refusal) -> None:
        said = write.write_output_part(part)
        of_item: JsonObject = {}
        if isinstance(part, Text):
            del said["logprobs"]
            extras = self._extras(part.extras, "messages.content")
            of_item = {k: v for k, v in extras.items() if k in _ITEM_FIELDS}
            said.update({k: v for k, v in extras.items() if k not in _ITEM_FIELDS})
            said.update(self._cache(part.cache))
            if not self._own:
                said["annotations"] = []
        last = out[-1] if out else {}
        same = isinstance(part, Refusal) or of_item == {
            name: last[name] for name in _ITEM_FIELDS if name in last
        }
        if same and last.get("type") == "message":
            last["content"].append(said)
        else:
            out.append({"type": "message", "role": "assistant", "content": [said], **of_item})

    def _think(self, out: list[JsonObject], part: Thinking | RedactedThinking) -> None:
        signed = isinstance(part, RedactedThinking) or part.signature is not None
        if signed and part.origin == self._family:
            item = write.write_reasoning(part, own=self._own)
            # Whatever its family, a provider gets its own signature as it gave it.
            item["encrypted_content"] = (
                part.data if isinstance(part, RedactedThinking) else part.signature
            )
        elif THOUGHTS_BACK in self._quirks and isinstance(part, Thinking) and part.text:
            said = [{"type": "reasoning_text", "text": part.text}]
            item = {"type": "reasoning", "summary": [], "content": said}
        else:
            self._losses.drop_as("input.reasoning" if self._own else "messages.reasoning")
            return
        if part.id is not None:
            item["id"] = part.id
        out.append(item)

    def _call(self, part: ToolCall) -> JsonObject:
        if part.signature is not None:
            self._losses.drop_as("messages.tool_calls.signature")
        if part.cache is not None:
            self._losses.drop("cache")
        item = write.write_call(part)
        item["call_id"] = self._id(part.id)
        item["name"] = self._names.get(part.name, part.name)
        return {**item, **self._extras(part.extras, "messages.tool_calls")}
