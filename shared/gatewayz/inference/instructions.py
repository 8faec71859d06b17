"""The system prompt that a key keeps for requests without one, in the words of each dialect. Pure.

What a caller says itself is never replaced and never joined with anything.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gatewayz.core.errors import InvalidRequest

FIELD = "system_prompt"
MAX_CHARS = 16_000
SPOKEN = frozenset({"system", "developer"})
Body = dict[str, Any]


def _has_said(turns: Any) -> bool:
    """Is one of these a system's or developer's? What is no list is the dialect's to refuse."""
    if type(turns) is not list:
        return True
    return any(type(turn) is dict and turn.get("role") in SPOKEN for turn in turns)


def _chat(body: Body, text: str) -> bool:
    if _has_said(body.get("messages")):
        return False
    body["messages"] = [{"role": "system", "content": text}, *body["messages"]]
    return True


def _responses(body: Body, text: str) -> bool:
    given = body.get("input")
    if body.get("instructions") is not None or (type(given) is list and _has_said(given)):
        return False
    body["instructions"] = text
    return True


def _anthropic(body: Body, text: str) -> bool:
    if body.get("system") or _has_said(body.get("messages")):
        return False
    body["system"] = text
    return True


def _google(body: Body, text: str) -> bool:
    if body.get("systemInstruction") or body.get("system_instruction"):
        return False
    body["systemInstruction"] = {"parts": [{"text": text}]}
    return True


# A dialect without turns has no place for one.
WAYS: Mapping[str, Callable[[Body, str], bool]] = {
    "openai_chat": _chat,
    "openai_responses": _responses,
    "anthropic": _anthropic,
    "google": _google,
}


def instruct(body: Body, dialect: str, text: str) -> bool:
    """Give `body` the system prompt if it has none; whether that changed it."""
    way = WAYS.get(dialect)
    return way is not None and way(body, text)


def instructions_of(stored: Iterable[Mapping[str, Any] | None]) -> str:
    """Of the preferences of a key, then of its account, the first that has one; "" without."""
    return next((each[FIELD] for each in stored if each and each.get(FIELD)), "")


def check_instructions(preferences: Mapping[str, Any]) -> None:
    """InvalidRequest for a system prompt that no request could carry."""
    text = preferences.get(FIELD)
    if text is not None and (type(text) is not str or len(text) > MAX_CHARS):
        raise InvalidRequest(
            f"A system prompt is a text of at most {MAX_CHARS} characters.",
            param=f"preferences.{FIELD}",
        )
