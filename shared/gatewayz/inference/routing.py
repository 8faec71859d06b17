"""What a request brings along for its routing: its body as it was read, and its wishes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from gatewayz.core.errors import InvalidRequest
from gatewayz.dialects.generation import Reasoning
from gatewayz.dialects.reasoning import MIN_BUDGET_TOKENS, budget_of
from gatewayz.net.asgi import RawHeaders
from gatewayz.routing.preferences import NO_WISHES, Wishes
from gatewayz.routing.wishes import take_wishes


@dataclass(frozen=True, slots=True)
class Routing:
    """`body` is what the dialect reads too; only a suffix of the model's name adds to it."""

    body: dict[str, Any]
    wishes: Wishes = NO_WISHES
    dialect: str = ""


UNROUTED = Routing({})
CHAT = "openai_chat"


def read_routing(body: dict[str, Any], headers: RawHeaders, dialect: str = "") -> Routing:
    """Takes the routing fields out of `body`; InvalidRequest names one that is wrong."""
    return Routing(body, take_wishes(body, headers), dialect)


SAID = frozenset({"reasoning", "reasoning_effort", "include_reasoning"})
EFFORT = "medium"
# The same in tokens, for a dialect that has no word for an effort all of its models know.
BUDGET_TOKENS = 8192
# A suffix → what it adds to a request that does not say it itself, by the client's dialect. A
# dialect that is not named has no field for it.
SEARCHES: Mapping[str, Callable[[dict[str, Any]], bool]] = {
    CHAT: lambda body: _set(body, "web_search_options", {}),
    "openai_responses": lambda body: _add_tool(body, {"type": "web_search"}),
    "anthropic": lambda body: _add_tool(
        body, {"type": "web_search_20250305", "name": "web_search"}
    ),
    "google": lambda body: _add_tool(body, {"googleSearch": {}}),
}
THINKS: Mapping[str, Callable[[dict[str, Any]], bool]] = {
    CHAT: lambda body: SAID.isdisjoint(body) and _set(body, "reasoning_effort", EFFORT),
    "openai_responses": lambda body: _set(body, "reasoning", {"effort": EFFORT}),
    "anthropic": lambda body: "thinking" not in body and _think_within(body),
    "google": lambda body: _set(_config(body), "thinkingConfig", {"thinkingBudget": BUDGET_TOKENS}),
}
ONLINE, THINKING = "online", "thinking"
ADDED = {ONLINE: SEARCHES, THINKING: THINKS}
CONFIG, OLD_CONFIG = "generationConfig", "generation_config"


def add_variants(routing: Routing, variants: Iterable[str], *, searches: bool = False) -> bool:
    """What the suffixes of a model's name ask of the answer, written into the body in the words
    of its dialect, unless the request says so itself (`searches`: it searches already); whether
    that changed it. InvalidRequest where a dialect has no words for it."""
    changed = False
    for variant in variants:
        ways = ADDED.get(variant)
        if ways is None or (searches and variant == ONLINE):
            continue
        add = ways.get(routing.dialect)
        if add is None:
            raise no_words(variant)
        changed = add(routing.body) or changed
    return changed


def no_words(variant: str) -> InvalidRequest:
    return InvalidRequest(
        f"':{variant}' cannot be said in this API: it has no field for it.",
        code="unsupported_parameter",
        param="model",
    )


def _set(body: dict[str, Any], name: str, value: Any) -> bool:
    if body.get(name) is not None:
        return False
    body[name] = value
    return True


def _config(body: dict[str, Any]) -> dict[str, Any]:
    """Where one dialect keeps its settings; a thinking config in its older spelling counts too."""
    known = body.get(CONFIG, body.get(OLD_CONFIG))
    config = dict(known) if type(known) is dict else {}
    if "thinking_config" in config:
        return {"thinkingConfig": config["thinking_config"]}
    body[OLD_CONFIG if OLD_CONFIG in body and CONFIG not in body else CONFIG] = config
    return config


def _add_tool(body: dict[str, Any], tool: dict[str, Any]) -> bool:
    tools = body.get("tools") or []
    body["tools"] = [*(tools if type(tools) is list else [tools]), tool]
    return True


def _think_within(body: dict[str, Any]) -> bool:
    """A budget has to fit into the answer's own limit."""
    budget = budget_of(Reasoning(effort=EFFORT), body["max_tokens"])
    if budget is None:
        raise InvalidRequest(
            f"':thinking' needs max_tokens of at least {2 * MIN_BUDGET_TOKENS}.", param="max_tokens"
        )
    body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return True
