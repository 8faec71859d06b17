"""Finish reasons of chat completions ⇄ the internal form's."""

from collections.abc import Mapping
from typing import Any

from gatewayz.dialects.form import JsonObject
from gatewayz.dialects.generation import Finish, FinishReason
from gatewayz.dialects.openai_chat.mend import mend_finish

_READ: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_NATIVE: Mapping[str, FinishReason] = {
    "stop_sequence": "stop_sequence",
    "model_context_window_exceeded": "context",
    "pause_turn": "pause",
}
WORDS: Mapping[FinishReason, str] = {
    "stop": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "context": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "pause": "stop",
    "error": "error",
}


def read_finish(reason: Any, choice: JsonObject, called_tools: bool) -> Finish | None:
    """None for a reason that says nothing. The native word is the provider's provider's."""
    mended = mend_finish(reason, called_tools)
    if mended is None:
        return None
    said = choice.get("native_finish_reason")
    native = said if type(said) is str and said else reason
    known = _READ.get(mended, "stop")
    return Finish(_NATIVE.get(native, known) if known in ("stop", "length") else known, native)


def write_finish(finish: Finish | None, called_tools: bool) -> str:
    reason = "stop" if finish is None else WORDS[finish.reason]
    return "tool_calls" if called_tools and reason == "stop" else reason
