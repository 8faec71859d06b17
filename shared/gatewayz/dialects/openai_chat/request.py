"""Chat completion requests: validates what a client sends, writes what a provider gets.

Known fields are checked strictly; unknown ones travel. Guarantees that nothing which could steer
the connection or belongs to a gateway reaches a provider (F58), and that no field is coerced (F52).
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.form import JsonObject, Target
from gatewayz.dialects.gateway_fields import GATEWAY_FIELDS as GATEWAY_FIELDS
from gatewayz.dialects.gateway_fields import GATEWAY_PREFIXES as GATEWAY_PREFIXES
from gatewayz.dialects.gateway_fields import ignored, stays_here
from gatewayz.dialects.openai_chat.quirks import apply_quirks
from gatewayz.dialects.openai_chat.size import prompt_tokens
from gatewayz.dialects.protocol import HttpRequest
from gatewayz.dialects.rules import apply_rules

# What some servers know and most refuse: such a request is written anew for the target.
EXTENSIONS = frozenset({"reasoning", "include_reasoning", "plugins", "cache_control"})
_IN_MESSAGES = frozenset(
    {"reasoning", "reasoning_content", "reasoning_details", "cache_control", "function_call"}
)
PATH = "/chat/completions"
PLUGINS = "plugins"  # flag of a provider's row: it runs plugins of its own
_PLUGIN_FIELDS = frozenset({"plugins", "transforms"})
_NO_FIELDS: frozenset[str] = frozenset()
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
MAX_TOKENS_LIMIT = 2**31 - 1
MAX_CHOICES = 128
MAX_STOPS = 16
MAX_USER_CHARS = 512
TIERS = ("auto", "default")
LIMIT_FIELDS = ("max_completion_tokens", "max_tokens")


class ChatRequest(NamedTuple):
    """A checked request. `body` is the client's object; nobody changes it."""

    body: JsonObject
    model: str
    stream: bool
    include_usage: bool
    max_output_tokens: int | None
    n: int
    prompt_tokens_estimate: int
    user: str | None
    session_id: str | None
    plain: bool = True  # it has none of the EXTENSIONS


def decode_request(body: JsonObject) -> ChatRequest:
    """The request in `body`; InvalidRequest names the field that is wrong."""
    model = body.get("model")
    if type(model) is not str or not model:
        raise _wrong("model", "must be a non-empty string")
    plain = _check_messages(body.get("messages")) and EXTENSIONS.isdisjoint(body)
    for name, value in body.items():
        check = _CHECKS.get(name)
        if check is not None and value is not None and (problem := check(value)):
            raise _wrong(name, problem)
    options = body.get("stream_options") or {}
    include_usage = options.get("include_usage", False)
    if type(include_usage) is not bool and include_usage is not None:
        raise _wrong("stream_options.include_usage", "must be a boolean")
    limits = [body[name] for name in LIMIT_FIELDS if body.get(name) is not None]
    return ChatRequest(
        body=body,
        model=model,
        stream=bool(body.get("stream")),
        include_usage=bool(include_usage),
        max_output_tokens=min(limits, default=None),
        n=body.get("n") or 1,
        prompt_tokens_estimate=prompt_tokens(body),
        user=body.get("user"),
        session_id=body.get("session_id"),
        plain=plain and not any("cache_control" in tool for tool in body.get("tools") or ()),
    )


def forward_request(
    request: ChatRequest, target: Target, *, max_output_tokens: int | None = None
) -> HttpRequest:
    """The body for `target`. `max_output_tokens` replaces the limit the client set, or sets one.
    InvalidRequest for what it cannot take and what must not get lost."""
    body, unheard = _passed_on(request.body, target)
    body["model"] = target.native_id
    _write_limit(body, request, max_output_tokens)
    lost = apply_quirks(body, target.quirks) if target.quirks else ()
    options = body.pop("stream_options", None)
    dropped = (*unheard, *lost, *apply_rules(body, target))
    if request.stream and target.stream_usage == "stream_options":
        body["stream_options"] = {**(options or {}), "include_usage": True}
    try:
        return HttpRequest(PATH, orjson.dumps(body), dropped=dropped)
    except TypeError:
        raise InvalidRequest("The request body cannot be written as JSON.") from None


def _passed_on(asked: JsonObject, target: Target) -> tuple[JsonObject, tuple[str, ...]]:
    """The fields that may reach a provider, as an object of its own, and those nobody acts on."""
    if asked.keys() <= _USUAL:
        return dict(asked), ()
    passed = _PLUGIN_FIELDS if PLUGINS in target.quirks else _NO_FIELDS
    body = {name: value for name, value in asked.items() if not stays_here(name) or name in passed}
    return body, tuple(name for name in ignored(asked) if name not in passed)


def encode_request(
    request: ChatRequest, target: Target, *, max_output_tokens: int | None = None
) -> bytes:
    return forward_request(request, target, max_output_tokens=max_output_tokens).body


def _write_limit(body: JsonObject, request: ChatRequest, limit: int | None) -> None:
    present = [name for name in LIMIT_FIELDS if body.get(name) is not None]
    for name in LIMIT_FIELDS:
        body.pop(name, None)
    value = request.max_output_tokens if limit is None else limit
    if value is not None:
        body[present[0] if present else "max_tokens"] = value


