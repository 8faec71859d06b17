"""Counts what an answer delivered: its text in bytes and, estimated, in tokens."""

from typing import Any

from gatewayz.pricing.estimate import likely_tokens

# Estimating joined pieces is exacter and cheaper than estimating each; this bounds the memory.
JOIN_CHARS = 2048
# What the frame around a tool call costs besides its name and arguments, by recorded answers.
CALL_TOKENS = 12
TEXT_FIELDS = ("content", "reasoning_content", "reasoning", "refusal")


class OutputMeter:
    __slots__ = ("_bytes", "_chars", "_pieces", "_tokens")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._chars = self._bytes = self._tokens = 0

    def add(self, text: str) -> None:
        self._pieces.append(text)
        self._chars += len(text)
        if self._chars >= JOIN_CHARS:
            self._settle()

    def add_message(self, message: dict[str, Any]) -> bool:
        """Count a message or delta; whether it carries content at all (not only a role)."""
        found = False
        for name in TEXT_FIELDS:
            value = message.get(name)
            if value:
                found = True
                # The same thought is often sent as both reasoning fields.
                if type(value) is str and not (name == "reasoning" and message.get(TEXT_FIELDS[1])):
                    self.add(value)
        calls = message.get("tool_calls")
        if calls:
            found = True
            for call in calls:
                self._add_function(call.get("function") if type(call) is dict else None)
        if message.get("function_call"):
            found = True
            self._add_function(message["function_call"])
        audio = message.get("audio")
        if audio:
            found = True
            if type(audio) is dict and type(audio.get("transcript")) is str:
                self.add(audio["transcript"])
        return found or bool(message.get("reasoning_details") or message.get("images"))

    def _add_function(self, function: Any) -> None:
        if type(function) is not dict:
            return
        name, arguments = function.get("name"), function.get("arguments")
        if type(name) is str and name:
            self._tokens += CALL_TOKENS
            self.add(name)
        if type(arguments) is str and arguments:
            self.add(arguments)

    def _settle(self) -> None:
        text = "".join(self._pieces)
        self._pieces.clear()
        self._chars = 0
        self._bytes += len(text.encode("utf-8", "replace"))
        self._tokens += likely_tokens(text)

    @property
    def bytes(self) -> int:
        if self._pieces:
            self._settle()
        return self._bytes

    @property
    def tokens(self) -> int:
        if self._pieces:
            self._settle()
        return self._tokens
