"""A provider's row applied to a request body: what it refuses, names otherwise, bounds, wants.

What does no harm to miss is dropped and named; what would change the answer is refused.
"""

from collections.abc import Callable
from typing import Any

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.form import JsonObject, Target

# Fields of the wire without which the answer is another one, and values that ask for nothing.
HARMFUL_FIELDS: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("auto", "none"),
    "function_call": ("auto", "none"),
    "toolConfig": ({},),
    "stop": ("", []),
    "stop_sequences": ([],),
    "stopSequences": ([],),
    "response_format": ({"type": "text"},),
    "responseSchema": (),
    "responseJsonSchema": (),
    "n": (1,),
    "best_of": (1,),
    "candidateCount": (1,),
    "audio": (),
    "modalities": (["text"], []),
    "responseModalities": (["TEXT"], []),
    "web_search_options": (),
    "suffix": ("",),
    "echo": (False,),
}


def refusal(where: str, what: str = "The parameter is not supported.") -> InvalidRequest:
    """The error for a part of a request that must not get lost; `where` is its place."""
    return InvalidRequest(
        f"{what} This model's providers cannot take '{where}'.",
        param=where,
        code="unsupported_parameter",
    )


def drop_fields(
    body: JsonObject, names: frozenset[str], said: Callable[[str], str] = str
) -> list[str]:
    """Take these fields out of `body`; those that asked for something, as they are `said` by the
    caller. InvalidRequest for one that must not get lost."""
    dropped: list[str] = []
    for name in sorted(names):
        if name not in body:
            continue
        value = body.pop(name)
        nothing = HARMFUL_FIELDS.get(name)
        if value is None or (nothing is not None and value in nothing):
            continue
        if nothing is not None:
            raise refusal(said(name))
        dropped.append(said(name))
    return dropped


def apply_rules(body: JsonObject, target: Target, said: Callable[[str], str] = str) -> list[str]:
    """Change `body` in place as the row says; what is dropped, as drop_fields() gives it."""
    dropped = drop_fields(body, target.drop, said) if target.drop else []
    for name, (low, high) in target.clamp.items():
        value: Any = body.get(name)
        if type(value) in (int, float):
            body[name] = min(max(value, low), high)
    for name, new in target.rename.items():
        if name in body:
            value = body.pop(name)
            body.setdefault(new, value)
    for name, text in target.defaults.items():
        body.setdefault(name, text)
    return dropped