def _wrong(param: str, problem: str) -> InvalidRequest:
    return InvalidRequest(f"'{param}' {problem}.", param=param)


def _check_messages(messages: Any) -> bool:
    """Whether none of them has what only some servers know."""
    plain = True
    if type(messages) is not list or not messages:
        raise _wrong("messages", "must be a non-empty array")
    for position, message in enumerate(messages):
        if type(message) is not dict:
            raise _wrong(f"messages[{position}]", "must be an object")
        role = message.get("role")
        if type(role) is not str or role not in ROLES:
            raise _wrong(f"messages[{position}].role", f"must be one of {', '.join(sorted(ROLES))}")
        if not _IN_MESSAGES.isdisjoint(message):
            plain = False
        content = message.get("content")
        calls = message.get("tool_calls")
        if type(calls) is list and any(type(c) is dict and "extra_content" in c for c in calls):
            plain = False
        if content is None or type(content) is str:
            continue
        if type(content) is not list:
            raise _wrong(f"messages[{position}].content", "must be a string or an array of parts")
        for index, part in enumerate(content):
            if type(part) is not dict or type(part.get("type")) is not str:
                raise _wrong(
                    f"messages[{position}].content[{index}]", "must be an object with a type"
                )
            if "cache_control" in part or part["type"] == "thinking":
                plain = False
    return plain


Check = Callable[[Any], str | None]


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> str | None:
        # bool is a subclass of int and 12.0 is no integer: neither is taken for one (F52).
        if type(value) is not int:
            return "must be an integer"
        return None if low <= value <= high else f"must be between {low} and {high}"

    return check


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> str | None:
        if type(value) is not int and type(value) is not float:
            return "must be a number"
        return None if low <= value <= high else f"must be between {low} and {high}"

    return check


def _kind(kind: type, words: str) -> Check:
    return lambda value: None if type(value) is kind else f"must be {words}"


def _text(limit: int) -> Check:
    def check(value: Any) -> str | None:
        if type(value) is not str:
            return "must be a string"
        return None if len(value) <= limit else f"must have at most {limit} characters"

    return check


def _stop(value: Any) -> str | None:
    if type(value) is str:
        return None
    if type(value) is not list or any(type(item) is not str for item in value):
        return "must be a string or an array of strings"
    return None if len(value) <= MAX_STOPS else f"must have at most {MAX_STOPS} entries"


def _tools(value: Any) -> str | None:
    if type(value) is not list:
        return "must be an array"
    for tool in value:
        if type(tool) is not dict or type(tool.get("type")) is not str:
            return "must hold objects with a type"
    return None


def _plugins(value: Any) -> str | None:
    if type(value) is not list or any(
        type(plugin) is not dict or type(plugin.get("id")) is not str for plugin in value
    ):
        return "must be an array of objects with an id"
    return None


def _tool_choice(value: Any) -> str | None:
    return None if type(value) in (str, dict) else "must be a string or an object"


def _tier(value: Any) -> str | None:
    # Other tiers have other prices, which no offer states yet: served, they would be billed wrong.
    return None if value in TIERS else f"must be one of {', '.join(TIERS)}"


_BOOLEAN = _kind(bool, "a boolean")
_OBJECT = _kind(dict, "an object")
_ARRAY = _kind(list, "an array")
_CHECKS: Mapping[str, Check] = {
    "max_tokens": _integer(1, MAX_TOKENS_LIMIT),
    "max_completion_tokens": _integer(1, MAX_TOKENS_LIMIT),
    "n": _integer(1, MAX_CHOICES),
    "best_of": _integer(1, MAX_CHOICES),
    "top_logprobs": _integer(0, 20),
    "seed": _integer(-(2**63), 2**63 - 1),
    "top_k": _integer(-1, 2**31 - 1),
    "temperature": _number(0, 2),
    "top_p": _number(0, 1),
    "min_p": _number(0, 1),
    "top_a": _number(0, 1),
    "presence_penalty": _number(-2, 2),
    "frequency_penalty": _number(-2, 2),
    "repetition_penalty": _number(0, 10),
    "stream": _BOOLEAN,
    "logprobs": _BOOLEAN,
    "store": _BOOLEAN,
    "parallel_tool_calls": _BOOLEAN,
    "stream_options": _OBJECT,
    "logit_bias": _OBJECT,
    "response_format": _OBJECT,
    "prediction": _OBJECT,
    "audio": _OBJECT,
    "metadata": _OBJECT,
    "web_search_options": _OBJECT,
    "modalities": _ARRAY,
    "reasoning": _OBJECT,
    "include_reasoning": _BOOLEAN,
    "cache_control": _OBJECT,
    "plugins": _plugins,
    "transforms": _ARRAY,
    "functions": _ARRAY,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "function_call": _tool_choice,
    "stop": _stop,
    "user": _text(MAX_USER_CHARS),
    "safety_identifier": _text(MAX_USER_CHARS),
    "session_id": _text(256),
    "service_tier": _tier,
    "reasoning_effort": _text(64),
    "verbosity": _text(64),
}
# None of these stays here: most requests have no other.
_USUAL = frozenset(name for name in ("model", "messages", *_CHECKS) if not stays_here(name))
