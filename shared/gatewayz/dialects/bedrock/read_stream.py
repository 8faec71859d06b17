"""A provider's binary event stream → events of the internal form.

Texts and thoughts have no beginning of their own there, counts come after the end of the message,
and failures are exceptions among the events.
"""

import base64
import binascii
from contextlib import suppress
from typing import Any

import orjson

from gatewayz.core.errors import UpstreamBroken
from gatewayz.dialects.anthropic.read_answer import restore_finish
from gatewayz.dialects.bedrock.errors import decode_exception
from gatewayz.dialects.bedrock.frames import Frame, FrameDamaged, FrameParser
from gatewayz.dialects.bedrock.read_answer import NOTHING_USABLE
from gatewayz.dialects.bedrock.read_parts import (
    SERVER_CALL,
    read_call,
    read_citation,
    read_image,
    read_redacted,
)
from gatewayz.dialects.bedrock.usage import read_counts
from gatewayz.dialects.bedrock.wire import NAME, family_of, read_stop
from gatewayz.dialects.blocks import Blocks
from gatewayz.dialects.events import Begin, Done, Ended, Event, Failed, UsageSeen
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.parts import Opaque
from gatewayz.dialects.protocol import Notes
from gatewayz.dialects.sse import UNKNOWN_FORM


class ConverseDecoder:
    """feed() every block, end() at the end of input."""

    def __init__(self, target: Target, notes: Notes) -> None:
        self._target = target
        self._notes = notes
        self._family = family_of(target)
        self._parser = FrameParser()
        self._blocks = Blocks()
        self._whole: JsonObject | None = None  # a block that goes on only when it is complete
        self._pieces: list[Any] = []  # of it
        self._json = False  # the open block is a call whose arguments are the answer's text
        self._begun = self._ended = self._over = False

    def feed(self, block: bytes) -> list[Event]:
        out: list[Event] = []
        if self._over:
            return out
        try:
            for frame in self._parser.feed(block):
                self._take(frame, out)
                if self._over:
                    break
        except FrameDamaged:
            self._fail("The provider's stream is damaged.", out)
        return out

    def end(self) -> list[Event]:
        out: list[Event] = []
        if not self._over and not self._ended:
            self._fail(
                "The provider ended the stream early."
                if self._begun or self._parser.waiting
                else "The provider's answer is no event stream.",
                out,
            )
        self._over = True
        return out

    def _take(self, frame: Frame, out: list[Event]) -> None:
        match frame.headers.get(":message-type"):
            case "event":
                self._event(frame, out)
            case "exception":
                name = frame.headers.get(":exception-type")
                self._over = True
                out.append(Failed(decode_exception(self._target, name, frame.payload)))
            case "error":
                name = frame.headers.get(":error-code")
                said = orjson.dumps({"message": frame.headers.get(":error-message", "")})
                self._over = True
                out.append(Failed(decode_exception(self._target, name, said)))

    def _event(self, frame: Frame, out: list[Event]) -> None:
        try:
            data = orjson.loads(frame.payload)
        except orjson.JSONDecodeError:
            self._fail("The provider sent an event that is not JSON.", out)
            return
        try:
            self._read(frame.headers.get(":event-type"), data, out)
        except (KeyError, TypeError, AttributeError, ValueError):
            self._fail(UNKNOWN_FORM, out)

    def _read(self, kind: str | None, data: JsonObject, out: list[Event]) -> None:
        match kind:
            case "contentBlockDelta":
                self._delta(data["contentBlockIndex"], data["delta"], out)
            case "contentBlockStart":
                self._start(data["contentBlockIndex"], data["start"], out)
            case "contentBlockStop":
                self._stop(out)
            case "messageStart":
                self._begun = True
                out.append(Begin(NAME))
            case "messageStop":
                self._message_stop(data, out)
            case "metadata":
                usage, raw = read_counts(data.get("usage"))
                if raw is not None:
                    out.append(UsageSeen(usage, raw))
                if self._ended:
                    self._over = True
                    out.append(Done())

    def _message_stop(self, data: JsonObject, out: list[Event]) -> None:
        self._stop(out)
        self._blocks.close(out)
        fields = data.get("additionalModelResponseFields")
        finish = read_stop(data["stopReason"], fields, called_tools=self._blocks.called)
        finish = restore_finish(finish, self._notes)
        if finish is None or self._ended:
            return
        if finish.reason == "error" and not self._blocks.spoke:
            self._fail(NOTHING_USABLE, out)
            return
        self._ended = True
        out.append(Ended(finish))

    # ------------------------------------------------------------------ blocks

    def _start(self, place: Any, start: JsonObject, out: list[Event]) -> None:
        self._stop(out)
        call = start.get("toolUse")
        if call is not None and call.get("type") != SERVER_CALL:
            self._json = call["name"] == self._notes.json_tool
            if not self._json:
                self._blocks.call(place, read_call(call, self._notes), out)
        elif start:
            self._whole, self._pieces = start, []

    def _delta(self, place: Any, delta: JsonObject, out: list[Event]) -> None:
        match delta:
            case {"text": str(text)}:
                self._blocks.text(place, text, out)
            case {"toolUse": {"input": str(piece)}}:
                self._input(place, piece, out)
            case {"reasoningContent": dict(thought)}:
                self._think(place, thought, out)
            case {"citation": dict(item)}:
                self._blocks.cite(place, read_citation(item), out)
            case _ if self._whole is not None and type(delta) is dict:
                self._pieces += delta.values()

    def _input(self, place: Any, piece: str, out: list[Event]) -> None:
        if self._whole is not None:
            self._pieces.append(piece)
        elif self._json:
            self._blocks.text(place, piece, out)
        else:
            self._blocks.arguments(piece, out)

    def _think(self, place: Any, thought: JsonObject, out: list[Event]) -> None:
        match thought:
            case {"text": str(text)}:
                self._blocks.think(place, text, self._family, out)
            case {"signature": str(signature)}:
                self._blocks.sign(place, signature, self._family, out)
            case {"redactedContent": str(data)}:
                if self._whole is None:
                    self._whole, self._pieces = {"redactedContent": None}, []
                self._pieces.append(data)

    def _stop(self, out: list[Event]) -> None:
        whole, self._whole = self._whole, None
        if whole is not None:
            self._complete(whole, out)
        self._json = False
        self._blocks.end(out)

    def _complete(self, whole: JsonObject, out: list[Event]) -> None:
        pieces, self._pieces = self._pieces, []
        match whole:
            case {"redactedContent": _}:
                self._blocks.whole(read_redacted(_joined(pieces), self._family), out)
            case {"image": {"format": short}}:
                data = [piece["source"]["bytes"] for piece in pieces if piece.get("source")]
                if data:
                    self._blocks.whole(read_image(short, _joined(data)), out)
            case {"toolUse": dict(call)}:
                # A call that was cut keeps what it had at its start.
                with suppress(orjson.JSONDecodeError, TypeError):
                    call = {**call, "input": orjson.loads("".join(pieces) or "{}")}
                self._blocks.whole(Opaque(NAME, {"toolUse": call}), out)
            case {"toolResult": dict(result)}:
                content = [item for piece in pieces for item in piece]
                self._blocks.whole(
                    Opaque(NAME, {"toolResult": {**result, "content": content}}), out
                )

    def _fail(self, words: str, out: list[Event]) -> None:
        self._over = True
        out.append(Failed(UpstreamBroken(words, provider=self._target.provider)))


def _joined(pieces: list[str]) -> str:
    """Base64 of the bytes that these make together."""
    if len(pieces) == 1:
        return pieces[0]
    try:
        return base64.b64encode(b"".join(map(base64.b64decode, pieces))).decode()
    except binascii.Error:
        return "".join(pieces)
