"""The messages of the internal form → systemInstruction and contents (§2, §4).

Tool results are named by their calls and stand in a turn of their own; a later system prompt
becomes a marked user text. What cannot be said is refused by its place.
"""

from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.generation import GenerationRequest
from gatewayz.dialects.google import write_parts as parts_of
from gatewayz.dialects.google.thinking import is_family, takes_budget
from gatewayz.dialects.google.wire import NAME, NO_SIGNATURE
from gatewayz.dialects.losses import Losses
from gatewayz.dialects.parts import (
    Audio,
    Extras,
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

# Flags of an offer or its provider's row.
NO_CALL_IDS = "no_call_ids"  # refuses `id` in calls and results
RESULT_PARTS = "result_parts"  # takes images within tool results
PLACEHOLDER = {"role": "user", "parts": [{"text": "."}]}


class Turns:
    """`names` maps tool names as callers know them to names as they are sent."""

    def __init__(
        self, request: GenerationRequest, target: Target, losses: Losses, names: dict[str, str]
    ) -> None:
        self._request = request
        self._target = target
        self._losses = losses
        self._names = names
        self._own = request.dialect == NAME
        self._with_ids = NO_CALL_IDS not in target.quirks
        self._within = self._own or RESULT_PARTS in target.quirks
        self._called: dict[str, str] = {}  # id → name of the tool
        self._kind = ""  # of the last content: who spoke
        self.system: list[JsonObject] = []
        self.contents: list[JsonObject] = []

    def write(self) -> None:
        for position, message in enumerate(self._request.messages):
            where = f"messages[{position}]"
            if not self._own and message.name is not None:
                self._losses.drop_as("messages.name")
            extras = self._extras(message.extras, "messages")
            match message.role:
                case "system" | "developer":
                    self._system(message, where)
                case "assistant":
                    self._add("model", "model", self._answer(message, where), extras)
                case "tool":
                    self._add("tool", "user", self._results(message, where), extras)
                case _:
                    self._add("user", "user", self._parts(message.parts, where), extras)
        if not self._own and (not self.contents or self.contents[0]["role"] == "model"):
            self.contents.insert(0, PLACEHOLDER)

    def _system(self, message: Message, where: str) -> None:
        written = self._parts(message.parts, where)
        if not self.contents:
            self.system += written
            return
        for part in written:
            part["text"] = f"<system>{part.get('text', '')}</system>"
        self._add("user", "user", written, {})

    def _add(self, kind: str, role: str, written: list[JsonObject], extras: Extras) -> None:
        if not written:
            return
        if kind == self._kind and not extras:
            self.contents[-1]["parts"] += written
        else:
            self.contents.append({"role": role, "parts": written, **extras})
        self._kind = kind

    def _extras(self, extras: Extras, place: str) -> Extras:
        if self._own or not extras:
            return extras
        self._losses.leave_extras(extras, place)
        return {}

    # ------------------------------------------------------------------ parts

    def _parts(self, parts: tuple[Part, ...], where: str) -> list[JsonObject]:
        written = (self._part(p, f"{where}.content[{i}]") for i, p in enumerate(parts))
        return [part for part in written if part is not None]

    def _part(self, part: Part, where: str) -> JsonObject | None:
        """None for what says nothing here: empty texts, thoughts of others."""
        if getattr(part, "cache", None) is not None:
            self._losses.drop("cache")
        extras = self._extras(getattr(part, "extras", {}), "messages.content")
        match part:
            case Text():
                signature = self._signature(part.origin, part.signature)
                if not part.text and not signature and not self._own:
                    return None
                return parts_of.write_text(part.text, signature, extras)
            case Refusal():
                return {"text": part.text} if part.text else None
            case Thinking() | RedactedThinking():
                return self._thought(part, extras)
            case Image() | File() | Audio() | Video():
                return self._media(part, where)
            case Opaque() if part.dialect == NAME:
                return part.raw
        kind = part.kind if isinstance(part, Opaque) else type(part).__name__.lower()
        raise self._losses.refuse(where, f"A part of type '{kind}' is not supported.")

    def _signature(self, origin: str, signature: str | None) -> JsonObject:
        if signature is None:
            return {}
        if is_family(origin, self._target):
            return {"thoughtSignature": signature}
        self._losses.drop_as("messages.reasoning")
        return {}

    def _thought(self, part: Thinking | RedactedThinking, extras: Extras) -> JsonObject | None:
        """Its text only for callers who sent it as this protocol has it: nobody needs it."""
        if isinstance(part, RedactedThinking):
            signature = self._signature(part.origin, part.data)
            return parts_of.write_text("", signature, extras) if signature else None
        signature = self._signature(part.origin, part.signature)
        if signature or (self._own and part.signature is None):
            return parts_of.write_thought(part.text, signature, extras)
        self._losses.drop_as("messages.reasoning")
        return None

    def _media(self, part: parts_of.Media, where: str) -> JsonObject | None:
        if not self._own:
            if part.source.kind == "id":
                raise self._losses.refuse(where, "A file id of another provider means nothing.")
            if isinstance(part, Image) and part.detail not in (None, "auto"):
                self._losses.drop_as("messages.content.image_url.detail")
            if isinstance(part, File) and part.name is not None:
                self._losses.drop_as("messages.content.file.filename")
        return parts_of.write_media(part, own=self._own)

    # ------------------------------------------------------------------ tools

    def _answer(self, message: Message, where: str) -> list[JsonObject]:
        out: list[JsonObject] = []
        first = True
        for index, part in enumerate(message.parts):
            place = f"{where}.content[{index}]"
            if isinstance(part, ToolCall):
                out.append(self._call(part, first=first))
                first = False
            elif (written := self._part(part, place)) is not None:
                out.append(written)
        return out

    def _call(self, part: ToolCall, *, first: bool) -> JsonObject:
        self._called[part.id] = part.name
        if part.cache is not None:
            self._losses.drop("cache")
        signature = self._signature(part.origin, part.signature)
        if first and not signature and not self._own and not takes_budget(self._target):
            # Without one, newer models refuse the first call of a step.
            signature = {"thoughtSignature": NO_SIGNATURE}
        return parts_of.write_call(
            part,
            signature,
            name=self._names.get(part.name, part.name),
            with_id=self._with_ids,
            extras=self._extras(part.extras, "messages.tool_calls"),
        )

    def _results(self, message: Message, where: str) -> list[JsonObject]:
        """Where results cannot hold pictures, these follow all results of the turn."""
        out: list[JsonObject] = []
        beside: list[JsonObject] = []
        for index, part in enumerate(message.parts):
            place = f"{where}.content[{index}]"
            if not isinstance(part, ToolResult):
                raise self._losses.refuse(place, "Only tool results may stand here.")
            if part.cache is not None:
                self._losses.drop("cache")
            shown = self._parts(
                tuple(p for p in part.parts if not isinstance(p, Text | Refusal)), place
            )
            name = self._called.get(part.call_id) or part.name or "unknown"
            if self._own and part.name is not None:
                name = part.name
            if shown and not self._within:
                beside += [{"text": f"Content of tool call {part.call_id}:"}, *shown]
                shown = []
            out.append(
                parts_of.result_part(
                    part,
                    name=self._names.get(name, name),
                    with_id=self._with_ids,
                    shown=shown,
                    extras=self._extras(part.extras, "messages.content"),
                )
            )
        return out + beside
