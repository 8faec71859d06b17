"""Small departures of OpenAI-compatible servers, put right so that OpenAI clients can read them.

Each rule keeps every content; none is tied to a brand. Functions say whether they changed
anything: what was not changed can travel as the bytes that came.
"""

from typing import Any

import orjson

from gatewayz.dialects.form import JsonObject

FINISH_REASONS = {
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_call": "tool_calls",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "sensitive": "content_filter",
}
# Finish reasons that mean the answer failed.
FAILED_REASONS = frozenset({"error", "network_error", "insufficient_system_resource"})


class ToolCalls:
    """The tool calls of one choice so far: gives deltas the index and id they lack."""

    __slots__ = ("_indexes", "_last", "_prefix", "seen")

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._indexes: dict[str, int] = {}  # id → index
        self._last = -1
        self.seen = False

    def mend(self, calls: list[Any]) -> bool:
        changed = False
        for call in calls:
            if type(call) is dict:
                changed = self._mend_one(call) or changed
        return changed

    def _mend_one(self, call: JsonObject) -> bool:
        changed = mend_arguments(call)
        call_id: str = call.get("id") or ""
        index = call.get("index")
        if type(index) is not int:
            index = self._indexes.get(call_id, self._last)
            if (call_id and call_id not in self._indexes) or index < 0:
                index = max([self._last, *self._indexes.values()]) + 1
            call["index"] = index
            changed = True
        begins = index not in self._indexes.values()
        if begins and not call_id:
            call_id = call["id"] = f"call_{self._prefix}_{index}"
            changed = True
        if begins:
            self._indexes[call_id] = index
        self._last, self.seen = index, True
        return changed


def mend_arguments(call: JsonObject) -> bool:
    """Arguments given as an object become the JSON text clients expect."""
    function = call.get("function")
    if type(function) is dict and type(function.get("arguments")) in (dict, list):
        function["arguments"] = orjson.dumps(function["arguments"]).decode()
        return True
    return False


def mend_content(message: JsonObject) -> bool:
    """Content given as parts becomes text, thoughts among it `reasoning_content`."""
    content = message.get("content")
    if type(content) is dict:
        message["content"] = orjson.dumps(content).decode()
        return True
    if type(content) is not list:
        return False
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if type(part) is not dict:
            return False
        if type(part.get("text")) is str:
            texts.append(part["text"])
        elif part.get("type") == "thinking":
            thoughts.append(_thought(part.get("thinking")))
        else:
            return False  # an image or audio part: nothing of it may be lost
    message["content"] = "".join(texts)
    if thoughts:
        message["reasoning_content"] = (message.get("reasoning_content") or "") + "".join(thoughts)
    return True


def _thought(inner: Any) -> str:
    if type(inner) is list:
        return "".join(str(p.get("text", "")) for p in inner if type(p) is dict)
    return inner if type(inner) is str else ""


def mend_reasoning(message: JsonObject) -> bool:
    """A thought under its other name is also said as `reasoning` with `reasoning_details`, which
    clients of the OpenRouter style read; for whole messages and deltas alike."""
    text = message.get("reasoning_content")
    if type(text) is not str or message.get("reasoning") is not None:
        return False
    message["reasoning"] = text
    if text and not message.get("reasoning_details"):
        detail = {"type": "reasoning.text", "text": text, "format": "unknown", "index": 0}
        message["reasoning_details"] = [detail]
    return True


def mend_finish(reason: Any, called_tools: bool) -> str | None:
    """A finish reason in OpenAI's words; None for one that says nothing."""
    if type(reason) is not str or not reason:
        return None
    reason = FINISH_REASONS.get(reason, reason)
    return "tool_calls" if called_tools and reason == "stop" else reason


def mend_message(message: JsonObject, prefix: str) -> None:
    """A whole message: as its deltas would have been put right."""
    mend_content(message)
    calls = message.get("tool_calls")
    if type(calls) is not list:
        message.setdefault("content", None)
        return
    if not calls:
        # Some clients take an empty list for calls.
        del message["tool_calls"]
    for position, call in enumerate(calls):
        if type(call) is dict:
            mend_arguments(call)
            if not call.get("id"):
                call["id"] = f"call_{prefix}_{position}"
            call.setdefault("type", "function")
    message.setdefault("content", None)
