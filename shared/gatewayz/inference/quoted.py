"""Reads the body of a quote: a whole request in any client dialect, told apart by its shape.

Guarantees that what is quoted is read exactly as the data plane reads it. Never refuses a field
for being about routing: those are read, and taken out, as there.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gatewayz.accounts.principals import Principal
from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.exchange import PATH_HEADER, QUERY_HEADER
from gatewayz.dialects.form import Style
from gatewayz.dialects.registry import CALLS
from gatewayz.inference.course import preferences_of
from gatewayz.inference.operations.generate import Generate
from gatewayz.inference.quote import Asked
from gatewayz.inference.routing import Routing
from gatewayz.routing.needs import read_needs
from gatewayz.routing.wishes import take_wishes

Body = dict[str, Any]
Headers = list[tuple[bytes, bytes]]

# What a caller may name it by: the dialect, its maker's word for the API, or the end of its path.
NAMES: Mapping[str, str] = {
    "openai_chat": "openai_chat", "chat": "openai_chat", "chat/completions": "openai_chat",
    "openai_completions": "openai_completions", "completions": "openai_completions",
    "openai_responses": "openai_responses", "responses": "openai_responses",
    "anthropic": "anthropic", "messages": "anthropic",
    "google": "google", "generatecontent": "google", "streamgeneratecontent": "google",
}  # fmt: skip
VERSION_HEADER = b"anthropic-version"
# Fields that one dialect has and the others have not.
GOOGLE_FIELDS = frozenset({"contents", "generationConfig", "systemInstruction"})
MESSAGES_FIELDS = frozenset({"system", "stop_sequences", "thinking"})
MESSAGES_PARTS = frozenset({"image", "document", "tool_use", "tool_result", "thinking"})


def detect_dialect(body: Body, headers: Iterable[tuple[bytes, bytes]] = ()) -> str:
    """The dialect of a body by its shape; InvalidRequest when it is of none."""
    if not GOOGLE_FIELDS.isdisjoint(body):
        return "google"
    if "messages" in body:
        marked = any(name == VERSION_HEADER for name, _ in headers)
        return "anthropic" if marked or _looks_like_messages(body) else "openai_chat"
    if "input" in body:
        return "openai_responses"
    if "prompt" in body:
        return "openai_completions"
    raise InvalidRequest(
        "The body is a request in none of our dialects: it has no messages, input, prompt or"
        " contents.",
        param="messages",
    )


def dialect_named(word: str) -> str:
    """InvalidRequest when no dialect has this name."""
    known = NAMES.get(word.strip("/").removeprefix("v1/").lower())
    if known is None:
        raise InvalidRequest(f"'dialect' must be one of {', '.join(NAMES)}.", param="dialect")
    return known


def read_asked(
    body: Body,
    headers: Headers,
    *,
    principal: Principal,
    dialect: str = "",
    model: str = "",
    expected_output_tokens: int | None = None,
) -> tuple[Asked, tuple[str, ...]]:
    """The request and the models it names, first the one wanted. `model` is for dialects that
    have it in their address."""
    chosen = dialect_named(dialect) if dialect else detect_dialect(body, headers)
    body = dict(body)
    wishes = take_wishes(body, headers)
    named = {k.decode("latin-1"): v.decode("latin-1") for k, v in headers}
    if chosen == "google":
        named |= _google_place(body, model)
    elif model and "model" not in body:
        body["model"] = model
    call = CALLS[chosen](body, named)
    style: Style = "openai"
    routing = Routing(body, wishes, chosen)
    sized = Generate(call, style, routing, reread=lambda: CALLS[chosen](body, named))
    needs = read_needs(
        body, prompt_tokens=sized.prompt_tokens, max_output_tokens=sized.max_output_tokens
    )
    preferences = preferences_of(principal, wishes)
    asked = Asked(call, sized, needs, preferences, chosen, expected_output_tokens)
    return asked, tuple(dict.fromkeys((call.model, *wishes.models)))


def _google_place(body: Body, model: str) -> dict[str, str]:
    """This dialect has model and method in its address; a quote's body may carry them instead."""
    wanted = model or body.pop("model", "") or ""
    if type(wanted) is not str or not wanted:
        raise InvalidRequest("'model' is missing.", param="model")
    stream = body.pop("stream", False) is True
    method = "streamGenerateContent" if stream else "generateContent"
    name = wanted.removeprefix("models/")
    return {PATH_HEADER: f"/v1beta/models/{name}:{method}", QUERY_HEADER: "alt=sse"}


def _looks_like_messages(body: Body) -> bool:
    """Has it what only the Messages API has: its fields, its tools, its content blocks?"""
    if not MESSAGES_FIELDS.isdisjoint(body):
        return True
    tools = body.get("tools")
    if type(tools) is list and any(type(t) is dict and "input_schema" in t for t in tools):
        return True
    messages = body.get("messages")
    if type(messages) is not list:
        return False
    for message in messages:
        content = message.get("content") if type(message) is dict else None
        if type(content) is list and any(
            type(part) is dict and part.get("type") in MESSAGES_PARTS for part in content
        ):
            return True
    return False
